"""Read the emotions in many pictures: find them, go through one by one, let no bad one stop the rest."""

import glob
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.core.analyzer import Analyzer
from mien.core.classifier import Classifier
from mien.core.detection import DETECTORS, Detector, Mtcnn, MtcnnSettings
from mien.core.images import DEFAULT_LIMITS, ImageLimits, ImageSource, open_image
from mien.core.results import Reading
from mien.core.store import DEFAULT_MODEL
from mien.core.views import Views
from mien.errors import ImageError, MienError
from mien.names import look_up

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"})
SUFFIXES = JPEG_SUFFIXES | {".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
"""What counts as a picture in a folder; a file that is named itself is read whatever its suffix."""

STDIN = "-"


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How pictures are read.

    Args:
        model: A model's name or the path of its ``.onnx`` file.
        detector: A detector's name.
        min_score: Faces whose detection score (0-1) is lower are left out.
        min_face: Side in pixels of the smallest face that is looked for.
        rotated: Also look for faces turned by 90, 180 and 270 degrees, for four times the time.
        views: Views of each face that are averaged, a number or ``"auto"``; ``None`` takes the model's own.
    """

    model: str = DEFAULT_MODEL
    detector: str = "mtcnn"
    min_score: float = 0.0
    min_face: float = 40
    rotated: bool = False
    views: Views | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to read: its path, or `STDIN`; ``error`` says why there is none after all."""

    name: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What one picture gave.

    ``pixels`` is the upright RGB picture, uint8 (H, W, 3); it is ``None`` where ``error`` says why not.
    """

    name: str
    readings: tuple[Reading, ...] = ()
    pixels: NDArray[np.uint8] | None = None
    error: str | None = None

    @property
    def size_wh(self) -> tuple[int, int] | None:
        return None if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])


class Reader(Protocol):
    """What `read_pictures` needs of an `Analyzer`."""

    def read(self, image: ImageSource) -> tuple[Reading, ...]: ...


def build_analyzer(settings: ReadSettings) -> Analyzer:
    """The analyzer that ``settings`` describe.

    Raises:
        ModelError: the model cannot be found or verified.
        MienError: a setting is unknown or out of range.
    """
    if not 0 <= settings.min_score <= 1:
        raise MienError(f"min_score must lie in 0..1, got {settings.min_score}")
    make: Callable[[], Detector] = look_up(DETECTORS, settings.detector, "detector")
    detector: Detector = (
        Mtcnn(MtcnnSettings(min_face=settings.min_face, orientations=4 if settings.rotated else 1))
        if make is Mtcnn
        else make()
    )
    classifier = Classifier(settings.model, views=settings.views)
    return Analyzer(classifier, detector, min_score=settings.min_score)


def find_pictures(paths: Sequence[str], leave_out: str | os.PathLike[str] | None = None) -> Iterator[Source]:
    """The pictures that ``paths`` name, one after the other, each once.

    A file stands for itself; a folder for the pictures in it and below, without hidden ones, in natural
    order (``2.png`` before ``10.png``); a pattern such as ``"**/*.jpg"``, where no such file exists, for what
    it matches; ``-`` for standard input. Memory grows with ``paths`` and with the largest folder only.

    Args:
        paths: As a person typed them, in the order wanted.
        leave_out: A folder that is not searched, for its pictures are written meanwhile.

    Yields:
        Pictures; also, with an error, what does not exist, cannot be listed, or holds no picture.
    """
    yield from _Finder(None if leave_out is None else os.path.realpath(os.fspath(leave_out))).find(paths)


class _Finder:
    """Remembers the paths that were named, not every picture in them."""

    def __init__(self, leave_out: str | None) -> None:
        self.leave_out = leave_out
        self.done: set[str] = set()

    def find(self, paths: Sequence[str]) -> Iterator[Source]:
        for path in paths:
            if path == STDIN:
                if path not in self.done:
                    self.done.add(path)
                    yield Source(STDIN)
            elif os.path.lexists(path) or not glob.has_magic(path):
                yield from self._expand(path)
            else:
                yield from self._match(path)

    def _match(self, pattern: str) -> Iterator[Source]:
        matches = sorted(glob.iglob(os.path.expanduser(pattern), recursive=True), key=natural_key)
        wanted = [p for p in matches if (os.path.isdir(p) or is_picture(p)) and not self._is_left_out(p)]
        if not wanted:
            yield Source(pattern, f"no picture matches {pattern!r}; check the pattern")
        for path in wanted:
            yield from self._expand(path)

    def _expand(self, path: str) -> Iterator[Source]:
        real = os.path.realpath(path)
        if real in self.done or self._was_walked(real):
            return
        if real == self.leave_out:
            yield Source(
                path, f"{path!r} is where annotated pictures go; read and write in different folders"
            )
        elif os.path.isdir(path):
            empty = not any(name.startswith(os.path.join(real, "")) for name in self.done)
            for source in self._walk(path, real):
                empty = False
                yield source
            if empty:
                yield Source(path, f"{path!r} holds no picture (mien reads {', '.join(sorted(SUFFIXES))})")
        else:
            yield Source(path, None if os.path.exists(path) else _why_not(path))
        self.done.add(real)

    def _is_left_out(self, path: str) -> bool:
        real = os.path.realpath(path)
        return self.leave_out is not None and Path(real).is_relative_to(self.leave_out)

    def _was_walked(self, real: str) -> bool:
        """Whether this picture or folder lies in a folder that was named before."""
        above = next((p for p in Path(real).parents if str(p) in self.done), None)
        if above is None or not (is_picture(real) or os.path.isdir(real)):
            return False
        return not any(part.startswith(".") for part in Path(real).relative_to(above).parts)

    def _walk(self, folder: str, real: str) -> Iterator[Source]:
        """Pictures of a folder, then those of its folders; symbolic links to folders are not followed."""
        if real in self.done or real == self.leave_out:
            return
        try:
            with os.scandir(folder) as entries:
                is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            yield Source(folder, f"{folder!r} cannot be listed ({reason}); check its permissions")
            return
        names = sorted((name for name in is_folder if not name.startswith(".")), key=natural_key)
        for name in names:
            if not is_folder[name] and is_picture(name) and os.path.join(real, name) not in self.done:
                yield Source(os.path.join(folder, name))
        for name in names:
            if is_folder[name]:
                yield from self._walk(os.path.join(folder, name), os.path.join(real, name))


def _why_not(path: str) -> str:
    """What is wrong with a path that leads nowhere."""
    try:
        open_image(path)
    except ImageError as error:
        return str(error)
    return f"{path!r} appeared just now; run again"  # it did not exist when the caller looked


def is_picture(path: str) -> bool:
    """Whether the suffix is one of a picture."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def natural_key(path: str) -> tuple[list[str | int], str]:
    """A key that sorts numbers in names by value: ``face2`` before ``face10``."""
    parts = re.split(r"(\d+)", path.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path


def read_pictures(
    sources: Iterable[Source], reader: Reader, *, stdin: BinaryIO | None = None, jobs: int = 1
) -> Iterator[PictureResult]:
    """One result a source, in their order; only the few pictures at hand are in memory.

    Args:
        sources: Pictures, such as `find_pictures` gives.
        reader: Usually an `Analyzer`.
        stdin: Where the bytes of the source `STDIN` come from.
        jobs: Pictures that are read at the same time, each on its own thread.

    Raises:
        MienError: what is wrong is not the picture, but the model.
    """

    def read_one(source: Source) -> PictureResult:
        return _read_one(source, reader, stdin)

    if jobs < 2:
        yield from map(read_one, sources)
        return
    pool = ThreadPoolExecutor(jobs)
    waiting: deque[Future[PictureResult]] = deque()
    try:
        for source in sources:
            waiting.append(pool.submit(read_one, source))
            if len(waiting) == 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_one(source: Source, reader: Reader, stdin: BinaryIO | None) -> PictureResult:
    if source.error is not None:
        return PictureResult(source.name, error=source.error)
    try:
        pixels = _from_stream(stdin, DEFAULT_LIMITS) if source.name == STDIN else open_image(source.name)
        return PictureResult(source.name, reader.read(pixels), pixels)
    except ImageError as error:
        return PictureResult(source.name, error=str(error))


def _from_stream(stream: BinaryIO | None, limits: ImageLimits) -> NDArray[np.uint8]:
    data = stream.read(limits.max_bytes + 1) if stream else b""
    try:
        return open_image(data, limits)
    except ImageError as error:
        raise ImageError(f"standard input: {error}") from error
