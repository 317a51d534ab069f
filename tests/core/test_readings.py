"""Readings as rows, frames, arrays and a notebook's table; frames of OpenCV."""

import os
import pickle
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import mien
from mien.core.readings import FACE_COLUMNS, OCCLUDED, Readings
from mien.errors import ImageError, MienError

LABELS = ("happy", "sad")


def readings(*happy: float) -> mien.Readings:
    boxes = [(1.234, 2, 11.5, 9)] * len(happy)
    return mien.Readings.from_arrays(boxes, [(p, 1 - p) for p in happy], LABELS, scores=[0.9] * len(happy))


ROW = {"face": 1, "x1": 1.23, "y1": 2, "x2": 11.5, "y2": 9, "detection_score": 0.9, "emotion": "happy"}
ROW |= {"confidence": 0.75, "uncertain": False, "quality": None, "p_happy": 0.75, "p_sad": 0.25}


def test_one_image_gives_a_flat_row_a_face() -> None:
    assert readings(0.75).to_rows() == [ROW]
    assert [row["face"] for row in mien.to_rows(list(readings(0.75, 0.5)))] == [1, 2]
    assert mien.to_rows(readings()) == []
    (row,) = mien.to_rows(readings(), ["a.png"])
    assert (row["path"], row["face"]) == ("a.png", None)


@pytest.mark.parametrize("make", [mien.to_rows, mien.to_frame])
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (readings(0.75).to_rows(), "dict"),
        (readings(0.75)[0], "Reading"),
        ([readings(0.75), None], "NoneType"),
        ([[readings(0.75)[0], 7]], "int"),
        ([readings(0.75)[0], 7], "int"),
        ("photo.jpg", "str"),
        (None, "NoneType"),
    ],
    ids=["rows", "one", "none among images", "number", "number of one", "text", "none"],
)
def test_what_is_no_reading_makes_no_row(make: Any, given: Any, kind: str) -> None:
    with pytest.raises(MienError, match=rf"^readings must be what mien\.read returns, .*, got {kind}$"):
        make(given)


def test_several_images_say_which_and_keep_those_without_a_face() -> None:
    rows = mien.to_rows([readings(), readings(0.75, 0.5)])
    assert [(row["image"], row["face"]) for row in rows] == [(0, None), (1, 1), (1, 2)]
    assert {tuple(row) for row in rows} == {("image", *ROW)}
    assert mien.to_rows([readings(0.75)], ["a.png"]) == [{"path": "a.png", **ROW}]
    with pytest.raises(MienError, match="expected a path for each of 2 images, got 1"):
        mien.to_rows([readings(), readings()], ["a.png"])


def test_readings_of_models_with_other_labels_keep_every_probability() -> None:
    calm = mien.Readings.from_arrays([(0, 0, 9, 9)], [(0.25, 0.75)], ("calm", "happy"))
    marked = Readings(replace(one, landmarks68=((0.0, 0.0),) * 68) for one in calm)
    rows = mien.to_rows([readings(0.75), marked])
    assert list(rows[0]) == list(rows[1]) == ["image", *FACE_COLUMNS, OCCLUDED, "p_happy", "p_sad", "p_calm"]
    assert [[row[f"p_{label}"] for label in ("happy", "sad", "calm")] for row in rows] == [
        [0.75, 0.25, None],
        [0.75, None, 0.25],
    ]
    html = Readings(readings(0.5) + calm)._repr_html_()
    assert "<th>happy</th><th>sad</th><th>calm</th>" in html
    assert "<td>75%</td><td>75%</td><td></td><td>25%</td>" in html


def test_a_path_of_other_bytes_than_utf8_is_text_that_can_be_printed_and_stored() -> None:
    (row,) = mien.to_rows([readings(0.75)], [os.fsdecode(b"\xff.png")])
    assert row["path"] == "\ufffd.png"


def frame(monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...]) -> Any:
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    return mien.to_frame([readings(), readings(0.75)], ["a.png", "b.png"])


def test_a_frame_of_pandas_keeps_whole_numbers_whole(monkeypatch) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    table = frame(monkeypatch, ())
    assert list(table.columns) == ["path", *ROW]
    assert [str(table[name].dtype) for name in ("face", "uncertain", "p_sad")] == [
        "Int64",
        "boolean",
        "float64",
    ]
    assert table["face"].isna().tolist() == [True, False]
    assert table["emotion"][1] == "happy"


def test_without_pandas_a_frame_is_a_table_of_arrow(monkeypatch) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    if find_spec("pandas"):
        pytest.skip("pandas is installed")
    table = frame(monkeypatch, ())
    assert [str(table.schema.field(n).type) for n in ("path", "face", "uncertain")] == [
        "string",
        "int64",
        "bool",
    ]
    assert table.to_pylist()[1] == {"path": "b.png", **ROW}


def test_without_either_the_command_to_install_is_told(monkeypatch) -> None:
    with pytest.raises(MienError, match="to_frame needs pandas or pyarrow; run: pip install pandas"):
        frame(monkeypatch, ("pandas", "pyarrow"))


@pytest.mark.parametrize(
    ("boxes", "probs", "says"),
    [
        ([(1, 2, 3)], [(0.5, 0.5)], r"boxes_xyxy must have the shape \(N, 4\), got \(1, 3\)"),
        ([(1, 2, 3, 4), (1, 2)], [], r"^boxes_xyxy must be numbers in rows of one length \(.*inhomogeneous"),
        ([(1, 2, 3, 4)], [("half", 0.5)], r"^probs must be numbers in rows of one length \(.*'half'\)$"),
        ([(1, 2, 3, 4)], [(0.5, 0.2, 0.3)], r"probs must have the shape \(N, 2\)"),
        ([(1, 2, 3, 4)], [(0.5, 0.5)] * 2, "as many boxes as rows of probs, got 1 and 2"),
        ([(1, 2, 3, 4), (1, np.nan, 3, 4)], [], r"boxes_xyxy must be finite numbers, got nan at \[1, 1\]"),
        ([(1, 2, 3, 4)], [(0.5, np.inf)], r"probs must lie in 0..1, got inf at \[0, 1\]"),
        ([(1, 2, 3, 4)], [(2, 98)], r"probs must lie in 0..1, got 2.0 at \[0, 0\]"),
        ([(1, 2, 3, 4)], [(-0.1, np.nan)], r"probs must lie in 0..1, got -0.1 at \[0, 0\]"),
        (
            [(1, 2, 3, 4), (200, 200, 120.5, 250)],
            [(0.5, 0.5)] * 2,
            r"must have x1 < x2 and y1 < y2, got 200, 200, 120.5, 250 in row 1; add x and y to a width",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_told(boxes, probs, says) -> None:
    with pytest.raises(MienError, match=says):
        mien.Readings.from_arrays(boxes, probs, LABELS)


def test_scores_beyond_one_and_a_label_that_stands_twice_are_told() -> None:
    with pytest.raises(MienError, match=r"scores must lie in 0..1, got 7.0 at \[0\]"):
        mien.Readings.from_arrays([(1, 2, 3, 4)], [(0.5, 0.5)], LABELS, scores=[7])
    with pytest.raises(MienError, match="labels must be different from each other, got sad, sad"):
        mien.Readings.from_arrays([(1, 2, 3, 4)], [(0.5, 0.5)], ("sad", "sad"))


def test_arrays_keep_their_order_and_what_rounding_added_is_cut() -> None:
    boxes, probs = [(0, 0, 2, 2), (0, 0, 9, 9)], np.float32([(1 + 1e-7, -1e-8), (0.25, 0.75)])
    small, large = mien.Readings.from_arrays(boxes, probs, LABELS)
    assert (small.box.x2, small.probs, large.box.x2) == (2, (1, 0), 9)


def test_readings_are_a_tuple_that_pickles() -> None:
    one = readings(0.75)
    assert one == tuple(one)
    assert pickle.loads(pickle.dumps(one)) == one
    assert mien.annotate(np.zeros((20, 20, 3), np.uint8), one).any()


def test_a_notebook_shows_a_table_and_no_markup_of_labels() -> None:
    html = mien.Readings.from_arrays([(0, 0, 9, 9)], [(0.75, 0.25)], ("<b>", "sad"))._repr_html_()
    assert "<td>&lt;b&gt;</td><td>75%</td>" in html
    assert "<b>" not in html
    assert readings()._repr_html_() == "<p>no face</p>"


class Red:
    """Finds a face whose score is the red of the first pixel."""

    def find(self, image):
        return (mien.Face(mien.Box(0, 0, 30, 30), float(image[0, 0, 0]) / 255),)


def test_a_frame_of_opencv_is_read_by_its_colours(tiny_home, monkeypatch) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    analyzer = mien.Analyzer("tiny", Red())
    bgr = np.zeros((40, 40, 3), np.uint8)
    bgr[..., 2] = 255
    assert analyzer.read(bgr, color="bgr")[0].detection_score == 1
    assert analyzer.read(bgr)[0].detection_score == 0
    assert next(analyzer.read_many([bgr], color="bgr"))[0].detection_score == 1
    with pytest.raises(ImageError, match="color must be 'rgb' or 'bgr', got 'bgra'"):
        analyzer.read(bgr, color="bgra")


def test_annotate_gives_a_frame_of_opencv_back_as_one() -> None:
    rgb = np.full((200, 300, 3), (10, 20, 200), np.uint8)
    faces = mien.Readings.from_arrays([(50, 40, 150, 160)], [(0.75, 0.25)], LABELS)
    marked = mien.annotate(rgb, faces)
    assert np.array_equal(mien.annotate(rgb[..., ::-1], faces, color="bgr"), marked[..., ::-1])
