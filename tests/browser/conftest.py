"""A service with the shipped model, and Debian's Chromium on it, with a camera that shows a clip."""

import io
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
pytest.importorskip("playwright", reason="needs playwright")
uvicorn = pytest.importorskip("uvicorn", reason="needs mien[web]")
av = pytest.importorskip("av", reason="needs mien[video]")

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mien.web.app import make_app
from mien.web.settings import Settings
from mien.web.sockets import TimedProtocol

TOKEN = "a-secret-token"
LOOKS = {
    "light": {"viewport": {"width": 1100, "height": 900}},
    "dark": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True},
}


@pytest.fixture(scope="session")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the services put their files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("service")))
        yield Path(tempfile.gettempdir())


def _served(settings: Settings) -> Iterator[str]:
    """The address of a service that runs in a thread."""
    config = uvicorn.Config(
        make_app(settings),
        http=TimedProtocol,
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address(temporary: Path) -> Iterator[str]:
    """Of a service with the shipped model."""
    yield from _served(Settings())


@pytest.fixture(scope="module")
def locked_address(temporary: Path) -> Iterator[str]:
    """Of a service that asks for `TOKEN`."""
    yield from _served(Settings(token=TOKEN))


@pytest.fixture(scope="session")
def photo(astronaut: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo as a file."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return path


def _frames(astronaut: Any, n: int) -> Iterator[np.ndarray]:
    """The face, 300 pixels high, moves to the right over a gray wall of 480 x 300."""
    face = np.asarray(Image.fromarray(astronaut[20:220, 120:320]).resize((300, 300)))
    for i in range(n):
        wall = np.full((300, 480, 3), 110, np.uint8)
        wall[:, 3 * i : 3 * i + 300] = face
        yield wall


@pytest.fixture(scope="session")
def clip(astronaut: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of two seconds and 20 frames: the face moves to the right."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    _write(path, "libx264", "yuv420p", _frames(astronaut, 20), 10)
    return path


@pytest.fixture(scope="session")
def camera_clip(astronaut: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's fake camera shows: the same, as motion JPEG."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    _write(path, "mjpeg", "yuvj420p", _frames(astronaut, 20), 10)
    return path


def _write(path: Path, codec: str, pixels: str, frames: Iterator[np.ndarray], rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 480, 300, pixels
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture(scope="module")  # while Playwright is open, its event loop runs in this thread
def chromium(camera_clip: Path) -> Iterator[Browser]:
    """Chromium without a screen."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium or google-chrome on the PATH: sh tools/chromium.sh")
    arguments = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera_clip}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    """How the page is looked at: ``light``, ``dark`` or ``phone``."""
    return request.param


@pytest.fixture
def page(chromium: Browser, look: str) -> Iterator[Page]:
    """An empty tab. The test fails if the page has an error, or talks to another host."""
    context = chromium.new_context(**LOOKS[look])
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: None if _is_own(asked.url) else errors.append(asked.url))
    yield page
    width = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert [error for error in errors if "Failed to load resource" not in error] == []
    assert width <= LOOKS[look]["viewport"]["width"]


class HeldCamera:
    """A camera that the person at the page has to allow."""

    HOLD = """
      window.streams = [];
      window.asked = [];
      const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);
      devices.getUserMedia = (wanted) => {
        const given = new Promise((allow) => asked.push(allow)).then(() => ask(wanted));
        streams.push(given);
        return given;
      };"""
    ALLOW = """async () => {
      while (!asked.length) await new Promise(requestAnimationFrame);
      for (const allow of asked.splice(0)) allow();
      await Promise.all(streams);
      await new Promise((done) => setTimeout(done));  // so that the page has taken them
    }"""

    def __init__(self, page: Page) -> None:
        page.add_init_script(self.HOLD)
        self.page = page

    def allow(self) -> None:
        """Say yes to all that was asked."""
        self.page.evaluate(self.ALLOW)

    def active(self) -> int:
        """How many streams of it are on."""
        return self.page.evaluate(
            "Promise.all(streams).then((all) => all.filter((one) => one.active).length)"
        )


@pytest.fixture
def held_camera(page: Page) -> HeldCamera:
    """The page's camera, which waits to be allowed."""
    return HeldCamera(page)


@pytest.fixture
def no_site_data(page: Page) -> None:
    """The page's browser blocks site data, as it does where cookies are refused."""
    blocked = """for (const name of ["localStorage", "sessionStorage"])
      Object.defineProperty(window, name, {get() { throw new DOMException("denied", "SecurityError"); }});"""
    page.add_init_script(blocked)


def _is_own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "blob:http://127.0.0.1:"))


@pytest.fixture
def keep(page: Page, look: str):
    """``keep("photo")`` keeps an image of the page in the folder that MIEN_GALLERY names, if any."""

    def save(name: str) -> None:
        if folder := os.environ.get("MIEN_GALLERY"):
            image = Image.open(io.BytesIO(page.screenshot(full_page=True)))
            image.quantize(256).save(Path(folder) / f"page-{name}-{look}.png", optimize=True)

    return save
