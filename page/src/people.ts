/** People through time: faces get numbers, and their probabilities are smoothed. */

import { type Quad, overlap } from "./geometry.js";
import { type Reading } from "./reader.js";

const PATIENCE_S = 1, MIN_OVERLAP = 0.2; // how long a person may be out of sight, how far move between two frames
const TIME_S = 0.3, MARGIN = 0.1, LEAST_PROB = 1e-4; // as mien.core.smoothing.SmoothingSettings

/** A person in one frame. */
export interface Person {
  readonly track: number;
  readonly reading: Reading;
  /** The emotion after smoothing, or `uncertain`. */
  readonly label: string;
  readonly smooth: Record<string, number>;
}

interface Track { number: number; box: Quad; seen: number; total: number[]; weight: number; label: string | null }

/** Follows people by the overlap of their boxes; simpler than `mien watch`, which also compares their looks. */
export class People {
  private tracks: Track[] = [];
  private n = 0;
  private last = -Infinity; // time of the frame before, however slow the frames come

  constructor(private readonly labels: readonly string[], private readonly threshold: number) {}

  /** Takes the faces of one frame in; times must not fall. */
  step(time: number, readings: readonly Reading[]): Person[] {
    this.tracks = this.tracks.filter(({ seen }) => seen === this.last || time - seen <= PATIENCE_S);
    this.last = time;
    const boxes = readings.map(({ box: { x1, y1, x2, y2 } }): Quad => [x1, y1, x2, y2]);
    const pairs = this.tracks.flatMap((track) => boxes.map((box, face) => ({ track, face, shared: overlap(track.box, box) })));
    const owner = new Map<number, Track>(), taken = new Set<Track>();
    for (const { track, face, shared } of pairs.sort((a, b) => b.shared - a.shared)) {
      if (shared < MIN_OVERLAP || owner.has(face) || taken.has(track)) continue;
      owner.set(face, track);
      taken.add(track);
    }
    return readings.map((reading, face) => this.moved(owner.get(face) ?? this.another(boxes[face]!), time, boxes[face]!, reading));
  }

  private another(box: Quad): Track {
    const track = { number: ++this.n, box, seen: -Infinity, total: this.labels.map(() => 0), weight: 0, label: null };
    this.tracks.push(track);
    return track;
  }

  private moved(track: Track, time: number, box: Quad, reading: Reading): Person {
    const fade = Math.exp(-(time - track.seen) / TIME_S);
    track.total = track.total.map((sum, i) =>
      (track.weight ? sum * fade : 0) + Math.log(Math.max(reading.probabilities[this.labels[i]!]!, LEAST_PROB)));
    track.weight = (track.weight ? track.weight * fade : 0) + 1;
    track.box = box;
    track.seen = time;
    const powers = track.total.map((sum) => Math.exp(sum / track.weight)), all = powers.reduce((sum, v) => sum + v, 0);
    const probs = powers.map((v) => v / all);
    track.label = this.nextLabel(track.label, probs);
    const smooth = Object.fromEntries(this.labels.map((label, i) => [label, probs[i]!]));
    return { track: track.number, reading, label: track.label, smooth };
  }

  /** The last label stays until another is clearly better, or none is good enough. */
  private nextLabel(last: string | null, probs: readonly number[]): string {
    const { threshold } = this, top = Math.max(...probs), best = this.labels[probs.indexOf(top)]!;
    if (last === "uncertain") return top < threshold + MARGIN / 2 ? last : best;
    if (last !== null) {
      const held = probs[this.labels.indexOf(last)]!;
      if (held >= threshold - MARGIN / 2 && top - held < MARGIN) return last;
    }
    return top < threshold ? "uncertain" : best;
  }
}
