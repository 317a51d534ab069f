"""Pictures in, readings out: detector, crop and classifier joined."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.classifier import Classifier
from mien.core.detection import DETECTORS, Detector
from mien.core.images import DEFAULT_LIMITS, ImageLimits, ImageSource, open_image
from mien.core.results import Face, Reading
from mien.core.store import DEFAULT_MODEL, find_model
from mien.errors import MienError
from mien.names import look_up

Picture = NDArray[np.uint8]


class Analyzer:
    """Reads the emotions on every face of a picture; make one and use it for many pictures.

    A model that is not loaded yet is checked at once, and opened while the first picture is searched. A
    pickled analyzer opens it anew where it is unpickled, so that other processes can read with it too.

    Args:
        model: A model's name, the path of its ``.onnx`` file, or a loaded `Classifier`.
        detector: A detector's name or any object that has the two methods of `Detector`.
        min_score: Faces with a lower detection score (0-1) are left out.
        limits: How large a picture may be.

    Raises:
        ModelError: the model or the detector cannot be found or verified.
        MienError: an argument is of another type, or out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Classifier = DEFAULT_MODEL,
        detector: str | Detector = "mtcnn",
        *,
        min_score: float = 0.0,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> None:
        if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not 0 <= min_score <= 1:
            raise MienError(f"min_score must lie in 0..1, got {min_score!r}")
        if not isinstance(detector, str) and not callable(getattr(detector, "find", None)):
            raise MienError(f"a detector is a name or has a method 'find', got {type(detector).__name__}")
        self._model = model
        if isinstance(model, Classifier):
            self.classifier = model
        else:
            self._opening = _Opening(find_model(model)[0])
        self.detector = look_up(DETECTORS, detector, "detector")() if isinstance(detector, str) else detector
        self.min_score = min_score
        self.limits = limits

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(
            type(self), self._model, self.detector, min_score=self.min_score, limits=self.limits
        ), ()

    @cached_property
    def classifier(self) -> Classifier:
        """The network that names the emotions."""
        return self._opening.result()

    def read(self, image: ImageSource) -> tuple[Reading, ...]:
        """Readings of one picture: a path, bytes, PIL image or RGB array (H, W, 3).

        Returns:
            One `Reading` a face, largest first; empty where no face is found.

        Raises:
            ImageError: the picture cannot be read.
        """
        return next(self.read_many([image]))

    def read_many(self, images: Iterable[ImageSource], batch: int = 8) -> Iterator[tuple[Reading, ...]]:
        """Readings of each picture in turn; the faces of ``batch`` pictures go through the network together.

        Raises:
            ImageError: a picture cannot be read; those of its batch are lost, so open pictures yourself
                where one bad file must not stop the rest.
            MienError: ``images`` is one picture and not several, or ``batch`` is no positive number.
        """
        if isinstance(images, str | bytes | os.PathLike | np.ndarray) or not isinstance(images, Iterable):
            kind = type(images).__name__
            raise MienError(f"read_many takes a list of pictures, got one {kind}; use read for one picture")
        if not isinstance(batch, int) or batch < 1:
            raise MienError(f"batch must be a whole number from 1, got {batch!r}")
        return self._read_batches(images, batch)

    def _read_batches(self, images: Iterable[ImageSource], batch: int) -> Iterator[tuple[Reading, ...]]:
        waiting: list[Picture] = []
        for image in images:
            waiting.append(open_image(image, self.limits))
            if len(waiting) == batch:
                yield from self._read_opened(waiting)
                waiting = []
        if waiting:
            yield from self._read_opened(waiting)

    def _read_opened(self, pictures: list[Picture]) -> list[tuple[Reading, ...]]:
        found = [self._faces(picture) for picture in pictures]
        crops = [
            self.classifier.crop(picture, face)
            for picture, faces in zip(pictures, found, strict=True)
            for face in faces
        ]
        if not crops:
            return [()] * len(pictures)
        probs = iter(self.classifier.probs(np.stack(crops)))
        return [tuple(self.classifier.reading(face, next(probs)) for face in faces) for faces in found]

    def _faces(self, picture: Picture) -> list[Face]:
        return [face for face in self.detector.find(picture) if face.score >= self.min_score]


class _Opening(Thread):
    """Opens a network beside other work: ONNX Runtime lets go of Python's lock for the 50 ms it takes."""

    def __init__(self, weights: Path) -> None:
        super().__init__(name="mien-opening")
        self._weights = weights
        self._opened: Classifier | None = None
        self.start()

    def run(self) -> None:
        with suppress(Exception):  # `result` meets it again, where the caller can see it
            self._opened = Classifier(self._weights)

    def result(self) -> Classifier:
        """The network; opened here if the thread failed or was lost in a forked process."""
        self.join()
        return self._opened or Classifier(self._weights)


@lru_cache(maxsize=4)
def shared_analyzer(model: str) -> Analyzer:
    """The analyzer that `read` keeps for a model, so that later calls load nothing."""
    return Analyzer(model)


def read(image: ImageSource, model: str = DEFAULT_MODEL) -> tuple[Reading, ...]:
    """The emotions on every face of a picture; see `Analyzer.read`."""
    return shared_analyzer(model).read(image)
