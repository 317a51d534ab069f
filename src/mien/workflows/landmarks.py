"""68 landmarks of the faces of many images; no bad image stops the rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mien.core.arguments import check_share
from mien.core.detection import Detector, find_faces
from mien.core.detectors import make_detector
from mien.core.draw import SHADE
from mien.core.images import DEFAULT_LIMITS, open_image
from mien.core.landmark_finder import LandmarkFinder
from mien.core.paths import path_text
from mien.core.pose import head_pose
from mien.core.quality import occluded
from mien.core.results import Face
from mien.errors import ImageError
from mien.workflows.find import STDIN, STDIN_CLOSED, Source

DOT = (86, 180, 233)


@dataclass(frozen=True, slots=True)
class FacePoints:
    """What one image gave: its faces, largest first, and their points (N, 68, 2) in pixels.

    ``below`` is that of its `Source`.
    """

    name: str
    faces: tuple[Face, ...] = ()
    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 68, 2), np.float32))
    pixels: NDArray[np.uint8] | None = None
    error: str | None = None
    below: str = ""

    @property
    def occluded(self) -> list[float | None]:
        """How probable it is that a part of each face is hidden."""
        return [occluded(face, points) for face, points in zip(self.faces, self.points, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        if self.error is not None:
            return {"image": path_text(self.name), "error": self.error}
        faces = [
            {
                "box": face.box.to_dict(),
                "detection_score": face.score,
                "landmarks68": points,
                "pose": head_pose(points).to_dict(),
                "occluded": None if hidden is None else round(hidden, 4),
            }
            for face, points, hidden in zip(
                self.faces, np.round(self.points.astype(float), 2).tolist(), self.occluded, strict=True
            )
        ]
        return {"image": path_text(self.name), "faces": faces}


def place_landmarks(
    sources: Iterable[Source],
    min_score: float = 0.0,
    detector: Detector | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[FacePoints]:
    """Find the faces of each image, and place 68 points on each, in the order of the images.

    Args:
        sources: The images.
        min_score: Faces with a lower detection score (0-1) are left out.
        detector: Finds the faces; the default one where there is none.
        stdin: Where the bytes of the source `STDIN` come from.

    Raises:
        MienError: ``min_score`` is no share, or the detector returns what makes no sense.
    """
    check_share(min_score, "min_score")
    detector, finder = make_detector() if detector is None else detector, LandmarkFinder()
    for source in sources:
        if source.error is not None:
            yield FacePoints(source.name, error=source.error)
            continue
        try:
            pixels = _opened(source.name, stdin)
            faces = tuple(face for face in find_faces(detector, pixels) if face.score >= min_score)
            yield FacePoints(source.name, faces, finder.find(pixels, faces), pixels, None, source.below)
        except ImageError as error:
            yield FacePoints(source.name, error=str(error))


def _opened(name: str, stdin: BinaryIO | None) -> NDArray[np.uint8]:
    if name != STDIN:
        return open_image(name)
    if stdin is None:
        raise ImageError(STDIN_CLOSED)
    try:
        return open_image(stdin.read(DEFAULT_LIMITS.max_bytes + 1))
    except ImageError as error:
        raise ImageError(f"standard input: {error}") from error


def draw_points(pixels: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A copy of an RGB image with the points (N, 68, 2) of its faces as dots."""
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas, "RGBA")
    for face in points:
        size = max(1.0, float(np.ptp(face[:, 0])) / 120)
        for radius, fill in ((1.6 * size, SHADE), (size, DOT)):
            for x, y in face.tolist():
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    return np.array(canvas)
