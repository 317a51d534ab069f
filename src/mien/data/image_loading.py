"""From an image file to the pixels of a data set: opened safely, cropped, resized, gray or RGB."""

import hashlib
import math
import stat
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.image_formats import HEAD, format_of
from mien.core.images import DEFAULT_LIMITS, ImageLimits, open_image
from mien.data.listing import Entry, Problem
from mien.errors import ImageError

SMALL = ImageLimits(max_bytes=4 * 2**20, max_pixels=4_000_000)
"""Images up to here are opened by all threads at once, 40 MB each; a larger one waits for its turn."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What every image becomes.

    Attributes:
        size: width and height, pixels.
        color: RGB instead of gray (ITU-R 601 luma).
        whole: keep the whole image where a face box is given too (Ayerdi & Bucknell 2018 did).
    """

    size: int = 48
    color: bool = False
    whole: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(S, S), or (S, S, 3) in colour."""
        return (self.size, self.size, 3) if self.color else (self.size, self.size)


@dataclass(frozen=True, eq=False, slots=True)
class LoadedImage:
    """Pixels uint8 of the shape that was asked for, SHA-256 of the file, landmarks (K, 2) in the pixels."""

    pixels: NDArray[np.uint8]
    sha256: bytes
    landmarks: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class ImageLoader:
    """Opens entries, from any number of threads; memory stays bounded by one large image at a time."""

    settings: ImageSettings
    _one_large: Lock = field(default_factory=Lock)

    def load(self, entry: Entry) -> LoadedImage | Problem:
        """The image of an entry, or why there is none; never raises for what a file may hold."""
        if entry.problem:
            return entry.problem
        found = open_file(entry.path, SMALL)
        if isinstance(found, Problem):
            with self._one_large:
                found = open_file(entry.path, DEFAULT_LIMITS)
        if isinstance(found, Problem):
            return found
        pixels, sha256 = found
        height, width = pixels.shape[:2]
        box = (0, 0, width, height)
        if entry.box and not self.settings.whole:
            wanted = ", ".join(f"{corner:g}" for corner in entry.box)
            if not all(map(math.isfinite, entry.box)):
                return Problem("box outside the image", f"box {wanted}")
            x1, y1, x2, y2 = map(round, entry.box)
            box = (max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
            if box[2] <= box[0] or box[3] <= box[1]:
                return Problem("box outside the image", f"box {wanted} in {width} x {height}")
        return LoadedImage(_resized(pixels, box, self.settings), sha256, _moved(entry, box, self.settings))


def open_file(path: Path, limits: ImageLimits) -> tuple[NDArray[np.uint8], bytes] | Problem:
    """The pixels of an image file and its SHA-256, or why there are none; never raises for what it holds."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe might never end
            return Problem("not an image", "no regular file")
        if status.st_size > limits.max_bytes:
            return Problem("too large", f"{status.st_size:,} bytes, more than {limits.max_bytes:,}")
        data = path.read_bytes()
    except FileNotFoundError:
        return Problem("missing file")
    except (OSError, ValueError) as e:
        return Problem("unreadable file", getattr(e, "strerror", None) or str(e))
    try:
        return open_image(data, limits), hashlib.sha256(data).digest()
    except ImageError as e:
        return Problem(_reason(data, str(e)), str(e).removeprefix("bytes "))


def _reason(data: bytes, error: str) -> str:
    if "more than the limit" in error:
        return "too large"
    return "damaged" if not data or format_of(data[:HEAD]) else "not an image"


def _resized(
    pixels: NDArray[np.uint8], box: tuple[int, int, int, int], settings: ImageSettings
) -> NDArray[np.uint8]:
    """Pillow's bilinear filter widens with the reduction, so nothing aliases; it would reach out of a box."""
    x1, y1, x2, y2 = box
    image = Image.fromarray(np.ascontiguousarray(pixels[y1:y2, x1:x2]))
    image = image if settings.color else image.convert("L")
    size_wh = (settings.size, settings.size)
    return np.asarray(image.resize(size_wh, Image.Resampling.BILINEAR))


def _moved(
    entry: Entry, box: tuple[int, int, int, int], settings: ImageSettings
) -> NDArray[np.float32] | None:
    if entry.landmarks is None:
        return None
    x1, y1, x2, y2 = box
    scale = np.array([settings.size / (x2 - x1), settings.size / (y2 - y1)])
    moved: NDArray[np.float32] = ((entry.landmarks - np.array([x1, y1])) * scale).astype(np.float32)
    return moved
