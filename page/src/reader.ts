/** Images in, readings out: detector, crop and classifier joined, as `mien.Analyzer` joins them in Python. */

import { faceCrop, toInput } from "./crop.js";
import { type Point, type Quad } from "./geometry.js";
import { type ImageInput, type Pixels, toPixels } from "./image.js";
import { Network } from "./network.js";
import { FILES, type Face, type Nets, OneStage } from "./one-stage.js";
import { type Batch, averageLogits, part, toProbs } from "./views.js";

/** How many views of each face are averaged; `"auto"`: few, and more of a face that those leave in doubt. */
export type Views = number | "auto";

/** The fields of a model card that reading needs; see `mien.core.cards.ModelCard`. */
export interface Card {
  readonly name: string;
  readonly summary: string;
  readonly licence: string;
  readonly calibrated_on?: string;
  readonly labels: readonly string[];
  readonly input_size: number;
  readonly mean: number;
  readonly std: number;
  readonly crop_scale?: number;
  readonly channels?: number;
  readonly views?: Views;
  readonly auto?: { few: number; many: number; below: number; temperature?: number };
  readonly temperatures: Readonly<Record<string, number>>;
  readonly prior?: readonly number[];
  readonly prior_power?: number;
  readonly uncertain_below?: number;
}

export interface Box { x1: number; y1: number; x2: number; y2: number }

export type LandmarkName = "left_eye" | "right_eye" | "nose" | "left_mouth" | "right_mouth";

/** One face with its emotion; the shape of `Reading.to_dict()` in Python, without `quality`. */
export interface Reading {
  /** In pixels of the upright image. */
  box: Box;
  /** Left and right are the viewer's. */
  landmarks: Record<LandmarkName, Point>;
  /** How sure the detector is that this is a face, 0-1. */
  detection_score: number;
  /** The most probable emotion. */
  emotion: string;
  /** Its probability. */
  confidence: number;
  /** Whether no emotion is as probable as the model's card asks for. */
  uncertain: boolean;
  /** Calibrated probabilities; they sum to 1. */
  probabilities: Record<string, number>;
}

export interface ReadOptions {
  /** Views of each face to average: the card's, or one of its `temperatures`; 1 is the fastest. */
  views?: Views;
  /** Look for faces at these places alone, as in the next frame of a video. */
  near?: Box[];
}

/** What a reader is made of; `file` gives the bytes of each of the detector's `FILES`. */
export interface Parts {
  readonly card: Card;
  readonly weights: Uint8Array;
  file(name: string): Promise<Uint8Array>;
}

const NAMES: readonly LandmarkName[] = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"];
const DEFAULT_THRESHOLD = 0.3;

export class Reader {
  private constructor(readonly card: Card, private readonly network: Network, private readonly detector: OneStage) {}

  static async open({ card, weights, file }: Parts): Promise<Reader> {
    const net = async (name: keyof Nets) => Network.open(await file(FILES[name]));
    const detector = new OneStage({ net: await net("net"), refine: await net("refine") });
    return new Reader(card, await Network.open(weights), detector);
  }

  /** The emotion on every face of an image, largest face first. */
  async read(input: ImageInput, options: ReadOptions = {}): Promise<Reading[]> {
    const image = await toPixels(input);
    const faces = await this.faces(image, options.near);
    const crops = faces.map((face) => this.crop(image, face));
    const probs = await this.probs(crops, options.views);
    return faces.map((face, i) => this.reading(face, probs[i]!));
  }

  /** The faces of an image, largest first. */
  async faces(image: Pixels, near?: Box[]): Promise<Face[]> {
    const boxes = near?.map(({ x1, y1, x2, y2 }): Quad => [x1, y1, x2, y2]);
    if (boxes && !boxes.flat().every(Number.isFinite)) throw new TypeError("near must be boxes { x1, y1, x2, y2 } of numbers");
    return boxes ? this.detector.findNear(image, boxes) : this.detector.find(image);
  }

  /** A face as the network takes it. */
  crop(image: Pixels, face: Face): Pixels {
    const { input_size: size, crop_scale: scale = 1, channels = 1 } = this.card;
    return faceCrop(image, face.points, size, scale, channels);
  }

  /** Calibrated probabilities of crops. */
  async probs(crops: readonly Pixels[], views?: Views): Promise<number[][]> {
    const { card } = this, wanted = views ?? card.views ?? 1, channels = card.channels ?? 1;
    const temperature = this.temperature(wanted);
    if (!crops.length) return [];
    const faces = { values: toInput(crops, card.mean, card.std), n: crops.length, channels, size: card.input_size };
    if (wanted !== "auto") return this.inViews(faces, wanted, temperature);
    const { few, many, below, temperature: early } = card.auto!;
    const quick = await this.inViews(faces, few, early ?? this.temperature(few));
    const first = await this.inViews(faces, few, temperature);
    const out: number[][] = [];
    for (let i = 0; i < crops.length; i++) {
      const isClear = Math.max(...quick[i]!) >= below;
      out.push(isClear ? first[i]! : (await this.inViews(part(faces, i, i + 1), many, temperature))[0]!);
    }
    return out;
  }

  private temperature(views: Views): number {
    const isViews = views === "auto" || Number.isInteger(views); // "1", the value of a <select>, is none
    const found = isViews ? this.card.temperatures[views] : undefined;
    if (found !== undefined) return found;
    const known = Object.keys(this.card.temperatures).join(", "), got = isViews ? views : JSON.stringify(views);
    throw new RangeError(`model '${this.card.name}' is calibrated for ${known} views of a face, not for ${got}`);
  }

  private async inViews(faces: Batch, nViews: number, temperature: number): Promise<number[][]> {
    const { labels, prior = [], prior_power: power = 0 } = this.card, n = labels.length;
    const predict = async ({ values, n: rows, channels, size }: Batch) =>
      (await this.network.run(values, [rows, channels, size, size]))[0]!;
    const logits = await averageLogits(predict, faces, nViews, n);
    return Array.from({ length: faces.n }, (_, i) => toProbs(logits.subarray(i * n, (i + 1) * n), prior, power, temperature));
  }

  private reading({ box: [x1, y1, x2, y2], score, points }: Face, probs: number[]): Reading {
    const { labels, uncertain_below: threshold = DEFAULT_THRESHOLD } = this.card, top = Math.max(...probs);
    return {
      box: { x1, y1, x2, y2 },
      landmarks: Object.fromEntries(NAMES.map((name, i) => [name, points[i]!])) as Record<LandmarkName, Point>,
      detection_score: score,
      emotion: labels[probs.indexOf(top)]!,
      confidence: top,
      uncertain: top < threshold,
      probabilities: Object.fromEntries(labels.map((label, i) => [label, probs[i]!])),
    };
  }
}
