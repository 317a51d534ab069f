/** `read(image)`: the emotion on every face, computed where this runs; nothing is sent anywhere. */

import { load, loadCard } from "./files.js";
import { type ImageInput } from "./image.js";
import { type ReadOptions, Reader, type Reading } from "./reader.js";

export type { Box, Card, LandmarkName, ReadOptions, Reading, Views } from "./reader.js";
export type { Bytes, ImageInput, Pixels, Rgba } from "./image.js";
export { Reader } from "./reader.js";
export { configure } from "./network.js";

let shared: Promise<Reader> | undefined;

/** A reader of the package's own files, or of those of a folder: copies of its `dist/models`. The address ends in `/`. */
export async function open(folder?: URL): Promise<Reader> {
  const card = await loadCard(folder);
  return Reader.open({ card, weights: await load("model.onnx", folder), file: (name) => load(name, folder) });
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
