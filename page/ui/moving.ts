/** Videos and the camera: people through time. */

import { type Card, type Reading } from "../src/index.js";
import { type Person, People } from "../src/people.js";
import { at, drawn, make, stage } from "./dom.js";
import { drawFaces } from "./draw.js";
import { type Engine } from "./engine.js";
import { count, number, percent, say, word } from "./messages.js";
import { begin, busy, idle, stop } from "./status.js";
import { fillTable } from "./table.js";
import { Timeline } from "./timeline.js";

export interface Loaded { engine: Engine; card: Card }

const CAMERA_WIDTH = 320, VIDEO_WIDTH = 640, STEP_S = 0.1, LIVE_SPAN_S = 60, MOST_LIVE_ROWS = 50_000;
const EDGE_S = 0.001; // so that rounding does not give the frame before
const LOOK_AGAIN = 10; // every so many frames the whole image is searched for new faces

/** Reads the frames of a video element one by one. */
class Watcher {
  readonly people: People;
  private readonly canvas = make("canvas");
  private readonly pen = this.canvas.getContext("2d", { willReadFrequently: true })!;
  private last: Reading[] = [];
  private n = 0;

  constructor(private readonly video: HTMLVideoElement, private readonly loaded: Loaded, width: number) {
    const { labels, uncertain_below: threshold = 0.3 } = loaded.card;
    this.people = new People(labels, threshold);
    this.canvas.width = Math.min(width, video.videoWidth);
    this.canvas.height = Math.max(1, Math.round((video.videoHeight * this.canvas.width) / video.videoWidth));
  }

  /** The people of the frame that is shown, in pixels of the video. */
  async look(time: number): Promise<Person[]> {
    const { width, height } = this.canvas, scale = this.video.videoWidth / width;
    this.pen.drawImage(this.video, 0, 0, width, height);
    const image = this.pen.getImageData(0, 0, width, height), whole = this.n++ % LOOK_AGAIN === 0 || !this.last.length;
    const views = "1" in this.loaded.card.temperatures ? { views: 1 } : {};
    const near = whole ? {} : { near: this.last.map(({ box }) => box) };
    this.last = await this.loaded.engine.read(image, { ...views, ...near });
    const sized = this.last.map((reading): Reading => ({
      ...reading,
      box: {
        x1: reading.box.x1 * scale, y1: reading.box.y1 * scale, x2: reading.box.x2 * scale, y2: reading.box.y2 * scale,
      },
    }));
    return this.people.step(time, sized);
  }
}

function mark(canvas: HTMLCanvasElement, width: number, people: readonly Person[]): void {
  drawFaces(canvas, width, people.map(({ track, label, reading: { box }, smooth }) => {
    const share = label in smooth ? ` ${percent(smooth[label]!)}` : "";
    return { box, label, title: `${track} ${word(label)}${share}` };
  }));
}

export async function watchVideo(loading: Promise<Loaded>, file: File): Promise<void> {
  const signal = begin();
  busy(() => say("loading"), null);
  const loaded = await loading;
  if (signal.aborted) return;
  const address = URL.createObjectURL(file);
  const video = make("video", { controls: true, muted: true, playsInline: true, src: address });
  const { card, canvas } = stage(video, file.name);
  if (!(await isShown(video))) throw new Error(say("not_played", { file: file.name }));
  const watcher = new Watcher(video, loaded, VIDEO_WIDTH), timeline = new Timeline(card, loaded.card.labels);
  const length = await lengthOf(video), frames: Person[][] = [];
  const draw = (): void => {
    mark(canvas, video.videoWidth, frames[Math.floor(video.currentTime / STEP_S)] ?? []);
    timeline.draw([0, length], video.currentTime);
  };
  video.controls = false; // until all frames were read
  for (let i = 0; i * STEP_S < length && !signal.aborted; i++) {
    const time = i * STEP_S;
    await seek(video, time + EDGE_S);
    const people = await watcher.look(time);
    frames.push(people);
    timeline.add(time, i, people);
    busy(() => say("watching", { file: file.name, time: number(time, 1) }), time / length);
    draw();
  }
  video.controls = true;
  new ResizeObserver(draw).observe(canvas);
  for (const event of ["timeupdate", "seeked"]) video.addEventListener(event, draw);
  timeline.onPick((share) => void (video.currentTime = share * length));
  drawn(() => {
    timeline.sum();
    draw();
  });
  fillTable(timeline.rows, "timeline.csv");
  const n = frames.length;
  if (!signal.aborted) idle(() => `${count("frames", n)}, ${count("people", timeline.size)}.`);
}

export async function useCamera(loading: Promise<Loaded>): Promise<void> {
  const signal = begin();
  const media = await camera();
  const end = (): void => media.getTracks().forEach((track) => track.stop());
  signal.addEventListener("abort", end);
  busy(() => say("loading"), null);
  const loaded = await loading;
  if (signal.aborted) return end();
  const video = make("video", { muted: true, autoplay: true, playsInline: true, srcObject: media });
  const { card, canvas } = stage(video, ""), caption = card.querySelector("figcaption")!;
  await isShown(video);
  const watcher = new Watcher(video, loaded, CAMERA_WIDTH), timeline = new Timeline(card, loaded.card.labels);
  const start = performance.now(), times: number[] = [];
  for (let frame = 0, told = ""; !signal.aborted; frame++) {
    const time = (performance.now() - start) / 1000, people = await watcher.look(time);
    if (signal.aborted) break;
    mark(canvas, video.videoWidth, people);
    timeline.add(time, frame, people);
    timeline.keep(MOST_LIVE_ROWS);
    timeline.draw([Math.max(0, time - LIVE_SPAN_S), Math.max(time, 10)], time);
    timeline.tell(time);
    times.push(time);
    if (times.length > 30) times.shift();
    if (times.length > 5) caption.textContent = say("rate", { rate: number((times.length - 1) / (time - times[0]!), 1) });
    const faces = people.map(({ track, label }) => say("person_said", { n: track, emotion: word(label) })).join(", ");
    if (faces !== told || !frame) busy(() => say("camera_on", { faces: faces || say("nobody") })); // said when it changes
    told = faces;
    await new Promise(requestAnimationFrame);
  }
  drawn(() => timeline.sum());
  fillTable(timeline.rows, "camera.csv");
}

async function camera(): Promise<MediaStream> {
  if (!navigator.mediaDevices) throw new Error(say("no_camera", { reason: say("needs_https") }));
  busy(() => say("asking_camera"));
  return navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } }).catch((error: Error) => {
    throw new Error(say("no_camera", { reason: error.message }));
  });
}

/** Stops a video or the camera. */
export function stopMoving(): void {
  const isLive = document.querySelector<HTMLVideoElement>("#results video")?.srcObject;
  stop();
  idle(() => say(isLive ? "camera_off" : "stopped"));
  at("files").focus();
}

/** Whether a video has a first frame. */
function isShown(video: HTMLVideoElement): Promise<boolean> {
  return new Promise((resolve) => {
    video.addEventListener("loadeddata", () => resolve(video.videoWidth > 0), { once: true });
    video.addEventListener("error", () => resolve(false), { once: true });
  });
}

/** Seconds; recordings of a browser know theirs only after a jump to the end. */
async function lengthOf(video: HTMLVideoElement): Promise<number> {
  if (!Number.isFinite(video.duration)) await seek(video, 1e9);
  return Number.isFinite(video.duration) ? video.duration : video.currentTime;
}

function seek(video: HTMLVideoElement, time: number): Promise<void> {
  return new Promise((resolve) => {
    video.addEventListener("seeked", () => resolve(), { once: true });
    video.currentTime = time;
  });
}
