/** Resampling that gives the bytes of Pillow, which mien uses in Python. */

import { type Pixels, pixels } from "./image.js";

export type Rect = readonly [x1: number, y1: number, x2: number, y2: number];

const PRECISION = 22; // bits behind the point of Pillow's fixed-point weights
const HALF = 2 ** (PRECISION - 1);

interface Weights {
  readonly first: Int32Array; // first source pixel of each target pixel
  readonly count: Int32Array;
  readonly share: Int32Array; // `stride` fixed-point weights a target pixel
  readonly stride: number;
}

/** Python's `round`: halves go to the even neighbour. */
export function roundEven(value: number): number {
  const down = Math.floor(value), rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

/** Weights of the triangle filter, widened when it shrinks, from the interval `from`..`to` of a row. */
function triangle(sourceSize: number, from: number, to: number, size: number): Weights {
  const start = Math.fround(from), scale = Math.fround(Math.fround(to) - start) / size;
  const support = Math.max(scale, 1), stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(size), count = new Int32Array(size), share = new Int32Array(size * stride);
  const exact = new Float64Array(stride);
  for (let i = 0; i < size; i++) {
    const centre = start + (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const high = Math.min(sourceSize, Math.trunc(centre + support + 0.5));
    let total = 0;
    for (let x = 0; x < high - low; x++) {
      exact[x] = Math.max(0, 1 - Math.abs((x + low - centre + 0.5) * (1 / support)));
      total += exact[x]!;
    }
    for (let x = 0; x < high - low; x++) {
      const part = total !== 0 ? exact[x]! / total : exact[x]!;
      share[i * stride + x] = Math.trunc(0.5 + part * 2 ** PRECISION);
    }
    first[i] = low;
    count[i] = high - low;
  }
  return { first, count, share, stride };
}

/** Rows `top`..`bottom` of an image, each resampled to the width of `weights`. */
function across(image: Pixels, weights: Weights, width: number, top: number, bottom: number): Pixels {
  const { channels, data } = image, out = pixels(width, bottom - top, channels);
  const { first, count, share, stride } = weights;
  let to = 0;
  for (let y = top; y < bottom; y++) {
    const row = y * image.width * channels;
    for (let x = 0; x < width; x++) {
      const n = count[x]!, weight = x * stride, start = row + first[x]! * channels;
      for (let c = 0; c < channels; c++) {
        let sum = HALF;
        for (let k = 0, at = start + c; k < n; k++, at += channels) sum += data[at]! * share[weight + k]!;
        out.data[to++] = sum >> PRECISION;
      }
    }
  }
  return out;
}

/** Columns of an image resampled to the height of `weights`; its first row is row `top` of the source. */
function down(image: Pixels, weights: Weights, height: number, top: number): Pixels {
  const { channels, data } = image, out = pixels(image.width, height, channels);
  const { first, count, share, stride } = weights;
  const length = image.width * channels, sums = new Int32Array(length);
  for (let y = 0; y < height; y++) {
    sums.fill(HALF);
    for (let k = 0; k < count[y]!; k++) {
      const weight = share[y * stride + k]!, row = (first[y]! - top + k) * length;
      for (let x = 0; x < length; x++) sums[x]! += data[row + x]! * weight;
    }
    for (let x = 0; x < length; x++) out.data[y * length + x] = sums[x]! >> PRECISION;
  }
  return out;
}

/** `Image.resize(..., BILINEAR, box)`: the part under `box`, antialiased. */
export function resize(image: Pixels, width: number, height: number, box?: Rect): Pixels {
  const [x1, y1, x2, y2] = box ?? [0, 0, image.width, image.height];
  const isWide = image.width !== width || x1 !== 0 || x2 !== width;
  const isHigh = image.height !== height || y1 !== 0 || y2 !== height;
  const vertical = triangle(image.height, y1, y2, height);
  const top = vertical.first[0]!, bottom = vertical.first[height - 1]! + vertical.count[height - 1]!;
  let out = image, offset = 0;
  if (isWide) {
    out = across(image, triangle(image.width, x1, x2, width), width, top, bottom);
    offset = top;
  }
  return isHigh ? down(out, vertical, height, offset) : out;
}

/** As `resize`, but reduced by a whole number first: Pillow's `reducing_gap`. */
export function resizeReduced(image: Pixels, width: number, height: number, gap: number): Pixels {
  const wide = Math.trunc(image.width / width / gap) || 1, high = Math.trunc(image.height / height / gap) || 1;
  if (wide === 1 && high === 1) return resize(image, width, height);
  return resize(reduce(image, wide, high), width, height, [0, 0, image.width / wide, image.height / high]);
}

/** `Image.reduce`: means of `wide` x `high` pixels; what is left at the right and below makes smaller ones. */
export function reduce(image: Pixels, wide: number, high: number): Pixels {
  const { channels, data } = image;
  const out = pixels(Math.ceil(image.width / wide), Math.ceil(image.height / high), channels);
  let to = 0;
  for (let y = 0; y < out.height; y++) {
    const top = y * high, rows = Math.min(high, image.height - top);
    for (let x = 0; x < out.width; x++) {
      const left = x * wide, columns = Math.min(wide, image.width - left), n = rows * columns;
      const multiplier = Math.trunc(Math.fround(2 ** 32 / (256 * n)));
      for (let c = 0; c < channels; c++) {
        let sum = n >> 1;
        for (let j = 0; j < rows; j++) {
          let at = ((top + j) * image.width + left) * channels + c;
          for (let i = 0; i < columns; i++, at += channels) sum += data[at]!;
        }
        out.data[to++] = Math.floor((sum * multiplier) / 2 ** 24);
      }
    }
  }
  return out;
}

/** `Image.transform(..., AFFINE, matrix, BILINEAR)`: `fill` outside; samples are rounded down, as by Pillow. */
export function affine(image: Pixels, width: number, height: number, matrix: readonly number[], fill = 0): Pixels {
  const [a, b, c, d, e, f] = matrix as [number, number, number, number, number, number];
  const { channels, data } = image, out = pixels(width, height, channels);
  out.data.fill(fill);
  const lastX = image.width - 1, lastY = image.height - 1, length = image.width * channels;
  for (let v = 0, to = 0; v < height; v++) {
    for (let u = 0; u < width; u++, to += channels) {
      const x = a * (u + 0.5) + b * (v + 0.5) + c, y = d * (u + 0.5) + e * (v + 0.5) + f;
      if (x < 0 || x >= image.width || y < 0 || y >= image.height) continue;
      const left = Math.floor(x - 0.5), top = Math.floor(y - 0.5), dx = x - 0.5 - left, dy = y - 0.5 - top;
      const x0 = Math.max(left, 0) * channels, x1 = Math.min(left + 1, lastX) * channels;
      const row0 = Math.max(top, 0) * length, row1 = Math.min(top + 1, lastY) * length;
      for (let k = 0; k < channels; k++) {
        const p = data[row0 + x0 + k]!, q = data[row0 + x1 + k]!, r = data[row1 + x0 + k]!, s = data[row1 + x1 + k]!;
        const above = p + (q - p) * dx, below = r + (s - r) * dx;
        out.data[to + k] = Math.trunc(above + (below - above) * dy);
      }
    }
  }
  return out;
}

/** ITU-R 601 luma of RGB, as `Image.convert("L")`. */
export function luma(image: Pixels): Pixels {
  if (image.channels === 1) return image;
  const out = pixels(image.width, image.height, 1), { data } = image;
  for (let i = 0, at = 0; i < out.data.length; i++, at += 3) {
    out.data[i] = (data[at]! * 19595 + data[at + 1]! * 38470 + data[at + 2]! * 7471 + 0x8000) >> 16;
  }
  return out;
}
