"""Occlusion sensitivity, against networks whose answer is known."""

import numpy as np
import pytest

from mien.core.occlusion import BATCH, Occluder, log_softmax, occlusion
from mien.errors import MienError


def one_pixel(faces: np.ndarray) -> np.ndarray:
    """A network that says class 1 by the pixel (5, 7) alone."""
    value = faces[:, 0, 5, 7]
    return np.stack([np.zeros_like(value), value], axis=1)


def face(size: int = 16) -> np.ndarray:
    return np.full((1, 1, size, size), 3.0, np.float32)


@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (4, 1), (4, 2), (5, 3), (8, 8)])
def test_only_patches_over_the_pixel_that_counts_have_an_effect(patch: int, stride: int) -> None:
    found = occlusion(one_pixel, face(), np.array([1]), Occluder(patch, stride))[0]
    reach = np.zeros((16, 16), bool)
    reach[max(0, 5 - patch + 1) : 5 + patch, max(0, 7 - patch + 1) : 7 + patch] = True
    assert found[5, 7] == pytest.approx(np.log(1 / (1 + np.exp(-3))) - np.log(1 / 2), abs=1e-6)
    assert (found[~reach] == 0).all()
    assert found.max() == found[5, 7]


def test_a_patch_of_one_pixel_gives_the_fall_of_each_pixel_s_own_log_probability() -> None:
    rng = np.random.default_rng(0)
    weights, x = rng.normal(size=(6 * 6, 3)), rng.normal(size=(2, 1, 6, 6)).astype(np.float32)
    found = occlusion(
        lambda f: f.reshape(len(f), -1) @ weights, x, np.array([2, 0]), Occluder(1, 1, fill=0.5)
    )
    for i, chosen in enumerate((2, 0)):
        changed = x[i].copy()
        changed[0, 4, 1] = 0.5
        whole, covered = (np.exp(v.ravel() @ weights) for v in (x[i], changed))
        fall = np.log(whole[chosen] / whole.sum()) - np.log(covered[chosen] / covered.sum())
        assert found[i, 4, 1] == pytest.approx(fall, abs=1e-5)


def test_covering_what_speaks_against_a_class_gives_a_negative_value() -> None:
    assert occlusion(one_pixel, face(), np.array([0]), Occluder(1, 1))[0, 5, 7] < 0


def test_no_more_faces_than_a_batch_go_through_the_network_at_once() -> None:
    seen = []

    def predict(faces: np.ndarray) -> np.ndarray:
        seen.append(len(faces))
        return one_pixel(faces)

    occlusion(predict, face(32), np.array([1]), Occluder(2, 1))
    assert max(seen) <= BATCH < sum(seen)


def test_colour_faces_are_covered_in_every_channel() -> None:
    def predict(faces: np.ndarray) -> np.ndarray:
        return np.stack([np.zeros(len(faces)), faces.sum((1, 2, 3))], axis=1)

    x = np.ones((1, 3, 4, 4), np.float32) / 16
    found = occlusion(predict, x, np.array([1]), Occluder(4, 4))
    assert found == pytest.approx(np.log(1 / (1 + np.exp(-3))) - np.log(0.5))


@pytest.mark.parametrize(("patch", "stride"), [(4, 5), (4, 0), (0, 0)])
def test_a_stride_that_leaves_pixels_out_is_refused(patch: int, stride: int) -> None:
    with pytest.raises(MienError, match="a patch of at least its stride"):
        Occluder(patch, stride)


def test_a_patch_larger_than_the_face_is_refused() -> None:
    with pytest.raises(MienError, match="must fit into the face of 16 px, got 17"):
        occlusion(one_pixel, face(), np.array([1]), Occluder(17))


def test_log_probabilities_stay_exact_where_one_class_is_nearly_certain() -> None:
    found = log_softmax(np.array([[800.0, 0.0], [40.0, 0.0]], np.float32))
    assert found[0, 1] == -800
    assert found[1, 0] == pytest.approx(-np.exp(-40.0), rel=1e-6)
