/** The worker, as functions. */

import { type ImageInput } from "../src/image.js";
import { type Card, type ReadOptions, type Reading } from "../src/reader.js";
import { type Answer, type Asked } from "./worker.js";

type Question = Asked extends infer One ? (One extends Asked ? Omit<One, "id"> : never) : never;
export interface Loaded { engine: Engine; card: Card }
interface Waiting { take(answer: Answer): void; refuse(error: Error): void }

export class Engine {
  private readonly waiting = new Map<number, Waiting>();
  private n = 0;

  private constructor(private readonly worker: Worker) {
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => this.waiting.get(data.id)?.take(data));
    worker.addEventListener("error", (event) => {
      for (const one of this.waiting.values()) one.refuse(new Error(event.message || "the worker ended"));
    });
  }

  /**
   * Loads the networks of a folder.
   *
   * The worker begins as a blob, because such a worker is under the page's own Content-Security-Policy; one that is
   * loaded by its address would be under none on a host that sends no such header.
   */
  static async open(folder: URL, progress: (share: number) => void): Promise<Loaded> {
    const code = await (await fetch(new URL("worker.js", folder))).blob();
    const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const engine = new Engine(new Worker(address, { type: "module" }));
    const { card } = await engine.ask<{ card: Card }>({ kind: "open", folder: folder.href }, [], progress);
    return { engine, card };
  }

  async read(image: ImageInput, options: ReadOptions = {}): Promise<Reading[]> {
    const given = "data" in image && image.data instanceof Uint8ClampedArray ? [image.data.buffer] : [];
    return (await this.ask<{ readings: Reading[] }>({ kind: "read", image, options }, given)).readings;
  }

  private ask<Expected>(question: Question, given: Transferable[], progress?: (share: number) => void): Promise<Expected> {
    const id = this.n++;
    return new Promise((resolve, reject) => {
      const done = (): void => void this.waiting.delete(id);
      const refuse = (error: Error): void => {
        done();
        reject(error);
      };
      const take = (answer: Answer): void => {
        if ("loaded" in answer) return progress?.(answer.loaded / answer.total);
        if ("error" in answer) return refuse(new Error(answer.error));
        done();
        resolve(answer as Expected);
      };
      this.waiting.set(id, { take, refuse });
      this.worker.postMessage({ id, ...question }, given);
    });
  }
}
