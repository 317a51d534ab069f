// The quiz's page: one face at a time; an answer is shown as given only when the server has saved it.

import { keep, recall, takeToken } from "./kept.js";

const KEYS = "1234567890-=";
const $ = (id) => document.getElementById(id);

let token = takeToken();
let quiz = null;      // what is asked: labels, totals, width and height of a face
let step = null;      // where this person stands; see Step in workflows/quiz/quiz_file.py
let waiting = null;   // the step of a name that has answers, until the person says whether it is theirs
let shownAt = null;   // when the face was seen; null while nothing may be answered
let images = {};    // promises of blob addresses by the face's address, the next face among them

// ---- the words: those of the data stay English, and a person's answer is a number

const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", fr: "Français", zh: "中文" };
const CHOSEN = "mien-language";  // as on the page that `mien page` writes
let messages = null;

const say = (key, values = {}) => messages[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
const emotion = (label) => messages.emotions[label] ?? label;

/** A message whose placeholders are elements. */
function fill(id, key, nodes) {
  const parts = messages[key].split(/(\{\w+\})/);
  $(id).replaceChildren(...parts.map((part) => (part.startsWith("{") ? nodes[part.slice(1, -1)] : part)));
}

function node(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

function preferred() {
  const wanted = [recall("localStorage", CHOSEN) ?? "", ...navigator.languages];
  return wanted.map((one) => one.slice(0, 2).toLowerCase()).find((one) => one in LANGUAGES) ?? "en";
}

/** One language after the other, so that the one chosen last stays. */
function speak(language) {
  speak.last = (speak.last ?? Promise.resolve()).catch(() => {}).then(() => translate(language));
  return speak.last;
}

async function translate(language) {
  const response = await fetch(`static/quiz.${language}.json`);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  messages = await response.json();
  document.documentElement.lang = language;
  document.title = say("title");
  for (const one of document.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of document.querySelectorAll("[data-label]")) one.setAttribute("aria-label", say(one.dataset.label));
}

// ---- talking to the server

async function call(path, values, method = "POST") {
  const query = values ? `?${new URLSearchParams(values)}` : "";
  const response = await fetch(path + query, { method, headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  if (response.status === 401) $("login").hidden = false;
  throw new Error(body?.error?.message ?? `the server answered ${response.status}`);
}

const ask = async (path, values, method) => (await call(path, values, method)).json();

function fail(error) {
  const text = error instanceof TypeError ? messages?.unreachable ?? "the server cannot be reached; try again" : error.message;
  $("problem").textContent = text[0].toUpperCase() + text.slice(1);
}

/** Runs one thing at a time; what goes wrong is told, and the page stays as it was. */
async function attempt(work) {
  if (attempt.busy) return;
  attempt.busy = true;
  $("problem").textContent = "";
  try {
    await work();
  } catch (error) {
    fail(error);
  } finally {
    attempt.busy = false;
  }
}

// ---- the face

/** Screen pixels a pixel of the face: a whole number, so that all of a face is scaled alike. */
function times() {
  const ratio = window.devicePixelRatio || 1;
  const room = Math.min($("quiz").clientWidth, 432, .48 * window.innerHeight) * ratio;
  return Math.max(1, Math.min(40, Math.floor(room / Math.max(quiz.width, quiz.height))));
}

const pathOf = (part, place) => `v1/faces/${part}/${place}?times=${times()}`;

function image(path) {
  images[path] ??= call(path, null, "GET").then((response) => response.blob()).then(URL.createObjectURL);
  images[path].catch(() => delete images[path]);
  return images[path];
}

async function showFace() {
  const { part, place, total } = step, face = $("face"), ratio = window.devicePixelRatio || 1;
  const path = pathOf(part, place);
  face.src = await image(path);
  face.width = times() * quiz.width / ratio;
  face.height = times() * quiz.height / ratio;
  await face.decode().catch(() => {});
  shownAt ??= performance.now();
  face.alt = say("face_n", { n: place + 1, total });
  for (const other of Object.keys(images).filter((one) => one !== path)) {
    images[other].then(URL.revokeObjectURL, () => {});
    delete images[other];
  }
  if (place + 1 < total) image(pathOf(part, place + 1));
}

// ---- the steps

async function show() {
  const { part, place, total, training, done } = step;
  shownAt = null;
  for (const name of ["start", "head", "quiz", "end"]) $(name).hidden = true;
  if (done) {
    $("saved").textContent = say("saved", { total, person: step.person });
    $("head").hidden = $("end").hidden = false;
    $("thanks").focus();
    forget();
    return;
  }
  $("quiz").hidden = false;
  $("told").textContent = "";
  $("next").hidden = true;
  for (const button of $("answers").children) {
    button.disabled = false;
    button.classList.remove("truth", "missed");
  }
  const what = say(part === "training" ? "example_n" : "n_of", { n: place + 1, total });
  $("status").textContent = `${what} · ${step.person}`;
  $("undo").disabled = part === "training" || place === 0;
  $("progress").max = quiz.totals.asked + training;
  $("progress").value = part === "training" ? place : training + place;
  await showFace();
  $("question").focus({ preventScroll: true });
}

async function begin() {
  const next = await ask("v1/begin", { person: $("person").value });
  const isOurs = recall("localStorage", `mien quiz ${quiz.id}`) === next.person;
  if (!quiz.names || isOurs || answered(next) === 0) {
    await goOn(next);
    return;
  }
  waiting = next;
  askWho();
  $("person").focus();
}

/** How many faces a person has answered, the examples among them. */
const answered = ({ part, place, training }) => (part === "training" ? place : training + place);

/** Whether someone is who has answered under this name, before that person's answers are changed. */
function askWho() {
  $("same").hidden = !waiting;
  const { person, training } = waiting ?? {};
  if (waiting) $("who").textContent = say("who", { person, n: answered(waiting), total: quiz.totals.asked + training });
}

async function goOn(next) {
  step = next;
  keep("localStorage", `mien quiz ${quiz.id}`, step.person);
  await show();
}

async function answer(label) {
  if (!$("next").hidden || step.done) return;
  if (shownAt === null) {  // the face could not be loaded before
    await show();
    return;
  }
  const ms = Math.round(performance.now() - shownAt), { person, part, place } = step;
  let next;
  try {
    next = await ask("v1/answer", { person, part, place, label, ms });
  } catch (error) {  // saved, but its reply was lost; or another window of this person went on
    const now = await ask("v1/begin", { person });
    if (now.part === part && now.place === place) throw error;
    next = { ...now, truth: null };
  }
  step = next;
  if (next.truth === null) await show();
  else tell(label, next.truth);
}

/** What the data set calls an example, until the person goes on. */
function tell(label, truth) {
  shownAt = null;
  const buttons = [...$("answers").children], [said, is] = [quiz.labels[label], quiz.labels[truth]].map(emotion);
  for (const button of buttons) button.disabled = true;
  buttons[truth].classList.add("truth");
  if (label !== truth) buttons[label].classList.add("missed");
  $("told").textContent = label === truth ? `✓ ${say("right", { truth: is })}` : `✗ ${say("wrong", { said, truth: is })}`;
  $("next").textContent = say(step.part === "training" ? "next_example" : "to_quiz");
  $("next").hidden = false;
  $("next").focus();
}

async function undo() {
  const { person, part, place } = step;
  if (!$("next").hidden || part === "training" || place === 0) return;
  step = await ask("v1/undo", { person });
  keep("localStorage", `mien quiz ${quiz.id}`, person);
  await show();
}

function forget() {  // who comes next at this browser is someone else
  keep("localStorage", `mien quiz ${quiz.id}`, null);
}

// ---- the page

async function open() {
  quiz = await ask("v1/quiz", null, "GET");
  $("login").hidden = true;
  write();
  const known = recall("localStorage", `mien quiz ${quiz.id}`) ?? "";
  $("person").required = quiz.names;
  $("person").value = known;
  named();
  $("start").hidden = false;
  (known || !quiz.names ? $("go") : $("person")).focus();
}

/** Everything on the page that depends on the quiz, in the language at hand. */
function write() {
  $("answers").replaceChildren(...quiz.labels.map((label, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "button" });
    const key = Object.assign(document.createElement("kbd"), { textContent: KEYS[i] ?? "" });
    key.setAttribute("aria-hidden", "true");
    button.append(key, emotion(label));
    button.addEventListener("click", () => attempt(() => answer(i)));
    return button;
  }));
  const [first, last] = [KEYS[0], KEYS[quiz.labels.length - 1] ?? "="].map((key) => node("kbd", key));
  fill("say", "say", { what: node("strong", say("what")) });
  fill("keys", "keys", { first, last, back: node("kbd", say("backspace")) });
  const { training, totals: { asked } } = quiz;
  $("plan").textContent = say(training ? "plan_examples" : "plan", { training, asked });
  $("person-label").textContent = say(quiz.names ? "name" : "name_before");
  if (step?.done) $("saved").textContent = say("saved", { total: step.total, person: step.person });
  named();
  askWho();
}

const named = () => { $("go").textContent = say($("person").value && !quiz?.names ? "go_on" : "begin"); };

$("person").addEventListener("input", () => {
  waiting = null;
  askWho();
  named();
});
$("same-go").addEventListener("click", () => attempt(() => goOn(waiting)));
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(begin);
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  keep("sessionStorage", "token", token);
  attempt(open);
});
$("next").addEventListener("click", () => attempt(show));
$("undo").addEventListener("click", () => attempt(undo));
$("reopen").addEventListener("click", () => attempt(undo));
document.addEventListener("keydown", (event) => {
  if (!step || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Backspace") {
    event.preventDefault();
    attempt(undo);
  } else if (KEYS.includes(event.key) && KEYS.indexOf(event.key) < quiz.labels.length) {
    attempt(() => answer(KEYS.indexOf(event.key)));
  }
});
$("languages").append(...Object.entries(LANGUAGES).map(([value, name]) => Object.assign(node("option", name), { value, lang: value })));
$("languages").value = preferred();
$("languages").addEventListener("change", ({ target }) => {  // also while something else is at work
  keep("localStorage", CHOSEN, target.value);
  speak(target.value).then(() => quiz && write()).catch(fail);
});
window.addEventListener("resize", () => { if (step && !step.done && shownAt !== null) attempt(showFace); });

attempt(async () => {
  await speak($("languages").value);
  await open();
});
