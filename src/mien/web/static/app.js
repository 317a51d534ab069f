// The page: photos, a video or the camera go to this server; what comes back is shown and can be kept as CSV.

import { colour, drawFaces, drawTimeline, percent } from "./draw.js";
import { keep, takeToken } from "./kept.js";

const MOST_SHOWN = 200, LIVE_SPAN_S = 60, MOST_LIVE_ROWS = 50_000, FRAME_MS = 70, DRAW_EVERY_MS = 200, LIVE_WIDTH = 640;
const $ = (id) => document.getElementById(id);

let token = takeToken();
let stopWork = () => {};  // ends what goes on at the moment
let table = { columns: [], rows: [], name: "faces.csv" };

// ---- talking to the server

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  if (response.status === 401) $("login").hidden = false;
  throw new Error(body?.error?.message ?? `the server answered ${response.status}`);
}

// ---- what is said

const say = (text) => { $("status").textContent = text; };

/** Says what goes on; `share` of it is done, null is unknown, undefined has no end. */
function busy(text, share) {
  say(text);
  $("stop").hidden = false;
  $("progress").hidden = share === undefined;
  if (!Number.isFinite(share)) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function idle(text) {
  say(text);
  $("progress").hidden = $("stop").hidden = true;
}

function complain(error) {
  const text = error instanceof TypeError ? "the server cannot be reached" : error.message;
  $("problem").textContent = text[0].toUpperCase() + text.slice(1);
}

/** Ends what went on before, clears the page, and does something new. Its signal tells when it is stopped or fails. */
async function start(work) {
  stopWork();
  const control = new AbortController(), { signal } = control;
  stopWork = () => control.abort();
  $("problem").textContent = "";
  $("results").replaceChildren();
  $("rows").hidden = true;
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) return;  // what is on the page now is not of this work
    stopWork();
    idle("");
    complain(error);
  }
}

function make(tag, properties = {}, ...children) {
  const { class: name, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

/** An image or video with a canvas over it. */
function stage(media, caption) {
  const canvas = make("canvas");
  canvas.setAttribute("aria-hidden", "true");  // the same is given as text below
  const figure = make("figure", {}, make("div", { class: "stage" }, media, canvas), make("figcaption", {}, caption));
  const card = make("article", { class: "card" }, figure);
  $("results").append(card);
  return { card, canvas };
}

// ---- photos

async function readPhotos(files, signal) {
  const rows = [];
  let done = 0;
  signal.addEventListener("abort", () => fillTable(rows, "faces.csv"));
  for (const file of files) {
    busy(`Reading ${file.name}`, files.length > 1 ? done / files.length : null);
    const body = new FormData();
    body.append("image", file);
    try {
      const { images: [image] } = await (await call("v1/read", { method: "POST", body, signal })).json();
      const photo = await loaded(file);
      signal.throwIfAborted();
      showPhoto(photo, file.name, image);
      rows.push(...image.faces.map((face, i) => photoRow(file.name, i + 1, face)));
    } catch (error) {
      if (signal.aborted || files.length === 1) throw error;
      $("results").append(make("p", { class: "card" }, `${file.name}: ${error.message}`));
    }
    done += 1;
  }
  fillTable(rows, "faces.csv");
  idle(`${count(files.length, "photo")}, ${count(rows.length, "face")}.`);
}

async function loaded(file) {
  const photo = make("img", { src: URL.createObjectURL(file) });
  await photo.decode().catch(() => {});  // TIFF and PPM are read by the server, and shown by few browsers
  return photo;
}

function showPhoto(photo, name, image) {
  photo.alt = `${name}, with ${count(image.faces.length, "face")} marked`;
  const { card, canvas } = stage(photo, `${name}: ${count(image.faces.length, "face")}`);
  const faces = image.faces.map((face, i) => {
    const title = `${i + 1} ${face.emotion}${face.uncertain ? "?" : ""} ${percent(face.confidence)}`;
    const told = face.uncertain ? `uncertain, perhaps ${face.emotion}` : face.emotion;
    return { box: face.box, label: face.emotion, told, title, probs: face.probabilities };
  });
  new ResizeObserver(() => drawFaces(canvas, image, faces)).observe(canvas);
  const people = make("div", { class: "people" });
  faces.forEach((face, i) => people.append(make("section", {}, make("h3", {}, `Face ${i + 1}: ${face.told}`), bars(face))));
  if (faces.length) card.append(people);
  card.classList.toggle("beside", faces.length > 0 && faces.length < 4);
}

/** A face's probabilities as a list that is read aloud as it looks. */
function bars({ probs }) {
  const list = make("ul");
  for (const [label, prob] of Object.entries(probs)) {
    const filled = make("i");
    filled.style.width = `${100 * prob}%`;
    filled.style.background = colour(label);
    list.append(make("li", {}, make("span", {}, label), make("span", { class: "bar" }, filled), make("span", {}, percent(prob))));
  }
  return list;
}

function photoRow(name, number, face) {
  const probs = Object.fromEntries(Object.entries(face.probabilities).map(([label, prob]) => [`p_${label}`, prob]));
  const { box, detection_score, emotion, confidence, uncertain } = face;
  return { file: name, face: number, ...box, detection_score, emotion, confidence, uncertain, ...probs };
}

// ---- people through time

/** Keeps the rows of a video or camera, and draws a band for each person. */
class Timeline {
  constructor(card) {
    this.rows = [];
    this.dropped = 0;
    this.people = new Map();
    this.labels = [];
    this.legend = make("ul", { class: "legend" });
    this.place = make("div");
    card.append(this.place, this.legend);
  }

  add(row) {
    this.rows.push(row);
    if (row.track === null) return;
    if (!this.labels.length) {
      this.labels = Object.keys(row).filter((name) => name.startsWith("p_smooth_")).map((name) => name.slice(9));
      this.legend.append(...this.labels.map((label) => {
        const patch = make("i");
        patch.style.background = colour(label);
        return make("li", {}, patch, label);
      }));
    }
    if (!this.people.has(row.track)) this.people.set(row.track, this.newPerson(row.track));
    const person = this.people.get(row.track);
    const probs = this.labels.map((label) => row[`p_smooth_${label}`]);
    person.points.push({ time: row.time_s, probs });
    person.sums = probs.map((prob, i) => prob + (person.sums[i] ?? 0));
    person.n++;
    person.last = row;
  }

  newPerson(track) {
    const canvas = make("canvas"), told = make("span"), from = make("span"), to = make("span");
    canvas.setAttribute("role", "img");
    const head = make("h3", {}, `Person ${track}`, told);
    const section = make("section", { class: "person" }, head, canvas, make("div", { class: "axis" }, from, to));
    this.place.append(section);
    return { section, canvas, told, from, to, points: [], sums: [], n: 0, last: null };
  }

  /** Draws the bands from `span[0]` to `span[1]`, with a mark at `now`. */
  draw(span, now) {
    for (const [track, person] of this.people) {
      person.section.hidden = person.last.time_s < span[0];  // of the camera: gone long ago
      if (person.section.hidden) continue;
      drawTimeline(person.canvas, person.points, this.labels, span, now);
      person.canvas.setAttribute("aria-label", `Person ${track} over time; ${this.shares(person)}`);
      [person.from.textContent, person.to.textContent] = span.map((time) => `${time.toFixed(span[1] < 20 ? 1 : 0)} s`);
    }
  }

  /** Says what is seen in each person at a moment. */
  tell(now) {
    for (const { section, told, last } of this.people.values()) {
      if (!section.hidden) told.textContent = now - last.time_s < 1 ? last.label : `gone since ${last.time_s.toFixed(0)} s`;
    }
  }

  /** Most of the time first. */
  shares({ sums, n }) {
    const means = this.labels.map((label, i) => [sums[i] / n, label]);
    return means.sort((a, b) => b[0] - a[0]).slice(0, 3).map(([share, label]) => `${label} ${percent(share)}`).join(", ");
  }

  sum() {
    for (const person of this.people.values()) {
      person.section.hidden = false;
      person.told.textContent = `on average ${this.shares(person)}`;
    }
  }

  keep(most) {
    if (this.rows.length <= most) return;
    this.dropped += this.rows.splice(0, this.rows.length - most).length;
    const first = this.rows[0].time_s;
    for (const person of this.people.values()) person.points = person.points.filter(({ time }) => time >= first);
  }
}

function marked(rows) {
  return rows.filter((row) => row.track !== null).map((row) => {
    const names = Object.keys(row).filter((name) => name.startsWith("p_smooth_"));
    const probs = Object.fromEntries(names.map((name) => [name.slice(9), row[name]]));
    const title = row.label in probs ? `${row.track} ${row.label} ${percent(probs[row.label])}` : `${row.track} ${row.label}`;
    return { box: row, label: row.label, title, probs };
  });
}

// ---- a video

async function watchVideo(file, signal) {
  busy(`Sending ${file.name}`, null);
  const body = new FormData();
  body.append("video", file);
  const job = await (await call("v1/watch", { method: "POST", body, signal })).json();
  const path = `v1/watch/${job.id}`;
  busy(`Waiting for the first frames of ${file.name}`, null);
  const forget = () => call(path, { method: "DELETE", keepalive: true }).catch(() => {});
  signal.addEventListener("abort", forget);
  addEventListener("pagehide", forget, { once: true });
  const video = make("video", { controls: true, muted: true, playsInline: true, src: URL.createObjectURL(file) });
  const { card, canvas } = stage(video, file.name);
  const timeline = new Timeline(card);
  const size = await known(video);
  const length = job.duration_s ?? video.duration;
  const spanned = () => [0, Math.max(Number.isFinite(length) ? length : 0, timeline.rows.at(-1)?.time_s ?? 0)];
  let drawnAt = -Infinity;
  const draw = () => {
    if (size) drawFaces(canvas, size, marked(rowsAt(timeline.rows, video.currentTime)));
    timeline.draw(spanned(), video.currentTime);
    drawnAt = performance.now();
  };
  for (const event of ["timeupdate", "seeked"]) video.addEventListener(event, draw);
  new ResizeObserver(draw).observe(canvas);
  if (!size) card.querySelector(".stage").hidden = true;  // the browser cannot play it, the server could read it
  const finish = () => {
    draw();
    timeline.sum();
    card.querySelectorAll(".person canvas").forEach((band) => band.addEventListener("click", (event) => {
      video.currentTime = event.offsetX / band.clientWidth * spanned()[1];
    }));
    fillTable(timeline.rows, "timeline.csv");
  };
  signal.addEventListener("abort", finish);
  for await (const row of streamed(`${path}/rows`, signal)) {
    timeline.add(row);
    if (timeline.rows.length % 10) continue;
    busy(`Watching ${file.name}: ${row.time_s.toFixed(1)} s`, length ? row.time_s / length : null);
    timeline.tell(row.time_s);
    if (performance.now() - drawnAt > DRAW_EVERY_MS) draw();  // the line of a long video takes longer than its rows
  }
  const end = await (await call(path, { signal })).json();
  for (const listener of [forget, finish]) signal.removeEventListener("abort", listener);
  if (end.error) complain(end.error);
  finish();
  await forget();
  if (!signal.aborted) idle(`${count(end.frames, "frame")}, ${count(timeline.people.size, "person", "people")}.`);
}

/** Width and height of a video, or null where the browser cannot play it. */
function known(video) {
  return new Promise((resolve) => {
    video.addEventListener("loadeddata", () => resolve(video.videoWidth ? { width: video.videoWidth, height: video.videoHeight } : null));
    video.addEventListener("error", () => resolve(null));
  });
}

async function* streamed(path, signal) {
  const response = await call(path, { headers: { Accept: "application/x-ndjson" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
    await drawn();
  }
}

/** Lets the browser draw. A hidden tab gets no animation frame and slow timers, and its rows must be taken too. */
function drawn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** The rows of the frame that is shown at a time; rows are in its order. */
function rowsAt(rows, time) {
  let low = 0, high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].time_s <= time + .002) low = middle + 1;
    else high = middle;
  }
  const last = rows[low - 1];
  if (!last || time - last.time_s > 1) return [];
  let first = low - 1;
  while (first > 0 && rows[first - 1].frame === last.frame) first -= 1;
  return rows.slice(first, low);
}

// ---- the camera

/** A camera, which goes off with the signal: also where that came while the browser asked the person. */
async function camera(signal) {
  if (!navigator.mediaDevices) throw new Error("a browser gives its camera only to https pages and to localhost");
  busy("Asking for the camera");
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: LIVE_WIDTH } } }).catch((error) => {
    throw new Error(`the camera cannot be used: ${error.message}`);
  });
  const off = () => media.getTracks().forEach((track) => track.stop());
  signal.addEventListener("abort", off);
  if (signal.aborted) off();
  signal.throwIfAborted();
  return media;
}

async function useCamera(signal) {
  const media = await camera(signal);
  const video = make("video", { muted: true, autoplay: true, playsInline: true, srcObject: media });
  const { card, canvas } = stage(video, "Camera");
  const timeline = new Timeline(card);
  const gone = new Error("the camera is gone; see whether it is plugged in and no other program uses it");
  media.getVideoTracks()[0].addEventListener("ended", () => {
    if (signal.aborted) return;
    stopWork();
    complain(gone);
  });
  const size = await known(video);
  signal.throwIfAborted();
  if (!size) throw new Error("the camera gives no image");
  const protocols = ["mien-v1", ...(token ? [`bearer.${token}`] : [])];
  const socket = new WebSocket(new URL("v1/live", document.baseURI).href.replace(/^http/, "ws"), protocols);
  const end = () => {
    socket.close();
    timeline.sum();
    fillTable(timeline.rows, "camera.csv", timeline.dropped);
    idle("The camera is off.");
  };
  signal.addEventListener("abort", end, { once: true });
  const small = make("canvas");
  const send = () => {
    const width = Math.min(LIVE_WIDTH, video.videoWidth), height = Math.round(video.videoHeight * width / video.videoWidth);
    if (small.width !== width || small.height !== height) [small.width, small.height] = [width, height];  // a phone was turned
    small.getContext("2d").drawImage(video, 0, 0, small.width, small.height);
    small.toBlob((blob) => socket.readyState === WebSocket.OPEN && socket.send(blob), "image/jpeg", .85);
  };
  let sent = 0, told = "";
  const next = () => {
    sent = performance.now();
    send();
  };
  socket.addEventListener("open", next);
  socket.addEventListener("message", ({ data }) => {
    const answer = JSON.parse(data);
    if (answer.error) complain(answer.error);
    drawFaces(canvas, small, marked(answer.faces ?? []));
    for (const row of answer.faces ?? []) timeline.add(row);
    timeline.keep(MOST_LIVE_ROWS);
    timeline.draw([Math.max(0, answer.time_s - LIVE_SPAN_S), Math.max(answer.time_s, 10)], answer.time_s);
    timeline.tell(answer.time_s);
    const words = answer.faces?.map((row) => `person ${row.track}: ${row.label}`).join(", ") || "no one in sight";
    if (words !== told) busy(`Camera on, ${words}`);  // said only when it changes
    told = words;
    setTimeout(next, Math.max(0, FRAME_MS - (performance.now() - sent)));
  });
  socket.addEventListener("close", ({ reason }) => {
    if (signal.aborted) return;
    stopWork();
    idle("");
    complain(new Error(reason || "the server ended the connection; it may be busy, or ask for a token"));
  });
}

// ---- the table

/** Shows rows, the last of more where some were `dropped`. */
function fillTable(rows, name, dropped = 0) {
  if (!rows.length) return;
  const columns = Object.keys(rows[0]);
  table = { columns, rows, name };
  const isText = Object.fromEntries(columns.map((column) => [column, rows.some((row) => typeof row[column] === "string")]));
  const cell = (tag, text, column) => make(tag, { class: isText[column] ? "text" : "" }, text);
  const head = make("tr", {}, ...columns.map((column) => {
    const title = cell("th", column, column);
    title.scope = "col";
    return title;
  }));
  const shown = rows.slice(0, MOST_SHOWN).map((row) => make("tr", {}, ...columns.map((column) => cell("td", brief(row[column]), column))));
  document.querySelector("#rows table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...shown));
  const notes = [
    rows.length > MOST_SHOWN && `The first ${MOST_SHOWN} of ${rows.length} rows; the file has all.`,
    dropped && `${count(dropped, "earlier row")}, before ${rows[0].time_s.toFixed(0)} s, ${dropped === 1 ? "was" : "were"} dropped.`,
  ];
  $("rows-note").textContent = notes.filter(Boolean).join(" ");
  $("rows").hidden = false;
}

const brief = (value) => value === null ? "" : typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);

function toCsv({ columns, rows }) {
  const quoted = (value) => {
    if (typeof value !== "string") return String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;  // a spreadsheet would run it as a formula
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))].map((cells) => cells.map(quoted).join(",")).join("\n") + "\n";
}

const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

// ---- what a person does

function take(files) {
  const given = [...files];
  const video = given.find((file) => file.type.startsWith("video/"));
  const others = given.filter((file) => file !== video);
  if (video) {
    start((signal) => watchVideo(video, signal));
    if (others.length) complain(new Error(`a video is watched by itself: ${video.name}. Left out: ${others.map(({ name }) => name).join(", ")}`));
  } else if (given.length) start((signal) => readPhotos(given, signal));
}

$("files").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = "";  // so that the same file can be chosen again
});
$("camera").addEventListener("click", () => start(useCamera));
$("stop").addEventListener("click", () => {
  stopWork();
  if ($("status").textContent !== "The camera is off.") idle("Stopped.");
  $("files").focus();
});
$("download").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([toCsv(table)], { type: "text/csv" }));
  make("a", { href: address, download: table.name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  keep("sessionStorage", "token", token);
  $("login").hidden = true;
  $("problem").textContent = "";
  greet().catch(complain);
});

const drop = $("drop");
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});
drop.addEventListener("dragenter", () => drop.classList.add("over"));
drop.addEventListener("dragleave", ({ relatedTarget }) => drop.contains(relatedTarget) || drop.classList.remove("over"));

/** Says which model reads. */
async function greet() {
  const { models } = await (await call("v1/models")).json();
  const { name, summary, licence, uncertain_below: threshold, calibrated_on: rows } = models.find(({ served }) => served);
  $("model").textContent = `Model ${name}: ${summary.replace(/\.?$/, ".")} Licence: ${licence}`;
  if (rows) $("calibrated-on").textContent = `the labels of ${rows}`;
  $("threshold").textContent = `${percent(threshold)} likely`;
}
greet().catch(complain);
