/** From a face in an image to what a network takes, as `mien.core.preprocess` does in Python. */

import { type Matrix, type Point, type Quad, similarity, warp } from "./geometry.js";
import { type Pixels } from "./image.js";
import { luma } from "./resample.js";

const FER2013_SIZE = 48;
export const FER2013_POINTS: readonly Point[] = [[14.9, 17.7], [33.1, 17.7], [24.0, 28.2], [16.3, 37.8], [31.7, 37.8]];
export const FER2013_BOX: Quad = [4, -2.5, 43.3, 50];

/** The similarity from the image to the crop: the five points go as near as possible to their mean places. */
export function cropMatrix(points: readonly Point[], size: number, scale: number): Matrix {
  const zoom = size / FER2013_SIZE, middle = size / 2;
  const place = (v: number) => middle + scale * (v * zoom - middle);
  return similarity(points, FER2013_POINTS.map(([x, y]): Point => [place(x), place(y)]));
}

/** A face cut out upright and framed as FER2013 frames its faces. */
export function faceCrop(image: Pixels, points: readonly Point[], size: number, scale: number, channels: number): Pixels {
  const colour = warp(image, cropMatrix(points, size, scale), size, size);
  return channels === 3 ? colour : luma(colour);
}

/** Normalised planes (C, S, S) of crops, one after the other. */
export function toInput(crops: readonly Pixels[], mean: number, std: number): Float32Array {
  const f = Math.fround, table = Float32Array.from({ length: 256 }, (_, v) => f(f(v / 255) - f(mean)) / f(std));
  const n = crops[0] ? crops[0].data.length : 0, out = new Float32Array(crops.length * n);
  crops.forEach(({ data, channels }, i) => {
    const plane = n / channels;
    for (let at = 0; at < n; at++) out[i * n + (at % channels) * plane + Math.trunc(at / channels)] = table[data[at]!]!;
  });
  return out;
}
