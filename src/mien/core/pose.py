"""How a head is turned, from 68 landmarks and a mean face in three dimensions."""

import functools
import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.core.landmarks import N_POINTS
from mien.core.model_store import SHIPPED
from mien.errors import MienError

MEAN_FACE_FILE = SHIPPED / "mean-face.json"


@dataclass(frozen=True, slots=True)
class Pose:
    """Turns of a head in degrees, as seen by the camera; all 0 for a face that looks straight at it.

    Attributes:
        roll: Tilt in the image, clockwise: towards the viewer's right shoulder.
        yaw: Turn to the viewer's right.
        pitch: Turn upwards.
    """

    roll: float
    yaw: float
    pitch: float

    def to_dict(self) -> dict[str, float]:
        """A JSON-ready dict, in tenths of a degree."""
        return {name: round(getattr(self, name), 1) for name in ("roll", "yaw", "pitch")}


def head_pose(points: ArrayLike) -> Pose:
    """The pose whose projection of the mean face lies nearest to a face's points.

    The camera is far off (scaled orthographic projection), and the face is the mean one: angles of a real
    face are off by several degrees, most of all its pitch.

    Args:
        points: (68, 2) in pixels, in the order of iBUG 300-W.

    Raises:
        MienError: the points have another shape, are not finite, or lie in one place.
    """
    flat = np.asarray(points, np.float64)
    if flat.shape != (N_POINTS, 2) or not np.isfinite(flat).all():
        raise MienError(f"a head pose needs {N_POINTS} finite points (68, 2), got {flat.shape}")
    flat = flat - flat.mean(axis=0)
    if np.ptp(flat, axis=0).max() < 1e-9:
        raise MienError("a head pose needs points at different positions")
    affine = np.linalg.lstsq(mean_face(), flat, rcond=None)[0].T  # (2, 3): two rows of a scaled rotation
    u, _, v = np.linalg.svd(affine, full_matrices=False)
    first, second = u @ v
    third = np.cross(first, second)  # rows of the rotation: first pitch, then yaw, then roll
    roll = math.atan2(second[0], first[0])
    yaw = math.asin(max(-1.0, min(1.0, third[0])))
    pitch = math.atan2(-third[1], third[2])
    return Pose(math.degrees(roll), math.degrees(yaw), math.degrees(pitch))


@functools.cache
def mean_face() -> NDArray[np.float64]:
    """The mean face (68, 3): x to the viewer's right, y down, z away; the outer eye corners are 1 apart."""
    return np.array(json.loads(MEAN_FACE_FILE.read_text("utf-8"))["points"], np.float64)
