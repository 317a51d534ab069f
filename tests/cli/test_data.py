import json
import math
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli.data import app
from mien.data.store import read_store
from mien.errors import DataError

USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture
def source(tmp_path):
    """fer2013.csv of nine made-up faces."""
    images = np.random.default_rng(0).integers(0, 256, (9, 2304))
    rows = [f"{i % 7},{' '.join(map(str, image))},{USAGES[i % 3]}" for i, image in enumerate(images.tolist())]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    return tmp_path / "fer2013.csv"


def _run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_import_writes_the_store_and_prints_what_is_in_it(tmp_path, source, monkeypatch):
    monkeypatch.setattr("mien.cli.progress.LINES_EVERY_S", math.inf)
    result = _run("import", "fer2013", source, "--out", tmp_path / "a.h5", "--partial", "--search")
    assert result.exit_code == 0
    assert len(read_store(tmp_path / "a.h5")) == 9
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "val", "test", "all"] in lines
    assert ["angry", "1", "1", "0", "2"] in lines
    assert ["all", "3", "3", "3", "9"] in lines
    assert "clean test faces, without a near copy in training: 3" in result.stdout
    assert "note: no FER+ votes" in result.stdout
    assert result.stderr == ""


def test_what_to_do_next_is_one_line_that_a_shell_takes(tmp_path, source):
    out = tmp_path / f"{'long ' * 20}.h5"
    lines = _run("import", "fer2013", source, "--out", out, "--partial").stdout.splitlines()
    (advice,) = (line for line in lines if line.startswith("for the clean score: "))
    assert shlex.split(advice)[-4:] == ["mien", "data", "audit", str(out)]


def test_import_without_partial_says_how_to_import_a_part(tmp_path, source):
    with pytest.raises(DataError, match="import it as it is with --partial"):
        _run("import", "fer2013", source, "--out", tmp_path / "a.h5")


def test_audit_prints_a_table_and_writes_the_page(tmp_path, source):
    _run("import", "fer2013", source, "--out", tmp_path / "a.h5", "--partial")
    result = _run("audit", tmp_path / "a.h5", "--out", tmp_path / "audit.html")
    assert result.exit_code == 0
    assert ["faces", "3", "3", "3"] in [line.split() for line in result.stdout.splitlines()]
    assert "wrote" in result.stdout
    assert (tmp_path / "audit.html").is_file()


def test_audit_prints_json_and_nothing_else(tmp_path, source):
    _run("import", "fer2013", source, "--out", tmp_path / "a.h5", "--partial")
    result = _run("audit", tmp_path / "a.h5", "--json")
    assert json.loads(result.stdout)["faces"] == {"train": 3, "val": 3, "test": 3}


@pytest.mark.parametrize("command", ["import", "show", "join", "split", "audit"])
def test_help_shows_an_example(command):
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: mien data {command} " in result.stdout


@pytest.fixture
def images(tmp_path):
    """A CSV of 12 images of four persons and one that is missing."""
    rows = ["path,label,person", "none.png,happy,p0"]
    for i in range(12):
        Image.new("L", (9, 9), 20 * i).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{('happy', 'sad', 'rage')[i % 3]},p{i % 4}")
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    return tmp_path / "mine.csv"


def test_images_are_imported_shown_split_and_joined(tmp_path, images, source):
    result = _run(
        *("import", "csv", images, "--out", tmp_path / "a.h5", "--labels", "fer2013", "--map", "rage=angry")
    )
    assert "mine, 12 faces, 48x48 gray; also persons, file_sha256" in result.stdout
    assert "left out: 1 missing file" in result.stdout
    assert f"listed in {tmp_path / 'a.skipped.csv'}" in result.stdout
    assert "labels of mine: happy, rage → angry, sad" in result.stdout
    shown = _run("show", tmp_path / "a.h5").stdout
    assert ["happy", "4", "0", "0", "4"] in [line.split() for line in shown.splitlines()]
    assert "labels of mine: happy, rage → angry, sad" in shown

    split = ("split", tmp_path / "a.h5", "--by", "person", "--parts", "0.5,0.25,0.25", "--out")
    result = _run(*split, tmp_path / "b.h5", "--keep-copies-together")
    assert ["all", "6", "3", "3", "12"] in [line.split() for line in result.stdout.splitlines()]

    _run("import", "fer2013", source, "--out", tmp_path / "fer.h5", "--partial")
    result = _run(
        "join", tmp_path / "fer.h5", tmp_path / "b.h5", "--out", tmp_path / "c.h5", "--labels", "rafdb"
    )
    assert "fer2013+mine-split, 21 faces" in result.stdout
    assert "labels of mine-split: happy, rage → angry, sad" in result.stdout


def test_a_split_tells_what_becomes_of_the_test_faces(tmp_path, images):
    _run("import", "csv", images, "--out", tmp_path / "a.h5")
    plain = _run("split", tmp_path / "a.h5", "--parts", "0.5,0,0.5", "--out", tmp_path / "b.h5")
    assert "divided anew" not in plain.stdout, "it has no test faces"
    again = _run("split", tmp_path / "b.h5", "--out", tmp_path / "c.h5")
    assert "note: its 6 test faces are divided anew too; --keep-test keeps them\n" in again.stdout
    half = ("--keep-test", "--parts", "0.5,0.5,0")
    kept = _run("split", tmp_path / "b.h5", *half, "--out", tmp_path / "c.h5")
    assert "divided anew" not in kept.stdout
    before, after = read_store(tmp_path / "b.h5"), read_store(tmp_path / "c.h5")
    np.testing.assert_array_equal(after.select("test").rows, before.select("test").rows)
    assert [len(after.select(part)) for part in ("train", "val")] == [3, 3]


def test_a_split_that_stays_empty_is_noted(tmp_path, images):
    _run("import", "csv", images, "--out", tmp_path / "a.h5")
    result = _run("split", tmp_path / "a.h5", "--parts", "0.98,0.01,0.01", "--out", tmp_path / "b.h5")
    assert "note: no face in val and test: too few for these shares" in result.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("import", "csv", "x", "--labels", "fer2013", "--map", "joy"), "expected label=name, such as"),
        (
            ("import", "csv", "x", "--labels", "fer2013", "--map", "joy=happy", "--map", "joy=sad"),
            "expected one name for a label",
        ),
        (("split", "x.h5", "--out", "y.h5", "--parts", "0.8"), "expected three shares of train, val and"),
    ],
    ids=["map", "two names", "parts"],
)
def test_a_word_that_says_nothing_is_explained(words, text):
    result = _run(*words)
    assert result.exit_code == 2
    assert text in result.stderr


def test_the_commands_load_nothing_heavy_before_they_run():
    code = (
        "import sys, mien.cli.data; print([m for m in ('h5py', 'numpy', 'PIL', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
