/** Pixels in memory, and how they come from what a browser gives. */

/** Interleaved 8-bit pixels, row by row: 1 channel (gray) or 3 (RGB). */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

/** What `ImageData` is, wherever it comes from: RGBA, not premultiplied. */
export interface Rgba {
  readonly width: number;
  readonly height: number;
  readonly channels?: 4;
  readonly data: ArrayLike<number>;
}

/** Any image that `read` takes. */
export type ImageInput = Rgba | Blob | ImageBitmapSource | Pixels;

export function pixels(width: number, height: number, channels: 1 | 3, data?: Uint8Array): Pixels {
  return { width, height, channels, data: data ?? new Uint8Array(width * height * channels) };
}

/** RGB of RGBA: transparency is composited on white, and alpha that is 0 everywhere is ignored. */
export function fromRgba(image: Rgba): Pixels {
  const { width, height, data } = image;
  const n = width * height;
  if (!(n > 0) || data.length !== 4 * n) {
    throw new TypeError(`an image must have RGBA data of ${width} x ${height} x 4 bytes, got ${data.length}`);
  }
  let isUsed = false;
  for (let i = 3; i < 4 * n && !isUsed; i += 4) isUsed = data[i]! > 0;
  const out = new Uint8Array(3 * n);
  for (let from = 0, to = 0; from < 4 * n; from += 4, to += 3) {
    const alpha = isUsed ? data[from + 3]! : 255;
    for (let c = 0; c < 3; c++) {
      const value = data[from + c]!;
      out[to + c] = alpha === 255 ? value : Math.round((value * alpha + 255 * (255 - alpha)) / 255);
    }
  }
  return pixels(width, height, 3, out);
}

const WANTED = "read needs a canvas, an image, ImageData, a Blob, or { width, height, data } in bytes";

/** RGB or gray pixels of any input; files are decoded by the browser, turned upright, without colour management. */
export async function toPixels(input: ImageInput): Promise<Pixels> {
  if (typeof input !== "object" || input === null) throw new TypeError(`${WANTED}, got ${input === null ? null : typeof input}`);
  if ("data" in input && "width" in input && "height" in input) return fromData(input);
  if (typeof createImageBitmap === "undefined") throw new TypeError(`${WANTED}; only browsers decode files, so decode it first`);
  const bitmap = await createImageBitmap(input as ImageBitmapSource, {
    colorSpaceConversion: "none",
    imageOrientation: "from-image",
    premultiplyAlpha: "none",
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  if (!pen) throw new Error("this browser gives no canvas");
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return fromRgba(pen.getImageData(0, 0, canvas.width, canvas.height));
}

/** Pixels of 1, 3 or 4 channels as they are in memory; they have 4 where nothing else is said. */
function fromData(image: Rgba | Pixels): Pixels {
  const { width, height, data } = image, channels: number = image.channels ?? 4;
  const isBytes = Array.isArray(data) || data instanceof Uint8Array || data instanceof Uint8ClampedArray;
  if (!isBytes) throw new TypeError(`pixels must be bytes of 0-255, got ${Object.prototype.toString.call(data).slice(8, -1)}`);
  if (channels === 4) return fromRgba({ width, height, data });
  if ((channels !== 1 && channels !== 3) || !(width * height > 0) || data.length !== width * height * channels) {
    const got = `${data.length} of ${width} x ${height} x ${channels}`;
    throw new TypeError(`an image must have width x height x channels bytes with 1, 3 or 4 channels, got ${got}`);
  }
  return pixels(width, height, channels, data as Uint8Array);
}
