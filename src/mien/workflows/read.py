"""Read the emotions in many images: find them, go through one by one, let no bad one stop the rest."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.core.analyzer import Analyzer
from mien.core.classifier import Classifier
from mien.core.detection import DEFAULT_DETECTOR, DetectorSettings
from mien.core.detectors import make_detector
from mien.core.images import DEFAULT_LIMITS, ImageLimits, ImageSource, open_image
from mien.core.model_store import DEFAULT_MODEL
from mien.core.results import Reading
from mien.core.tta import Views
from mien.errors import ImageError, MienError
from mien.workflows.find import STDIN, Source


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How images are read.

    Args:
        model: A model's name or the path of its ``.onnx`` file.
        detector: A detector's name, or your own as ``package.module:Class``.
        min_score: Faces whose detection score (0-1) is lower are left out.
        min_face: Side of the smallest face that is looked for, in pixels of the image itself. ``None`` is
            40, or 1/32 of the longest side where that is more, so that the time is bounded.
        rotated: Also look for faces turned by 90, 180 and 270 degrees, for four times the time.
        views: Views of each face that are averaged, a number or ``"auto"``; ``None`` takes the model's own.
        device: What the networks run on; see `Classifier`.
    """

    model: str = DEFAULT_MODEL
    detector: str = DEFAULT_DETECTOR
    min_score: float = 0.0
    min_face: float | None = None
    rotated: bool = False
    views: Views | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What one image gave.

    ``pixels`` is the upright RGB image, uint8 (H, W, 3); it is ``None`` where ``error`` says why not.
    ``below`` is that of its `Source`.
    """

    name: str
    readings: tuple[Reading, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    error: str | None = None
    below: str = ""

    @property
    def size_wh(self) -> tuple[int, int] | None:
        return None if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])


class Reader(Protocol):
    """What `read_images` needs of an `Analyzer`."""

    def read(self, image: ImageSource) -> tuple[Reading, ...]: ...


def build_analyzer(settings: ReadSettings) -> Analyzer:
    """The analyzer that ``settings`` describe.

    Raises:
        ModelError: the model cannot be found or verified.
        MienError: a setting is unknown or out of range.
    """
    if not 0 <= settings.min_score <= 1:
        raise MienError(f"min_score must lie in 0..1, got {settings.min_score}")
    detector = make_detector(settings.detector, _looks(settings))
    classifier = Classifier(settings.model, views=settings.views, device=settings.device)
    return Analyzer(classifier, detector, min_score=settings.min_score)


def _looks(settings: ReadSettings) -> DetectorSettings:
    looks = DetectorSettings(rotated=settings.rotated, device=settings.device)
    if settings.min_face is None:
        return looks
    return replace(looks, min_face=settings.min_face, max_side=None)


def read_images(
    sources: Iterable[Source], reader: Reader, *, stdin: BinaryIO | None = None, jobs: int = 1
) -> Iterator[ImageResult]:
    """One result a source, in their order; only the few images at hand are in memory.

    Args:
        sources: Images, such as `find_images` gives.
        reader: Usually an `Analyzer`.
        stdin: Where the bytes of the source `STDIN` come from.
        jobs: Images that are read at the same time, each on its own thread.

    Raises:
        MienError: what is wrong is not the image, but the model.
    """

    def read_one(source: Source) -> ImageResult:
        return _read_one(source, reader, stdin)

    if jobs < 2:
        yield from map(read_one, sources)
        return
    pool = ThreadPoolExecutor(jobs)
    waiting: deque[Future[ImageResult]] = deque()
    try:
        for source in sources:
            waiting.append(pool.submit(read_one, source))
            if len(waiting) == 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_one(source: Source, reader: Reader, stdin: BinaryIO | None) -> ImageResult:
    if source.error is not None:
        return ImageResult(source.name, error=source.error)
    try:
        pixels = _from_stream(stdin, DEFAULT_LIMITS) if source.name == STDIN else open_image(source.name)
        return ImageResult(source.name, reader.read(pixels), pixels, below=source.below)
    except ImageError as error:
        return ImageResult(source.name, error=str(error))


def _from_stream(stream: BinaryIO | None, limits: ImageLimits) -> NDArray[np.uint8]:
    if stream is None:
        raise ImageError("standard input is closed; pass the path of an image")
    data = stream.read(limits.max_bytes + 1)
    try:
        return open_image(data, limits)
    except ImageError as error:
        raise ImageError(f"standard input: {error}") from error
