// @vladmandic/face-api and @vladmandic/human under benchmarks/peers.py, on TensorFlow.js's WebAssembly backend,
// which needs nothing that is built for one machine. The protocol is that of common.py; run in the peer's folder.
"use strict";
const fs = require("fs");
const path = require("path");

const job = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const modules = path.join(process.cwd(), "node_modules");
const wasmPath = path.join(modules, "@tensorflow/tfjs-backend-wasm/dist/");
const SIDE = 48;

const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const cpuSeconds = () => { const t = process.cpuUsage(); return (t.user + t.system) / 1e6; };
const version = (name) => JSON.parse(fs.readFileSync(path.join(modules, name, "package.json"))).version;
const peakMb = () => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]) / 1024;

// Node's fetch does not read files, and that is how TensorFlow.js asks for weights.
globalThis.fetch = async (url) => new Response(fs.readFileSync(String(url.url || url).replace("file://", "")));

async function faceApi() {
  require(path.join(modules, "@tensorflow/tfjs-backend-wasm")).setWasmPaths(wasmPath);
  const api = require(path.join(modules, "@vladmandic/face-api/dist/face-api.node-wasm.js"));
  await api.tf.setBackend("wasm");
  await api.tf.ready();
  const weights = path.join(modules, "@vladmandic/face-api/model");
  await api.nets.ssdMobilenetv1.loadFromDisk(weights);
  await api.nets.faceExpressionNet.loadFromDisk(weights);
  const tensor = (pixels, shape) => api.tf.tensor3d(pixels, shape, "int32");
  const photo = async (p) => {
    const input = tensor(p.pixels, [p.height, p.width, 3]);
    const found = await api.detectAllFaces(input).withFaceExpressions();
    input.dispose();
    return found.length;
  };
  const face = async (pixels) => {
    const input = tensor(pixels, [SIDE, SIDE, 3]);
    const found = await api.nets.faceExpressionNet.predictExpressions(input);
    input.dispose();
    return Object.keys(found).reduce((a, b) => (found[a] >= found[b] ? a : b));
  };
  return { photo, face };
}

async function human() {
  require(path.join(modules, "@tensorflow/tfjs"));
  const { Human } = require(path.join(modules, "@vladmandic/human/dist/human.node-wasm.js"));
  const off = { enabled: false };
  const models = "file://" + path.join(modules, "@vladmandic/human/models/");
  const h = new Human({
    modelBasePath: models, wasmPath, backend: "wasm", cacheSensitivity: 0, filter: off, gesture: off,
    body: off, hand: off, object: off, segmentation: off,
    face: { enabled: true, iris: off, description: off, antispoof: off, liveness: off,
      mesh: { enabled: true }, emotion: { enabled: true, minConfidence: 0 }, detector: { maxDetected: 10 } },
  });
  await h.load();
  const tf = h.tf;
  const photo = async (p) => {
    const input = tf.tensor4d(p.pixels, [1, p.height, p.width, 3], "float32");
    const found = await h.detect(input);
    input.dispose();
    return found.face.filter((f) => f.emotion && f.emotion.length).length;
  };
  // Its network alone, on the whole crop: resized to its side, luma, -1 to 1.
  const labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
  let net = null;
  const face = async (pixels) => {
    net = net || (await tf.loadGraphModel(models + "emotion.json"));
    const side = net.inputs[0].shape[2];
    const out = tf.tidy(() => {
      const input = tf.tensor4d(pixels, [1, SIDE, SIDE, 3], "float32").div(255);
      const gray = tf.image.resizeBilinear(input, [side, side]).mul([0.2989, 0.587, 0.114]).sum(3, true);
      return net.execute(gray.sub(0.5).mul(2));
    });
    const values = await out.data();
    out.dispose();
    return labels[values.indexOf(Math.max(...values))];
  };
  return { photo, face };
}

async function main() {
  const peer = job.peer === "face-api" ? await faceApi() : await human();
  const names = ["@vladmandic/" + job.peer, "@tensorflow/tfjs"];
  const versions = Object.fromEntries(names.map((name) => [name, version(name)]));
  const gray = fs.readFileSync(job.faces);
  const faces = Array.from({ length: job.n_faces }, (_, i) => {
    const rgb = new Uint8Array(SIDE * SIDE * 3);
    for (let k = 0; k < SIDE * SIDE; k++) rgb.fill(gray[i * SIDE * SIDE + k], 3 * k, 3 * k + 3);
    return rgb;
  });
  const photos = job.photos.map((p) => ({ ...p, pixels: new Uint8Array(fs.readFileSync(p.path)) }));
  if (job.score) {
    const answers = [];
    for (const one of faces) answers.push(await peer.face(one));
    return tell({ answers, versions });
  }
  await peer.photo(photos[0]);
  tell({ first_answer_cpu_s: cpuSeconds() });
  for (const one of photos.slice(0, 2)) await peer.photo(one);  // warms up
  for (const one of faces.slice(0, 10)) await peer.face(one);
  let start = cpuSeconds();
  const some = faces.slice(0, job.repeat);
  for (const one of some) await peer.face(one);
  const faceSeconds = (cpuSeconds() - start) / some.length;
  start = cpuSeconds();
  for (const one of photos) await peer.photo(one);
  const photoSeconds = (cpuSeconds() - start) / photos.length;
  let found = 0;
  for (const one of photos) found += (await peer.photo(one)) > 0 ? 1 : 0;
  tell({
    face_cpu_s: faceSeconds, photo_cpu_s: photoSeconds, peak_mb: peakMb(), photos_with_a_face: found, versions,
  });
}

main().catch((error) => { process.stderr.write(String(error.stack || error) + "\n"); process.exit(1); });
