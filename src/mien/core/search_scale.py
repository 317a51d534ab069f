"""At which size a detector searches an image, and what it found in pixels of the image itself."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.detection import DetectorSettings, check_rgb
from mien.core.geometry import Boxes, box_areas
from mien.core.results import Box, Face, Landmarks

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

USUAL = 40  # pixels: a larger face tells no more
SHRUNK_ROWS = 64  # of a shrunk image that are made at a time
FILL = (127, 127, 127)  # outside the image: what the networks' normalisation turns to zero


def least_face(settings: DetectorSettings) -> float:
    """Side of the smallest face looked for, in pixels of what `shrunk` makes of an image."""
    return settings.min_face if settings.max_side is not None else min(settings.min_face, USUAL)


def shrunk(image: Pixels, settings: DetectorSettings) -> Image.Image:
    """The image, checked and shrunk to the size at which it is searched.

    Where ``max_side`` does not bound it, it is shrunk as far as its smallest face allows.

    Raises:
        ImageError: it is no uint8 RGB image (H, W, 3).
    """
    check_rgb(image)
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    longest = max(width, height)
    max_side: float | None = settings.max_side
    if max_side is None:
        max_side = longest * least_face(settings) / settings.min_face
    if longest <= max_side:
        return Image.fromarray(image)
    small_wh = max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest))
    return resized_in_bands(image, small_wh)


def resized_in_bands(image: Pixels, size_wh: tuple[int, int]) -> Image.Image:
    """A smaller image, band by band: a copy of the whole for Pillow takes a third of the time."""
    height, width = image.shape[:2]
    step = height / size_wh[1]
    reach = math.ceil(step) + 1  # the rows above and below that bilinear weights mix in
    small = Image.new("RGB", size_wh)
    for top in range(0, size_wh[1], SHRUNK_ROWS):
        bottom = min(top + SHRUNK_ROWS, size_wh[1])
        first = max(0, math.floor(top * step) - reach)
        band = Image.fromarray(image[first : math.ceil(bottom * step) + reach])
        box = 0, top * step - first, width, min(bottom * step - first, band.height)
        shown = band.resize((size_wh[0], bottom - top), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
        small.paste(shown, (0, top))
    return small


def growth(work: Image.Image, image: Pixels) -> Floats:
    """By how much ``image`` is wider and higher, (2,), than ``work``, to which it was shrunk."""
    height, width = image.shape[:2]
    return np.array([width / work.width, height / work.height], np.float32)


def faces_of(
    boxes: Boxes, scores: Floats, points: Floats, work: Image.Image, image: Pixels
) -> tuple[Face, ...]:
    """Faces found in ``work`` as plain values in pixels of ``image``, which was shrunk to it.

    Their boxes are cut to the image, largest first; equal ones are in reading order.
    """
    height, width = image.shape[:2]
    scale_xy = growth(work, image)
    boxes, points = boxes * np.tile(scale_xy, 2), points * scale_xy
    boxes = np.clip(boxes, 0, np.tile(np.array((width, height), np.float32), 2))
    areas = box_areas(boxes)
    order = np.lexsort((boxes[:, 0], boxes[:, 1], -areas))
    return tuple(
        Face(
            box=Box(*boxes[i].tolist()),
            score=float(scores[i]),
            landmarks=Landmarks(*(tuple(point) for point in points[i].tolist())),
        )
        for i in order
        if areas[i] > 0
    )
