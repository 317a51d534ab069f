import json
import subprocess
import sys

import numpy as np
import pytest
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


def test_import_writes_the_store_and_prints_what_is_in_it(tmp_path, source):
    result = _run("import", "fer2013", source, "--to", tmp_path / "a.h5", "--partial", "--search")
    assert result.exit_code == 0
    assert len(read_store(tmp_path / "a.h5")) == 9
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "val", "test", "all"] in lines
    assert ["angry", "1", "1", "0", "2"] in lines
    assert ["all", "3", "3", "3", "9"] in lines
    assert "clean test faces, without a near copy in training: 3" in result.stdout
    assert "note: no FER+ votes" in result.stdout
    assert result.stderr == ""


def test_import_without_partial_says_how_to_import_a_part(tmp_path, source):
    with pytest.raises(DataError, match="import it as it is with --partial"):
        _run("import", "fer2013", source, "--to", tmp_path / "a.h5")


def test_audit_prints_a_table_and_writes_the_page(tmp_path, source):
    _run("import", "fer2013", source, "--to", tmp_path / "a.h5", "--partial")
    result = _run("audit", tmp_path / "a.h5", "--to", tmp_path / "audit.html")
    assert result.exit_code == 0
    assert ["faces", "3", "3", "3"] in [line.split() for line in result.stdout.splitlines()]
    assert "wrote" in result.stdout
    assert (tmp_path / "audit.html").is_file()


def test_audit_prints_json_and_nothing_else(tmp_path, source):
    _run("import", "fer2013", source, "--to", tmp_path / "a.h5", "--partial")
    result = _run("audit", tmp_path / "a.h5", "--json")
    assert json.loads(result.stdout)["faces"] == {"train": 3, "val": 3, "test": 3}


@pytest.mark.parametrize("command", ["import", "audit"])
def test_help_shows_an_example(command):
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: mien data {command} fer2013" in result.stdout


def test_the_commands_load_nothing_heavy_before_they_run():
    code = (
        "import sys, mien.cli.data; print([m for m in ('h5py', 'numpy', 'PIL', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
