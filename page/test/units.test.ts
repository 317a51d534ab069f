import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { build } from "esbuild";
import { loadCard } from "../src/files.js";
import { overlap, similarity, suppress, transform } from "../src/geometry.js";
import { type ImageInput, fromRgba, pixels, toPixels } from "../src/image.js";
import { type Reading } from "../src/index.js";
import { People } from "../src/people.js";
import { affine, reduce, resize, resizeReduced, roundEven } from "../src/resample.js";
import { averageLogits, toProbs } from "../src/views.js";
import { drawTimeline } from "../ui/draw.js";
import { Timeline } from "../ui/timeline.js";

const gray = (width: number, height: number, ...data: number[]) => pixels(width, height, 1, new Uint8Array(data));

test("halves are rounded to the even neighbour", () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4, 2.6].map(roundEven), [0, 2, 2, 2, 3]);
});

test("an image shrunk to half has the triangle's means", () => {
  // weights 3/8, 3/8, 1/8 at the border: (3 * 0 + 3 * 0 + 80) / 7 is 11.4
  assert.deepEqual([...resize(gray(4, 1, 0, 0, 80, 80), 2, 1).data], [11, 69]);
});

test("what is left over makes smaller blocks", () => {
  assert.deepEqual([...reduce(gray(3, 1, 10, 20, 90), 2, 1).data], [15, 90]);
});

test("an image is reduced first where it shrinks by twice the gap", () => {
  const image = gray(12, 1, 0, 0, 80, 20, 90, 10, 200, 30, 40, 250, 60, 70); // the answers are Pillow's
  assert.deepEqual([...resizeReduced(image, 3, 1, 2).data], [29, 86, 106]);
  assert.deepEqual([...resizeReduced(image, 3, 1, 3).data], [34, 81, 108]);
});

test("what a map shows from outside the image is filled", () => {
  assert.deepEqual([...affine(gray(2, 1, 10, 30), 4, 1, [1, 0, -1.25, 0, 1, 0], 127).data], [127, 10, 25, 127]);
});

test("transparency is composited on white, and useless alpha ignored", () => {
  const data = [0, 0, 0, 128, 10, 20, 30, 255];
  assert.deepEqual([...fromRgba({ width: 2, height: 1, data }).data], [127, 127, 127, 10, 20, 30]);
  assert.deepEqual([...fromRgba({ width: 1, height: 1, data: [1, 2, 3, 0] }).data], [1, 2, 3]);
});

test("pixels are taken with the channels that they have, and what would be misread is refused", async () => {
  const size = { width: 2, height: 1 }, rgba = new Uint8Array([1, 2, 3, 255, 4, 5, 6, 255]);
  for (const channels of [4, undefined]) {
    assert.deepEqual([...(await toPixels({ ...size, channels, data: rgba } as ImageInput)).data], [1, 2, 3, 4, 5, 6]);
  }
  assert.deepEqual([...(await toPixels({ ...size, data: [...rgba] })).data], [1, 2, 3, 4, 5, 6]);
  assert.equal((await toPixels({ ...size, channels: 1, data: new Uint8Array(2) })).channels, 1);
  const refused = async (input: unknown, told: RegExp) => assert.rejects(toPixels(input as ImageInput), told);
  await refused({ ...size, channels: 3, data: rgba }, /1, 3 or 4 channels, got 8 of 2 x 1 x 3/);
  await refused({ ...size, channels: 1, data: new Uint8Array(6) }, /got 6 of 2 x 1 x 1/);
  await refused({ ...size, channels: 2, data: new Uint8Array(4) }, /got 4 of 2 x 1 x 2/);
  await refused({ ...size, data: new Float32Array(8) }, /bytes of 0-255, got Float32Array/);
  await refused({ width: 2, height: 2, data: rgba }, /got 8 of 2 x 2 x 4/);
  for (const [width, height] of [[-2, -1], [0.5, 4], ["2", 1], [0, 0]]) {
    await refused({ width, height, data: rgba }, new RegExp(`width x height x channels .* got 8 of ${width} x ${height} x 4`));
  }
  for (const value of [0.5, 257, -1, NaN, "7", undefined]) {
    await refused({ ...size, data: [...rgba.slice(1), value] }, new RegExp(`bytes of 0-255, got ${value} at place 7`));
    await refused({ ...size, channels: 1, data: [value, 1] }, /at place 0/);
  }
  await refused(null, /read needs a canvas, .*, got null$/);
  await refused("photo.png", /got string$/);
  await refused(undefined, /got undefined$/);
  await refused(new Blob(["x"]), /only browsers decode files, so decode it first$/);
});

test("an image for which the browser's canvas is too small is refused, not read as an empty one", async () => {
  let most = 6;
  class Canvas { // as browsers do it: a canvas of more pixels than they hold takes no ink, and says nothing
    constructor(readonly width: number, readonly height: number) {}
    getContext() {
      const held = new Uint8ClampedArray(this.width * this.height <= most ? 4 : 0);
      return {
        fillRect: () => held.fill(255), clearRect: () => held.fill(0), drawImage: () => held.fill(9),
        getImageData: (_x: number, _y: number, width: number, height: number) =>
          ({ width, height, data: new Uint8ClampedArray(4 * width * height).fill(held[0] ?? 0) }),
      };
    }
  }
  const browser = { OffscreenCanvas: Canvas, createImageBitmap: async () => ({ width: 3, height: 2, close() {} }) };
  Object.assign(globalThis, browser);
  try {
    assert.deepEqual([...(await toPixels(new Blob([]))).data], Array(18).fill(246));
    most = 5;
    await assert.rejects(toPixels(new Blob([])), /^Error: 3 x 2 pixels are too many for this browser; shrink the image$/);
  } finally {
    for (const name of Object.keys(browser)) delete (globalThis as Record<string, unknown>)[name];
  }
});

test("a similarity turns, scales and shifts", () => {
  const map = similarity([[0, 0], [1, 0], [0, 1]], [[5, 5], [5, 7], [3, 5]]); // a quarter turn, twice as large
  transform(map, [2, 3]).forEach((value, i) => assert.ok(Math.abs(value - [-1, 9][i]!) < 1e-9));
});

test("overlap is a share of the union or of the smaller box", () => {
  assert.equal(overlap([0, 0, 2, 2], [1, 0, 3, 2]), 2 / 6);
  assert.equal(overlap([0, 0, 2, 2], [1, 0, 2, 1], "min"), 1);
  assert.deepEqual(suppress([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]], [0.5, 0.9, 0.1], 0.5), [1, 2]);
});

test("ten views are the face, four shifts and their mirror images", async () => {
  const values = new Float32Array(81).map((_, i) => i), seen: number[] = [];
  await averageLogits(async ({ values, n }) => {
    for (let i = 0; i < n; i++) seen.push(values[81 * i + 40]!); // the middle of each view
    return new Float32Array(n);
  }, { values, n: 1, channels: 1, size: 9 }, 10, 1);
  assert.deepEqual(seen.slice(0, 5).sort((a, b) => a - b), [13, 37, 40, 43, 67]);
  assert.deepEqual(seen.slice(5), seen.slice(0, 5));
  await assert.rejects(averageLogits(async () => new Float32Array(1), { values, n: 1, channels: 1, size: 9 }, 4, 1), /views must be/);
});

test("the prior is taken out before the temperature", () => {
  const [rare, common] = toProbs(new Float32Array([0, 0]), [0.25, 0.75], 1, 1) as [number, number];
  assert.ok(Math.abs(rare - 0.75) < 1e-9 && Math.abs(common - 0.25) < 1e-9);
});

const seen = (x: number, happy: number): Reading => ({
  box: { x1: x, y1: 0, x2: x + 10, y2: 10 },
  landmarks: { left_eye: [0, 0], right_eye: [0, 0], nose: [0, 0], left_mouth: [0, 0], right_mouth: [0, 0] },
  detection_score: 1, emotion: "happy", confidence: happy, uncertain: false, probabilities: { happy, sad: 1 - happy },
});

test("two people who move keep their numbers, and one who comes back late gets a new one", () => {
  const people = new People(["happy", "sad"], 0.3);
  const tracks = (time: number, ...xs: number[]) => people.step(time, xs.map((x) => seen(x, 0.9))).map(({ track }) => track);
  assert.deepEqual(tracks(0, 0, 50), [1, 2]);
  assert.deepEqual(tracks(0.1, 53, 3), [2, 1]);
  assert.deepEqual(tracks(0.2, 5), [1]);
  assert.deepEqual(tracks(1.15, 6, 53), [1, 3]);
});

test("a person who is in every frame keeps the number, however slow the frames come", () => {
  const people = new People(["happy", "sad"], 0.3);
  assert.deepEqual([0, 3, 6].map((time) => people.step(time, [seen(time, 0.9)])[0]!.track), [1, 1, 1]);
});

test("a label does not flicker, and follows in the end", () => {
  const people = new People(["happy", "sad"], 0.3);
  const label = (time: number, happy: number) => people.step(time, [seen(0, happy)])[0]!.label;
  assert.equal(label(0, 0.9), "happy");
  assert.equal(label(0.1, 0.3), "happy");
  for (let i = 2; i < 10; i++) label(i / 10, 0.1);
  assert.equal(label(1, 0.1), "sad");
});

test("the line of a long video paints each pixel once", () => {
  Object.assign(globalThis, { window: { devicePixelRatio: 1 } });
  const painted: [x: number, width: number][] = [];
  const pen = { scale: () => {}, fillStyle: "", fillRect: (x: number, _y: number, width: number) => painted.push([x, width]) };
  const canvas = { clientWidth: 100, clientHeight: 20, getContext: () => pen } as unknown as HTMLCanvasElement;
  const moments = Array.from({ length: 36_000 }, (_, i) => ({ time: i / 10, probs: { happy: 1 } }));
  drawTimeline(canvas, moments, [0, 3600], 3600);
  const bands = painted.slice(0, -2); // the last two are the mark at the moment
  assert.equal(bands.length, 100);
  assert.equal(bands.reduce((sum, [, width]) => sum + width, 0), 100);
});

test("people who passed long ago leave the page, and rows that are dropped are counted", () => {
  const removed: unknown[] = [], nothing = (): void => {};
  const element = (): object => ({
    append: nothing, setAttribute: nothing, addEventListener: nothing, replaceChildren: nothing,
    style: { setProperty: nothing }, parentElement: { remove: () => removed.push(1) },
  });
  Object.assign(globalThis, { document: { createElement: element } });
  const people = new People(["happy", "sad"], 0.3), timeline = new Timeline(element() as HTMLElement, ["happy", "sad"]);
  for (let time = 0; time < 100; time += 5) {
    timeline.add(time, time, people.step(time, [seen(20 * time, 0.9)])); // each time somebody else
    timeline.keep(15, time - 60);
  }
  assert.deepEqual([timeline.size, removed.length, timeline.rows.length], [13, 7, 15]);
  assert.match(timeline.lost(), /^5 earlier rows were dropped .* begins at 25\.0 s/);
});

test("a bundler takes the package for browsers and leaves each of its files to be found", async () => {
  execFileSync("node", ["build.mjs", "package"]);
  const given = { stdin: { contents: 'import { read } from "mien"; read();', resolveDir: "." }, bundle: true, write: false } as const;
  const { outputFiles: [file] } = await build({ ...given, format: "esm" });
  const found = [...file!.text.matchAll(/new URL\("\.\/models\/(.+?)", import\.meta\.url\)/g)].map(([, name]) => name);
  assert.deepEqual(found.sort(), readdirSync("dist/models").filter((name) => name !== "one-stage.json").sort());
});

test("the types of the package need no library of a browser", () => {
  const tsc = (...words: string[]) => execFileSync("node", ["node_modules/typescript/bin/tsc", ...words], { encoding: "utf8" });
  tsc("-p", "tsconfig.package.json");
  tsc("--noEmit", "--strict", "--lib", "ES2023", "--types", "node", "--module", "NodeNext", "dist/node.d.ts");
});

test("Node opens the package's own files", async () => {
  const { open } = (await import(["mien"].join())) as typeof import("../src/index.js"); // built by the test above
  assert.equal((await open()).card.name, "fer2013-medium");
});

test("an answer that is no card says what to copy where", async (t) => {
  t.mock.method(globalThis, "fetch", async () => new Response("<!doctype html>"));
  await assert.rejects(loadCard(new URL("https://host/models/")), /must be a model's card, got "<!doctype html>"; copy dist\/models /);
});
