// The quiz's page: one face at a time; an answer is shown as given only when the server has saved it.

const KEYS = "1234567890-=";
const $ = (id) => document.getElementById(id);

let token = takeToken();
let quiz = null;      // what is asked: labels, totals, width and height of a face
let step = null;      // where this person stands; see Step in workflows/quiz/quiz_file.py
let shownAt = null;   // when the face was seen; null while nothing may be answered
let images = {};    // promises of blob addresses by the face's address, the next face among them

// ---- talking to the server

function takeToken() {  // as on the page of `mien serve`
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return given ?? sessionStorage.getItem("token");
}

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
  const text = error instanceof TypeError ? "the server cannot be reached: nothing is lost; try again" : error.message;
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
  face.alt = `Face ${place + 1} of ${total}`;
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
    $("saved").textContent = `All ${total} answers of ${step.person} are saved. You can close this page.`;
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
  const what = part === "training" ? `Example ${place + 1} of ${total}` : `${place + 1} of ${total}`;
  $("status").textContent = `${what} · ${step.person}`;
  $("undo").disabled = part === "training" || place === 0;
  $("progress").max = quiz.totals.asked + training;
  $("progress").value = part === "training" ? place : training + place;
  await showFace();
  $("question").focus({ preventScroll: true });
}

async function begin() {
  step = await ask("v1/begin", { person: $("person").value });
  localStorage.setItem(`mien quiz ${quiz.id}`, step.person);
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
  const buttons = [...$("answers").children], [said, is] = [quiz.labels[label], quiz.labels[truth]];
  for (const button of buttons) button.disabled = true;
  buttons[truth].classList.add("truth");
  if (label !== truth) buttons[label].classList.add("missed");
  $("told").textContent = label === truth ? `✓ The data set says ${is} too.` : `✗ You said ${said}; the data set says ${is}.`;
  $("next").textContent = step.part === "training" ? "Next example" : "On to the quiz";
  $("next").hidden = false;
  $("next").focus();
}

async function undo() {
  const { person, part, place } = step;
  if (!$("next").hidden || part === "training" || place === 0) return;
  step = await ask("v1/undo", { person });
  localStorage.setItem(`mien quiz ${quiz.id}`, person);
  await show();
}

function forget() {  // who comes next at this browser is someone else
  localStorage.removeItem(`mien quiz ${quiz.id}`);
}

// ---- the page

async function open() {
  quiz = await ask("v1/quiz", null, "GET");
  $("login").hidden = true;
  $("answers").replaceChildren(...quiz.labels.map((label, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "button" });
    const key = Object.assign(document.createElement("kbd"), { textContent: KEYS[i] ?? "" });
    key.setAttribute("aria-hidden", "true");
    button.append(key, label);
    button.addEventListener("click", () => attempt(() => answer(i)));
    return button;
  }));
  $("last").textContent = KEYS[quiz.labels.length - 1] ?? "=";
  const examples = quiz.training ? `First ${quiz.training} examples, whose label you are told after you answered. Then ` : "";
  $("plan").textContent = `${examples}${quiz.totals.asked} faces, one at a time.`.replace(/^./, (c) => c.toUpperCase());
  const known = localStorage.getItem(`mien quiz ${quiz.id}`) ?? "";
  $("person-label").textContent = quiz.names ? "Your name, also to go on later" : "Your name from before; leave it empty to begin again";
  $("person").required = quiz.names;
  $("person").value = known;
  named();
  $("start").hidden = false;
  (known || !quiz.names ? $("go") : $("person")).focus();
}

const named = () => { $("go").textContent = $("person").value && !quiz?.names ? "Go on" : "Begin"; };

$("person").addEventListener("input", named);
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(begin);
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
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
window.addEventListener("resize", () => { if (step && !step.done && shownAt !== null) attempt(showFace); });

attempt(open);
