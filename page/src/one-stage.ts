/** Faces of any roll and five landmarks by two networks, as `mien.core.one_stage` finds them in Python. */

import { FER2013_BOX, FER2013_POINTS } from "./crop.js";
import { type Matrix, type Point, type Quad, area, invert, similarity, stretch, suppress, transform, warp } from "./geometry.js";
import { type Pixels, pixels } from "./image.js";
import { type Network } from "./network.js";
import { affine, luma, reduce, resizeReduced, roundEven } from "./resample.js";

export interface Settings {
  /** Side of the smallest face looked for, in pixels, after the image has been shrunk; 24 or more. */
  readonly minFace: number;
  /** A larger image is first shrunk until its longest side has this many pixels. */
  readonly maxSide: number;
  /** Least score of the first network, 0-1, for a face to be looked at again. */
  readonly threshold: number;
  /** Least probability of a face by the scores of all looks at it. */
  readonly sure: number;
  /** At most this many faces are looked at again, best first. */
  readonly maxCandidates: number;
}

export const DEFAULTS: Settings = { minFace: 40, maxSide: 1280, threshold: 0.13, sure: 0.8, maxCandidates: 1000 };

/** A face in pixels of the image. */
export interface Face {
  readonly box: Quad;
  readonly score: number;
  readonly points: Point[];
}

export type Nets = Record<"net" | "refine", Network>;

/** The files of its networks. */
export const FILES: Record<keyof Nets, string> = { net: "one-stage-net.onnx", refine: "one-stage-refine.onnx" };

/** What may be a face, with its score in each look. */
interface Seen { points: Point[]; scores: number[] }

const STRIDE = 8, UNIT = 32, DEEPEST = 32, CHANNELS = 14, BATCH = 64, FILL = 127;
const SMALLEST = 24, LARGEST = 56, WINDOW = 96, COARSEST = 40, FRAME = 48;
const MAYBE = 0.1, SAME_PLACE = 0.4, SAME_FACE = 0.4;
const CONVINCED = 0.9, JUDGED = [0.86, 0.31, 0.43], JUDGED_CONSTANT = 0.6;
const MIRRORED = [1, 0, 2, 4, 3];
const [LEFT, TOP, RIGHT, BOTTOM] = FER2013_BOX, WIDTH = RIGHT - LEFT, HEIGHT = BOTTOM - TOP;
const CENTRE: Point = [(LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2];
const REFINE_ZOOM = (0.85 * FRAME) / HEIGHT, REFINE_UNIT = 4.8;
const REFINE_POINTS = FER2013_POINTS.map((point): Point =>
  [(point[0] - CENTRE[0]) * REFINE_ZOOM + FRAME / 2, (point[1] - CENTRE[1]) * REFINE_ZOOM + FRAME / 2]);

export class OneStage {
  constructor(private readonly nets: Nets, private readonly settings: Settings = DEFAULTS) {}

  /** The faces of an RGB image, largest first. */
  async find(image: Pixels): Promise<Face[]> {
    const work = luma(this.shrunk(image)), seen: Seen[] = [];
    for (const level of levels(work, SMALLEST / this.settings.minFace)) {
      const across = work.width / level.width, down = work.height / level.height, { data, width, height } = padded(level);
      const [cells] = await answers(this.nets.net, data, width, height);
      seen.push(...decoded(cells!, width, this.settings.threshold, [across, 0, 0, 0, down, 0]));
    }
    return this.settle(image, work, seen);
  }

  /** The faces at `boxes` or close to them, as in the next frame of a video; takes a fraction of the time. */
  async findNear(image: Pixels, boxes: Quad[]): Promise<Face[]> {
    const work = luma(this.shrunk(image)), scale = Math.max(work.width, work.height) / Math.max(image.width, image.height);
    const maps = boxes.filter((box) => canHaveFace(box, image)).map((box) => windowMap(box, scale));
    const cells = await answers(this.nets.net, joined(maps.map((map) => windowOf(work, map))), WINDOW, WINDOW);
    const seen = maps.flatMap((map, i) => decoded(cells[i]!, WINDOW, this.settings.threshold, invert(map)));
    return this.settle(image, work, seen);
  }

  private shrunk(image: Pixels): Pixels {
    const longest = Math.max(image.width, image.height), { maxSide } = this.settings;
    if (longest <= maxSide) return image;
    const [width, height] = [image.width, image.height].map((v) => Math.max(1, roundEven((v * maxSide) / longest)));
    return resizeReduced(image, width!, height!, 2);
  }

  /** What is made of places in `work` that may be the same faces, in pixels of `image`. */
  private async settle(image: Pixels, work: Pixels, seen: Seen[]): Promise<Face[]> {
    const most = [...seen].sort((a, b) => b.scores[0]! - a.scores[0]!).slice(0, this.settings.maxCandidates);
    const once = await this.placed(work, kept(most, SAME_PLACE, "union", ({ scores }) => scores[0]!), false);
    const twice = await this.placed(work, once.filter(({ scores }) => scores[1]! > MAYBE), true); // better framed now
    const sure = twice.filter((one) => probability(one) > this.settings.sure && one.scores[2]! >= CONVINCED);
    const x = image.width / work.width, y = image.height / work.height;
    const faces = kept(sure, SAME_FACE, "min", probability).map((one): Face => {
      const [x1, y1, x2, y2] = boxOf(one.points);
      return {
        box: [within(x1 * x, image.width), within(y1 * y, image.height), within(x2 * x, image.width), within(y2 * y, image.height)],
        score: probability(one),
        points: one.points.map((point) => [point[0] * x, point[1] * y]),
      };
    });
    const first = (a: Face, b: Face) => area(b.box) - area(a.box) || a.box[1] - b.box[1] || a.box[0] - b.box[0];
    return faces.filter(({ box }) => area(box) > 0).sort(first);
  }

  /** Another look at faces; of the face and its mirror image, it is the mean of both. */
  private async placed(work: Pixels, faces: Seen[], isMirrored: boolean): Promise<Seen[]> {
    const backs = faces.map(({ points }) => invert(similarity(points, REFINE_POINTS)));
    const shown = frames(work, backs), n = faces.length;
    const looks = (await answers(this.nets.refine, isMirrored ? joined([shown, mirrored(shown)]) : shown, FRAME, FRAME)).map(refined);
    return faces.map(({ scores }, i) => {
      const look = isMirrored ? mean(looks[i]!, looks[n + i]!) : looks[i]!;
      return { points: look.points.map((point) => transform(backs[i]!, point)), scores: [...scores, ...look.scores] };
    });
  }
}

/** A network's answers to gray images that lie one after the other; in batches to bound the memory. */
async function answers(net: Network, shown: Uint8Array, width: number, height: number): Promise<Float32Array[]> {
  const size = width * height, out: Float32Array[] = [];
  for (let start = 0; start < shown.length; start += BATCH * size) {
    const part = Float32Array.from(shown.subarray(start, start + BATCH * size)), n = part.length / size;
    const [found] = await net.run(part, [n, 1, height, width]), length = found!.length / n;
    for (let i = 0; i < n; i++) out.push(found!.subarray(i * length, (i + 1) * length));
  }
  return out;
}

const within = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
const sigmoid = (logit: number): number => 1 / (1 + Math.exp(-logit));
const logit = (p: number): number => Math.log(p / (1 - p));

/** How probable a face is, by the scores of all looks at it: a logistic regression. */
const probability = ({ scores }: Seen): number =>
  sigmoid(scores.reduce((sum, p, i) => sum + JUDGED[i]! * logit(Math.min(Math.max(p, 1e-4), 1 - 1e-4)), JUDGED_CONSTANT));

/** The best of those that share a place, best first. */
function kept(seen: Seen[], limit: number, over: "union" | "min", score: (one: Seen) => number): Seen[] {
  return suppress(seen.map(({ points }) => boxOf(points)), seen.map(score), limit, over).map((i) => seen[i]!);
}

/** The image at ever smaller sizes: the smallest faces looked for have 24 pixels on the first. */
function* levels(work: Pixels, scale: number): Generator<Pixels> {
  for (let level = work; ; scale *= SMALLEST / LARGEST) {
    const width = Math.max(1, roundEven(work.width * scale)), height = Math.max(1, roundEven(work.height * scale));
    level = resizeReduced(level, width, height, 3);
    yield level;
    if (Math.max(width, height) <= LARGEST) return;
  }
}

/** The image, its right and lower edge continued to multiples of 32. */
function padded(image: Pixels): Pixels {
  const up = (side: number) => Math.ceil(side / DEEPEST) * DEEPEST, { width, data } = image;
  const out = pixels(up(width), up(image.height), 1);
  for (let y = 0; y < out.height; y++) {
    const from = Math.min(y, image.height - 1) * width, to = y * out.width;
    out.data.set(data.subarray(from, from + width), to);
    out.data.fill(data[from + width - 1]!, to + width, to + out.width);
  }
  return out;
}

/** Of cells (14, h, w) those that pass and beat their neighbours, with landmarks sent through a map. */
function decoded(cells: Float32Array, pixelsWide: number, threshold: number, map: Matrix): Seen[] {
  const width = pixelsWide / STRIDE, plane = cells.length / CHANNELS, height = plane / width, least = logit(threshold);
  const found: Seen[] = [];
  for (let at = 0; at < plane; at++) {
    if (!(cells[at]! > least)) continue;
    const column = at % width, row = Math.floor(at / width);
    let highest = cells[at]!;
    for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, height - 1); y++) {
      for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, width - 1); x++) highest = Math.max(highest, cells[y * width + x]!);
    }
    if (cells[at]! < highest) continue;
    const place = (k: number, cell: number) => cells[k * plane + at]! * UNIT + (cell + 0.5) * STRIDE;
    const points = MIRRORED.map((_, i): Point => [place(4 + 2 * i, column), place(5 + 2 * i, row)]);
    if (spread(points) > 1) found.push({ points: points.map((point) => transform(map, point)), scores: [sigmoid(cells[at]!)] });
  }
  return found;
}

/** Mean distance of points from their middle along an axis; so small, or not a number, they have no direction. */
function spread(points: Point[]): number {
  const middle = (k: 0 | 1) => points.reduce((sum, point) => sum + point[k], 0) / points.length, x = middle(0), y = middle(1);
  return points.reduce((sum, point) => sum + Math.abs(point[0] - x) + Math.abs(point[1] - y), 0) / (2 * points.length);
}

/** Whether a box touches the image, and is neither less than a pixel wide nor huge: the work is bounded so. */
function canHaveFace([x1, y1, x2, y2]: Quad, { width, height }: Pixels): boolean {
  const touches = x1 < width && y1 < height && x2 > 0 && y2 > 0;
  return touches && Math.min(x2 - x1, y2 - y1) >= 1 && Math.max(x2 - x1, y2 - y1) <= 2 * Math.min(width, height);
}

/** The map from an image `scale` as large as the box's to a window around it. */
function windowMap([x1, y1, x2, y2]: Quad, scale: number): Matrix {
  const zoom = Math.sqrt(SMALLEST * LARGEST) / Math.max(x2 - x1, y2 - y1);
  const shift = (from: number, to: number) => WINDOW / 2 - (zoom * (from + to)) / 2;
  return [zoom / scale, 0, shift(x1, x2), 0, zoom / scale, shift(y1, y2)];
}

/** The window to which a map brings a gray image; around a face of thousands of pixels a smaller image is looked at. */
function windowOf(work: Pixels, map: Matrix): Uint8Array {
  const by = Math.max(1, Math.trunc(stretch(invert(map)) / COARSEST)), [a, b, c, d, e, f] = map;
  return warp(by > 1 ? reduce(work, by, by) : work, [a * by, b * by, c, d * by, e * by, f], WINDOW, WINDOW).data;
}

/** What a gray image shows at 48 x 48 frames, one after the other, from maps of a frame into the image; gray outside. */
function frames(work: Pixels, backs: Matrix[]): Uint8Array {
  const halves = [work];
  return joined(backs.map((back) => {
    const level = Math.max(0, Math.trunc(Math.log2(stretch(back))));
    while (halves.length <= level) halves.push(reduce(halves.at(-1)!, 2, 2));
    return affine(halves[level]!, FRAME, FRAME, back.map((v) => v / 2 ** level), FILL).data;
  }));
}

/** Gray frames, each mirrored. */
function mirrored(shown: Uint8Array): Uint8Array {
  const out = shown.slice();
  for (let row = 0; row < out.length; row += FRAME) out.subarray(row, row + FRAME).reverse();
  return out;
}

/** The refinement network's answer, in pixels of the frame. */
function refined(answer: Float32Array): Seen {
  const points = REFINE_POINTS.map(([x, y], i): Point =>
    [x + REFINE_UNIT * answer[1 + 2 * i]!, y + REFINE_UNIT * answer[2 + 2 * i]!]);
  return { points, scores: [sigmoid(answer[0]!)] };
}

/** The mean of looks at a face and at its mirror image. */
function mean(one: Seen, other: Seen): Seen {
  const points = one.points.map(([x, y], i): Point => {
    const twin = other.points[MIRRORED[i]!]!;
    return [(x + FRAME - twin[0]) / 2, (y + twin[1]) / 2];
  });
  return { points, scores: [(one.scores[0]! + other.scores[0]!) / 2] };
}

/** The upright box around a face: that of the ellipse in the turned box. */
function boxOf(points: Point[]): Quad {
  const map = similarity(FER2013_POINTS, points), [a, b] = map, [x, y] = transform(map, CENTRE);
  const across = Math.hypot(WIDTH * a, HEIGHT * b) / 2, down = Math.hypot(WIDTH * b, HEIGHT * a) / 2;
  return [x - across, y - down, x + across, y + down];
}

function joined(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
