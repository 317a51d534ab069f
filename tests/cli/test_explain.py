"""``mien explain``: what a person types, and what it prints."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("matplotlib", reason="needs the train extra")

from PIL import Image

from mien.core.emotions import FER2013
from mien.data.records import FaceSet
from mien.data.store import write_store


def test_a_photograph_becomes_a_sheet_and_its_arrays(mien, photos, tmp_path) -> None:
    result = mien("explain", "tiny", "photos/one.png", "--out", "sheet.png", "--patch", "8")
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote sheet.png\nwrote sheet.npz\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_method_that_an_onnx_file_does_not_allow_is_one_clear_line(mien, photos, tmp_path) -> None:
    result = mien("explain", "tiny", "photos/one.png", "--method", "gradcam")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "mien: method 'gradcam' needs a run folder of `mien train`; "
        "'tiny' is an ONNX file, which allows occlusion alone\n"
    )
    assert not (tmp_path / "explain.png").exists()


def test_the_table_fits_80_columns_and_gives_each_method_its_verdict(mien, tmp_path: Path) -> None:
    faces = FaceSet(
        images=np.zeros((6, 48, 48), np.uint8),
        labels=np.arange(6),
        split=np.ones(6, np.uint8),
        rows=np.arange(6),
        label_names=FER2013,
        name="black",
    )
    write_store(faces, tmp_path / "black.h5")
    result = mien("explain", "tiny", "black.h5", "--faithfulness", "--n", "4", "--out", "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(result.stdout.split())
    assert "better than random by (area, 95 %), 4 faces" in text
    assert "no better than" in text
    assert (tmp_path / "out" / "faithfulness.json").is_file()


@pytest.mark.parametrize("more", [["--face"], []], ids=["face", "photo"])
def test_a_misspelt_detector_is_told_even_where_no_face_is_searched_for(mien, photos, tmp_path, more) -> None:
    result = mien("explain", "tiny", "photos/one.png", "--detector", "one-stag", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mien: no detector named 'one-stag'; did you mean 'one-stage'?" in result.stderr
    assert list(tmp_path.glob("explain.*")) == []


def test_a_seed_below_0_is_refused_without_a_traceback(mien, photos) -> None:
    result = mien("explain", "tiny", "photos/one.png", "--seed", "-1")
    assert result.exit_code == 2
    assert "Invalid value for '--seed': " in result.stderr
