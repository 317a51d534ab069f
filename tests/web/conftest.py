"""What the tests of the service share."""

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from PIL import Image
from starlette.testclient import TestClient

from mien.web.app import make_app
from mien.web.settings import Settings

ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the services of a test put their temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def serve(monkeypatch, tiny_home: Path, folder: Path) -> Iterator[Callable[..., TestClient]]:
    """``serve(max_faces=1)`` starts the service with the model ``tiny`` and returns a client of it."""
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    clients: list[TestClient] = []

    def start(**settings: Any) -> TestClient:
        app = make_app(Settings(**{"model": "tiny", **settings}))
        client = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def face_png(astronaut: Any) -> bytes:
    """A photo of one face, 256 x 256."""
    return to_file(astronaut[:256, 96:352], "PNG")


@pytest.fixture(scope="session")
def crowd_png(astronaut: Any) -> bytes:
    """The same face twice."""
    return to_file(np.concatenate([astronaut[:256, 96:352]] * 2, axis=1), "PNG")


@pytest.fixture(scope="session")
def clip_mp4(astronaut: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of one second, 10 frames: the face moves to the right, and is gone in the last three."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    _write_clip(path, astronaut[:256, 96:352])
    return path.read_bytes()


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., None]:
    """``write_clip(path, face)`` writes the clip of `clip_mp4` in the container that the suffix names."""
    return _write_clip


def _write_clip(path: Path, face: Any, n_frames: int = 10) -> None:
    av = pytest.importorskip("av", reason="needs mien[video]")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 256, "yuv420p"
        for i in range(n_frames):
            pixels = np.full((256, 320, 3), 128, np.uint8)
            if i < n_frames - 3:
                pixels[:, 4 * i : 4 * i + 256] = face
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def to_file(pixels: Any, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
