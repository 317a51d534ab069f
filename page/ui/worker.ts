/** Reads beside the page, so that the page stays quick. One message in, one message out. */

import { Reader, configure, type ReadOptions, type Reading } from "../src/index.js";
import { type ImageInput } from "../src/image.js";
import { FILES } from "../src/one-stage.js";
import { type Card } from "../src/reader.js";

export type Asked =
  | { id: number; kind: "open"; folder: string }
  | { id: number; kind: "read"; image: ImageInput; options: ReadOptions };

export type Answer =
  | { id: number; card: Card }
  | { id: number; readings: Reading[] }
  | { id: number; loaded: number; total: number }
  | { id: number; error: string };

const NETS = Object.values(FILES);
const GZIP = [0x1f, 0x8b];
const tell = (answer: Answer): void => postMessage(answer);

let reader: Promise<Reader>;

async function open(id: number, folder: string): Promise<Reader> {
  const sizes = JSON.parse(await (await fetch(new URL("files.json", folder))).text()) as Record<string, number>;
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let loaded = 0;
  const file = async (name: string): Promise<Uint8Array> => {
    const answer = await fetch(new URL(name, folder));
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    loaded += sizes[name] ?? 0;
    tell({ id, loaded, total });
    return bytes;
  };
  const [runtime, weights, card, ...nets] = await Promise.all(
    ["runtime.gz", "model.onnx", "model.json", ...NETS].map(file),
  );
  configure({ binary: await unpacked(runtime!) });
  const held = new Map(NETS.map((name, i) => [name, nets[i]!]));
  return Reader.open({
    card: JSON.parse(new TextDecoder().decode(card)) as Card,
    weights: weights!,
    file: async (name) => held.get(name)!,
  });
}

/** The bytes of a gzip file; some servers have unpacked it already. */
async function unpacked(bytes: Uint8Array): Promise<ArrayBuffer> {
  if (!GZIP.every((byte, i) => bytes[i] === byte)) return bytes.slice().buffer;
  const stream = new Blob([bytes.slice()]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

addEventListener("message", async ({ data }: MessageEvent<Asked>) => {
  const { id } = data;
  try {
    if (data.kind === "open") {
      reader = open(id, data.folder);
      tell({ id, card: (await reader).card });
    } else {
      tell({ id, readings: await (await reader).read(data.image, data.options) });
    }
  } catch (error) {
    tell({ id, error: error instanceof Error ? error.message : String(error) });
  }
});
