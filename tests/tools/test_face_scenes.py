"""Scenes that a detector learns from: what is said of a face holds for its pixels."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from face_scenes import CELLS, LEARNED, SIDE, Cutout, Scenes, add_face, cutout, lay

from mien.core.one_stage import decoded
from mien.core.preprocess import FER2013_POINTS

POINTS = FER2013_POINTS * 2 + 32  # of a face of 91 pixels in a cut-out of 160
ALL = np.full((64, 64), 255, np.uint8)


def dotted(is_sure=True):
    """A gray cut-out with a dot at each landmark: white eyes, a nose less bright, and a mouth."""
    image = np.full((160, 160), 60, np.uint8)
    for (x, y), gray in zip(POINTS, (255, 255, 190, 120, 120), strict=True):
        image[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = gray
    return cutout(image, POINTS, is_sure)


@pytest.fixture
def scenes():
    return Scenes([[dotted()]], [np.zeros((200, 300), np.uint8)], seed=1)


@pytest.mark.parametrize("quarters", range(4))
def test_a_cut_out_knows_the_box_of_its_face_at_any_roll(quarters):
    points, box = POINTS, np.array([[40, 27], [118.6, 132]])  # as FER2013_BOX, times 2 and 32 further
    for _ in range(quarters):
        points, box = (at[:, ::-1] * [-1, 1] + [160, 0] for at in (points, box))
    face = cutout(np.zeros((160, 160), np.uint8), points)
    assert face.side == pytest.approx(math.sqrt(78.6 * 105))
    assert face.centre == pytest.approx(box.mean(axis=0))
    assert (face.points == points).all()


@pytest.mark.parametrize(
    ("n", "sides"), [(160, [160, 80, 40, 20]), (48, [48, 24, 12]), (320, [320, 160, 80, 40])]
)
def test_a_level_is_the_mean_of_four_pixels_of_the_one_before(n, sides):
    image = np.random.default_rng(0).integers(0, 256, (n, n), np.uint8)
    levels = cutout(image, FER2013_POINTS * (n / 48)).levels
    assert [level.shape for level in levels] == [(side, side) for side in sides]
    for fine, coarse in pairwise(levels):
        means = fine.reshape(len(coarse), 2, len(coarse), 2).mean(axis=(1, 3))
        assert np.abs(coarse - means).max() <= 0.5


def test_a_mirrored_cut_out_is_that_of_the_mirror_image():
    image = np.random.default_rng(0).integers(0, 256, (160, 160), np.uint8)
    points = POINTS * 0.5 + [10, 70]
    left_eye, right_eye, nose, left_corner, right_corner = points * [-1, 1] + [160, 0]
    seen = np.array([right_eye, left_eye, nose, right_corner, left_corner])
    got, wanted = cutout(image, points).mirrored(), cutout(image[:, ::-1], seen)
    assert got.points == pytest.approx(seen)
    assert got.side == wanted.side
    assert got.centre == pytest.approx(
        wanted.centre, abs=1
    )  # the usual box is 0.35 off the usual face's middle
    assert all((a == b).all() for a, b in zip(got.levels, wanted.levels, strict=True))
    assert cutout(image, points, is_sure=False).mirrored().points is None


def test_a_cut_out_is_blended_over_a_scene_as_far_as_its_mask_shows_it():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (2, 64, 64), np.uint8)
    before = rng.integers(0, 256, (SIDE, SIDE), np.uint8)
    for dx, dy in ((30, 12), (-20, 110), (120, -7), (200, 0), (0, -64)):
        scene, expected = before.copy(), before.astype(float)
        lay(scene, cutout(image, POINTS * 0.4), np.array([[1.0, 0, dx], [0, 1, dy]]), mask)
        for y in range(max(0, dy), min(SIDE, dy + 64)):
            for x in range(max(0, dx), min(SIDE, dx + 64)):
                share = mask[y - dy, x - dx] / 255
                expected[y, x] = share * image[y - dy, x - dx] + (1 - share) * before[y, x]
        assert np.abs(scene - expected).max() <= 0.51


def test_between_its_pixels_a_cut_out_is_interpolated_to_its_rim():
    image, scene = np.full((64, 64), 100, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    image[20, 30] = 200
    lay(scene, cutout(image, POINTS * 0.4), np.array([[1, 0, 10.75], [0, 1, 40.25]]), ALL)
    rows, columns = np.nonzero(scene)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (11, 74, 40, 103)
    around = scene[60:62, 40:42] - 100.0
    assert around == pytest.approx(100 * np.outer([0.75, 0.25], [0.25, 0.75]), abs=1)


@pytest.mark.parametrize("degrees", [0, 90, 200])
@pytest.mark.parametrize(
    ("scale", "level"), [(3, 0), (1, 0), (0.6, 0), (0.5, 1), (0.3, 1), (0.25, 2), (0.1, 2), (0.05, 2)]
)
def test_a_face_made_smaller_is_taken_from_the_level_of_about_its_size(scale, level, degrees):
    levels = tuple(np.full((n, n), gray, np.uint8) for n, gray in ((128, 50), (64, 100), (32, 150)))
    a, b = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    matrix = np.array([[a, -b, 80 - 64 * (a - b)], [b, a, 80 - 64 * (a + b)]])
    scene = np.zeros((SIDE, SIDE), np.uint8)
    lay(scene, Cutout(levels, np.full(2, 64.0), 64, None), matrix, ALL)
    assert scene[80, 80] == levels[level][0, 0]


def test_landmarks_lie_where_the_face_was_laid(scenes, monkeypatch):
    monkeypatch.setattr(scenes, "hide", lambda scene, place: None)
    monkeypatch.setattr(scenes, "mask", lambda face: ALL)
    for _ in range(20):
        scene = np.zeros((SIDE, SIDE), np.uint8)
        points = scenes.lay_face(scene, (80, 70, 60))
        grays = np.array([scene[int(y), int(x)] for x, y in points])
        assert np.abs(grays - [255, 255, 190, 120, 120]).max() < 40
        (right, down), (x, y) = points[1] - points[0], points[3:].mean(0) - points[:2].mean(0)
        assert right * y - down * x > 0, "the left eye is left of the right one, seen with the mouth below"


def test_a_scene_is_gray_and_its_target_has_its_faces(scenes):
    peaks = 0
    for _ in range(20):
        scene, target = scenes.make()
        assert scene.shape == (SIDE, SIDE)
        assert scene.dtype == np.uint8
        assert target.shape == (16, len(CELLS), len(CELLS))
        peaks += (target[0] == 1).sum()
    assert 5 < peaks < 80


def test_what_a_target_says_is_read_back_as_the_face():
    target = np.zeros((16, len(CELLS), len(CELLS)), np.float32)
    points = POINTS / 2
    add_face(target, (61.0, 90.0, 40.0), points)
    cells = target[:14].copy()
    cells[0] = np.where(target[0] == 1, 5, -5)
    _scores, found = decoded(cells, 0.5)
    assert found[0] == pytest.approx(points, abs=1e-3)
    assert target[3][target[14] == 1] == pytest.approx(math.log(40 / 32))


@pytest.mark.parametrize(
    "place", [(61.0, 90.0, LEARNED[0] - 1), (61.0, 90.0, LEARNED[1] + 1), (-3.0, 90.0, 40.0)]
)
def test_too_small_too_large_or_outside_is_neither_right_nor_wrong(place):
    target = np.zeros((16, len(CELLS), len(CELLS)), np.float32)
    add_face(target, place, None)
    assert (target[0] < 0).any()
    assert not (target[0] > 0).any()
    assert not target[14:].any()
