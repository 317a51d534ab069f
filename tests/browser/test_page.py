import csv
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
pytest.importorskip("playwright", reason="needs playwright")
pytest.importorskip("av", reason="needs mien[video]")

from playwright.sync_api import expect

import mien

pytestmark = pytest.mark.browser

HAPPY = (240, 228, 66)
one_look = pytest.mark.parametrize("look", ["light"], indirect=True)

SEEK = """time => new Promise((done) => {
  const video = document.querySelector("video");
  video.addEventListener("seeked", () => requestAnimationFrame(() => done()), {once: true});
  video.currentTime = time;
})"""
COUNT = """([canvas, rgb]) => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let n = 0;
  for (let i = 0; i < data.length; i += 4)
    n += data[i + 3] > 200 && rgb.every((value, j) => Math.abs(data[i + j] - value) < 3);
  return n;
}"""


STOPPABLE = """
  const fetched = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await fetched(path, options);
    if (!/rows$/.test(path)) return answer;
    const endless = new TransformStream({flush: () => new Promise(() => {})});  // so that it can be stopped
    return new Response(answer.body.pipeThrough(endless));
  };"""


def coloured(page, selector: str, rgb=HAPPY) -> int:
    """Pixels of a canvas that have a colour."""
    return page.evaluate(COUNT, [page.query_selector(selector), list(rgb)])


def table(page) -> list[dict[str, str]]:
    """The rows of the file that the page gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_photo_shows_boxes_and_bars_and_the_numbers_of_the_library(page, address, photo, keep):
    (reading,) = mien.read(photo)
    page.goto(address)
    page.set_input_files("#files", photo)
    expect(page.get_by_role("status")).to_have_text("1 photo, 1 face.")
    face = page.get_by_role("region", name="Results").locator(".people section")
    expect(face.get_by_role("heading")).to_have_text("Face 1: happy")
    expect(face.get_by_role("listitem")).to_have_count(7)
    expect(face.get_by_role("listitem").filter(has_text="happy")).to_contain_text(
        f"{reading.confidence:.0%}"[:-1]
    )
    assert coloured(page, ".stage canvas") > 500
    keep("photo")
    (row,) = table(page)
    assert row["emotion"] == "happy"
    assert float(row["p_happy"]) == pytest.approx(reading.confidence, abs=1e-4)
    assert float(row["x1"]) == pytest.approx(reading.box.x1, abs=0.01)


def test_a_video_shows_a_line_through_time_and_leaves_no_file(page, address, clip, keep, temporary):
    page.goto(address)
    page.set_input_files("#files", clip)
    expect(page.get_by_role("status")).to_have_text("20 frames, 1 person.")
    band = page.get_by_role("img", name=re.compile("^Person 1 over time; happy"))
    expect(band).to_be_visible()
    assert coloured(page, ".person canvas") > 1000
    page.evaluate(SEEK, 1)
    assert coloured(page, ".stage canvas") > 300
    keep("video")
    rows = table(page)
    assert [row["frame"] for row in rows] == [str(i) for i in range(20)]
    assert {row["label"] for row in rows} == {"happy"}
    assert [path for path in temporary.rglob("*") if path.name in ("video", "rows.jsonl")] == []


def test_the_camera_shows_boxes_at_once_until_it_is_stopped(page, address, keep):
    page.goto(address)
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Camera on, person \d+: happy"))
    page.wait_for_timeout(2000)
    expect(page.get_by_role("img", name=re.compile("^Person 1 over time"))).to_be_visible()
    assert coloured(page, ".stage canvas") > 300
    keep("camera")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("The camera is off.")
    assert not page.evaluate("document.querySelector('video').srcObject.active")
    assert "happy" in {row["label"] for row in table(page)}


@one_look
def test_a_camera_that_is_unplugged_ends_with_its_rows(page, address, held_camera):
    page.goto(address)
    page.locator("#camera").click()
    held_camera.allow()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Camera on, person \d+: happy"))
    page.evaluate("streams[0].then((one) => one.getVideoTracks()[0].dispatchEvent(new Event('ended')))")
    expect(page.locator("#problem")).to_have_text(re.compile("^The camera is gone; see whether"))
    expect(page.get_by_role("status")).to_have_text("The camera is off.")
    assert held_camera.active() == 0
    assert "happy" in {row["label"] for row in table(page)}


@one_look
def test_a_camera_that_is_turned_is_seen_as_it_is(page, address):
    page.add_init_script("""
      window.sizes = [];
      const seen = document.createElement("canvas");
      window.turn = (width, height) => {
        Object.assign(seen, { width, height }).getContext("2d").fillRect(0, 0, 9, 9);
      };
      navigator.mediaDevices.getUserMedia = async () => {
        turn(320, 240);
        setInterval(() => turn(seen.width, seen.height), 50);
        return seen.captureStream(20);
      };
      const toBlob = HTMLCanvasElement.prototype.toBlob;
      HTMLCanvasElement.prototype.toBlob = function (...given) {
        sizes.push([this.width, this.height]);
        return toBlob.apply(this, given);
      };""")
    page.goto(address)
    page.locator("#camera").click()
    for size in ([320, 240], [240, 320]):
        page.evaluate("([width, height]) => turn(width, height)", size)
        page.wait_for_function("([w, h]) => sizes.at(-1)?.[0] === w && sizes.at(-1)[1] === h", arg=size)
    page.locator("#stop").click()


@one_look
def test_a_long_camera_says_which_rows_it_dropped(page, address):
    app = (Path(mien.__file__).parent / "web" / "static" / "app.js").read_text("utf-8")
    assert "MOST_LIVE_ROWS = 50_000" in app
    fewer = app.replace("MOST_LIVE_ROWS = 50_000", "MOST_LIVE_ROWS = 5")
    page.route("**/app.js", lambda route: route.fulfill(body=fewer, content_type="text/javascript"))
    page.goto(address)
    page.locator("#camera").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Camera on, person"))
    page.wait_for_timeout(3000)
    page.locator("#stop").click()
    note = page.locator("#rows-note").inner_text()
    said = re.fullmatch(r"(\d+) earlier rows?, before (\d+) s, (?:was|were) dropped\.", note)
    rows = table(page)
    assert len(rows) == 5
    assert int(said[1]) > 0
    assert float(said[2]) == pytest.approx(float(rows[0]["time_s"]), abs=1)


@one_look
def test_photos_beside_a_video_are_said_to_be_left_out(page, address, clip, photo):
    page.goto(address)
    page.set_input_files("#files", [clip, photo])
    left_out = f"A video is watched by itself: clip.mp4. Left out: {Path(photo).name}"
    expect(page.locator("#problem")).to_have_text(left_out)


@one_look
def test_a_video_can_be_stopped(page, address, clip, temporary):
    page.goto(address)
    page.route("**/rows", lambda route: None)  # its rows never come
    page.set_input_files("#files", clip)
    expect(page.get_by_role("status")).to_have_text("Waiting for the first frames of clip.mp4")
    with page.expect_request(lambda request: request.method == "DELETE") as asked:
        page.get_by_role("button", name="Stop").click()
    assert asked.value.response().status == 204
    expect(page.get_by_role("status")).to_have_text("Stopped.")


@one_look
def test_the_camera_goes_off_also_when_stopped_while_the_browser_asks(page, address, held_camera):
    page.goto(address)
    page.locator("#camera").click()
    page.locator("#stop").click()
    held_camera.allow()
    assert held_camera.active() == 0
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    page.locator("#camera").click()
    page.locator("#camera").click()
    held_camera.allow()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Camera on, "))
    assert held_camera.active() == 1
    page.locator("#stop").click()
    assert held_camera.active() == 0
    expect(page.get_by_role("status")).to_have_text("The camera is off.")


@one_look
def test_a_video_that_is_stopped_keeps_the_rows_that_came(page, address, clip):
    page.add_init_script(STOPPABLE)
    page.goto(address)
    page.set_input_files("#files", clip)
    expect(page.get_by_role("status")).to_have_text("Watching clip.mp4: 1.9 s")
    page.locator("#stop").click()
    assert [row["frame"] for row in table(page)] == [str(i) for i in range(20)]
    expect(page.locator(".person h3")).to_contain_text("on average happy")


@one_look
def test_photos_that_are_stopped_keep_what_was_read_until_others_are_chosen(page, address, photo, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(photo.read_bytes())
    asked = []
    page.route("**/v1/read", lambda route: asked.append(route) or (len(asked) < 2 and route.continue_()))
    page.goto(address)
    page.set_input_files("#files", [tmp_path / "a.png", tmp_path / "b.png"])
    expect(page.get_by_role("status")).to_have_text("Reading b.png")
    page.locator("#stop").click()
    assert [row["file"] for row in table(page)] == ["a.png"]
    page.set_input_files("#files", tmp_path / "b.png")
    expect(page.get_by_role("status")).to_have_text("Reading b.png")
    expect(page.locator("#rows")).to_be_hidden()


@one_look
def test_a_video_is_read_in_a_hidden_tab_too(page, address, clip):
    page.add_init_script("window.requestAnimationFrame = () => 0")  # as browsers do there
    page.goto(address)
    page.set_input_files("#files", clip)
    expect(page.get_by_role("status")).to_have_text("20 frames, 1 person.")


@one_look
def test_everything_is_reached_by_keyboard(page, address, photo):
    with page.expect_file_chooser() as chooser:  # asked for long before the key is pressed
        page.goto(address)
        names = []
        for _ in range(3):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert names == ["Skip to the results", "files", "camera"]
        page.locator("#files").focus()
        page.keyboard.press("Space")
    chooser.value.set_files(photo)
    expect(page.get_by_role("status")).to_have_text("1 photo, 1 face.")
    page.get_by_role("button", name="Use the camera").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"


@one_look
def test_what_goes_wrong_is_said(page, address, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.goto(address)
    page.set_input_files("#files", tmp_path / "broken.png")
    expect(page.get_by_role("alert")).to_contain_text("is not an image of a known format")
    page.route("**/v1/read", lambda route: route.abort())
    page.set_input_files("#files", tmp_path / "broken.png")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached")


@one_look
def test_a_page_that_lacks_the_token_asks_for_it(page, locked_address, photo):
    page.goto(locked_address)
    expect(page.get_by_role("alert")).to_contain_text("A token is needed")
    page.get_by_label("This server asks for a token").fill("a-secret-token")
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_contain_text("fer2013-medium")
    page.set_input_files("#files", photo)
    expect(page.get_by_role("status")).to_have_text("1 photo, 1 face.")
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Camera on, person \d+"))
    page.get_by_role("button", name="Stop").click()


@one_look
def test_the_token_of_the_address_is_taken_and_hidden(page, locked_address):
    page.goto(f"{locked_address}/#token=a-secret-token")
    expect(page.locator("#model")).to_contain_text("fer2013-medium")
    assert page.url == f"{locked_address}/"


@one_look
def test_the_page_works_where_site_data_are_blocked(page, locked_address, photo, no_site_data):
    page.goto(f"{locked_address}/#token=a-secret-token")
    expect(page.locator("#model")).to_contain_text("fer2013-medium")
    page.set_input_files("#files", photo)
    expect(page.get_by_role("status")).to_have_text("1 photo, 1 face.")


@one_look
def test_a_file_name_cannot_become_markup_or_a_formula(page, address, photo, tmp_path):
    name = '=1+1,"<img src=x onerror=alert(1)>.png'
    (tmp_path / name).write_bytes(photo.read_bytes())
    page.goto(address)
    page.set_input_files("#files", tmp_path / name)
    expect(page.locator("figcaption")).to_contain_text("<img src=x")
    assert table(page)[0]["file"] == f"'{name}"
