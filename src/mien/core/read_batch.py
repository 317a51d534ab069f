"""Read a batch of images: their faces go through the network together, and no bad image stops the rest."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.core.classifier import Classifier
from mien.core.images import ImageLimits, ImageSource, open_image
from mien.core.preprocess import FER2013_SIZE, face_crop, luma
from mien.core.quality import occluded, quality_of
from mien.core.readings import Readings
from mien.core.results import Face, Quality
from mien.errors import ImageError

Pixels = NDArray[np.uint8]
Given = ImageSource | ImageError
"""An image, or why there is none."""
NO_FACE = Readings()


@dataclass(frozen=True, slots=True)
class Found:
    """The faces of an image, each as the network takes it, and how well it can be read.

    ``points`` are 68 landmarks of each, (N, 68, 2), where asked for.
    """

    faces: list[Face]
    crops: list[Pixels]
    qualities: list[Quality]
    points: list[list[list[float]]] | None = None

    def with_points(self, points: NDArray[np.floating]) -> "Found":
        """The same faces with 68 landmarks of each, (N, 68, 2), and whether a part of it is hidden."""
        hidden = [occluded(face, one) for face, one in zip(self.faces, points, strict=True)]
        qualities = [replace(old, occluded=p) for old, p in zip(self.qualities, hidden, strict=True)]
        return replace(self, qualities=qualities, points=points.tolist())


def crop_faces(classifier: Classifier, image: Pixels, faces: Sequence[Face], min_quality: float) -> Found:
    """The faces of an RGB image (H, W, 3) that can be read well enough (0-1), cropped for a classifier."""
    size_wh = image.shape[1], image.shape[0]
    crops = [classifier.crop(image, face) for face in faces]
    grays = _grays(classifier, image, faces, crops)
    qualities = [quality_of(*one, size_wh) for one in zip(faces, grays, strict=True)]
    kept = [i for i, quality in enumerate(qualities) if quality.score >= min_quality]
    return Found([faces[i] for i in kept], [crops[i] for i in kept], [qualities[i] for i in kept])


def _grays(
    classifier: Classifier, image: Pixels, faces: Sequence[Face], crops: Sequence[Pixels]
) -> list[Pixels]:
    """The faces as `quality_of` takes them; most networks take them so too."""
    card = classifier.card
    if (card.input_size, card.crop_scale) == (FER2013_SIZE, 1.0):
        return [luma(crop) for crop in crops]
    return [face_crop(image, face) for face in faces]


class Reader(Protocol):
    """What is needed of an `Analyzer`."""

    limits: ImageLimits

    def find_crops(self, image: Pixels) -> Found: ...

    def name_crops(self, found: Sequence[Found]) -> list[Readings]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What one image gave; ``error`` says why it gave nothing, and ``pixels`` are kept where asked for."""

    readings: Readings = NO_FACE
    size_wh: tuple[int, int] | None = None
    pixels: Pixels | None = None
    error: ImageError | None = None


def lasting(image: Given, limits: ImageLimits) -> Given:
    """The image in a form that can wait: what may change or be closed, all but paths and bytes, is opened."""
    if isinstance(image, str | os.PathLike | bytes | ImageError):
        return image
    try:
        pixels = open_image(image, limits)
    except ImageError as error:
        return error
    is_view = isinstance(image, np.ndarray) and np.may_share_memory(pixels, image)
    return pixels.copy() if is_view else pixels


def read_batch(reader: Reader, images: Iterable[Given], *, keep_pixels: bool = False) -> list[Answer]:
    """An answer for each image; only faces wait for each other, not whole images.

    Raises:
        MienError: what is wrong is not an image, but the model or the detector.
    """
    answers: list[Answer] = []
    found: list[Found] = []
    places: list[int] = []
    for image in images:
        try:
            if isinstance(image, ImageError):
                raise image
            pixels = open_image(image, reader.limits)
            found.append(reader.find_crops(pixels))
        except ImageError as error:
            answers.append(Answer(error=error))
            continue
        places.append(len(answers))
        size_wh = (pixels.shape[1], pixels.shape[0])
        answers.append(Answer(size_wh=size_wh, pixels=pixels if keep_pixels else None))
    for place, readings in zip(places, reader.name_crops(found), strict=True):
        old = answers[place]
        answers[place] = Answer(readings, old.size_wh, old.pixels)
    return answers
