"""The scenes of the end-to-end benchmark, and how a face read from one is judged."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from mien.core.geometry import similarity, transform
from mien.core.preprocess import FER2013_POINTS
from mien.core.results import Box, Face, Landmarks


@pytest.fixture(scope="module")
def bench(module_at: Callable[[str], ModuleType]) -> ModuleType:
    return module_at("benchmarks/end_to_end.py")


def face_at(points: np.ndarray, box: tuple[float, float, float, float] = (0, 0, 10, 10)) -> Face:
    return Face(Box(*box), 1.0, Landmarks(*map(tuple, points.tolist())))


@pytest.mark.parametrize("side", [48, 200])
def test_a_face_lies_in_the_scene_where_its_map_says(bench, side):
    face = np.full((48, 48), 128, np.uint8)
    face[10:14, 30:34] = 255  # its middle at (32, 12)
    pixels, maps = bench.scene(np.stack([face] * 3), side, 20, np.random.default_rng(1))
    assert pixels.shape == (*bench.SCENE_WH[::-1], 3)
    assert len(maps) == 3
    for grid in maps:
        x, y = transform(np.array([[32.0, 12.0]]), grid)[0]
        assert (pixels[int(y), int(x)] > 230).all()
        x, y = transform(np.array([[24.0, 24.0]]), grid)[0]
        assert (np.abs(pixels[int(y), int(x)].astype(int) - 128) <= 2).all()


def test_cells_do_not_touch(bench):
    for side in (48, 96, 200):
        middles = np.array(list(bench.places(side)))
        gaps = np.linalg.norm(middles[:, None] - middles[None], axis=-1) + 1e9 * np.eye(len(middles))
        assert gaps.min() > 1.5 * side
        assert (middles > 0.7 * side).all()
        assert (middles < np.array(bench.SCENE_WH) - 0.7 * side).all()


def test_the_right_crop_has_no_error_and_a_moved_one_what_it_was_moved_by(bench):
    grid = np.array([[2.0, 0, 100], [0, 2.0, 50]])
    exact = transform(FER2013_POINTS, grid)
    assert bench.crop_error(face_at(exact), grid, 1.0) < 1e-4
    assert bench.crop_error(face_at(exact + np.array([6, 8])), grid, 1.0) == pytest.approx(5, abs=1e-3)
    assert similarity(exact, FER2013_POINTS)[0, 0] == pytest.approx(0.5)


def test_a_box_elsewhere_does_not_count_as_found(bench):
    grid = np.array([[2.0, 0, 100], [0, 2.0, 50]])  # its middle at (148, 98), its side 96
    near = face_at(FER2013_POINTS, (120, 70, 180, 130))
    far = face_at(FER2013_POINTS, (20, 20, 60, 60))
    assert bench.nearest([far, near], grid, 96) is near
    assert bench.nearest([far], grid, 96) is None
    assert bench.nearest([], grid, 96) is None
