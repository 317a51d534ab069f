"""Rows of a timeline, their quality and the affect that probabilities amount to."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mien.core.affect import AFFECT, affect
from mien.core.emotions import FER2013, FERPLUS
from mien.core.quality import HEAD, blur, quality_of, turned
from mien.core.results import Box, Face, Landmarks, Reading
from mien.core.smoothing import UNCERTAIN
from mien.core.timeline import Person, Quality, TimelineRow, columns

LABELS = ("happy", "sad")
FACE = Face(Box(10, 20, 40.126, 60), 0.9876543)
PERSON = Person(3, Reading(FACE, LABELS, (0.75, 0.25)), Quality(34.7, 0.3, None), "happy", (0.5, 0.5))


def test_the_columns_are_those_that_the_manual_lists() -> None:
    assert columns(LABELS) == (
        *("time_s", "frame", "track", "x1", "y1", "x2", "y2", "detection_score"),
        *("quality_size", "quality_blur", "quality_pose", "label", "uncertain"),
        *("p_happy", "p_sad", "p_smooth_happy", "p_smooth_sad", "valence", "arousal"),
    )


def test_a_row_with_a_person_fills_every_column() -> None:
    assert TimelineRow(1.2345678, 7, PERSON).cells(LABELS) == (
        *(1.234568, 7, 3, 10, 20, 40.13, 60, 0.987654, 34.7, 0.3, None, "happy", False, 0.75, 0.25, 0.5, 0.5),
        *(0.09, 0.12),  # (0.81 - 0.63) / 2 and (0.51 - 0.27) / 2
    )


def test_a_row_is_uncertain_where_its_label_is() -> None:
    doubtful = replace(PERSON, label=UNCERTAIN)
    assert TimelineRow(0, 0, doubtful).to_dict(LABELS)["uncertain"] is True
    assert TimelineRow(0, 0, PERSON).to_dict(LABELS)["uncertain"] is False


def test_a_row_without_a_person_has_its_time_and_frame_alone() -> None:
    row = TimelineRow(0.5, 12).to_dict(LABELS)
    assert {name for name, cell in row.items() if cell is not None} == {"time_s", "frame"}
    assert tuple(row) == columns(LABELS)


@pytest.mark.parametrize("name", FER2013)
def test_a_sure_emotion_lies_at_its_own_place(name: str) -> None:
    assert affect(FER2013, [float(label == name) for label in FER2013]) == pytest.approx(AFFECT[name])


def test_an_emotion_without_a_place_leaves_the_others_their_weights() -> None:
    probs = [0.25 if label in ("happy", "contempt") else 0.5 * (label == "neutral") for label in FERPLUS]
    assert affect(FERPLUS, probs) == pytest.approx((0.81 / 3, 0.51 / 3))
    assert affect(("contempt",), (1.0,)) == (0.0, 0.0)


def test_blur_grows_with_a_blurring_and_is_one_for_a_flat_image() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (48, 48), np.uint8))
    values = [blur(np.asarray(image.filter(ImageFilter.GaussianBlur(r)))) for r in (0, 1, 2, 4)]
    assert values == sorted(values)
    assert values[0] < 0.25 < 0.6 < values[-1] <= 1
    assert blur(np.full((48, 48), 80, np.uint8)) == 1


def test_blur_is_that_of_crete_on_a_step_worked_by_hand() -> None:
    # 0..0 100..100: blurring by 9 spreads the one step of 100 over nine of 11.1, so 100 - 11.1 are lost
    step = np.repeat(np.uint8([0] * 24 + [100] * 24)[None], 48, axis=0)
    assert blur(step) == 1  # nothing changes down the columns
    cross = np.where(np.add.outer(np.arange(48) >= 24, np.arange(48) >= 24) % 2, 100, 0).astype(np.uint8)
    assert blur(cross) == pytest.approx(1 / 9, abs=1e-3)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (30, 0, 0), (-30, 15, 0), (45, 0, 25)])
def test_a_turned_head_is_measured_whatever_its_nod_and_roll(yaw: int, pitch: int, roll: int) -> None:
    y, p, r = map(math.radians, (yaw, pitch, roll))
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    nod = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    points = (tilt @ nod @ turn @ HEAD.T).T[:, :2] * 40 + 200
    assert turned(Landmarks(*map(tuple, points.tolist()))) == pytest.approx(abs(yaw), abs=1e-6)


def test_quality_without_landmarks_has_no_pose() -> None:
    quality = quality_of(FACE, np.zeros((48, 48), np.uint8))
    assert quality.size == pytest.approx(math.sqrt(30.126 * 40))
    assert quality.pose is None
