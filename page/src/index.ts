/** `read(image)`: the emotion on every face, computed where this runs; nothing is sent anywhere. */

import { type ImageInput } from "./image.js";
import { type Card, type ReadOptions, Reader, type Reading } from "./reader.js";

export type { Box, Card, LandmarkName, ReadOptions, Reading } from "./reader.js";
export type { ImageInput, Pixels, Rgba } from "./image.js";
export { Reader } from "./reader.js";
export { configure } from "./network.js";

let shared: Promise<Reader> | undefined;

/** A reader whose files lie in a folder; the package's own `models/` unless another is named. */
export async function open(folder: URL = new URL("./models/", import.meta.url)): Promise<Reader> {
  const file = (name: string) => bytes(new URL(name, folder));
  const card = JSON.parse(new TextDecoder().decode(await file("model.json"))) as Card;
  return Reader.open({ card, weights: await file("model.onnx"), file });
}

/** The emotion on every face of an image, largest face first; the networks load once, at the first call. */
export async function read(image: ImageInput, options: ReadOptions = {}): Promise<Reading[]> {
  shared ??= open();
  try {
    return (await shared).read(image, options);
  } catch (error) {
    shared = undefined;
    throw error;
  }
}

async function bytes(url: URL): Promise<Uint8Array> {
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be loaded: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
