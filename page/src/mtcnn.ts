/** Faces and five landmarks by the three networks of MTCNN, as `mien.core.mtcnn` finds them in Python. */

import { type Point, type Quad, area, suppress } from "./geometry.js";
import { type Pixels } from "./image.js";
import { type Network } from "./network.js";
import { type Rect, expand, resize, resizeReduced, roundEven } from "./resample.js";

export interface Settings {
  /** Side of the smallest face looked for, in pixels, after the image has been shrunk. */
  readonly minFace: number;
  /** A larger image is first shrunk until its longest side has this many pixels. */
  readonly maxSide: number;
  readonly thresholds: readonly [number, number, number];
  /** A face is kept where ONet's score is above this, or the mean of its scores for the box that it corrected. */
  readonly sure: number;
  /** Size of a pyramid level relative to the one before. */
  readonly factor: number;
  readonly maxCandidates: number;
}

export const DEFAULTS: Settings = {
  minFace: 40, maxSide: 1280, thresholds: [0.5, 0.6, 0.3], sure: 0.8, factor: 0.709, maxCandidates: 1000,
};

/** A face in pixels of the image. */
export interface Face {
  readonly box: Quad;
  readonly score: number;
  readonly points: Point[];
}

interface Found { boxes: Quad[]; scores: number[] }

const WINDOW = 12, STRIDE = 2, BATCH = 128, BAND_PIXELS = 1_000_000, FILL = 127;
const SIDES = { rnet: 24, onet: 48 };
const MIRRORED = [1, 0, 2, 4, 3];
const f = Math.fround;

export type Nets = Record<"pnet" | "rnet" | "onet", Network>;

export class Mtcnn {
  constructor(private readonly nets: Nets, private readonly settings: Settings = DEFAULTS) {}

  /** The faces of an RGB image, largest first. */
  async find(image: Pixels): Promise<Face[]> {
    const work = this.shrunk(image);
    return this.settle(image, work, (await this.proposals(work)).boxes);
  }

  /** The faces at `boxes` or close to them, as in the next frame of a video; takes a fraction of the time. */
  async findNear(image: Pixels, boxes: Quad[]): Promise<Face[]> {
    const work = this.shrunk(image), x = work.width / image.width, y = work.height / image.height;
    return this.settle(image, work, boxes.map(([x1, y1, x2, y2]) => [x1 * x, y1 * y, x2 * x, y2 * y]));
  }

  private shrunk(image: Pixels): Pixels {
    const longest = Math.max(image.width, image.height), { maxSide } = this.settings;
    if (longest <= maxSide) return image;
    const [width, height] = [image.width, image.height].map((v) => Math.max(1, roundEven((v * maxSide) / longest)));
    return resizeReduced(image, width!, height!);
  }

  private async proposals(work: Pixels): Promise<Found> {
    const { minFace, factor, thresholds, maxCandidates } = this.settings;
    const all: Found = { boxes: [], scores: [] };
    let level = work;
    for (let scale = WINDOW / minFace; ; scale *= factor) {
      const width = roundEven(work.width * scale), height = roundEven(work.height * scale);
      if (Math.min(width, height) < WINDOW) break;
      level = resize(level, width, height);
      const found = await this.scan(level, thresholds[0], maxCandidates);
      const x = f(width / work.width), y = f(height / work.height);
      for (const i of suppress(found.boxes, found.scores, 0.5)) {
        const [x1, y1, x2, y2] = found.boxes[i]!;
        all.boxes.push([f(x1 / x), f(y1 / y), f(x2 / x), f(y2 / y)]);
        all.scores.push(found.scores[i]!);
      }
    }
    return chosen(all, suppress(all.boxes, all.scores, 0.7).slice(0, maxCandidates));
  }

  /** What PNet proposes on one level, best first; band by band to bound the memory. */
  private async scan(level: Pixels, threshold: number, most: number): Promise<Found> {
    const { width, height, data } = level, found: Found = { boxes: [], scores: [] };
    const nRows = Math.ceil((height - WINDOW) / STRIDE) + 1, nColumns = Math.ceil((width - WINDOW) / STRIDE) + 1;
    const band = Math.max(1, Math.floor(BAND_PIXELS / (STRIDE * width)));
    for (let start = 0; start < nRows; start += band) {
      const end = Math.min(start + band, nRows);
      const top = STRIDE * start, bottom = end === nRows ? height : STRIDE * (end - 1) + WINDOW;
      const part = data.subarray(top * width * 3, bottom * width * 3);
      const [offsets, scores] = await this.nets.pnet.run(part, [1, bottom - top, width, 3]);
      for (let i = 0; i < scores!.length; i++) {
        if (!(scores![i]! > threshold)) continue;
        const x = STRIDE * (i % nColumns), y = STRIDE * (start + Math.floor(i / nColumns));
        const at = (k: number, from: number) => f(from + f(offsets![4 * i + k]! * WINDOW));
        found.boxes.push([at(0, x), at(1, y), at(2, x + WINDOW), at(3, y + WINDOW)]);
        found.scores.push(scores![i]!);
      }
    }
    const order = found.scores.map((_, i) => i).sort((i, j) => found.scores[j]! - found.scores[i]!);
    return chosen(found, order.slice(0, most));
  }

  /** What RNet and ONet make of boxes in `work` that may hold faces, in pixels of `image`. */
  private async settle(image: Pixels, work: Pixels, proposed: Quad[]): Promise<Face[]> {
    let found = await this.refine("rnet", work, proposed);
    found = await this.refine("onet", work, chosen(found, suppress(found.boxes, found.scores, 0.7)).boxes);
    found = chosen(found, suppress(found.boxes, found.scores, 0.7, "min"));
    const frames = found.boxes.map(square);
    const { points, scores } = await this.place(windows(work, frames, SIDES.onet), frames);
    const { sure } = this.settings;
    const x = f(image.width / work.width), y = f(image.height / work.height);
    const faces = found.boxes.map(([x1, y1, x2, y2], i): Face => ({
      box: [within(x1 * x, image.width), within(y1 * y, image.height), within(x2 * x, image.width), within(y2 * y, image.height)],
      score: found.scores[i]! > sure ? found.scores[i]! : scores[i]!,
      points: points[i]!.map(([px, py]) => [f(px * x), f(py * y)]),
    }));
    const first = (a: Face, b: Face) => area(b.box) - area(a.box) || a.box[1] - b.box[1] || a.box[0] - b.box[0];
    return faces.filter(({ box, score }) => score > sure && area(box) > 0).sort(first);
  }

  /** Look at boxes again: the corrected ones that pass. */
  private async refine(net: "rnet" | "onet", work: Pixels, proposed: Quad[]): Promise<Found> {
    const threshold = this.settings.thresholds[net === "rnet" ? 1 : 2], side = SIDES[net];
    const boxes = proposed.map(square), found: Found = { boxes: [], scores: [] };
    const [offsets, scores] = await this.inBatches(net, windows(work, boxes, side), side, boxes.length);
    boxes.forEach((box, i) => {
      const side_ = box[2] - box[0], high = box[3] - box[1];
      const better = box.map((v, k) => f(v + f(offsets![4 * i + k]! * f(k % 2 ? high : side_)))) as Quad;
      if (!(scores![i]! > threshold && area(better) >= 1)) return;
      found.boxes.push(better);
      found.scores.push(scores![i]!);
    });
    return found;
  }

  /** Landmarks in pixels and scores: each the mean of the face's and its mirror image's. */
  private async place(crops: Uint8Array, frames: Quad[]): Promise<{ points: Point[][]; scores: number[] }> {
    const side = SIDES.onet, [, scores, points] = await this.inBatches("onet", crops, side, frames.length);
    const [, mirroredScores, mirrored] = await this.inBatches("onet", flipped(crops, side), side, frames.length);
    const placed = frames.map(([x1, y1, x2, y2], i) => MIRRORED.map((twin, k): Point => {
      const x = 0.5 * f(points![10 * i + 2 * k]! + f(1 - mirrored![10 * i + 2 * twin]!));
      const y = 0.5 * f(points![10 * i + 2 * k + 1]! + mirrored![10 * i + 2 * twin + 1]!);
      return [f(x1 + f(x * f(x2 - x1))), f(y1 + f(y * f(y2 - y1)))];
    }));
    return { points: placed, scores: frames.map((_, i) => 0.5 * f(scores![i]! + mirroredScores![i]!)) };
  }

  private async inBatches(net: "rnet" | "onet", crops: Uint8Array, side: number, n: number): Promise<Float32Array[]> {
    const parts: Float32Array[][] = [], size = side * side * 3;
    for (let start = 0; start < n; start += BATCH) {
      const end = Math.min(start + BATCH, n);
      parts.push(await this.nets[net].run(crops.subarray(start * size, end * size), [end - start, side, side, 3]));
    }
    return [0, 1, 2].map((k) => joined(parts.map((part) => part[k] ?? new Float32Array())));
  }
}

const chosen = ({ boxes, scores }: Found, which: number[]): Found => ({
  boxes: which.map((i) => boxes[i]!), scores: which.map((i) => scores[i]!),
});

const within = (value: number, most: number): number => Math.min(Math.max(f(value), 0), most);

/** A box grown about its centre until width and height are the larger of the two. */
function square([x1, y1, x2, y2]: Quad): Quad {
  const x = f(f(x1 + x2) / 2), y = f(f(y1 + y2) / 2), half = Math.max(f(x2 - x1), f(y2 - y1)) / 2;
  return [f(x - half), f(y - half), f(x + half), f(y + half)];
}

/** What lies under the boxes, resized to `side`, one after the other; gray outside the image. */
function windows(image: Pixels, boxes: Quad[], side: number): Uint8Array {
  const reach = boxes.flatMap(([x1, y1, x2, y2]) => [-x1, -y1, f(x2 - image.width), f(y2 - image.height)]);
  const border = Math.ceil(reach.reduce((most, one) => Math.max(most, one), 0));
  const canvas = border ? expand(image, border, FILL) : image, size = side * side * 3;
  const out = new Uint8Array(boxes.length * size);
  boxes.forEach((box, i) => {
    const place = box.map((v) => f(v + border)) as unknown as Rect;
    out.set(resizeReduced(canvas, side, side, place).data, i * size);
  });
  return out;
}

/** Square RGB images, each mirrored. */
function flipped(images: Uint8Array, side: number): Uint8Array {
  const out = new Uint8Array(images.length);
  for (let row = 0; row < images.length; row += 3 * side) {
    for (let x = 0; x < side; x++) {
      const from = row + 3 * (side - 1 - x);
      out.set(images.subarray(from, from + 3), row + 3 * x);
    }
  }
  return out;
}

function joined(parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
