"""How well a face can be read: size, blur, pose, what the border cuts off, what is hidden."""

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mien.core.classifier import Classifier
from mien.core.pose import head_pose, mean_face
from mien.core.quality import (
    BY_GAP,
    blur,
    by_gap,
    five_of_68,
    landmark_gap,
    occluded,
    part_inside,
    quality_of,
    score,
    turned,
)
from mien.core.read_batch import crop_faces
from mien.core.results import Box, Face, Landmarks, Quality

FACE = Face(Box(10, 20, 40.126, 60), 0.9876543)


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
    points = (tilt @ nod @ turn @ mean_face().T).T[:, :2] * 40 + 200
    angle = turned(Landmarks(*map(tuple, five_of_68(points).tolist())))
    assert angle == pytest.approx(abs(yaw), abs=1e-6)
    if not pitch:  # a nod moves the yaw of `head_pose`, which is an angle of Euler
        assert angle == pytest.approx(abs(head_pose(points).yaw), abs=1e-6)


def test_quality_without_landmarks_has_no_pose() -> None:
    quality = quality_of(FACE, np.zeros((48, 48), np.uint8), (200, 200))
    assert quality.size == pytest.approx(math.sqrt(30.126 * 40))
    assert quality.pose is None


def test_a_large_sharp_frontal_whole_face_has_full_quality() -> None:
    assert score(size=48, blurred=0.3, pose=20, inside=1) == 1
    assert score(size=500, blurred=0, pose=None, inside=1) == 1


def test_the_worst_of_the_four_is_what_counts() -> None:
    assert score(size=16, blurred=0.3, pose=0, inside=1) == pytest.approx(0.75)
    assert score(size=16, blurred=0.77, pose=0, inside=1) == pytest.approx(0.36)
    assert score(size=16, blurred=0.3, pose=66, inside=1) == pytest.approx(0.25)
    assert score(size=16, blurred=0.3, pose=0, inside=0.5) == pytest.approx(0.59)


@pytest.mark.parametrize(("size", "scale", "channels"), [(224, 1.0, 3), (48, 0.7, 1), (48, 1.0, 3)])
def test_the_quality_of_a_face_is_the_same_for_every_network(
    size: int, scale: float, channels: int, astronaut: np.ndarray
) -> None:
    """Of the astronaut's face; at 224 pixels its blur would be 0.56 instead of 0.36."""

    def quality(**card: Any) -> Quality:
        model = SimpleNamespace(card=SimpleNamespace(**card))
        model.crop = partial(Classifier.crop, model)
        found = crop_faces(model, astronaut, [Face(Box(180, 70, 270, 190), 1.0)], 0.0)
        assert found.crops[0].shape[0] == card["input_size"]
        return found.qualities[0]

    default = quality(input_size=48, crop_scale=1.0, channels=1)
    assert quality(input_size=size, crop_scale=scale, channels=channels) == default


def test_what_the_border_cuts_off_is_not_inside() -> None:
    whole = Face(Box(100, 100, 200, 200), 1.0)
    cut = replace(whole, box=Box(-50, 100, 50, 200))
    assert part_inside(whole, (400, 400)) == 1
    assert part_inside(cut, (400, 400)) == pytest.approx(0.5, abs=0.05)
    assert part_inside(whole, (50, 50)) == 0


def all68() -> tuple[np.ndarray, Landmarks]:
    """68 points of size 10, and the five landmarks that agree with them."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (-10, 0), (10, 0)
    points[:36] = [(0, 10 * (-1) ** i) for i in range(36)]
    points[48:] = [(10 * (-1) ** i, 0) for i in range(20)]
    places = points[36], points[42], points[30], points[48], points[54]
    return points + 50, Landmarks(*[(float(x) + 50, float(y) + 50) for x, y in places])


def test_the_gap_is_the_mean_distance_of_five_landmarks_over_the_size_of_the_68() -> None:
    points, five = all68()
    assert landmark_gap(five, points) == pytest.approx(0, abs=1e-12)
    moved = replace(five, nose=(five.nose[0] + 3, five.nose[1] + 4))
    assert landmark_gap(moved, points) == pytest.approx(5 / 5 / 10)
    larger = Landmarks(*[(3 * x, 3 * y) for x, y in moved.points])
    assert landmark_gap(larger, 3 * points) == pytest.approx(0.1)


def test_a_hidden_part_grows_more_probable_with_the_gap_and_needs_five_landmarks() -> None:
    assert by_gap(np.array([0.0, BY_GAP[1], 1e9])).tolist() == pytest.approx([0, 0.5, 1], abs=1e-9)
    points, five = all68()
    moved = [replace(five, nose=(five.nose[0] + gap, five.nose[1])) for gap in (0, 2, 4, 8)]
    probs = [occluded(replace(FACE, landmarks=landmarks), points) for landmarks in moved]
    assert probs == sorted(probs)
    assert probs[0] < 0.01 < 0.9 < probs[-1] <= 1
    assert occluded(FACE, points) is None
