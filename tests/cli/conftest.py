"""What the tests of the command line share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli.main import app

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def mien(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_home: Path) -> Callable[..., Any]:
    """``mien("read", "a.png", input=b"")`` runs the command in a fresh folder and returns its result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, input: bytes | None = None) -> Any:
        return CliRunner().invoke(app, arguments, prog_name="mien", input=input)

    return run


STARTED = """
import runpy, signal
signal.signal(signal.SIGINT, signal.{handler})
runpy.run_module("mien", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def process(tmp_path: Path, tiny_home: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """``process("read", "a.png")`` starts ``python -W error -m mien read a.png`` in a fresh folder.

    Ctrl-C works in it also where the tests run in the background of a shell, which ignores that signal;
    ``background=True`` starts it as such a shell does.
    """

    def start(*arguments: str, background: bool = False, **streams: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        environment = {**os.environ, "MIEN_HOME": str(tiny_home), "PYTHONPATH": str(SOURCE), "COLUMNS": "80"}
        code = STARTED.format(handler="SIG_IGN" if background else "default_int_handler")
        command = [sys.executable, "-W", "error", "-c", code, *arguments]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)

    return start


@pytest.fixture
def photos(tmp_path: Path, astronaut: Any) -> Path:
    """A folder: one face, the same face twice in one image, no face, no image."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    face = Image.fromarray(astronaut[:256, 96:352])
    face.save(folder / "one.png")
    two = Image.new("RGB", (512, 256))
    two.paste(face, (0, 0))
    two.paste(face, (256, 0))
    two.save(folder / "more" / "two.jpg", quality=95)
    Image.new("RGB", (120, 90), "gray").save(folder / "none.png")
    (folder / "more" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return folder
