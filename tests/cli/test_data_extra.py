"""Importing, auditing and scoring need h5py, Jinja2 and matplotlib alone: what `mien[data]` brings."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("h5py", reason="needs the data extra")
pytest.importorskip("matplotlib", reason="needs the data extra")

SOURCE = Path(__file__).resolve().parents[2] / "src"
WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "sklearn", "onnx", "captum", "optuna"}:
            raise ModuleNotFoundError(f"{name} is blocked: the data extra does not bring it")
sys.meta_path.insert(0, Blocked())
sys.argv[0] = "mien"
from mien.cli.main import main
main()
"""


def mien(folder: Path, home: Path, *words: str) -> str:
    environment = {**os.environ, "MIEN_HOME": str(home), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_faces_become_a_data_set_that_a_model_is_scored_on(tmp_path: Path, tiny_home: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for emotion in ("happy", "sad"):
            folder = tmp_path / "faces" / split / emotion
            folder.mkdir(parents=True)
            for i in range(3):
                Image.fromarray(rng.integers(0, 256, (48, 48), np.uint8)).save(folder / f"{i}.png")
    mien(
        tmp_path, tiny_home, "data", "import", "folders", "faces", "--labels", "fer2013", "--out", "faces.h5"
    )
    mien(tmp_path, tiny_home, "data", "audit", "faces.h5")
    table = mien(tmp_path, tiny_home, "evaluate", "tiny", "faces.h5", "--split", "test", "--out", "scores")
    assert "50.0" in table  # it answers happy whatever it sees
    assert (tmp_path / "scores" / "confusion-test.png").is_file()


def test_what_trains_names_the_extra_that_it_lacks(tmp_path: Path, tiny_home: Path) -> None:
    with pytest.raises(AssertionError, match=r"training needs .*; run: pip install \"mien\[train\]\""):
        mien(tmp_path, tiny_home, "train", "fer2013-s2d-cpu")
