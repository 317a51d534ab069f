"""Every fenced block of the README runs, in a folder with the files that it names; see snippets.py."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mien


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("snippets", Path(__file__).with_name("snippets.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


snippets: Any = _load()  # before collection ends, because each block is a test
README = Path(__file__).resolve().parents[2] / "README.md"
MAX_LINES = 180
BLOCKS = snippets.blocks(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.kind or 'plain'}-line-{block.line}")
def test_the_block_runs(block: Any, folder: Path) -> None:
    if block.skip:
        pytest.skip(block.skip)
    snippets.run(block, folder)


def test_the_readme_shows_the_command_and_the_library() -> None:
    assert {"sh", "python"} <= {block.kind for block in BLOCKS if not block.skip}


def test_no_fence_of_the_readme_escapes_the_tests() -> None:
    assert len(re.findall(r"^\s*```", README.read_text(encoding="utf-8"), re.M)) == 2 * len(BLOCKS)


def test_the_output_that_the_readme_shows_is_what_its_photographs_give(folder: Path) -> None:
    shown = re.search(r"```text\n(.*?)```", README.read_text(encoding="utf-8"), re.S)[1]
    rows = re.findall(r"^  1  (\d+),(\d+) +(\d+),(\d+) +(\w+) +(\d+)%", shown, re.M)
    found = [mien.read(folder / name) for name in ("astronaut.png", "grace_hopper.jpg")]
    assert len(rows) == len(found)
    for (*box, emotion, percent), (reading,) in zip(rows, found, strict=True):
        assert emotion == reading.emotion
        assert float(percent) == pytest.approx(100 * reading.confidence, abs=1.5)
        x1, y1, x2, y2 = (float(value) for value in box)
        now = reading.box
        assert (x1, y1, x2, y2) == pytest.approx((now.x1, now.y1, now.x2, now.y2), abs=1.5)


def test_the_readme_is_short() -> None:
    assert README.read_text(encoding="utf-8").count("\n") <= MAX_LINES


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
    (block,) = snippets.blocks(text)
    with pytest.raises(AssertionError, match=says):
        snippets.run(block, tmp_path)


def test_a_sound_block_passes_and_what_cannot_run_is_left_out(tmp_path: Path) -> None:
    sound, skipped = snippets.blocks(
        "# a\n```sh\n$ make test\ntouch seen\n```\n<!-- test: skip a GPU -->\n```sh\nfalse\n```\n"
    )
    snippets.run(sound, tmp_path)
    assert (tmp_path / "seen").exists()
    assert (sound.line, sound.skip, skipped.skip) == (2, None, "a GPU")
