"""The page of `mien page` in Chromium: its size, its first answer, and camera frames a second.

    python benchmarks/page.py [SECONDS [SCREENSHOTS]]

Serves the page on this machine, reads a photo of 512 x 512 pixels twice, lets a made camera of 30 frames a
second run for so many seconds (20), and visits the page again after its host has ended. The limits: 15 MB,
3 s from ready to the first answer, 10 frames a second of 320 pixels. Beside seconds on the clock stand those
of processor by all of Chromium's processes, which hold on a busy machine too. With a folder for them,
screenshots of each state are written, 390 and 1200 pixels wide. Needs Playwright, PyAV and Chromium.
"""

import http.server
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from typing import Any

import av
import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from skimage import data

from mien.workflows.page import write_page

MOST_BYTES, MOST_FIRST_S, LEAST_FRAMES_S = 15e6, 3.0, 10.0
LONG_MS = 600_000
WIDTHS = (390, 1200)
RATE = re.compile(r"^[\d.]+ ")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files as any static host does, and says nothing."""

    def log_message(self, *args: object) -> None:
        """Nothing."""


def main(seconds: str = "20", screenshots: str = "") -> None:
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        page_bytes = write_page(base / "site").n_bytes
        compare("whole download", page_bytes / 1e6, MOST_BYTES / 1e6, "MB", most=True)
        photo, clip = base / "photo.png", base / "clip.mp4"
        Image.fromarray(data.astronaut()).save(photo)
        write_video(clip, "libx264", "yuv420p", 10)
        write_video(base / "camera.mjpeg", "mjpeg", "yuvj420p", 30)
        with served(base / "site") as (address, end), chromium(base / "camera.mjpeg") as browser:
            measure(browser, address, photo, float(seconds))
            if screenshots:
                (base / "broken.png").write_bytes(b"no image")
                take_screenshots(browser, address, [photo, clip, base / "broken.png"], Path(screenshots))
            check_offline(browser, address, end, photo)


def measure(browser: Browser, address: str, photo: Path, seconds: float) -> None:
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    with spent() as loading:
        page.goto(address)
        page.wait_for_selector("html[data-ready]", timeout=LONG_MS)
    print(f"  address to ready    {loading[0]:6.2f} s on the clock, {loading[1]:.2f} s of processor")
    for name in ("first answer", "second answer"):
        with spent() as answer:
            read(page, photo)
        print(f"  {name:<19} {answer[0]:6.2f} s on the clock, {answer[1]:.2f} s of processor")
        if name == "first answer":
            compare("first answer", answer[0], MOST_FIRST_S, "s", most=True)
            compare("first answer, of processor", answer[1], MOST_FIRST_S, "s", most=True)
    page.click("#camera")
    page.locator("figcaption", has_text=RATE).wait_for(timeout=LONG_MS)
    before = worker_cpu_s()
    with spent() as camera:
        sleep(seconds)
    rate = float(page.inner_text("figcaption").split()[0])
    compare("camera", rate, LEAST_FRAMES_S, "frames/s", most=False)
    ms = 1e3 * (worker_cpu_s() - before) / (rate * camera[0])
    compare("its worker alone, of processor", ms, 1e3 / LEAST_FRAMES_S, "ms a frame", most=True)
    print(f"  all of Chromium meanwhile: {camera[1] / camera[0]:.2f} cores")
    page.context.close()


def check_offline(browser: Browser, address: str, end: Callable[[], None], photo: Path) -> None:
    page = browser.new_context().new_page()
    page.goto(address)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    end()
    page.reload()
    page.wait_for_selector("html[data-ready]", timeout=LONG_MS)
    read(page, photo)
    print("  read a photo after its host had ended: ok")
    page.context.close()


def take_screenshots(browser: Browser, address: str, files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        page = browser.new_context(viewport={"width": width, "height": 844}).new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", timeout=LONG_MS)
        page.screenshot(path=folder / f"{width}-empty.png", full_page=True)
        for path in files:
            page.set_input_files("#files", path)
            page.wait_for_selector("#rows:not([hidden]), [role=alert]:not(:empty)", timeout=LONG_MS)
            page.wait_for_selector("progress", state="hidden", timeout=LONG_MS)
            page.screenshot(path=folder / f"{width}-{path.stem}.png", full_page=True)
            page.reload()
            page.wait_for_selector("html[data-ready]", timeout=LONG_MS)
        page.click("#camera")
        page.locator("figcaption", has_text=RATE).wait_for(timeout=LONG_MS)
        page.screenshot(path=folder / f"{width}-camera.png", full_page=True)
        page.context.close()


def read(page: Page, photo: Path) -> None:
    page.evaluate("document.getElementById('rows').hidden = true")
    page.set_input_files("#files", photo)
    page.wait_for_selector("#rows:not([hidden])", timeout=LONG_MS)


@contextmanager
def spent() -> Iterator[list[float]]:
    """Gets the seconds on the clock, and of processor by the browser, that its body took."""
    found: list[float] = []
    began, before = perf_counter(), browser_cpu_s()
    yield found
    found += [perf_counter() - began, browser_cpu_s() - before]


def browser_cpu_s() -> float:
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times: Any = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def worker_cpu_s() -> float:
    """Of the threads that run the networks."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        for path in Path(f"/proc/{process.pid}/task").glob("*/stat"):
            with suppress(OSError):
                name, _, numbers = path.read_text().partition("(")[2].rpartition(")")
                if name.startswith("DedicatedWorker"):
                    total += sum(map(int, numbers.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


def compare(what: str, value: float, limit: float, unit: str, *, most: bool) -> None:
    kept = value <= limit if most else value >= limit
    verdict = "ok" if kept else "MISSED"
    print(
        f"  {what}: {value:.1f} {unit}, x{value / limit:.2f} of the limit {limit:g} {unit}: {verdict}",
        flush=True,
    )


def write_video(path: Path, codec: str, pixels: str, rate: int) -> None:
    """Two seconds in which a face moves to the right over a gray wall of 480 x 300."""
    face = np.asarray(Image.fromarray(data.astronaut()[20:220, 120:320]).resize((300, 300)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 480, 300, pixels
        for i in range(2 * rate):
            wall = np.full((300, 480, 3), 110, np.uint8)
            left = 90 * i // rate
            wall[:, left : left + 300] = face
            for packet in stream.encode(av.VideoFrame.from_ndarray(wall, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a plain static host, and a function that ends it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    yield f"http://127.0.0.1:{server.server_address[1]}/", end


@contextmanager
def chromium(camera: Path) -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("needs chromium or google-chrome on the PATH: sh tools/chromium.sh")
    arguments = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    arguments += [
        f"--use-file-for-fake-video-capture={camera}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
