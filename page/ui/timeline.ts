/** The rows of a video or camera, and a band for each person. */

import { type Person } from "../src/people.js";
import { drawn, make } from "./dom.js";
import { type Moment, drawTimeline, legend } from "./draw.js";
import { number, percent, say, word } from "./messages.js";
import { type Row } from "./table.js";

interface Band { head: HTMLElement; canvas: HTMLCanvasElement; told: HTMLElement; from: HTMLElement; to: HTMLElement; moments: Moment[]; sums: number[]; n: number; last: Person; seen: number }

export class Timeline {
  rows: Row[] = [];
  private readonly bands = new Map<number, Band>();
  private readonly place = make("div");
  private dropped = 0;
  private pick: (share: number) => void = () => {};

  constructor(card: HTMLElement, private readonly labels: readonly string[]) {
    const colours = make("div");
    card.append(this.place, colours);
    drawn(() => {
      colours.replaceChildren(legend(labels));
      for (const [track, { head }] of this.bands) head.textContent = say("person_n", { n: track });
    });
  }

  get size(): number {
    return this.bands.size;
  }

  /** Takes the people of one frame in. */
  add(time: number, frame: number, people: readonly Person[]): void {
    for (const person of people) {
      const band = this.bands.get(person.track) ?? this.another(person, time);
      band.moments.push({ time, probs: person.smooth });
      band.sums = band.sums.map((sum, i) => sum + person.smooth[this.labels[i]!]!);
      band.n++;
      band.last = person;
      band.seen = time;
      this.rows.push(this.toRow(time, frame, person));
    }
  }

  private toRow(time: number, frame: number, { track, reading: { box, detection_score, probabilities }, label, smooth }: Person): Row {
    const named = (prefix: string, probs: Record<string, number>) => Object.fromEntries(this.labels.map((name) => [prefix + name, probs[name]!]));
    return {
      time_s: Math.round(time * 1e6) / 1e6, frame, track, ...box, detection_score, label, uncertain: label === "uncertain",
      ...named("p_", probabilities), ...named("p_smooth_", smooth),
    };
  }

  private another(person: Person, seen: number): Band {
    const [head, told, from, to] = [make("span"), make("span", { class: "quiet" }), make("span"), make("span")], canvas = make("canvas");
    head.textContent = say("person_n", { n: person.track });
    canvas.setAttribute("role", "img");
    canvas.addEventListener("click", ({ offsetX }) => this.pick(offsetX / canvas.clientWidth));
    this.place.append(make("section", { class: "person" }, make("h3", {}, head, told), canvas, make("div", { class: "axis" }, from, to)));
    const band = { head, canvas, told, from, to, moments: [], sums: this.labels.map(() => 0), n: 0, last: person, seen };
    this.bands.set(person.track, band);
    return band;
  }

  /** What happens when a person points into a band, as a share of its length. */
  onPick(pick: (share: number) => void): void {
    this.pick = pick;
  }

  draw(span: readonly [number, number], now: number): void {
    for (const [track, band] of this.bands) {
      drawTimeline(band.canvas, band.moments, span, now);
      band.canvas.setAttribute("aria-label", say("over_time", { n: track, shares: this.shares(band) }));
      [band.from.textContent, band.to.textContent] = span.map((time) => `${number(time, span[1] < 20 ? 1 : 0)} s`) as [string, string];
    }
  }

  /** Says what is seen in each person at a moment. */
  tell(now: number): void {
    for (const { told, last, seen } of this.bands.values()) {
      told.textContent = now - seen < 1 ? word(last.label) : say("gone", { time: number(seen, 0) });
    }
  }

  /** Says what was seen in each person on average. */
  sum(): void {
    for (const band of this.bands.values()) band.told.textContent = say("on_average", { shares: this.shares(band) });
  }

  private shares({ sums, n }: Band): string {
    const means = this.labels.map((label, i) => [sums[i]! / n, label] as const).sort((a, b) => b[0] - a[0]);
    return means.slice(0, 3).map(([share, label]) => `${word(label)} ${percent(share)}`).join(", ");
  }

  /** Forgets the oldest rows beyond `most`, and lines before a time with the people who were seen then last. */
  keep(most: number, from: number): void {
    this.dropped += this.rows.splice(0, Math.max(0, this.rows.length - most)).length;
    for (const [track, band] of this.bands) {
      band.moments.splice(0, Math.max(0, band.moments.findIndex(({ time }) => time >= from)));
      if (band.seen >= from) continue;
      band.canvas.parentElement!.remove();
      this.bands.delete(track);
    }
  }

  /** Says which rows were forgotten, if any. */
  lost(): string {
    const first = this.rows[0]?.time_s as number;
    return this.dropped ? say("rows_lost", { n: this.dropped, time: number(first, 1) }) : "";
  }
}
