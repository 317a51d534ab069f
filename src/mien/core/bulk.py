"""Read many images in their order, in this process or in several, with the next files on their way."""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from mien.core.cores import can_start_python, free_cores
from mien.core.images import ImageSource
from mien.core.read_batch import Answer, Reader, read_batch

if TYPE_CHECKING:
    from concurrent.futures import Future

POOL_FROM = 32
"""Images from which other processes pay: each takes as long to start as some images take to read."""
AHEAD = 2
"""Batches that wait for each process, so that none waits for the disk."""
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """How many images are read.

    Args:
        batch: Images whose faces go through the network together.
        workers: Processes that read at the same time; 1 reads in this one, ``None`` takes the cores that are
            free where there are `POOL_FROM` images or more.
        keep_pixels: Whether answers hold the images.
        stop: Asked before each image; true ends the work.
    """

    batch: int = 8
    workers: int | None = 1
    keep_pixels: bool = False
    stop: Callable[[], bool] = lambda: False


def read_each(reader: Reader, images: Iterable[ImageSource], settings: BulkSettings) -> Iterator[Answer]:
    """An answer for each image, in their order; see `BulkSettings`.

    Raises:
        MienError: what is wrong is not an image, but the model or the detector.
    """
    images = iter(images)
    wanted = free_cores() if settings.workers is None else settings.workers
    wanted = wanted if can_start_python() else 1
    least = POOL_FROM if settings.workers is None else 2
    most = wanted * AHEAD * settings.batch
    first = list(islice(images, max(least, most))) if wanted > 1 else []
    workers = min(wanted, len(first)) if len(first) >= least else 1
    size = settings.batch if len(first) >= most or workers == 1 else -(-len(first) // (AHEAD * workers))
    batches = _batches(chain(first, images), size)
    if workers == 1:
        return _read_here(reader, batches, settings)
    return _read_elsewhere(reader, batches, workers, settings)


def _batches(images: Iterator[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    while batch := list(islice(images, size)):
        if size > 1:
            _prefetch(batch)
        yield batch


def _read_here(
    reader: Reader, batches: Iterator[list[ImageSource]], settings: BulkSettings
) -> Iterator[Answer]:
    batch = next(batches, None)
    while batch is not None and not settings.stop():
        has_files = len(batch) > 1 and isinstance(batch[-1], str | os.PathLike)
        ahead = next(batches, None) if has_files else None  # its files are read meanwhile
        yield from read_batch(reader, _until(batch, settings.stop), keep_pixels=settings.keep_pixels)
        batch = ahead if ahead is not None else next(batches, None)


def _until(images: Iterable[ImageSource], stop: Callable[[], bool]) -> Iterator[ImageSource]:
    for image in images:
        if stop():
            return
        yield image


def _read_elsewhere(
    reader: Reader, batches: Iterator[list[ImageSource]], workers: int, settings: BulkSettings
) -> Iterator[Answer]:
    from mien.core.reading_pool import ReadingPool

    with ReadingPool(reader, workers, keep_pixels=settings.keep_pixels) as pool:
        waiting: deque[Future[list[Answer]]] = deque()
        for batch in batches:
            if settings.stop():
                return
            waiting.append(pool.submit(batch))
            if len(waiting) == AHEAD * workers:
                yield from _result(waiting.popleft(), settings.stop)
        while waiting and not settings.stop():
            yield from _result(waiting.popleft(), settings.stop)


def _result(future: "Future[list[Answer]]", stop: Callable[[], bool]) -> list[Answer]:
    """The answers, or none where someone says stop meanwhile."""
    while not stop():
        with suppress(TimeoutError):
            return future.result(POLL_S)
    return []


def _prefetch(images: Iterable[ImageSource]) -> None:
    """Let the system read the files of images that come next, where it can."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return
    for image in images:
        if isinstance(image, str | os.PathLike):
            with suppress(OSError, ValueError):
                _advise(os.fspath(image))


def _advise(path: str) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe may wait for ever
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)
