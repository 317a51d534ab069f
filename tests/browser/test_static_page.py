"""The page of `mien page` in Chromium: the numbers of `mien read`, offline, closed to other hosts."""

import csv
import http.server
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
pytest.importorskip("playwright", reason="needs playwright")
av = pytest.importorskip("av", reason="needs mien[video]")

import numpy as np
from PIL import Image
from playwright.sync_api import expect

import mien
from mien.workflows.page import ASSETS, worker_head, write_page

pytestmark = pytest.mark.browser

one_look = pytest.mark.parametrize("look", ["light"], indirect=True)
MOST_PIXELS, LONG_MS = 1, 300_000
MOST_PROB = 0.02  # a network in 8 bits makes steps of half a gray level that browser and Pillow differ by
LANGUAGES = {"en": "happy", "de": "Freude", "es": "alegría", "fr": "joie", "zh": "高兴"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files as any static host does, and says nothing."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


def hosted(folder: Path) -> http.server.ThreadingHTTPServer:
    """A plain static host of a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the page on a plain static host, and a function that ends the host."""
    folder = tmp_path_factory.mktemp("static") / "site"
    write_page(folder)
    server, ended = hosted(folder), []

    def end() -> None:
        if not ended:
            ended.append(True)
            server.shutdown()
            server.server_close()

    yield f"http://127.0.0.1:{server.server_address[1]}/", end
    end()


@pytest.fixture
def ready(page, site):
    """The page, when its networks are loaded."""
    page.goto(site[0])
    page.wait_for_selector("html[data-ready]")
    return page


def rows(page) -> list[dict[str, str]]:
    """The rows of the file that the page gives."""
    with page.expect_download() as download:
        page.locator("#download").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photos(module_at, tmp_path_factory):
    """The 20 made scenes and the two photographs, as files."""
    folder, tool = tmp_path_factory.mktemp("photos"), module_at("tools/page_golden.py")
    for i, scene in enumerate(tool.scenes()):
        Image.fromarray(tool.pixels(scene)).save(folder / f"scene-{i:02}.png")
    pytest.importorskip("skimage")
    matplotlib = pytest.importorskip("matplotlib")
    astronaut = Path(pytest.importorskip("skimage.data").__file__).parent / "astronaut.png"
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    for photo in (astronaut, hopper):
        shutil.copy(photo, folder)
    return sorted(folder.iterdir())


@one_look
def test_it_gives_the_numbers_of_mien_read(ready, photos):
    ready.set_input_files("#files", photos)
    expect(ready.locator("#status")).to_have_text(re.compile("^22 photos, "), timeout=LONG_MS)
    found = rows(ready)
    analyzer = mien.Analyzer(detector="one-stage")
    wanted = [(photo.name, reading) for photo in photos for reading in analyzer.read(photo) or [None]]
    assert [row["file"] for row in found] == [name for name, _ in wanted]
    for row, (name, reading) in zip(found, wanted, strict=True):
        if reading is None:
            assert set(list(row.values())[1:]) == {""}, name
            continue
        assert row["emotion"] == reading.emotion, name
        if abs(reading.confidence - reading.uncertain_below) > MOST_PROB:
            assert row["uncertain"] == str(reading.uncertain).lower(), name
        assert float(row["confidence"]) == pytest.approx(reading.confidence, abs=MOST_PROB), name
        for edge, value in reading.box.to_dict().items():
            assert float(row[edge]) == pytest.approx(value, abs=MOST_PIXELS), name
        for label, prob in reading.probabilities.items():
            assert float(row[f"p_{label}"]) == pytest.approx(prob, abs=MOST_PROB), name


def test_a_photo_shows_boxes_and_bars(ready, photo, keep):
    ready.set_input_files("#files", photo)
    expect(ready.locator("#status")).to_have_text("1 photo, 1 face.")
    expect(ready.get_by_role("heading", name="Face 1: happy")).to_be_visible()
    expect(ready.locator(".people li")).to_have_count(7)
    expect(ready.get_by_role("img", name="astronaut.png, with 1 face marked")).to_be_visible()
    keep("static-photo")


@one_look
def test_it_speaks_five_languages_and_the_data_one(ready, photo):
    ready.set_input_files("#files", photo)
    expect(ready.locator("#rows")).to_be_visible(timeout=LONG_MS)
    for tag, word in LANGUAGES.items():
        ready.locator("#languages").select_option(tag)
        expect(ready.locator(".people h3")).to_contain_text(word)
        assert ready.evaluate("document.documentElement.lang") == tag
        assert all(ready.locator("[data-say]").all_inner_texts())
        assert re.findall(r"\{\w+\}|undefined", ready.inner_text("body")) == []
        assert [row["emotion"] for row in rows(ready)] == ["happy"]
    ready.reload()
    assert ready.evaluate("document.documentElement.lang") == "zh"


@one_look
def test_a_video_shows_a_line_through_time(ready, clip, keep):
    ready.set_input_files("#files", clip)
    expect(ready.locator("#status")).to_have_text("20 frames, 1 person.", timeout=LONG_MS)
    expect(ready.get_by_role("img", name=re.compile("^Person 1 over time; happy"))).to_be_visible()
    keep("static-video")
    found = rows(ready)
    assert [row["frame"] for row in found] == [str(i) for i in range(20)]
    assert {(row["track"], row["label"]) for row in found} == {("1", "happy")}
    moved = float(found[-1]["x1"]) - float(found[0]["x1"])
    assert moved == pytest.approx(3 * 19, abs=6)


@one_look
def test_files_beside_a_video_are_said_to_be_left_out(ready, clip, photo):
    ready.set_input_files("#files", [photo, clip])
    expect(ready.locator("#problem")).to_have_text("A video is read by itself: clip.mp4. Left out: 1 file")
    expect(ready.locator("#status")).to_have_text("20 frames, 1 person.", timeout=LONG_MS)


@pytest.mark.parametrize("look", ["phone"], indirect=True)
def test_the_camera_shows_boxes_until_it_is_stopped(ready, keep):
    ready.locator("#camera").click()
    expect(ready.locator("#status")).to_have_text(
        re.compile(r"Camera on, person \d+: happy"), timeout=LONG_MS
    )
    expect(ready.locator("figcaption")).to_have_text(re.compile(r"^[\d.]+ frames a second$"))
    keep("static-camera")
    ready.locator("#stop").click()
    expect(ready.locator("#status")).to_have_text("The camera is off.")
    expect(ready.locator("#rows")).to_be_visible()
    assert not ready.evaluate("document.querySelector('video').srcObject.active")
    assert "happy" in {row["label"] for row in rows(ready)}


@one_look
def test_a_camera_that_is_unplugged_is_told_and_its_rows_are_kept(ready):
    ready.locator("#camera").click()
    expect(ready.locator("#status")).to_have_text(re.compile("Camera on, person"), timeout=LONG_MS)
    ready.evaluate("document.querySelector('video').srcObject.getTracks()[0].stop()")
    expect(ready.get_by_role("alert")).to_contain_text("The camera is gone")
    expect(ready.locator("#stop")).to_be_hidden()
    assert rows(ready)


TURNED = """() => {
  window.video = document.querySelector("video");
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  window.sizes = [];
  CanvasRenderingContext2D.prototype.drawImage = function (image, ...place) {
    if (image === video) sizes.push([this.canvas.width, this.canvas.height]);
    return draw.call(this, image, ...place);
  };
  for (const [name, value] of [["videoWidth", 300], ["videoHeight", 480]])
    Object.defineProperty(video, name, {get: () => value});
}"""


@one_look
def test_a_phone_that_is_turned_gets_frames_of_the_new_shape(ready):
    ready.locator("#camera").click()
    expect(ready.locator("#status")).to_have_text(re.compile("Camera on, person"), timeout=LONG_MS)
    ready.evaluate(TURNED)
    ready.evaluate("(async () => { while (sizes.length < 2) await new Promise(requestAnimationFrame); })()")
    assert ready.evaluate("sizes.at(-1)") == [300, 480]


HELD_SEEK = """
  const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
  let n = 0;
  function set(value) {
    window.release = () => time.set.call(this, value);
    if (++n <= 5) release();
  }
  Object.defineProperty(HTMLMediaElement.prototype, "currentTime", {get: time.get, set});"""
EARLY_SEEKED = """
  const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
  function set(value) {
    time.set.call(this, value);
    queueMicrotask(() => this.dispatchEvent(new Event("seeked")));
  }
  Object.defineProperty(HTMLMediaElement.prototype, "currentTime", {get: time.get, set});"""
IMPATIENT = """
  const later = setTimeout;
  window.setTimeout = (work, ms, ...given) => later(work, ms > 10_000 ? 2000 : ms, ...given);"""


@one_look
def test_the_camera_is_not_asked_for_while_nothing_can_read_it(page, site, held_camera):
    page.route("**/worker.js", lambda route: route.abort())
    page.goto(site[0])
    expect(page.get_by_role("alert")).to_contain_text("The networks cannot be loaded: ")
    page.locator("#camera").click()
    expect(page.get_by_role("alert")).to_contain_text("The networks cannot be loaded: ")
    expect(page.locator("#stop")).to_be_hidden()
    assert page.evaluate("asked.length") == 0


@one_look
def test_the_camera_goes_off_when_its_images_cannot_be_read(page, site, held_camera):
    page.add_init_script(
        "CanvasRenderingContext2D.prototype.getImageData = () => { throw Error('no room'); }"
    )
    page.goto(site[0])
    page.locator("#camera").click()
    held_camera.allow()
    expect(page.get_by_role("alert")).to_have_text("no room")
    assert held_camera.active() == 0


@one_look
def test_the_camera_goes_off_also_when_stopped_while_the_browser_asks(page, site, held_camera):
    page.goto(site[0])
    page.locator("#camera").click()
    expect(page.locator("#status")).to_have_text("Asking for the camera")
    page.locator("#stop").click()
    held_camera.allow()
    assert held_camera.active() == 0
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.locator("#stop")).to_be_hidden()


@one_look
def test_a_video_that_is_stopped_or_stands_still_keeps_the_rows_read_so_far(page, site, clip):
    page.add_init_script(HELD_SEEK)
    page.goto(site[0])
    page.set_input_files("#files", clip)
    expect(page.locator("#status")).to_have_text("Watching clip.mp4: 0.4 s")
    page.locator("#stop").click()
    assert [row["frame"] for row in rows(page)] == list("01234")
    page.add_init_script(IMPATIENT)
    page.reload()
    page.set_input_files("#files", clip)
    expect(page.get_by_role("alert")).to_have_text(
        "clip.mp4 cannot be read from 0.5 s on; it is cut off or damaged"
    )
    assert [row["frame"] for row in rows(page)] == list("01234")


@one_look
def test_each_frame_of_a_video_is_read_at_its_own_time(page, site, clip):
    page.add_init_script(EARLY_SEEKED)  # as it comes now and then: before the frame is there
    page.goto(site[0])
    page.set_input_files("#files", clip)
    expect(page.locator("#status")).to_have_text("20 frames, 1 person.", timeout=LONG_MS)
    moved = [float(row["x1"]) for row in rows(page)]
    assert moved[-1] - moved[0] == pytest.approx(3 * 19, abs=2)


@one_look
def test_a_damaged_video_is_told(ready, clip, tmp_path):
    data = bytearray(clip.read_bytes())
    data[len(data) // 4 : len(data) // 2] = b"\xff" * (len(data) // 2 - len(data) // 4)
    (tmp_path / "damaged.mp4").write_bytes(data)
    ready.set_input_files("#files", tmp_path / "damaged.mp4")
    expect(ready.get_by_role("alert")).to_contain_text("damaged.mp4 cannot be read from ")
    expect(ready.locator("#stop")).to_be_hidden()


@one_look
def test_the_rows_of_a_video_do_not_come_back_when_the_camera_is_on(page, site, clip, held_camera):
    page.add_init_script(HELD_SEEK)
    page.goto(site[0])
    page.set_input_files("#files", clip)
    expect(page.locator("#status")).to_have_text("Watching clip.mp4: 0.4 s")
    page.locator("#camera").click()
    page.evaluate("release()")
    held_camera.allow()
    expect(page.locator("#status")).to_have_text(re.compile("Camera on, "))
    expect(page.locator("#rows")).to_be_hidden()


@one_look
def test_photos_that_are_stopped_keep_what_was_read(ready, photo, tmp_path):
    photos = [tmp_path / f"{i}.png" for i in range(9)]
    for path in photos:
        shutil.copy(photo, path)
    ready.set_input_files("#files", photos)
    expect(ready.locator(".card").first).to_be_visible()
    ready.locator("#stop").click()
    found = [row["file"] for row in rows(ready)]
    assert found == [path.name for path in photos[: len(found)]]


@one_look
def test_photos_without_a_face_or_that_cannot_be_read_have_a_row_each(ready, photo, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    Image.new("RGB", (90, 90)).save(tmp_path / "black.png")
    shutil.copy(photo, tmp_path / "face.png")
    ready.set_input_files("#files", [tmp_path / name for name in ("bad.jpg", "black.png", "face.png")])
    expect(ready.locator("#status")).to_have_text("3 photos, 1 face.", timeout=LONG_MS)
    found = rows(ready)
    assert [(row["file"], row["face"]) for row in found] == [
        ("bad.jpg", ""),
        ("black.png", ""),
        ("face.png", "1"),
    ]
    assert [row["p_happy"] for row in found[:2]] == ["", ""]
    assert float(found[2]["p_happy"]) > 0.5


@one_look
def test_a_long_table_says_at_once_that_the_file_has_all_rows(ready, astronaut, tmp_path):
    face = Image.fromarray(astronaut[20:220, 120:320]).resize((128, 128))
    with av.open(str(tmp_path / "crowd.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 384, "yuv420p"
        crowd = av.VideoFrame.from_ndarray(np.tile(np.asarray(face), (3, 5, 1)), format="rgb24")
        for packet in [*(packet for _ in range(15) for packet in stream.encode(crowd)), *stream.encode()]:
            container.mux(packet)
    ready.set_input_files("#files", tmp_path / "crowd.mp4")
    expect(ready.locator("#rows-note")).to_contain_text(
        re.compile(r"^The first 200 of 2\d\d rows"), timeout=LONG_MS
    )


@one_look
def test_the_page_works_where_site_data_are_blocked(page, site, no_site_data):
    page.goto(site[0])
    page.wait_for_selector("html[data-ready]")
    page.locator("#languages").select_option("de")
    expect(page.locator("#camera")).to_have_text("Kamera benutzen")


INSTALL = """async () => {
  const registered = await navigator.serviceWorker.register("sw.js");
  await registered.update();
  const isActive = () => registered.active?.state === "activated";
  const isOver = () => !registered.installing && !registered.waiting && isActive();
  while (!isOver()) await new Promise((done) => setTimeout(done, 20));
}"""
KEPT = """async () => {
  const names = await caches.keys();
  return Promise.all(names.map(async (name) => {
    return (await (await caches.open(name)).match("data.txt")).text();
  }));
}"""


@one_look
def test_pages_on_one_host_keep_their_own_files_for_use_offline(page, tmp_path):
    def write(name: str, text: str, age: int) -> None:
        files = {"index.html": text.encode()}
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "index.html").write_bytes(files["index.html"])
        (tmp_path / name / "sw.js").write_bytes(worker_head(files) + (ASSETS / "sw.js").read_bytes())
        os.utime(tmp_path / name / "sw.js", (0, 1e9 + age))  # hosts tell versions apart by the whole second

    server = hosted(tmp_path)
    wait = (
        "navigator.serviceWorker.register('sw.js').then(() => navigator.serviceWorker.ready).then(() => true)"
    )
    for age, (name, text) in enumerate((("a", "one"), ("a/b", "one"), ("c", "one"), ("a", "two"))):
        write(name, text, age)
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/{name}/")
        page.evaluate(wait)
    page.wait_for_function("caches.keys().then((names) => names.length === 3)")
    kept = page.evaluate("caches.keys().then((names) => names.map((name) => name.split(' ')[1]).sort())")
    assert kept == ["/a/", "/a/b/", "/c/"]
    server.shutdown()
    server.server_close()


@one_look
def test_a_new_page_replaces_files_that_the_browser_itself_had_cached(page, tmp_path):
    server, seen = hosted(tmp_path), []
    for age, text in enumerate(("old", "new")):
        files = {"index.html": text.encode(), "data.txt": text.encode()}
        for name, data in {**files, "sw.js": worker_head(files) + (ASSETS / "sw.js").read_bytes()}.items():
            (tmp_path / name).write_bytes(data)
            os.utime(tmp_path / name, (0, 1e9 + age))  # so long ago that a browser takes them to be fresh
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        page.evaluate("fetch('data.txt').then((answer) => answer.text())")
        page.evaluate(f"({INSTALL})()")
        seen += page.evaluate(f"({KEPT})()")
    assert seen == ["old", "new"]
    server.shutdown()
    server.server_close()


@one_look
def test_what_cannot_be_read_is_said_and_the_rest_is_read(ready, photo, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    ready.set_input_files("#files", tmp_path / "broken.png")
    expect(ready.get_by_role("alert")).to_contain_text("broken.png cannot be read as an image")
    ready.set_input_files("#files", [tmp_path / "broken.png", photo])
    expect(ready.locator("#status")).to_have_text("2 photos, 1 face.")
    expect(ready.locator("#results")).to_contain_text("broken.png cannot be read as an image")


@one_look
def test_a_photo_is_not_blamed_for_a_failure_of_the_computation(page, site, photo):
    page.add_init_script("""
      const post = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (asked, ...given) {
        if (asked.kind !== "read") return post.call(this, asked, ...given);
        const data = {id: asked.id, error: "failed to allocate"};
        this.dispatchEvent(new MessageEvent("message", {data}));
      };""")
    page.goto(site[0])
    page.set_input_files("#files", photo)
    expect(page.get_by_role("alert")).to_have_text("astronaut.png was not read: failed to allocate")


def test_a_page_opened_as_a_file_says_how_to_open_it(chromium, tmp_path):
    write_page(tmp_path / "site")
    page = chromium.new_page()
    page.goto((tmp_path / "site" / "index.html").as_uri())
    expect(page.locator("#no-host")).to_contain_text("python -m http.server")
    page.close()


REACH = """async (address) => {
  const inside = "onmessage = ({data}) => "
    + "fetch(data).then(() => postMessage('reached'), () => postMessage('refused'))";
  const worker = new Worker(URL.createObjectURL(new Blob([inside], {type: "text/javascript"})));
  const answer = new Promise((resolve) => { worker.onmessage = ({data}) => resolve(data); });
  worker.postMessage(address);
  return [await fetch(address).then(() => "reached", () => "refused"), await answer];
}"""


def test_neither_the_page_nor_its_worker_can_reach_another_host(chromium, site):
    page = chromium.new_page()
    page.goto(site[0])
    other = site[0].replace("127.0.0.1", "localhost")
    assert page.evaluate(REACH, other) == ["refused", "refused"]
    assert page.evaluate(REACH, site[0]) == ["reached", "reached"]
    page.close()


@one_look
def test_everything_is_reached_by_keyboard_and_has_a_name(ready):
    names = []
    for _ in range(4):
        ready.keyboard.press("Tab")
        names.append(ready.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert names == ["Skip to the results", "languages", "files", "camera"]
    unnamed = ready.evaluate(
        "[...document.querySelectorAll('button, select, input, progress')].filter(e =>"
        " !e.textContent.trim() && !e.labels?.length && !e.getAttribute('aria-label')).map(e => e.id)"
    )
    assert unnamed == []


@one_look
def test_it_works_without_its_host_after_the_first_visit(page, site, photo):  # the last: it ends the host
    address, end = site
    page.goto(address)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    version = page.evaluate("caches.keys()")
    assert len(version) == 1
    files = json.loads(page.evaluate("fetch('files.json').then((answer) => answer.text())"))
    assert "runtime.gz" in files
    end()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#files", photo)
    expect(page.locator("#status")).to_have_text("1 photo, 1 face.")
