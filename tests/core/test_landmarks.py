"""The order of 68 landmarks, and how an error in them is measured."""

import numpy as np
import pytest

from mien.core.landmarks import FAILED, MIRRORED, N_POINTS, PARTS, error_scores, point_errors
from mien.errors import MienError


@pytest.mark.parametrize("n", MIRRORED)
def test_the_mirror_image_of_the_mirror_image_is_the_face(n):
    mirrored = np.array(MIRRORED[n])
    assert sorted(mirrored) == list(range(n))
    assert (mirrored[mirrored] == np.arange(n)).all()


def test_a_mirrored_part_stays_the_part():
    mirrored = np.array(MIRRORED[N_POINTS])
    for part in PARTS.values():
        inside = np.arange(N_POINTS)[part]
        assert sorted(mirrored[part]) == inside.tolist()
    assert sum(len(np.arange(N_POINTS)[part]) for part in PARTS.values()) == N_POINTS


def test_the_middle_of_the_face_is_its_own_mirror_image():
    middle = [i for i, other in enumerate(MIRRORED[N_POINTS]) if i == other]
    assert middle == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_an_error_is_measured_by_the_distance_of_the_outer_eye_corners():
    truth = np.zeros((2, 68, 2))
    truth[:, 45] = 50, 0  # 50 pixels from the other corner, which is at 0
    points = truth + np.array([3, 4])
    np.testing.assert_allclose(point_errors(points, truth), [0.1, 0.1])
    truth[0, 1] = np.nan  # an unknown point counts for nothing
    points[0, 2] += [65, 0]
    assert point_errors(points, truth)[0] == pytest.approx((66 * 5 + np.hypot(68, 4)) / 67 / 50)
    assert FAILED == 0.10


def test_what_cannot_be_measured_is_nan_or_refused():
    assert np.isnan(point_errors(np.ones((1, 5, 2)), np.zeros((1, 5, 2)))).all()  # the eyes lie in one place
    assert np.isnan(point_errors(np.ones((1, 5, 2)), np.full((1, 5, 2), np.nan))).all()
    with pytest.raises(MienError, match="68, 2"):
        point_errors(np.ones((1, 7, 2)), np.zeros((1, 7, 2)))
    with pytest.raises(MienError, match="68, 2"):
        point_errors(np.ones((1, 68, 2)), np.zeros((1, 5, 2)))


def test_faces_without_known_points_do_not_count_in_the_scores():
    found = error_scores(np.array([0.02, 0.04, np.nan, 0.12]))
    assert (found["n"], found["error"], found["failures"]) == (3, pytest.approx(0.06), pytest.approx(1 / 3))
    low, high = found["error_interval"]
    assert 0.02 <= low < 0.06 < high <= 0.12
    with pytest.raises(MienError, match="no face has known landmarks"):
        error_scores(np.array([np.nan]))
