"""Every face detector by name, and those of the user's own."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mien.core.detection import DEFAULT_DETECTOR, Detector, DetectorSettings, Pixels
from mien.core.mtcnn import Mtcnn, MtcnnSettings
from mien.core.own_code import is_own, load_own
from mien.errors import MienError
from mien.names import look_up


def _mtcnn(settings: DetectorSettings) -> Mtcnn:
    """MTCNN; where the size of the image is not bounded, larger faces alone let it be shrunk."""
    turns = 4 if settings.rotated else 1
    min_face, smallest = settings.min_face, None
    if settings.max_side is None:
        min_face, smallest = min(min_face, MtcnnSettings().min_face), min_face
    return Mtcnn(
        MtcnnSettings(
            min_face,
            settings.max_side,
            smallest,
            orientations=turns,
            threads=settings.threads,
            device=settings.device,
        )
    )


DETECTORS: dict[str, Callable[[DetectorSettings], Detector]] = {"mtcnn": _mtcnn}


def make_detector(name: str = DEFAULT_DETECTOR, settings: DetectorSettings | None = None) -> Detector:
    """A detector that looks as ``settings`` say.

    Args:
        name: An entry of `DETECTORS`, or ``package.module:Class`` or ``file.py:Class``.
        settings: How thoroughly to look.

    Raises:
        MienError: there is no such detector, or it does not go with the settings.
    """
    if not is_own(name):
        return look_up(DETECTORS, name, "detector")(settings or DetectorSettings())
    make = load_own(name, "detector")
    try:
        detector: Detector = make(settings or DetectorSettings())
    except TypeError as e:
        raise MienError(f"detector '{name}' must take one mien.DetectorSettings ({e})") from e
    if not callable(getattr(detector, "find", None)):
        raise MienError(f"detector '{name}' has no method find(image); see mien.Detector")
    return detector


def landmarks_on_crops(crops: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Five points of faces that are cropped already, and how sure they are; see `Mtcnn.landmarks_on_crop`."""
    return Mtcnn().landmarks_on_crop(crops)
