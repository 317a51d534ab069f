/** The made scenes of tests/page/golden, whose recipe is tools/page_golden.py. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { PNG } from "pngjs";
import { type Pixels, fromRgba, pixels } from "../src/image.js";
import { type Reading } from "../src/index.js";
import { affine, luma, resize } from "../src/resample.js";

export interface Scene {
  name: string;
  size: [number, number];
  faces: { photo: string; size: [number, number]; matrix: number[] }[];
  gain: number;
  noise: number;
  gray: number;
  sha256: string;
  readings: Reading[];
  crops: string[];
}

export const ROOT = new URL("../../", import.meta.url); // of the folder page/, seen from build/test/
const GOLDEN = new URL("../tests/page/golden/", ROOT);
const { scenes, wall } = JSON.parse(readFileSync(new URL("golden.json", GOLDEN), "utf8")) as { scenes: Scene[]; wall: number };

export { scenes };

export const sha256 = (image: Pixels): string => createHash("sha256").update(image.data).digest("hex");

export function made(scene: Scene): Pixels {
  const [width, height] = scene.size, canvas = pixels(width, height, 3);
  canvas.data.fill(wall);
  for (const { photo, size, matrix } of scene.faces) {
    const small = resize(fromRgba(PNG.sync.read(readFileSync(new URL(`${photo}.png`, GOLDEN)))), ...size);
    const shown = affine(small, width, height, matrix);
    const inside = affine(pixels(...size, 1, new Uint8Array(size[0] * size[1]).fill(255)), width, height, matrix);
    inside.data.forEach((mask, i) => mask && canvas.data.set(shown.data.subarray(3 * i, 3 * i + 3), 3 * i));
  }
  const gray = scene.gray ? luma(canvas) : null;
  const values = canvas.data.map((value, i) => {
    const lit = Math.floor(((gray ? gray.data[Math.floor(i / 3)]! : value) * scene.gain) / 256);
    return Math.min(Math.max(lit + noise(i, scene.noise), 0), 255);
  });
  return pixels(width, height, 3, values);
}

function noise(i: number, most: number): number {
  let bits = Math.imul(i, 2654435761) >>> 0;
  bits = Math.imul(bits ^ (bits >>> 15), 2246822519) >>> 0;
  bits = ((bits ^ (bits >>> 13)) >>> 0) >>> 8;
  return (bits % (2 * most + 1)) - most;
}
