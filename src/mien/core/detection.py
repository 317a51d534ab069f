"""The interface of a face detector: its settings, input and output.

A detector of your own is a class that takes one `DetectorSettings` and has `find`. Where it also has
``find_near(image, boxes)``, which looks only at and around some boxes, video takes a tenth of the time.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.core.arguments import check_kind, check_numbers, check_threads
from mien.core.preprocess import crop_reach
from mien.core.results import Box, Face, Landmarks
from mien.errors import ImageError, MienError

DEFAULT_DETECTOR = "one-stage"
LEAST_FACE = 12  # pixels: the side of the smallest face that a network can tell
MOST_PIXELS = 100_000_000  # of the crop of a face: more than an image has, and half of what `warp` takes
Pixels = NDArray[np.uint8]
NearFinder = Callable[[Pixels, Sequence[Box]], Sequence[Face]]


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Settings of a face detector; a detector may ignore some of them.

    Args:
        min_face: Faces of about this side in pixels, at least 12, and larger are looked for, in the image as
            it is searched; smaller ones may be found too.
        max_side: An image with a longer side is shrunk to it before it is searched, so that the time is
            bounded; ``None`` searches for faces of ``min_face`` pixels of the image itself.
        rotated: Also find faces that are sideways or upside down; ``one-stage`` always finds them.
        threads: CPU threads of each network; 0 lets ONNX Runtime choose.
        device: What the networks run on; see `Classifier`.
    """

    min_face: float = 40
    max_side: int | None = 1280
    rotated: bool = False
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_numbers(self, "min_face", least=LEAST_FACE, finite=True)
        check_kind(self.rotated, "rotated", bool)
        object.__setattr__(self, "threads", check_threads(self.threads))
        check_numbers(self, "max_side", least=1, finite=True)


def looks_for(
    min_face: float | None, *, rotated: bool = False, threads: int = 1, device: str = "cpu"
) -> DetectorSettings:
    """Settings that look for faces of about ``min_face`` pixels of the image itself, and larger.

    ``None`` is 40, or 1/32 of the longest side where that is more, so that the time is bounded.

    Raises:
        MienError: a value is of the wrong type or out of range.
    """
    looks = DetectorSettings(rotated=rotated, threads=threads, device=device)
    return looks if min_face is None else replace(looks, min_face=min_face, max_side=None)


class Detector(Protocol):
    """Anything that finds faces; images are uint8 RGB (H, W, 3), upright, of any size."""

    def find(self, image: Pixels) -> Sequence[Face]:
        """The faces of one image, largest box first; empty where there is none.

        The array may be the caller's own: copy it before writing into it.
        """
        ...


def check_rgb(image: Pixels) -> None:
    """Raise unless an array is an image as detectors take it.

    Raises:
        ImageError: it is not uint8 (H, W, 3), or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"an image must be RGB uint8 of shape (H, W, 3), got {image.dtype} {image.shape}")


def near_finder(detector: Detector) -> NearFinder | None:
    """The detector's ``find_near``; None where it can only search the whole image."""
    return getattr(detector, "find_near", None)


def places_near(boxes: Iterable[Box], image: Pixels) -> list[Box]:
    """Where ``find_near`` looks: those of ``boxes`` that can have a face of the image (H, W, 3).

    A box that lies beside the image, as that of a face that left it, has none; nor has one that is less than
    a pixel wide or high, or longer than twice the image's shorter side: the work is bounded so.

    Raises:
        MienError: a box is no `Box`, has a side that is no finite number, or is inside out.
    """
    height, width = image.shape[:2]
    near = []
    for box in boxes:
        if not isinstance(box, Box):
            raise MienError(f"find_near needs mien.Box objects, got {type(box).__name__}")
        sides = (box.x1, box.y1, box.x2, box.y2)
        if not _are_finite(sides, 4) or box.x2 < box.x1 or box.y2 < box.y1:
            raise MienError(f"find_near needs boxes with finite x1 <= x2 and y1 <= y2, got {sides}")
        x1, y1, x2, y2 = map(float, sides)
        touches = x1 < width and y1 < height and x2 > 0 and y2 > 0
        shortest, longest = sorted((x2 - x1, y2 - y1))
        if touches and shortest >= 1 and longest <= 2 * min(width, height):
            near.append(box)
    return near


def find_faces(detector: Detector, image: Pixels) -> list[Face]:
    """The faces that a detector, which may be a user's own, finds on an RGB image (H, W, 3).

    Raises:
        MienError: it returns no faces, or their numbers make no sense.
    """
    return checked_faces(detector.find(image), f"detector {type(detector).__name__}")


def checked_faces(found: Iterable[Face], who: str) -> list[Face]:
    """What a detector returned, which may be a user's own.

    Raises:
        MienError: it is no faces, or their numbers make no sense; ``who`` is named.
    """
    if not isinstance(found, Iterable):
        raise MienError(f"{who} must return a sequence of mien.Face, got {type(found).__name__}")
    faces = list(found)
    for face in faces:
        if not isinstance(face, Face) or not isinstance(face.box, Box):
            kind = type(face.box if isinstance(face, Face) else face).__name__
            expected = "a mien.Box as the box of each face" if isinstance(face, Face) else "mien.Face objects"
            raise MienError(f"{who} must return {expected}, got {kind}")
        box = face.box
        sides = (box.x1, box.y1, box.x2, box.y2)
        if not _are_finite(sides, 4) or box.x2 <= box.x1 or box.y2 <= box.y1:
            raise MienError(f"{who} must return boxes with finite x1 < x2 and y1 < y2, got {sides}")
        if not _are_finite((face.score,), 1) or not 0 <= face.score <= 1:
            raise MienError(f"{who} must return scores in 0..1, got {face.score!r}")
        marks = face.landmarks
        if marks is not None and not (
            isinstance(marks, Landmarks) and all(_are_finite(point, 2) for point in marks.points)
        ):
            raise MienError(f"{who} must return mien.Landmarks of finite points, or None, got {marks!r:.80}")
    plain = [_plain(face) for face in faces]
    for face in plain:
        if not _can_be_cut(face):
            seen = face.box if face.landmarks is None or face.is_crop else face.landmarks
            raise MienError(
                f"{who} must return landmarks that lie apart, and faces that cover at most {MOST_PIXELS:,} "
                f"pixels, got {seen!r:.120}"
            )
    return sorted(plain, key=lambda face: -face.box.width * face.box.height)


def _can_be_cut(face: Face) -> bool:
    try:
        return crop_reach(face) ** 2 <= MOST_PIXELS
    except (MienError, ArithmeticError):
        return False


def _plain(face: Face) -> Face:
    """The face in Python's own numbers, which JSON takes; a detector may well give NumPy's."""
    box, marks = face.box, face.landmarks
    sides = map(float, (box.x1, box.y1, box.x2, box.y2))
    points = None if marks is None else Landmarks(*((float(x), float(y)) for x, y in marks.points))
    return replace(face, box=Box(*sides), score=float(face.score), landmarks=points)


def _are_finite(numbers: Iterable[Any], n: int) -> bool:
    try:
        values = list(numbers)
        return len(values) == n and all(map(math.isfinite, values))
    except TypeError:
        return False
