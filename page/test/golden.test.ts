/** The readings of `mien read`, as tests/page/golden keeps them, and those of this package. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { type Quad, overlap } from "../src/geometry.js";
import { pixels } from "../src/image.js";
import { type Box, type ReadOptions, type Reading, Reader } from "../src/index.js";
import { ROOT, made, scenes, sha256 } from "./scenes.js";

const WEIGHTS = new URL("../src/mien/core/weights/", ROOT), MODEL = "fer2013-medium";
const MOST = { pixels: 1, probability: 0.02, level: 3 };
const file = async (name: string): Promise<Uint8Array> => readFileSync(new URL(name, WEIGHTS));

let reader: Reader;
before(async () => {
  const card = JSON.parse(new TextDecoder().decode(await file(`${MODEL}.json`)));
  reader = await Reader.open({ card, weights: await file(`${MODEL}.onnx`), file });
});

const farthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

const numbers = ({ box, landmarks, probabilities }: Reading): { places: number[]; probs: number[] } => ({
  places: [...Object.values(box), ...Object.values(landmarks).flat()], probs: Object.values(probabilities),
});

for (const scene of scenes) {
  test(`${scene.name}: the answer of Python`, async () => {
    const image = made(scene);
    assert.equal(sha256(image), scene.sha256, "the scene itself is another one");
    const readings = await reader.read(image);
    assert.deepEqual(readings.map(({ emotion }) => emotion), scene.readings.map(({ emotion }) => emotion));
    for (const [i, reading] of readings.entries()) {
      const got = numbers(reading), wanted = numbers(scene.readings[i]!);
      const margin = Math.abs(Math.max(...wanted.probs) - (reader.card.uncertain_below ?? 0));
      if (margin > MOST.probability) assert.equal(reading.uncertain, scene.readings[i]!.uncertain);
      assert.equal(reading.confidence, reading.probabilities[reading.emotion]);
      assert.deepEqual(Object.keys(reading.probabilities), Object.keys(scene.readings[i]!.probabilities));
      assert.ok(farthest(got.places, wanted.places) <= MOST.pixels, `places ${got.places} and ${wanted.places}`);
      assert.ok(farthest(got.probs, wanted.probs) <= MOST.probability, `probabilities ${got.probs} and ${wanted.probs}`);
    }
  });

  test(`${scene.name}: crops of Python's landmarks are Python's`, () => {
    const image = made(scene);
    scene.readings.forEach(({ landmarks }, i) => {
      const points = Object.values(landmarks), crop = reader.crop(image, { points, score: 1, box: [0, 0, 1, 1] });
      const off = farthest([...crop.data], [...Buffer.from(scene.crops[i]!, "base64")]);
      assert.ok(off <= MOST.level, `a value differs by ${off}`);
    });
  });
}

test("faces that are known are found again near their places", async () => {
  const image = made(scenes.find(({ name }) => name === "two people")!), whole = await reader.read(image, { views: 1 });
  const moved = whole.map(({ box: { x1, y1, x2, y2 } }) => ({ x1: x1 + 5, y1: y1 - 4, x2: x2 + 5, y2: y2 - 4 }));
  const near = await reader.read(image, { views: 1, near: moved });
  assert.equal(near.length, 2);
  const quad = ({ box }: Reading): Quad => [box.x1, box.y1, box.x2, box.y2];
  near.forEach((one, i) => assert.ok(overlap(quad(one), quad(whole[i]!)) > 0.75));
  assert.deepEqual(await reader.read(image, { near: [] }), []);
  const lists = [[1, 2, 3, 4]] as unknown as Box[];
  await assert.rejects(reader.read(image, { near: lists }), /near must be boxes \{ x1, y1, x2, y2 \}/);
});

test("views that the card is not calibrated for are refused", async () => {
  await assert.rejects(reader.read(made(scenes[0]!), { views: 3 }), /calibrated for .*, not for 3/);
  const text = { views: "1" } as unknown as ReadOptions;
  for (const input of [made(scenes[0]!), pixels(9, 9, 1)]) await assert.rejects(reader.read(input, text), /not for "1"/);
});
