/** Boxes, similarity transforms and warps. The pixel in row r and column c covers [c, c + 1) x [r, r + 1). */

import { type Pixels, pixels } from "./image.js";
import { affine, reduce } from "./resample.js";

export type Quad = [x1: number, y1: number, x2: number, y2: number];
export type Point = [x: number, y: number];
/** Rows (a, b, c) and (d, e, f) of an affine map. */
export type Matrix = readonly [number, number, number, number, number, number];

const SUPERSAMPLING = 4;

export const area = ([x1, y1, x2, y2]: Quad): number => Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);

/** Shared area of two boxes, as a fraction of their union or of the smaller one. */
export function overlap(a: Quad, b: Quad, over: "union" | "min" = "union"): number {
  const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), high = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (wide <= 0 || high <= 0) return 0;
  const shared = wide * high, areaA = area(a), areaB = area(b);
  return shared / Math.max(over === "min" ? Math.min(areaA, areaB) : areaA + areaB - shared, 1e-38);
}

/** Indices of the boxes that greedy non-maximum suppression keeps, best first. */
export function suppress(boxes: Quad[], scores: number[], limit: number, over: "union" | "min" = "union"): number[] {
  const order = scores.map((_, i) => i).sort((i, j) => scores[j]! - scores[i]!);
  const kept: number[] = [];
  for (const i of order) if (kept.every((j) => overlap(boxes[j]!, boxes[i]!, over) <= limit)) kept.push(i);
  return kept;
}

/** Rotation, uniform scale and shift that bring `from` nearest to `to` by least squares. */
export function similarity(from: readonly Point[], to: readonly Point[]): Matrix {
  const n = from.length, mean = (points: readonly Point[], k: 0 | 1) => points.reduce((sum, p) => sum + p[k], 0) / n;
  const [mx, my, nx, ny] = [mean(from, 0), mean(from, 1), mean(to, 0), mean(to, 1)];
  let spread = 0, real = 0, imaginary = 0;
  from.forEach(([px, py], i) => {
    const [x, y] = [px - mx, py - my], [u, v] = to[i]!;
    spread += x * x + y * y;
    real += x * u + y * v;
    imaginary += x * v - y * u;
  });
  if (!(spread > 1e-12)) throw new RangeError("a similarity needs at least two distinct points");
  const a = real / spread, b = imaginary / spread;
  return [a, -b, nx - (a * mx - b * my), b, a, ny - (b * mx + a * my)];
}

export const transform = ([a, b, c, d, e, f]: Matrix, [x, y]: Point): Point => [a * x + b * y + c, d * x + e * y + f];

export function invert([a, b, c, d, e, f]: Matrix): Matrix {
  const determinant = a * e - b * d;
  if (!(Math.abs(determinant) > 1e-12)) throw new RangeError("an affine matrix must be invertible");
  const [p, q, r, s] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [p, q, -(p * c + q * f), r, s, -(r * c + s * f)];
}

/** By how much a map lengthens what it lengthens most: its larger singular value. */
export const stretch = ([a, b, , d, e]: Matrix): number => (Math.hypot(a + e, b - d) + Math.hypot(a - e, b + d)) / 2;

/** Resample an image through an affine map without aliasing, as `mien.core.geometry.warp` does. */
export function warp(image: Pixels, matrix: Matrix, width: number, height: number): Pixels {
  const back = invert(matrix), [a, b, c, d, e, f] = back;
  const shrink = stretch(back), reduction = Math.max(1, Math.trunc(shrink / SUPERSAMPLING));
  const { region, left, top } = under(image, back, width, height, 3 * reduction);
  const source = reduction > 1 ? reduce(region, reduction, reduction) : region;
  const samples = Math.max(1, Math.ceil(shrink / reduction - 1e-6));
  const fine = [a / samples, b / samples, c - left, d / samples, e / samples, f - top].map((v) => v / reduction);
  const out = affine(source, width * samples, height * samples, fine);
  return samples > 1 ? reduce(out, samples, samples) : out;
}

/** The part of an image that the target covers, its edge continued, and the part's top left corner. */
function under(image: Pixels, back: Matrix, width: number, height: number, margin: number) {
  const corners: Point[] = [[0, 0], [width, 0], [0, height], [width, height]];
  const places = corners.map((corner) => transform(back, corner));
  const xs = places.map(([x]) => x), ys = places.map(([, y]) => y);
  const left = Math.floor(Math.min(...xs)) - margin, top = Math.floor(Math.min(...ys)) - margin;
  const right = Math.ceil(Math.max(...xs)) + margin, bottom = Math.ceil(Math.max(...ys)) + margin;
  const { channels, data } = image, region = pixels(right - left, bottom - top, channels);
  let to = 0;
  for (let y = top; y < bottom; y++) {
    const row = Math.min(Math.max(y, 0), image.height - 1) * image.width;
    for (let x = left; x < right; x++) {
      const at = (row + Math.min(Math.max(x, 0), image.width - 1)) * channels;
      for (let c = 0; c < channels; c++) region.data[to++] = data[at + c]!;
    }
  }
  return { region, left, top };
}
