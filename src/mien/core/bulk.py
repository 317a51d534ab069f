"""Read many images in order, in this process or in several, while the next files are loaded."""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from mien.core.cores import can_start_python, free_cores
from mien.core.read_batch import Answer, Given, Reader, lasting, read_batch
from mien.errors import ImageError

if TYPE_CHECKING:
    from concurrent.futures import Future

POOL_FROM = 32
"""Images from which other processes pay: each takes as long to start as some images take to read."""
AHEAD = 2
"""Batches that wait for each process, so that none waits for the disk."""
FILE_BYTES = 2**22
"""Bytes of an image in memory that count as one more: fewer large ones make a batch, and wait at a time."""
POLL_S = 0.2


class Pause:
    """Stands among images where the next one is not there yet: those before it are answered meanwhile."""


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


def read_each(reader: Reader, images: Iterable[Given | Pause], settings: BulkSettings) -> Iterator[Answer]:
    """An answer for each image, in their order; see `BulkSettings`.

    A `Pause` among the images may be repeated until the next one is there. Paths are drawn before they are
    read; any other image may change or be closed once the next one is drawn.

    Raises:
        MienError: what is wrong is not an image, but the model or the detector.
        Exception: what ``images`` raises, after the answers for those before.
    """
    failures: list[Exception] = []
    yield from _read(reader, _prefetched(images, failures), settings)
    if failures:
        raise failures[0]


def _prefetched(images: Iterable[Given | Pause], failures: list[Exception]) -> Iterator[Given | Pause]:
    """The same images, ended by a failure; the system begins to read their files, where it can."""
    try:
        for image in images:
            if isinstance(image, str | os.PathLike) and hasattr(os, "posix_fadvise"):
                with suppress(OSError, ValueError):
                    _advise(os.fspath(image))
            yield image
    except Exception as error:
        failures.append(error)


def _read(reader: Reader, images: Iterator[Given | Pause], settings: BulkSettings) -> Iterator[Answer]:
    wanted = free_cores() if settings.workers is None else settings.workers
    if wanted == 1 or not can_start_python():
        yield from _read_here(reader, _ahead(images, settings.batch), settings)
        return
    images = (i if isinstance(i, Pause) else lasting(i, reader.limits) for i in images)
    least = POOL_FROM if settings.workers is None else 2
    most = wanted * AHEAD * settings.batch
    pauses = True
    while pauses:
        first, pauses = _until_pause(images, max(least, most))
        weight = sum(map(_weight, first))
        if weight >= least:
            size = settings.batch if pauses or weight >= most else -(-weight // (AHEAD * wanted))
            batches = chain(_batches(first, size), _batches(images, settings.batch))
            yield from _read_elsewhere(reader, batches, wanted, settings)
            return
        yield from _read_here(reader, iter(first), settings)


def _ahead(images: Iterator[Given | Pause], most: int) -> Iterator[Given | Pause]:
    """The same images; of files up to ``most`` are drawn at a time, whatever else is given at once."""
    waiting: deque[Given | Pause] = deque()
    for image in images:
        waiting.append(image)
        can_wait = isinstance(image, str | os.PathLike | ImageError)
        while waiting and (not can_wait or len(waiting) == most):
            yield waiting.popleft()
    yield from waiting


def _weight(image: Given) -> int:
    """As how many files an image counts that is held in memory, as `lasting` gives it."""
    n_bytes = image.nbytes if isinstance(image, np.ndarray) else len(image) if isinstance(image, bytes) else 0
    return 1 + n_bytes // FILE_BYTES


def _until_pause(images: Iterator[Given | Pause], most: int) -> tuple[list[Given], bool]:
    """The next images, of a weight of about ``most``, and whether a pause ended them."""
    found: list[Given] = []
    weight = 0
    while weight < most and (image := next(images, None)) is not None:
        if isinstance(image, Pause):
            return found, True
        found.append(image)
        weight += _weight(image)
    return found, False


def _batches(images: Iterable[Given | Pause], size: int) -> Iterator[list[Given]]:
    """Images together, of a weight of about ``size``; a pause ends a batch early, and has an empty one."""
    batch: list[Given] = []
    for image in images:
        if not isinstance(image, Pause):
            batch.append(image)
            if sum(map(_weight, batch)) < size:
                continue
        if batch:
            yield batch
            batch = []
        if isinstance(image, Pause):
            yield batch
    if batch:
        yield batch


def _read_here(reader: Reader, images: Iterator[Given | Pause], settings: BulkSettings) -> Iterator[Answer]:
    for image in images:
        batch = chain([image], islice(images, settings.batch - 1))
        yield from read_batch(reader, _until(batch, settings.stop), keep_pixels=settings.keep_pixels)
        if settings.stop():
            return


def _until(images: Iterable[Given | Pause], stop: Callable[[], bool]) -> Iterator[Given]:
    for image in images:
        if stop() or isinstance(image, Pause):
            return
        yield image


def _read_elsewhere(
    reader: Reader, batches: Iterator[list[Given]], workers: int, settings: BulkSettings
) -> Iterator[Answer]:
    from mien.core.reading_pool import ReadingPool

    with ReadingPool(reader, workers, keep_pixels=settings.keep_pixels) as pool:
        waiting: deque[Future[list[Answer]]] = deque()
        for batch in batches:
            if settings.stop():
                return
            if batch:
                waiting.append(pool.submit(batch))
            while len(waiting) == AHEAD * workers or (waiting and not batch and waiting[0].done()):
                yield from _result(waiting.popleft(), settings.stop)
        while waiting and not settings.stop():
            yield from _result(waiting.popleft(), settings.stop)


def _result(future: "Future[list[Answer]]", stop: Callable[[], bool]) -> list[Answer]:
    """The answers, or none where someone says stop meanwhile."""
    while not stop():
        with suppress(TimeoutError):
            return future.result(POLL_S)
    return []


def _advise(path: str) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe may wait for ever
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)
