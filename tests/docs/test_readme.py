"""Every fenced block of the README runs.

A block runs in a folder of its own that holds photo.jpg, photos/, astronaut.png and grace_hopper.jpg, with
the commands of this environment first on PATH. ``sh`` blocks run in bash and stop at the first error,
``python`` blocks in a new interpreter with warnings as errors; ``json`` and ``toml`` blocks must parse. One
after the line ``<!-- test: skip REASON -->`` is left out, and so are the commands of `NOT_RUN`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
MAX_LINES = 200
SHOWN_ONLY = {"", "text", "csv", "console"}
NOT_RUN = {
    "make demo": "makes an environment; CI runs it on its own",
    "make test": "runs this test",
    "pip install": "changes the environment; see tests/architecture/test_light_install.py",
    "git clone": "needs the network",
    "cd ": "follows git clone",
}
BLOCK = re.compile(
    r"(?:^<!-- test: skip (?P<skip>.+?) -->\n+)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    line: int
    kind: str
    code: str
    skip: str | None


def blocks(text: str) -> list[Block]:
    return [
        Block(text.count("\n", 0, found.start("code")), found["kind"], found["code"], found["skip"])
        for found in BLOCK.finditer(text)
    ]


def run(block: Block, folder: Path) -> None:
    """Run one block; AssertionError with what it printed where it fails."""
    if block.kind == "json":
        json.loads(block.code)
    elif block.kind == "toml":
        tomllib.loads(block.code)
    elif block.kind == "sh":
        lines = [line.removeprefix("$ ") for line in block.code.splitlines()]
        _call(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                "\n".join(x for x in lines if not x.startswith(tuple(NOT_RUN))),
            ],
            folder,
        )
    elif block.kind == "python":
        _call([sys.executable, "-W", "error", "-c", block.code], folder)
    else:
        assert block.kind in SHOWN_ONLY, f"line {block.line}: use sh or python, so that this block is run"


def _call(command: list[str], folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def folder(tmp_path: Path, module_at: Any) -> Path:
    """A folder with the photographs that the examples name."""
    skimage = pytest.importorskip("skimage", reason="the examples read a photograph of scikit-image")
    matplotlib = find_spec("matplotlib")
    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    hopper = Path(matplotlib.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    (tmp_path / "photos").mkdir()
    for source, names in {astronaut: ["astronaut.png"], hopper: ["grace_hopper.jpg", "photo.jpg"]}.items():
        for name in names:
            shutil.copy(source, tmp_path / name)
            shutil.copy(source, tmp_path / "photos" / name)
    if find_spec("av"):
        clips = module_at("tests/clips.py")
        clips.write_clip(tmp_path / "talk.mp4", clips.crossing(1.0))
    return tmp_path


@pytest.mark.parametrize(
    "block", blocks(README.read_text()), ids=lambda block: f"{block.kind or 'plain'}-line-{block.line}"
)
def test_the_block_runs(block: Block, folder: Path) -> None:
    if block.skip:
        pytest.skip(block.skip)
    run(block, folder)


def test_the_readme_shows_the_command_and_the_library() -> None:
    kinds = {block.kind for block in blocks(README.read_text()) if not block.skip}
    assert {"sh", "python"} <= kinds


def test_no_fence_of_the_readme_escapes_the_tests() -> None:
    text = README.read_text()
    assert len(re.findall(r"^\s*```", text, re.M)) == 2 * len(blocks(text))


def test_the_readme_is_short() -> None:
    assert README.read_text().count("\n") <= MAX_LINES


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", README.read_text())
    assert [link for link in links if not (README.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```sh\nfalse\ntrue\n```\n", "false"),
        ("```sh\nfalse | cat\n```\n", "false"),
        ("```python\nraise ValueError('here')\n```\n", "here"),
        ("```python\nimport warnings; warnings.warn('old')\n```\n", "old"),
        ("```shell\ntrue\n```\n", "use sh or python"),
    ],
    ids=["command", "pipe", "exception", "warning", "language"],
)
def test_a_broken_block_is_seen(text: str, says: str, tmp_path: Path) -> None:
    (block,) = blocks(text)
    with pytest.raises(AssertionError, match=says):
        run(block, tmp_path)


def test_a_sound_block_passes_and_what_cannot_run_is_left_out(tmp_path: Path) -> None:
    sound, skipped = blocks(
        "# a\n```sh\n$ make test\ntouch seen\n```\n<!-- test: skip a GPU -->\n```sh\nfalse\n```\n"
    )
    run(sound, tmp_path)
    assert (tmp_path / "seen").exists()
    assert (sound.line, sound.skip, skipped.skip) == (2, None, "a GPU")
