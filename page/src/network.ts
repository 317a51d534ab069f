/** Networks, run by ONNX Runtime compiled to WebAssembly. */

import { InferenceSession, Tensor, env } from "onnxruntime-web/wasm";

let isConfigured = false;

/** How the runtime is set up; call before the first network is opened, or not at all. */
export function configure(options: { binary?: ArrayBuffer; threads?: number }): void {
  if (options.binary) env.wasm.wasmBinary = options.binary;
  env.wasm.numThreads = options.threads ?? 1;
  env.logLevel = "error";
  isConfigured = true;
}

/** A network with one input. */
export class Network {
  private constructor(private readonly session: InferenceSession) {}

  static async open(file: Uint8Array): Promise<Network> {
    if (!isConfigured) configure({}); // the runtime's own choice of threads fails in Node
    return new Network(await InferenceSession.create(file, { executionProviders: ["wasm"], logSeverityLevel: 3 }));
  }

  /** The outputs, in the network's order. */
  async run(input: Float32Array, shape: readonly number[]): Promise<Float32Array[]> {
    const found = await this.session.run({ [this.session.inputNames[0]!]: new Tensor("float32", input, shape) });
    return this.session.outputNames.map((name) => found[name]!.data as Float32Array);
  }
}
