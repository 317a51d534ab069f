"""Images in, readings out: detector, crop and classifier joined."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.arguments import check_kind, check_several, check_share, check_threads, check_whole
from mien.core.bulk import BulkSettings, read_each
from mien.core.classifier import Classifier
from mien.core.detection import DEFAULT_DETECTOR, Detector, find_faces, looks_for
from mien.core.detectors import DETECTORS, make_detector
from mien.core.images import DEFAULT_LIMITS, RGB, ImageLimits, ImageSource, as_rgb
from mien.core.landmark_finder import LandmarkFinder
from mien.core.model_store import DEFAULT_MODEL, find_model, lasting_name, model_state
from mien.core.own_code import OwnFiles
from mien.core.providers import checked_device
from mien.core.read_batch import Answer, Found, crop_faces, read_batch
from mien.core.readings import Readings
from mien.core.results import Face
from mien.errors import MienError, ModelError

Pixels = NDArray[np.uint8]


class Analyzer:
    """Reads the emotions on every face of an image; make one and use it for many images.

    A model that is not loaded yet is checked at once, and opened while the first image is searched. A
    pickled analyzer opens it again where it is unpickled, so that other processes can read with it too.

    Args:
        model: A model's name, the path of its ``.onnx`` file, or a loaded `Classifier`.
        detector: A detector's name, your own as ``"package.module:Class"``, or any object that has the
            method of `Detector`.
        min_score: Faces with a lower detection score (0-1) are left out.
        min_quality: Faces that can be read less well (0-1, see `Quality.score`) are left out.
        limits: How large an image may be.
        device: What the networks run on, such as ``"cuda"`` or ``"auto"``; see `Classifier`. A loaded
            `Classifier` and a detector of your own keep theirs.
        threads: CPU threads of each network; 0 lets ONNX Runtime choose.
        landmarks: Also place 68 landmarks on each face, as ``landmarks68`` of its reading, and tell from
            them whether a part of it is hidden, as ``quality.occluded``.
        min_face: Faces of about this side and larger are looked for, in pixels of the image itself; smaller
            ones may be found too. ``None`` is 40, or 1/32 of the longest side where that is more, so that
            the time is bounded. A detector of your own has its own `DetectorSettings`.
        rotated: With ``"mtcnn"``, also look for faces turned by quarters, for four times the time.

    Raises:
        ModelError: the model or the detector cannot be found or verified.
        MienError: an argument is of the wrong type or out of range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Classifier = DEFAULT_MODEL,
        detector: str | Detector = DEFAULT_DETECTOR,
        *,
        min_score: float = 0.0,
        min_quality: float = 0.0,
        limits: ImageLimits = DEFAULT_LIMITS,
        device: str = "cpu",
        threads: int = 1,
        landmarks: bool = False,
        min_face: float | None = None,
        rotated: bool = False,
    ) -> None:
        self.device, self.threads = checked_device(device), check_threads(threads)
        looks = looks_for(min_face, rotated=rotated, threads=self.threads, device=self.device)
        if isinstance(detector, str):
            detector = make_detector(detector, looks)
        elif min_face is not None or rotated:
            raise MienError(
                "min_face and rotated are for a detector's name; "
                "make your detector with mien.DetectorSettings(min_face=..., rotated=...)"
            )
        self.detector = _checked_detector(detector)
        self._model: str | Classifier
        if isinstance(model, Classifier):
            self._model = self.classifier = model
        else:
            find_model(model)
            self._model = lasting_name(model)
            self._opening = _Opening(self._model, self.threads, self.device)
        self.min_score = check_share(min_score, "min_score")
        self.min_quality = check_share(min_quality, "min_quality")
        check_kind(landmarks, "landmarks", bool)
        self.limits = limits
        self.landmarks = landmarks
        self._finder = LandmarkFinder(threads, self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("min_score", "min_quality", "limits", "device", "threads", "landmarks")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        files = OwnFiles(type(self), type(self.detector))
        return _again, (files, type(self), (self._model, self.detector), options)

    def __repr__(self) -> str:
        return f"<Analyzer of {self._model!r}, detector {type(self.detector).__name__}>"

    @cached_property
    def classifier(self) -> Classifier:
        """The network that classifies the emotions."""
        return self._opening.result()

    def read(self, image: ImageSource, *, color: str = RGB) -> Readings:
        """Readings of one image: a path, bytes, open binary file, PIL image or array (H, W, 3).

        Args:
            image: See there.
            color: ``"bgr"`` for the arrays of OpenCV; ignored if the image is not an array.

        Returns:
            One `Reading` a face, largest first; empty where no face is found.

        Raises:
            ImageError: the image cannot be read.
        """
        (answer,) = read_batch(self, [as_rgb(image, color)])
        return _readings_of(answer)

    def read_many(
        self, images: Iterable[ImageSource], batch: int = 8, *, workers: int | None = 1, color: str = RGB
    ) -> Iterator[Readings]:
        """Readings of each image in turn; the faces of ``batch`` images go through the network together.

        Args:
            images: As `read` takes them. The file of a path must be there until its readings are given; any
                other image may change or be closed once the next one is asked for.
            batch: How many images' faces.
            workers: Processes that read at the same time; ``None`` takes the cores that are free where there
                are enough images for that. Each opens the network again, and takes its memory.
            color: See `read`.

        Raises:
            ImageError: an image cannot be read; those before it were given, so open images yourself where
                one bad file must not stop the rest.
            MienError: ``images`` is a single image, or ``batch`` or ``workers`` is no positive number.
            Exception: what ``images`` itself raises, after the readings of those before.
        """
        check_several(images)
        check_whole(batch, "batch")
        if workers is not None:
            check_whole(workers, "workers")
        ordered = (as_rgb(image, color) for image in images)
        return (_readings_of(one) for one in read_each(self, ordered, BulkSettings(batch, workers)))

    def find_crops(self, image: Pixels) -> Found:
        """The faces of an RGB image (H, W, 3), and each as the network takes it; for `name_crops`."""
        found = crop_faces(self.classifier, image, self._faces(image), self.min_quality)
        if self.landmarks:
            return found.with_points(self._finder.find(image, found.faces))
        return found

    def name_crops(self, found: Sequence[Found]) -> list[Readings]:
        """The readings of each image that `find_crops` searched; all faces go through the network at once."""
        crops = [crop for one in found for crop in one.crops]
        if not crops:
            return [Readings()] * len(found)
        probs = iter(self.classifier.probs(np.stack(crops)))
        return [
            _with_points(
                Readings(
                    self.classifier.reading(face, next(probs), quality)
                    for face, quality in zip(one.faces, one.qualities, strict=True)
                ),
                one.points,
            )
            for one in found
        ]

    def _faces(self, image: Pixels) -> list[Face]:
        return [face for face in find_faces(self.detector, image) if face.score >= self.min_score]


def _again(_: None, kind: type[Analyzer], arguments: tuple[Any, ...], options: dict[str, Any]) -> Analyzer:
    """A pickled analyzer; the files come first, because they hold the class of its detector."""
    return kind(*arguments, **options)


def _checked_detector(detector: Any) -> Detector:
    """An object that has `find`; bytes have one too, and so has a class, of which none is made yet."""
    is_class = isinstance(detector, type)
    if is_class or isinstance(detector, bytes | bytearray) or not callable(getattr(detector, "find", None)):
        got = f"the class {detector.__name__}" if is_class else type(detector).__name__
        raise MienError(
            f"a detector must be a name ({', '.join(DETECTORS)}) or an object with the method "
            f"of mien.Detector, got {got}"
        )
    made: Detector = detector
    return made


def _readings_of(answer: Answer) -> Readings:
    if answer.error is not None:
        raise answer.error
    return answer.readings


def _with_points(readings: Readings, points: list[list[list[float]]] | None) -> Readings:
    """The readings with their 68 landmarks (N, 68, 2), where there are some."""
    if points is None:
        return readings
    return Readings(
        replace(reading, landmarks68=tuple((x, y) for x, y in one))
        for reading, one in zip(readings, points, strict=True)
    )


class _Opening(Thread):
    """Opens a network beside other work: ONNX Runtime lets go of Python's lock for the 50 ms it takes."""

    def __init__(self, model: str, threads: int, device: str) -> None:
        super().__init__(name="mien-opening")
        self._open = partial(Classifier, model, threads=threads, device=device)
        self._opened: Classifier | None = None
        self.start()

    def run(self) -> None:
        with suppress(Exception):  # `result` meets it again, where the caller can see it
            self._opened = self._open()

    def result(self) -> Classifier:
        """The network; opened here if the thread failed or was lost in a forked process."""
        self.join()
        return self._opened or self._open()


@lru_cache(maxsize=4)
def shared_analyzer(
    card: str, state: tuple[int, ...], landmarks: bool = False, min_face: float | None = None
) -> Analyzer:
    """The analyzer that `read` keeps for a model in a `model_state`, so that later calls load nothing."""
    return Analyzer(card, landmarks=landmarks, min_face=min_face)


def read(
    image: ImageSource,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    landmarks: bool = False,
    color: str = RGB,
    min_face: float | None = None,
) -> Readings:
    """The emotions on every face of an image, and 68 landmarks where asked for; see `Analyzer`.

    The network stays open for later calls until one of its files is replaced.

    Examples:
        >>> readings = mien.read(frame, color="bgr")  # a frame of OpenCV
    """
    if not isinstance(model, str | os.PathLike):
        raise ModelError(f"a model must be a name or a path, got {type(model).__name__}; see mien.Analyzer")
    looks_for(min_face)  # before it becomes a key
    return shared_analyzer(*model_state(model), landmarks, min_face).read(image, color=color)
