/** The page: photos, a video or the camera are read here, on this device. */

import { at, make, redraw } from "./dom.js";
import { Engine, type Loaded } from "./engine.js";
import { LANGUAGES, count, percent, preferred, say, speak } from "./messages.js";
import { stopMoving, useCamera, watchVideo } from "./moving.js";
import { readPhotos } from "./photos.js";
import { busy, fail, idle, retell, start, warn } from "./status.js";
import { download } from "./table.js";
import { type Card } from "../src/index.js";

const folder = new URL("./", document.baseURI);
let card: Card | null = null;

function writeTexts(): void {
  document.title = say("title");
  for (const element of document.querySelectorAll<HTMLElement>("[data-say]")) {
    element.textContent = say(element.dataset.say as "title");
  }
  for (const element of document.querySelectorAll<HTMLElement>("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label as "title"));
  }
  at("expression").textContent = say("expression", { rows: card?.calibrated_on || say("rows") });
  at("smoothed").textContent = say("smoothed", { threshold: percent(card?.uncertain_below ?? 0.3) });
  if (card) {
    const { name, licence, summary } = card;
    at("model").textContent = say("model", { name, licence, summary: summary.replace(/\.$/, "") });
  }
}

function chooseLanguage(): void {
  const list = at<HTMLSelectElement>("languages");
  list.append(...Object.entries(LANGUAGES).map(([tag, { language }]) => make("option", { value: tag, lang: tag }, language)));
  list.value = preferred();
  speak(list.value);
  writeTexts();
  list.addEventListener("change", () => {
    speak(list.value, true);
    writeTexts();
    retell();
    redraw();
  });
}

async function load(): Promise<Loaded> {
  busy(() => say("loading"), 0);
  at("stop").hidden = true;
  const loaded = await Engine.open(folder, (share) => {
    if (!at("progress").hidden) at<HTMLProgressElement>("progress").value = share;
  }).catch((error: Error) => {
    throw new Error(say("not_loaded", { reason: error.message }));
  });
  card = loaded.card;
  writeTexts();
  return loaded;
}

at("no-host").remove();
chooseLanguage();
const loading = load();
loading.then(() => {
  document.documentElement.dataset.ready = "";
  if (!at("results").childElementCount && at("stop").hidden) idle(() => say("ready"));
}).catch(fail);

function take(files: Iterable<File>): void {
  const given = [...files], video = given.find(({ type }) => type.startsWith("video/"));
  if (video) void start((signal) => {
    if (given.length > 1) warn(say("video_alone", { file: video.name, files: count("files", given.length - 1) }));
    return watchVideo(loading, video, signal);
  });
  else if (given.length) void start((signal) => readPhotos(loading, given, signal));
}

at<HTMLInputElement>("files").addEventListener("change", ({ target }) => {
  const input = target as HTMLInputElement;
  take([...(input.files ?? [])]);
  input.value = ""; // so that the same file can be chosen again
});
at("camera").addEventListener("click", () => void start((signal) => useCamera(loading, signal)));
at("stop").addEventListener("click", stopMoving);
at("download").addEventListener("click", download);
addEventListener("paste", ({ clipboardData }) => take(clipboardData?.files ?? []));

const drop = at("drop");
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer?.files ?? []);
});
drop.addEventListener("dragenter", () => drop.classList.add("over"));
drop.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!drop.contains(relatedTarget as Node | null)) drop.classList.remove("over");
});

if ("serviceWorker" in navigator) navigator.serviceWorker.register(new URL("sw.js", folder)).catch(() => {});
