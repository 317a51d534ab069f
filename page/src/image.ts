/** Pixels in memory, and how they come from what a browser gives. */

/** Whole numbers of 0-255. */
export type Bytes = Uint8Array | Uint8ClampedArray | readonly number[];

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
  readonly data: Bytes;
}

/** What a browser decodes: a canvas, an image, a video, a Blob; nothing where TypeScript knows of no browser. */
type Drawable = typeof globalThis extends { createImageBitmap(image: infer Source): unknown } ? Source : never;

/** Any image that `read` takes. */
export type ImageInput = Rgba | Blob | Drawable | Pixels;

export function pixels(width: number, height: number, channels: 1 | 3, data?: Uint8Array): Pixels {
  return { width, height, channels, data: data ?? new Uint8Array(width * height * channels) };
}

/** RGB of RGBA: transparency is composited on white, and alpha that is 0 everywhere is ignored. */
export function fromRgba({ width, height, data }: Rgba): Pixels {
  const n = width * height;
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
  pen.fillRect(0, 0, 1, 1); // a canvas beyond the browser's size, on some phones 17 million pixels, stays empty in silence
  if (!pen.getImageData(0, 0, 1, 1).data[3]) throw new Error(`${bitmap.width} x ${bitmap.height} pixels are too many for this browser; shrink the image`);
  pen.clearRect(0, 0, 1, 1);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return fromRgba(pen.getImageData(0, 0, canvas.width, canvas.height));
}

/** Pixels of 1, 3 or 4 channels as they are in memory; they have 4 where nothing else is said. */
function fromData(image: Rgba | Pixels): Pixels {
  const { width, height } = image, channels: number = image.channels ?? 4, data = bytesOf(image.data);
  const isSize = [width, height].every((side) => Number.isInteger(side) && side > 0) && [1, 3, 4].includes(channels);
  if (!isSize || data.length !== width * height * channels) {
    const got = `${data.length} of ${width} x ${height} x ${channels}`;
    throw new TypeError(`an image must have width x height x channels bytes with 1, 3 or 4 channels, got ${got}`);
  }
  return channels === 4 ? fromRgba({ width, height, data }) : pixels(width, height, channels as 1 | 3, data);
}

function bytesOf(data: Bytes): Uint8Array {
  if (data instanceof Uint8Array) return data;
  if (data instanceof Uint8ClampedArray) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  if (!Array.isArray(data)) throw new TypeError(`pixels must be bytes of 0-255, got ${Object.prototype.toString.call(data).slice(8, -1)}`);
  const bytes = Uint8Array.from(data), odd = bytes.findIndex((byte, i) => byte !== data[i]);
  if (odd >= 0) throw new TypeError(`pixels must be bytes of 0-255, got ${data[odd]} at place ${odd}`);
  return bytes;
}
