"""Head pose: known turns of the mean face are found again, and their signs are those that are documented."""

import numpy as np
import pytest

from mien.core.landmarks import MIRRORED
from mien.core.pose import head_pose, mean_face
from mien.errors import MienError


def turned(roll=0.0, yaw=0.0, pitch=0.0, scale=80.0, at=(200.0, 120.0)):
    """The mean face, turned by degrees, as an image of it would show its points."""
    r, y, p = np.radians([roll, yaw, pitch])
    by_pitch = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    by_yaw = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    by_roll = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return scale * (mean_face() @ (by_roll @ by_yaw @ by_pitch).T)[:, :2] + at


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (30, 0, 0), (0, -40, 0), (0, 0, 25), (-20, 35, -15), (170, 10, 5)]
)
def test_a_known_turn_is_found_again(angles):
    pose = head_pose(turned(*angles))
    np.testing.assert_allclose((pose.roll, pose.yaw, pose.pitch), angles, atol=1e-6)
    assert pose.to_dict() == pytest.approx(
        dict(zip(("roll", "yaw", "pitch"), map(float, angles), strict=True))
    )


def test_the_signs_are_those_of_the_nose():
    nose, eyes = 30, [36, 45]
    for angles, axis in (({"yaw": 20}, 0), ({"pitch": -20}, 1)):
        still, moved = turned(), turned(**angles)
        shift = (moved[nose] - moved[eyes].mean(axis=0)) - (still[nose] - still[eyes].mean(axis=0))
        assert shift[axis] > 3, "to the viewer's right, and for a negative pitch down"
    assert turned(roll=20)[45, 1] > turned()[45, 1], "clockwise: the eye on the right goes down"


def test_the_mirror_image_turns_the_other_way():
    points = turned(10, 20, 15)
    mirrored = points[list(MIRRORED[68])] * [-1, 1]
    pose = head_pose(mirrored)
    np.testing.assert_allclose((pose.roll, pose.yaw, pose.pitch), (-10, -20, 15), atol=1e-6)


def test_the_mean_face_is_a_face():
    face = mean_face()
    np.testing.assert_allclose(face, face[list(MIRRORED[68])] * [-1, 1, 1], atol=1e-3)
    assert np.linalg.norm(face[45] - face[36]) == pytest.approx(1, abs=1e-3)
    tip, eyes, ears = face[30, 2], face[[36, 45], 2].mean(), face[[0, 16], 2].mean()
    assert tip < eyes < ears, "nearer first"
    assert face[8, 1] > face[57, 1] > face[33, 1] > face[27, 1] > face[19, 1], "from the chin up"


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.ones((5, 2)), np.full((68, 2), np.nan)])
def test_points_without_a_pose_are_refused(points):
    with pytest.raises(MienError, match="head pose needs"):
        head_pose(points)
