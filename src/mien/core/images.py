"""Open any picture as upright RGB pixels, or say in one line why not.

What a picture may hold, and what comes out, always uint8 (H, W, 3):

================================  =====================================================================
in the source                     out
================================  =====================================================================
RGB, YCbCr, HSV; 16-bit RGB       as it is; of 16 bits the upper 8; colour profiles (ICC) are ignored
gray, 1-bit                       gray in all three channels; 1-bit is 0 and 255
16-bit gray (I;16, I)             scaled, ``round(v / 257)``, never clipped; outside 0-65535: refused
float (F)                         refused, for its range is a guess
palette                           its colours
CMYK                              Pillow's plain conversion, no profile; Adobe's inverted JPEG included
alpha, LA, transparent colour     composited on white
EXIF orientation                  turned upright; an unreadable orientation counts as upright
animation, several pages          the first frame
truncated, damaged                refused, even where part of it could be decoded
0 pixels wide or high             refused; 1 x 1 and 1 x N are fine
plain-text PPM, run-length BMP    refused: their decoders are slow enough to block a service
array                             uint8 (H, W) or (H, W, 1) gray, (H, W, 3) RGB, (H, W, 4) RGB and alpha
================================  =====================================================================

Safety: a picture comes from anywhere. The format is told by the first bytes, never by the file's name, and
only the formats of ``FORMATS`` are tried; none of them runs a program. Bytes are counted before reading and
pixels before decoding. Metadata may cost only so many reads, and tags are checked before Pillow sees them:
for each broken one it would warn, and Python remembers every warning for good. No global state of Pillow or
of ``warnings`` is touched, so threads are fine.
"""

import contextlib
import io
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from mien.errors import ImageError, ImageTooLargeError

ImageSource = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
"""A path, the bytes of a file, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may cost.

    Args:
        max_bytes: Largest file, in bytes; checked before anything is read.
        max_pixels: Largest width x height; checked before decoding. Memory peaks at 10 bytes a pixel for RGB,
            at 17 with alpha. The default lies just under the 89.4 million at which Pillow starts to warn.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 89_000_000


DEFAULT_LIMITS = ImageLimits()

ORIENTATION_TAG = 0x0112
MAX_READS = 400_000  # 64 MiB of PNG in chunks of 512 bytes; an ordinary picture takes some hundred
MAX_EXIF_BLOCKS = 64  # Pillow joins them one by one, which is quadratic; a camera writes one
MAX_TAG_VALUES = 2**20  # of numbers in one TIFF tag, which become a tuple; strips of a large scan take 2**17
TAG_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
TAG_BLOBS = (1, 2, 7)  # types that stay bytes


class _OrientationOnly(ImageFile.ImageFile):
    """Of EXIF only the orientation matters here, and Pillow's reader is slow and loud on broken blocks."""

    def getexif(self) -> Image.Exif:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = self._stored_orientation()
        return exif

    def _stored_orientation(self) -> int:
        block = self.info.get("exif", b"")
        try:
            tags = {tag: value for tag, _, _, value in _tags(block.removeprefix(b"Exif\0\0"))}
        except struct.error:
            return 1
        return tags.get(ORIENTATION_TAG, 1)


class _TurnsItself(_OrientationOnly):
    """A TIFF turns itself upright while loading, and forgets its orientation then."""

    tag_v2: Mapping[int, Any]

    def _stored_orientation(self) -> int:
        return cast(int, self.tag_v2.get(ORIENTATION_TAG, 1))


FORMATS: dict[str, tuple[re.Pattern[bytes], str, tuple[type, ...]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), "Jpeg", (_OrientationOnly,)),  # of a stereo MPO the first
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), "Png", (_OrientationOnly,)),
    "WEBP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WebP", (_OrientationOnly,)),
    "BMP": (re.compile(rb"BM"), "Bmp", ()),
    "GIF": (re.compile(rb"GIF8[79]a"), "Gif", ()),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*"), "Tiff", (_TurnsItself,)),
    "PPM": (re.compile(rb"P[1-6]\s"), "Ppm", ()),
}
"""First bytes, the name that Pillow's plugin has, and what is laid over it."""

# Decoders that Pillow runs in Python, some microseconds a pixel.
SLOW_DECODERS = {
    "ppm_plain": "a plain-text PPM",
    "ppm": "a PPM of an unusual depth",
    "bmp_rle": "a run-length BMP",
}

# EXIF orientation, as a view of the stored array (TIFF 6.0, page 36).
UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def open_image(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Read a picture as upright RGB; the table at the top of this module says how each kind is treated.

    Args:
        source: A path, the bytes of an image file, a Pillow image, or an array. Web addresses are refused.
        limits: Largest number of bytes and of pixels.

    Returns:
        RGB uint8 (H, W, 3), C-contiguous. It may share memory with ``source`` where that is an array.

    Raises:
        ImageError: the picture is missing, unreadable, empty, truncated, damaged, too large, of an unknown
            format, or an array of the wrong shape or type; one line that names the source and what to do.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _from_pillow(source, "the Pillow image", limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), "bytes", limits)
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        name = repr(path if len(path) <= 200 else path[:200] + "...")
        return _from_bytes(_read_file(path, name, limits), name, limits)
    kind = type(source).__name__
    raise ImageError(f"a picture must be a path, bytes, a Pillow image or a numpy array, got {kind}")


def _from_array(array: NDArray[Any], limits: ImageLimits) -> NDArray[np.uint8]:
    channels = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if array.dtype != np.uint8 or channels not in (1, 3, 4):
        raise ImageError(
            "an array must be uint8 of shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGB and alpha, "
            f"got {array.dtype} {array.shape}; pass the picture before normalising, channels last"
        )
    _check_pixels((array.shape[1], array.shape[0]), "the array", limits)
    if channels == 4:
        return _from_pillow(Image.fromarray(np.ascontiguousarray(array)), "the array", limits)
    gray_or_rgb = array.reshape(*array.shape[:2], channels)
    return np.ascontiguousarray(np.broadcast_to(gray_or_rgb, (*array.shape[:2], 3)))


def _read_file(path: str, name: str, limits: ImageLimits) -> bytes:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(//|.*;base64,)", path):
        raise ImageError(f"{name} is a web address; mien never downloads: save the picture and pass its path")
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder, not a picture; pass the path of a file in it")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
            raise ImageError(f"{name} is not a regular file; save the picture to disk and pass its path")
        _check_bytes(status.st_size, name, limits)
        with open(path, "rb") as file:
            return file.read(status.st_size + 1)  # one more, to notice a file that grows meanwhile
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path") from error
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise ImageError(f"{name} cannot be read ({reason}); check the path and its permissions") from error
    except ValueError as error:  # a null character
        raise ImageError(f"{name} is not a path ({_one_line(error)}); check the path") from error


def _from_bytes(data: bytes, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    _check_bytes(len(data), name, limits)
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); copy or download it again")
    kind = next((kind for kind, (pattern, *_) in FORMATS.items() if pattern.match(data)), None)
    if kind is None:
        known = ", ".join(FORMATS)
        raise ImageError(f"{name} is not a picture of a known format ({known}); convert it to PNG or JPEG")
    if kind == "JPEG" and data.count(b"Exif\0\0") > MAX_EXIF_BLOCKS:
        raise ImageError(
            f"{name} has more than {MAX_EXIF_BLOCKS} EXIF blocks; save it again without metadata"
        )
    try:
        if kind == "TIFF":
            _check_tags(data)
        image = _plugin(kind)(_FrugalFile(data))
    except Exception as error:  # damaged files make Pillow raise nearly any class, asserts and KeyError too
        raise _damaged(name, error) from error
    with contextlib.closing(image):
        slow = next((SLOW_DECODERS[tile[0]] for tile in image.tile if tile[0] in SLOW_DECODERS), None)
        if slow:
            raise ImageError(f"{name} is {slow}, which mien does not read; save it as PNG")
        return _from_pillow(image, name, limits)


@cache
def _plugin(kind: str) -> type[ImageFile.ImageFile]:
    """Pillow's class of a format, imported at the first such picture: all seven would delay the start.

    Not `Image.open`: that one compares with Pillow's global pixel limit, and warns or raises.
    """
    _, name, laid_over = FORMATS[kind]
    plugin = getattr(import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")
    return type(kind, (*laid_over, plugin), {})


def _from_pillow(image: Image.Image, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    _check_pixels(image.size, name, limits)
    try:
        image.load()
        pixels = _rgb(image, name)
    except ImageError:
        raise
    except Exception as error:  # as above: what a decoder raises on damaged data is not limited
        raise _damaged(name, error) from error
    turn = UPRIGHT.get(_orientation(image))
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


def _rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise ImageError(f"{name} has float pixels, whose range is a guess; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.int32, copy=False)
        if gray.min() < 0 or gray.max() > 65535:
            raise ImageError(f"{name} has gray values outside 0-65535; save it with 8 or 16 bits")
        return np.repeat(((gray + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return np.array(canvas)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # metadata is no reason to refuse pixels that decoded well
        return 1
    return value if isinstance(value, int) else 1


def _check_bytes(n_bytes: int, name: str, limits: ImageLimits) -> None:
    if n_bytes > limits.max_bytes:
        too_many = f"{name} has {n_bytes:,} bytes, more than the limit of {limits.max_bytes:,}"
        raise ImageTooLargeError(f"{too_many}; shrink it, or raise max_bytes")


def _check_pixels(size_wh: tuple[int, int], name: str, limits: ImageLimits) -> None:
    width, height = size_wh
    if min(width, height) < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}); pass a picture of at least 1 x 1")
    if width * height > limits.max_pixels:
        too_many = f"{name} has {width} x {height} pixels, more than the limit of {limits.max_pixels:,}"
        raise ImageTooLargeError(f"{too_many}; shrink it, or raise max_pixels")


def _damaged(name: str, error: Exception) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(f"{name} does not fit into memory; shrink it")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(f"{name} has more pixels than Pillow allows; shrink it")
    return ImageError(f"{name} is truncated or damaged ({_one_line(error)}); copy or download it again")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return text if text.isprintable() and text else type(error).__name__


def _tags(tiff: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count, and value or offset of the first directory (TIFF 6.0, page 14).

    Raises:
        struct.error: the block is cut or is no TIFF.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (n_tags,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, start + 2 + 12 * n_tags, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, at)
        (value,) = struct.unpack_from(order + ("H" if kind == 3 and count == 1 else "I"), tiff, at + 8)
        yield tag, kind, count, value
    struct.unpack_from(order + "I", tiff, start + 2 + 12 * n_tags)  # where the next directory is


def _check_tags(tiff: bytes) -> None:
    claimed = 0
    try:
        tags = list(_tags(tiff))
    except struct.error as error:
        raise OSError("tag directory cut short") from error
    for tag, kind, count, offset in tags:
        size = TAG_BYTES.get(kind, 0) * count
        claimed += size if size > 4 else 0
        outside = size > 4 and offset + size > len(tiff)
        if outside or claimed > len(tiff) or (count > MAX_TAG_VALUES and kind not in TAG_BLOBS):
            raise OSError(f"tag {tag} claims {size:,} bytes at {offset:,} of {len(tiff):,}")


class _FrugalFile(io.BytesIO):
    """A file in memory that may be read often enough for any sane picture, and no more.

    Pillow keeps an object for each chunk or segment, and a strip may claim bytes that others claimed too.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads_left = MAX_READS
        self.bytes_left = 8 * len(data) + 2**20

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.reads_left -= 1
        self.bytes_left -= len(data)
        if self.reads_left < 0 or self.bytes_left < 0:
            raise OSError("too much metadata")
        return data
