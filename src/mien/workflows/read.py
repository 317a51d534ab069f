"""Read the emotions in many images: find them, go through one by one, let no bad one stop the rest."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mien.core.analyzer import Analyzer
from mien.core.bulk import BulkSettings, Pause, read_each
from mien.core.classifier import Classifier
from mien.core.detection import DEFAULT_DETECTOR
from mien.core.detectors import detector_identity
from mien.core.images import DEFAULT_LIMITS
from mien.core.model_store import DEFAULT_MODEL
from mien.core.read_batch import Given, Reader
from mien.core.results import Reading
from mien.core.tta import Views
from mien.errors import ImageError
from mien.workflows.find import PAUSE, STDIN, STDIN_CLOSED, Source


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How images are read.

    Args:
        model: A model's name or the path of its ``.onnx`` file.
        detector: A detector's name, or your own as ``package.module:Class``.
        min_score: Faces whose detection score (0-1) is lower are left out.
        min_quality: Faces that can be read less well (0-1) are left out; see `Quality.score`.
        min_face: Faces of about this side and larger are looked for, in pixels of the image itself; smaller
            ones may be found too. ``None`` is 40, or 1/32 of the longest side where that is more, so that the
            time is bounded.
        rotated: With ``mtcnn``, also look for faces turned by quarters, for four times the time.
        views: Views of each face that are averaged, a number or ``"auto"``; ``None`` takes the model's own.
        device: What the networks run on; see `Classifier`.
        landmarks: Also place 68 landmarks on each face; see `Analyzer`.
    """

    model: str = DEFAULT_MODEL
    detector: str = DEFAULT_DETECTOR
    min_score: float = 0.0
    min_quality: float = 0.0
    min_face: float | None = None
    rotated: bool = False
    views: Views | None = None
    device: str = "cpu"
    landmarks: bool = False

    def identity(self) -> dict[str, Any]:
        """What must be the same for rows to continue others; the model is told by its sha256."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("model", "device")}
        kept["detector"] = detector_identity(self.detector)
        return kept


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What one image gave.

    ``size_wh`` is that of the upright image; it is ``None`` where ``error`` says why. ``pixels`` is the
    image, RGB uint8 (H, W, 3), where it was to be kept. ``below`` is that of its `Source`.
    """

    name: str
    readings: tuple[Reading, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    error: str | None = None
    below: str = ""
    size_wh: tuple[int, int] | None = None


def build_analyzer(settings: ReadSettings) -> Analyzer:
    """The analyzer that ``settings`` describe.

    Raises:
        ModelError: the model cannot be found or verified.
        MienError: a setting is unknown or out of range.
    """
    classifier = Classifier(settings.model, views=settings.views, device=settings.device)
    return Analyzer(
        classifier,
        settings.detector,
        min_score=settings.min_score,
        min_quality=settings.min_quality,
        device=settings.device,
        landmarks=settings.landmarks,
        min_face=settings.min_face,
        rotated=settings.rotated,
    )


def read_images(
    sources: Iterable[Source],
    reader: Reader,
    *,
    stdin: BinaryIO | None = None,
    bulk: BulkSettings | None = None,
) -> Iterator[ImageResult]:
    """One result per source, in order; only a few images are in memory at a time.

    Args:
        sources: Images, such as `find_images` gives; those before a `PAUSE` have their results soon.
        reader: Usually an `Analyzer`.
        stdin: Where the bytes of the source `STDIN` come from.
        bulk: How many at a time; it changes nothing in what is read.

    Raises:
        MienError: what is wrong is not the image, but the model.
    """
    feed = _Feed(sources, stdin)
    for answer in read_each(reader, feed, bulk or BulkSettings()):
        source = feed.waiting.popleft()
        error = None if answer.error is None else str(answer.error)
        if error is not None and source.name == STDIN and source.error is None:
            error = f"standard input: {error}"
        yield ImageResult(source.name, answer.readings, answer.pixels, error, source.below, answer.size_wh)


class _Feed:
    """Gives the images of sources, and remembers the sources until their results are there."""

    def __init__(self, sources: Iterable[Source], stdin: BinaryIO | None) -> None:
        self.sources, self.stdin = sources, stdin
        self.waiting: deque[Source] = deque()

    def __iter__(self) -> Iterator[Given | Pause]:
        for source in self.sources:
            if source is PAUSE:
                yield Pause()
                continue
            if source.error is None and source.name == STDIN and self.stdin is None:
                source = Source(STDIN, STDIN_CLOSED)
            self.waiting.append(source)
            if source.error is not None:
                yield ImageError(source.error)
            else:
                yield self._bytes() if source.name == STDIN else source.name

    def _bytes(self) -> bytes:
        return self.stdin.read(DEFAULT_LIMITS.max_bytes + 1) if self.stdin else b""
