/** Boxes over an image, and the timeline of a person. */

import { make } from "./dom.js";
import { percent, word } from "./messages.js";
import { type Box } from "../src/index.js";

/** As mien draws them in Python; the colour-blind tell them apart (Okabe and Ito, 2008). */
const COLOURS: Record<string, string> = {
  neutral: "#c8c8c8", happy: "#f0e442", surprise: "#56b4e9", sad: "#0072b2", angry: "#d55e00",
  disgust: "#009e73", fear: "#cc79a7", contempt: "#e69f00",
};
const INK = "#111318", SHADE = "rgb(17 19 24 / .8)", PAPER = "#fafafa", OTHER = "#ebebeb";
const FONT = "600 13px system-ui, 'DejaVu Sans', 'Noto Sans CJK SC', sans-serif";

export const colour = (label: string): string => COLOURS[label] ?? OTHER;

export interface Marked { box: Box; label: string; title: string }
export interface Moment { time: number; probs: Record<string, number> }

/** A canvas as large as it is shown, in CSS pixels, sharp on any screen. */
function open(canvas: HTMLCanvasElement) {
  const ratio = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d")!;
  pen.scale(ratio, ratio);
  return { pen, width, height };
}

/** Marks faces over an image of `wide` pixels, which the canvas covers. */
export function drawFaces(canvas: HTMLCanvasElement, wide: number, faces: readonly Marked[]): void {
  const { pen, width, height } = open(canvas), scale = width / wide;
  for (const { box, label } of faces) {
    for (const [stroke, line] of [[SHADE, 5], [colour(label), 3]] as const) {
      pen.strokeStyle = stroke;
      pen.lineWidth = line;
      pen.beginPath();
      pen.roundRect(box.x1 * scale, box.y1 * scale, (box.x2 - box.x1) * scale, (box.y2 - box.y1) * scale, 4);
      pen.stroke();
    }
  }
  for (const { box, label, title } of faces) {
    pen.font = FONT;
    const tag = pen.measureText(title).width + 14, high = 22;
    const left = Math.max(0, Math.min(box.x1 * scale - 2, width - tag)), above = box.y1 * scale - high - 4;
    const below = box.y2 * scale + 4, top = above >= 0 ? above : below + high <= height ? below : Math.max(box.y1 * scale + 4, 0);
    pen.fillStyle = colour(label);
    pen.beginPath();
    pen.roundRect(left, top, tag, high, 4);
    pen.fill();
    pen.fillStyle = label === "sad" ? PAPER : INK;
    pen.textBaseline = "middle";
    pen.fillText(title, left + 7, top + high / 2 + 1);
  }
}

/** A face's probabilities as a list that is read aloud as it looks. */
export function bars(probs: Record<string, number>): HTMLUListElement {
  const rows = Object.entries(probs).map(([label, prob]) => {
    const filled = make("i");
    filled.style.setProperty("width", `${100 * prob}%`);
    filled.style.setProperty("background", colour(label));
    return make("li", {}, make("span", {}, word(label)), make("span", { class: "bar" }, filled), make("span", {}, percent(prob)));
  });
  return make("ul", {}, ...rows);
}

/** What the colours mean. */
export function legend(labels: readonly string[]): HTMLUListElement {
  const entries = labels.map((label) => {
    const patch = make("i");
    patch.style.setProperty("background", colour(label));
    return make("li", {}, patch, word(label));
  });
  return make("ul", { class: "legend" }, ...entries);
}

/** Stacked bands of a person's smoothed probabilities from `span[0]` to `span[1]`, with a mark at `now`; of moments that
 * share a pixel's width, the last is drawn, so that hours cost no more than minutes. */
export function drawTimeline(canvas: HTMLCanvasElement, moments: readonly Moment[], span: readonly [number, number], now: number): void {
  const { pen, width, height } = open(canvas), ratio = canvas.width / width;
  const place = (time: number): number => // whole pixels of the screen: no seams between the bands
    Math.round(((time - span[0]) / (span[1] - span[0] || 1)) * width * ratio) / ratio;
  moments.forEach(({ time, probs }, i) => {
    const next = moments[i + 1]?.time ?? Math.min(time + 0.1, span[1]);
    if (next < span[0]) return;
    const x = place(time), wide = place(Math.min(next, time + 1)) - x;
    if (!wide) return;
    let y = height;
    for (const [label, prob] of Object.entries(probs)) {
      pen.fillStyle = colour(label);
      pen.fillRect(x, y - prob * height, wide, prob * height + 0.5);
      y -= prob * height;
    }
  });
  for (const [ink, wide] of [[INK, 4], [PAPER, 2]] as const) {
    pen.fillStyle = ink;
    pen.fillRect(place(now) - wide / 2, 0, wide, height);
  }
}
