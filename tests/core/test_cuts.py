"""Hard cuts in shots whose cuts are known; motion, flashes and changing light are none."""

import json

import numpy as np
import pytest

from mien.core.cuts import CutFinder

N = 12
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Four public-domain photos, 200 x 300 or larger."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for photos")
    return [np.asarray(getattr(data, name)()) for name in PHOTOS]


def shot(photo: np.ndarray, kind: str) -> list[np.ndarray]:
    """Twelve frames of 160 x 240 out of a photo, in which something happens."""
    rng, frames = np.random.default_rng(1), []
    for n in range(N):
        x, y = {"pan": (5 * n, 3 * n), "shake": tuple(rng.integers(0, 7, 2))}.get(kind, (n // 4, 0))
        frame = photo[y : y + 160, x : x + 240].astype(float)
        if kind == "flash" and n in (4, 5):
            frame = frame + 110
        if kind == "light":
            frame = frame * (1 + 0.5 * np.sin(0.9 * n))
        if kind == "noise":
            frame = 0.35 * frame + rng.normal(0, 14, frame.shape)
        if kind == "black" and 4 <= n < 8:
            frame = np.full_like(frame, 16) + rng.normal(0, 1, frame.shape)
        if kind == "white" and n == 6:
            frame = np.full_like(frame, 255)
        frames.append(np.uint8(np.clip(frame, 0, 255)))
    return frames


@pytest.mark.parametrize("kind", ["calm", "pan", "shake", "flash", "light", "noise", "black", "white"])
def test_every_cut_is_found_and_nothing_else(kind: str, photos: list[np.ndarray]) -> None:
    finder = CutFinder()
    frames = [frame for photo in photos for frame in shot(photo, kind)]
    cuts = [n for n, frame in enumerate(frames) if finder.is_cut(frame)]
    assert cuts == [N, 2 * N, 3 * N]


def test_a_shot_in_which_all_moves_far_begins_with_one_cut(photos: list[np.ndarray]) -> None:
    """Every other frame shows another part of the photo, as of a head that is shaken."""
    far = [photos[1][y : y + 160, x : x + 240] for y, x in [(0, 0), (10, 30)] * (N // 2)]
    finder = CutFinder()
    cuts = [n for n, frame in enumerate([*shot(photos[0], "calm"), *far]) if finder.is_cut(frame)]
    assert cuts == [N]


def test_a_cut_through_black_is_found_behind_it(photos: list[np.ndarray]) -> None:
    black = [np.zeros((160, 240, 3), np.uint8)] * 3
    finder = CutFinder()
    frames = [*shot(photos[0], "calm"), *black, *shot(photos[1], "calm")]
    assert [n for n, frame in enumerate(frames) if finder.is_cut(frame)] == [N + 3]


def test_a_restored_finder_goes_on_as_the_one_that_was_saved(photos: list[np.ndarray]) -> None:
    one, other = CutFinder(), CutFinder()
    for frame in shot(photos[0], "pan"):
        one.is_cut(frame)
    other.restore(json.loads(json.dumps(one.to_dict())))
    for frame in shot(photos[1], "pan"):
        assert one.is_cut(frame) == other.is_cut(frame)
    assert one.to_dict() == other.to_dict()
