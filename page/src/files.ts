/** The files of a model: the package's own, or those of a folder on a host or a disk. */

import { type Card } from "./reader.js";

type Read = (url: URL) => Promise<Uint8Array>;

let fromDisk: Read | undefined;

/** How files of a disk are read, where that is possible. */
export function useDisk(read: Read): void {
  fromDisk = read;
}

/** Where a file of the package lies. Each has an address of its own, because bundlers copy what is written out so. */
function own(name: string): URL {
  const addresses: Record<string, () => URL> = {
    "model.json": () => new URL("./models/model.json", import.meta.url),
    "model.onnx": () => new URL("./models/model.onnx", import.meta.url),
    "one-stage-net.onnx": () => new URL("./models/one-stage-net.onnx", import.meta.url),
    "one-stage-refine.onnx": () => new URL("./models/one-stage-refine.onnx", import.meta.url),
  };
  return addresses[name]!();
}

/** The bytes of a model's file. */
export async function load(name: string, folder?: URL): Promise<Uint8Array> {
  const url = folder ? new URL(name, folder) : own(name);
  if (url.protocol === "file:" && fromDisk) return fromDisk(url);
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be loaded: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** A model's card. Many hosts answer with a web page where there is no such file. */
export async function loadCard(folder?: URL): Promise<Card> {
  const text = new TextDecoder().decode(await load("model.json", folder));
  try {
    return JSON.parse(text) as Card;
  } catch {
    const where = folder ? new URL("model.json", folder) : own("model.json");
    const start = JSON.stringify(text.slice(0, 15));
    throw new Error(`${where} must be a model's card, got ${start}; copy dist/models of the package mien to a folder of the host and open(folder)`);
  }
}
