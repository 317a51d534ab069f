/** Videos and the camera: people through time. */

import { type Reading } from "../src/index.js";
import { type Person, People } from "../src/people.js";
import { at, drawn, make, stage } from "./dom.js";
import { drawFaces } from "./draw.js";
import { type Loaded } from "./engine.js";
import { count, number, percent, say, word } from "./messages.js";
import { busy, idle, stop } from "./status.js";
import { fillTable } from "./table.js";
import { Timeline } from "./timeline.js";

const CAMERA_WIDTH = 320, VIDEO_WIDTH = 640, STEP_S = 0.1, LIVE_SPAN_S = 60, MOST_LIVE_ROWS = 50_000;
const EDGE_S = 0.001; // so that rounding does not give the frame before
const LONGEST_SEEK_MS = 20_000, LONGEST_PRESENTING_MS = 200, DRAW_EVERY_MS = 200;
const LOOK_AGAIN = 10; // every so many frames the whole image is searched for new faces

/** Reads the frames of a video element one by one. */
class Watcher {
  readonly people: People;
  private readonly canvas = make("canvas");
  private readonly pen = this.canvas.getContext("2d", { willReadFrequently: true })!;
  private last: Reading[] = [];
  private n = 0;

  constructor(private readonly video: HTMLVideoElement, private readonly loaded: Loaded, private readonly most: number) {
    const { labels, uncertain_below: threshold = 0.3 } = loaded.card;
    this.people = new People(labels, threshold);
  }

  /** Sizes the canvas as the video, which changes where a phone is turned. */
  private fit(): void {
    const { videoWidth, videoHeight } = this.video, width = Math.min(this.most, videoWidth);
    const height = Math.max(1, Math.round((videoHeight * width) / videoWidth));
    if (width === this.canvas.width && height === this.canvas.height) return;
    Object.assign(this.canvas, { width, height });
    this.last = []; // places in the former image
  }

  /** The people of the frame that is shown, in pixels of the video. */
  async look(time: number): Promise<Person[]> {
    this.fit();
    const { width, height } = this.canvas, { videoWidth, videoHeight } = this.video, [across, down] = [videoWidth / width, videoHeight / height];
    this.pen.drawImage(this.video, 0, 0, width, height);
    const image = this.pen.getImageData(0, 0, width, height), whole = this.n++ % LOOK_AGAIN === 0 || !this.last.length;
    const views = "1" in this.loaded.card.temperatures ? { views: 1 } : {};
    const near = whole ? {} : { near: this.last.map(({ box }) => box) };
    this.last = await this.loaded.engine.read(image, { ...views, ...near });
    const sized = this.last.map((reading): Reading => ({
      ...reading,
      box: {
        x1: reading.box.x1 * across, y1: reading.box.y1 * down, x2: reading.box.x2 * across, y2: reading.box.y2 * down,
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

export async function watchVideo(loading: Promise<Loaded>, file: File, signal: AbortSignal): Promise<void> {
  busy(() => say("loading"), null);
  const loaded = await loading;
  signal.throwIfAborted();
  const address = URL.createObjectURL(file);
  const video = make("video", { controls: true, muted: true, playsInline: true, src: address });
  const { card, canvas } = stage(video, file.name);
  if (!(await isShown(video))) throw new Error(say("not_played", { file: file.name }));
  const watcher = new Watcher(video, loaded, VIDEO_WIDTH), timeline = new Timeline(card, loaded.card.labels);
  const broken = (time: number) => (): never => {
    throw new Error(say("broken_off", { file: file.name, time: number(time, 1) }));
  };
  const length = await lengthOf(video).catch(broken(0)), frames: Person[][] = [];
  signal.throwIfAborted();
  let drawnAt = -Infinity;
  const draw = (): void => {
    mark(canvas, video.videoWidth, frames[Math.floor(video.currentTime / STEP_S)] ?? []);
    timeline.draw([0, length], video.currentTime);
    drawnAt = performance.now();
  };
  const finish = (): void => {
    video.controls = true;
    new ResizeObserver(draw).observe(canvas);
    for (const event of ["timeupdate", "seeked"]) video.addEventListener(event, draw);
    timeline.onPick((share) => void (video.currentTime = share * length));
    drawn(() => {
      timeline.sum();
      draw();
    });
    fillTable(timeline.rows, "timeline.csv");
  };
  video.controls = false; // until all frames were read
  signal.addEventListener("abort", finish);
  for (let i = 0; i * STEP_S < length; i++) {
    const time = i * STEP_S;
    await seek(video, time + EDGE_S).catch(broken(time));
    signal.throwIfAborted();
    const people = await watcher.look(time);
    signal.throwIfAborted();
    frames.push(people);
    timeline.add(time, i, people);
    busy(() => say("watching", { file: file.name, time: number(time, 1) }), time / length);
    if (performance.now() - drawnAt > DRAW_EVERY_MS) draw(); // the line of a long video costs more than its frame
  }
  signal.removeEventListener("abort", finish);
  finish();
  idle(() => `${count("frames", frames.length)}, ${count("people", timeline.size)}.`);
}

export async function useCamera(loading: Promise<Loaded>, signal: AbortSignal): Promise<void> {
  busy(() => say("loading"), null);
  const loaded = await loading;
  signal.throwIfAborted();
  const media = await camera(signal); // only when there is something to read it
  const video = make("video", { muted: true, autoplay: true, playsInline: true, srcObject: media });
  const { card, canvas } = stage(video, ""), caption = card.querySelector("figcaption")!;
  await isShown(video);
  signal.throwIfAborted();
  const watcher = new Watcher(video, loaded, CAMERA_WIDTH), timeline = new Timeline(card, loaded.card.labels);
  signal.addEventListener("abort", () => {
    drawn(() => timeline.sum());
    fillTable(timeline.rows, "camera.csv", () => timeline.lost());
  });
  const start = performance.now(), times: number[] = [];
  for (let frame = 0, told = ""; ; frame++) {
    const time = (performance.now() - start) / 1000, people = await watcher.look(time);
    signal.throwIfAborted();
    if (media.getTracks().every(({ readyState }) => readyState === "ended")) throw new Error(say("camera_gone"));
    mark(canvas, video.videoWidth, people);
    timeline.add(time, frame, people);
    timeline.keep(MOST_LIVE_ROWS, time - LIVE_SPAN_S);
    timeline.draw([Math.max(0, time - LIVE_SPAN_S), Math.max(time, 10)], time);
    timeline.tell(time);
    times.push(time);
    if (times.length > 30) times.shift();
    if (times.length > 5) caption.textContent = say("rate", { rate: number((times.length - 1) / (time - times[0]!), 1) });
    const faces = people.map(({ track, label }) => say("person_said", { n: track, emotion: word(label) })).join(", ");
    if (faces !== told || !frame) busy(() => say("camera_on", { faces: faces || say("nobody") })); // said when it changes
    told = faces;
    await new Promise(requestAnimationFrame);
    signal.throwIfAborted();
  }
}

/** A camera, which goes off with the signal: also where that came while the browser asked the person. */
async function camera(signal: AbortSignal): Promise<MediaStream> {
  if (!navigator.mediaDevices) throw new Error(say("no_camera", { reason: say("needs_https") }));
  busy(() => say("asking_camera"));
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } }).catch((error: Error) => {
    throw new Error(say("no_camera", { reason: error.message }));
  });
  const off = (): void => media.getTracks().forEach((track) => track.stop());
  signal.addEventListener("abort", off);
  if (signal.aborted) off();
  signal.throwIfAborted();
  return media;
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

/** Shows the frame at a time; refuses where a file is damaged there, of which a browser may say nothing. */
async function seek(video: HTMLVideoElement, time: number): Promise<void> {
  const presented = isPresented(video);
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(reject, LONGEST_SEEK_MS);
    const over = (): void => {
      clearTimeout(timer);
      if (video.error) reject();
      else resolve();
    };
    video.onseeked = video.onerror = over;
    if (video.error) over(); // met while earlier frames were decoded
    else video.currentTime = time;
  });
  await Promise.race([presented, new Promise((resolve) => setTimeout(resolve, LONGEST_PRESENTING_MS))]);
}

/** The next frame is there to be drawn: a seek may be over before, and a canvas would get the frame before. */
function isPresented(video: HTMLVideoElement): Promise<unknown> {
  const isTold = !document.hidden && "requestVideoFrameCallback" in video;
  return isTold ? new Promise((resolve) => video.requestVideoFrameCallback(resolve)) : Promise.resolve();
}
