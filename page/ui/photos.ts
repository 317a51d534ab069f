/** Photos: each on a card with its faces, all in one table. */

import { type Reading } from "../src/index.js";
import { drawn, make, stage } from "./dom.js";
import { bars, drawFaces } from "./draw.js";
import { type Loaded } from "./engine.js";
import { count, percent, say, word } from "./messages.js";
import { busy, idle } from "./status.js";
import { type Row, fillTable } from "./table.js";

const CELLS = ["face", "x1", "y1", "x2", "y2", "detection_score", "emotion", "confidence", "uncertain"];

export async function readPhotos(loading: Promise<Loaded>, files: readonly File[], signal: AbortSignal): Promise<void> {
  const rows: Row[] = [];
  let nFaces = 0;
  signal.addEventListener("abort", () => fillTable(rows, "faces.csv"));
  for (const [i, file] of files.entries()) {
    busy(() => say("reading", { file: file.name }), files.length > 1 ? i / files.length : null);
    const { engine, card } = await loading;
    const photo = make("img", { src: URL.createObjectURL(file) });
    let problem = await photo.decode().then(() => "", () => say("not_read", { file: file.name }));
    if (problem && (await isFolder(file))) problem = say("folder", { file: file.name });
    const readings = problem ? [] : await engine.read(file).catch((error: Error) => {
      problem = say("failed", { file: file.name, reason: error.message });
      return [];
    });
    signal.throwIfAborted();
    if (!problem) showPhoto(photo, file.name, readings);
    else if (files.length === 1) throw new Error(problem);
    else stage(make("p", {}, problem), file.name);
    rows.push(...toRows(file.name, readings, card.labels));
    nFaces += readings.length;
  }
  fillTable(rows, "faces.csv");
  idle(() => `${count("photos", files.length)}, ${count("faces", nFaces)}.`);
}

/** Whether this is a folder that was dropped; no bytes of it can be read. */
const isFolder = (file: File): Promise<boolean> => file.slice(0, 1).arrayBuffer().then(() => false, () => true);

function showPhoto(photo: HTMLImageElement, name: string, readings: readonly Reading[]): void {
  const { card, canvas } = stage(photo, name), people = make("div", { class: "people" });
  const draw = (): void => {
    drawFaces(canvas, photo.naturalWidth, readings.map((reading, i) => {
      const { box, emotion, confidence, uncertain } = reading;
      return { box, label: emotion, title: `${i + 1} ${word(emotion)}${uncertain ? "?" : ""} ${percent(confidence)}` };
    }));
  };
  new ResizeObserver(draw).observe(canvas);
  if (readings.length) card.append(people);
  card.classList.toggle("beside", readings.length > 0 && readings.length < 4);
  drawn(() => {
    photo.alt = say("marked", { file: name, faces: count("faces", readings.length) });
    card.querySelector("figcaption")!.textContent = `${name}: ${count("faces", readings.length)}`;
    people.replaceChildren(...readings.map(({ emotion, uncertain, probabilities }, i) => {
      const told = uncertain ? say("perhaps", { emotion: word(emotion) }) : word(emotion);
      return make("section", {}, make("h3", {}, say("face_n", { n: i + 1, emotion: told })), bars(probabilities));
    }));
    draw();
  });
}

/** A row a face; a photo without one has a row with empty cells, as `mien read` gives it. */
function toRows(file: string, readings: readonly Reading[], labels: readonly string[]): Row[] {
  const empty = Object.fromEntries([...CELLS, ...labels.map((label) => `p_${label}`)].map((name) => [name, null]));
  if (!readings.length) return [{ file, ...empty }];
  return readings.map(({ box, detection_score, emotion, confidence, uncertain, probabilities }, i) => {
    const probs = Object.fromEntries(labels.map((label) => [`p_${label}`, probabilities[label]!]));
    return { file, face: i + 1, ...box, detection_score, emotion, confidence, uncertain, ...probs };
  });
}
