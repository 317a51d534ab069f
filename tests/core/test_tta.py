"""Views of a face, against scipy-free arithmetic on an image whose pixels are known."""

import numpy as np
import pytest
from PIL import Image

from mien.core.tta import N_VIEWS, average_logits, crops, shift
from mien.errors import MienError


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(0).random((3, 1, 16, 16), np.float32)


def seen(faces: np.ndarray, n_views: int) -> np.ndarray:
    """The views (n_views, N, 1, S, S) that a network is shown."""
    shown = []

    def predict(x: np.ndarray) -> np.ndarray:
        shown.append(x)
        return x.mean((2, 3))

    average_logits(predict, faces, n_views)
    return shown[0].reshape(n_views, *faces.shape)


@pytest.mark.parametrize("n_views", N_VIEWS)
def test_so_many_different_views_are_averaged_and_the_face_comes_first(
    faces: np.ndarray, n_views: int
) -> None:
    views = seen(faces, n_views)
    assert len(np.unique(views.reshape(n_views, -1), axis=0)) == n_views
    assert np.array_equal(views[0], faces)
    got = average_logits(lambda x: x[:, 0, :2, 5], faces, n_views)
    np.testing.assert_allclose(got, views[:, :, 0, :2, 5].mean(0), rtol=1e-5)


@pytest.mark.parametrize("n_views", N_VIEWS)
def test_a_face_that_was_scored_already_is_not_shown_again(n_views: int) -> None:
    faces = np.random.default_rng(0).random((70, 1, 16, 16), np.float32)  # more than go together
    shown = []

    def predict(x: np.ndarray) -> np.ndarray:
        shown.append(len(x))
        return x[:, 0, :3, 5]

    first = average_logits(predict, faces, 1)
    shown.clear()
    again = average_logits(predict, faces, n_views, first)
    assert sum(shown) == 70 * (n_views - 1)
    assert np.array_equal(again, average_logits(predict, faces, n_views)), "to the last bit"


@pytest.mark.parametrize("n_views", [2, 10, 12, 18])
def test_mirrored_faces_get_the_same_logits(faces: np.ndarray, n_views: int) -> None:
    def predict(x: np.ndarray) -> np.ndarray:
        return (x[:, 0] * np.arange(16)).sum(2)

    both = [average_logits(predict, x, n_views) for x in (faces, faces[..., ::-1])]
    np.testing.assert_allclose(*both, rtol=1e-4)


def test_a_shift_repeats_the_border(faces: np.ndarray) -> None:
    moved = shift(faces, 3, 0)
    assert np.array_equal(moved[..., 3:, :], faces[..., :-3, :])
    assert np.array_equal(moved[..., :3, :], np.repeat(faces[..., :1, :], 3, axis=2))


def test_crops_are_those_that_pillow_enlarges(faces: np.ndarray) -> None:
    image = Image.fromarray(faces[0, 0])
    boxes = [(1, 1, 15, 15), (0, 0, 14, 14), (2, 0, 16, 14), (0, 2, 14, 16), (2, 2, 16, 16)]
    for crop, box in zip(crops(faces), boxes, strict=True):
        enlarged = np.asarray(image.crop(box).resize((16, 16), Image.Resampling.BILINEAR))
        inner = slice(2, -2)  # at the rim Pillow stops at the crop's border, we look beyond it
        np.testing.assert_allclose(crop[0, 0, inner, inner], enlarged[inner, inner], atol=1e-5)


def test_another_number_of_views_is_refused(faces: np.ndarray) -> None:
    with pytest.raises(MienError, match="views must be one of 1, 2, 5, 10, 12, 18, got 3"):
        average_logits(lambda x: x, faces, 3)
