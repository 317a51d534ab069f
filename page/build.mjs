// node build.mjs site [FOLDER]  the built files of `mien page`; without a folder into the repository: ../src/mien/page
//                               (index.html and manifest.webmanifest there are written by hand)
// node build.mjs package        the npm package, into dist/
import { build } from "esbuild";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";

const WEIGHTS = "../src/mien/core/weights/", MODEL = "fer2013-medium";
const NETS = ["one-stage-net.onnx", "one-stage-refine.onnx"];
const RUNTIME = "node_modules/onnxruntime-web/";
const common = { bundle: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none", logLevel: "warning" };

async function site(to = "../src/mien/page") {
  mkdirSync(to, { recursive: true });
  for (const name of ["app", "worker", "sw"]) {
    const format = name === "sw" ? "iife" : "esm";
    await build({ ...common, format, minify: true, entryPoints: [`ui/${name}.ts`], outfile: `${to}/${name}.js`, external: ["node:*"] });
  }
  const packed = execFileSync("xz", ["-9e", "--stdout", `${RUNTIME}dist/ort-wasm-simd-threaded.wasm`], { maxBuffer: 2 ** 26 });
  writeFileSync(`${to}/runtime.wasm.xz`, packed);
}

async function pack() {
  rmSync("dist", { recursive: true, force: true });
  await build({ ...common, entryPoints: ["src/index.ts", "src/node.ts"], outdir: "dist", packages: "external", external: ["node:*"] });
  copyFileSync("../LICENSE", "LICENSE");
  mkdirSync("dist/models");
  for (const name of [...NETS, "one-stage.json"]) copyFileSync(WEIGHTS + name, `dist/models/${name}`);
  copyFileSync(`${WEIGHTS}${MODEL}.onnx`, "dist/models/model.onnx");
  copyFileSync(`${WEIGHTS}${MODEL}.json`, "dist/models/model.json");
}

await { site, package: pack }[process.argv[2]](process.argv[3]);
