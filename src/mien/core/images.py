"""Open any image as upright RGB pixels, or say in one line why not.

What an image may hold, and what comes out, always uint8 (H, W, 3):

================================  =====================================================================
in the source                     out
================================  =====================================================================
RGB, YCbCr, HSV                   as it is; colour profiles (ICC) and texts are ignored, however long
16-bit RGB, alpha                 the upper 8 bits; where no value needs 15 of them, scaled as gray is
gray, 1-bit                       gray in all three channels; 1-bit is 0 and 255
16-bit gray (I;16, I)             scaled and rounded, never clipped; white is the largest value of 8, 10,
                                  12, 14 or 16 bits, the first that holds all; outside 0-65535: refused
float, 32-bit colour              refused, for the range is a guess
TIFF of 16-bit colour planes      refused where they are not compressed: Pillow reads them wrong
palette                           its colours
CMYK                              Pillow's plain conversion, no profile; Adobe's inverted JPEG included
alpha, LA, transparent colour     composited on white; alpha that is 0 everywhere is ignored
orientation                       turned upright by EXIF (in a PNG's raw profile too) or else XMP; in AVIF by
                                  its own boxes alone; what is unreadable counts as upright
animation, several pages          the first frame; of a TIFF the first that is no reduced copy and no mask
truncated, damaged                refused, even where part of it could be decoded; but a JPEG that lacks
                                  nothing but its end mark is read
0 pixels wide or high             refused; 1 x 1 and 1 x N are fine
plain-text PPM, run-length BMP    refused: their decoders are slow enough to block a service
arithmetic-coded JPEG             refused, as by browsers
AVIF, HEIC                        read with Pillow 11.3 or newer; with the extra ``heif``
a camera's raw file               refused; its thumbnail is not the image
array                             uint8 (H, W) or (H, W, 1) gray, (H, W, 3) RGB, (H, W, 4) RGB and alpha
================================  =====================================================================

Safety: an image comes from anywhere. The format is recognised by its first bytes, never by its name, and
only the formats of ``FORMATS`` are tried; none of them runs a program. Bytes are counted before reading,
pixels before decoding, and what decoding costs besides is known from the structure (`image_cost`). Metadata
may cost only so many reads, and tags are checked before Pillow sees them: for each broken one it would warn,
and Python remembers every warning for good. No global state of Pillow or of ``warnings`` is touched, so
threads are fine.
"""

import binascii
import contextlib
import os
import re
import stat
import struct
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core import jpeg
from mien.core.addresses import shown
from mien.core.image_cost import (
    DEFAULT_LIMITS,
    FrugalFile,
    ImageLimits,
    check_bytes,
    check_size,
    check_structure,
)
from mien.core.image_depth import colours_of_16_bits, gray_of_16_bits, rawmode_of
from mien.core.image_formats import FORMATS, HEAD, ORIENTATION_TAG, SLOW_DECODERS, decoder, format_of
from mien.core.paths import local_path
from mien.core.video_names import looks_like_a_video
from mien.errors import ImageError

READ_BYTES = 2**20  # asked of an open file at once
BAND_PIXELS = 2**17  # copied at once: what a processor's cache holds

__all__ = ["DEFAULT_LIMITS", "ImageLimits", "ImageSource", "open_image"]


class BinaryFile(Protocol):
    """What is open for reading: a file, `io.BytesIO`, an upload, the body of an answer."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""
        ...


ImageSource = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | NDArray[Any]
)
"""A path, the bytes of a file, a file that is open in binary mode, a Pillow image, or an array (H, W),
(H, W, 1), (H, W, 3) or (H, W, 4)."""


RGB, BGR = "rgb", "bgr"
WATCH_IT = "read it with mien watch, or mien.watch_video in Python"

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
    """Read an image as upright RGB; the table at the top of this module says how each kind is treated.

    Args:
        source: A path (also ``~/...`` or ``file://...``), the bytes of an image file, an open binary
            file, read from where it stands, a Pillow image, or an array. Web addresses are refused.
        limits: Largest number of bytes and of pixels.

    Returns:
        RGB uint8 (H, W, 3), C-contiguous. It may share memory with ``source`` where that is an array.

    Raises:
        ImageError: the image is missing, unreadable, empty, truncated, damaged, too large, of an unknown
            format, or an array of the wrong shape or type; one line that names the source and what to do.
    """
    if not isinstance(limits, ImageLimits):
        raise ImageError(f"limits must be an ImageLimits, got {type(limits).__name__}")
    if isinstance(source, np.ndarray):
        return _from_array(np.asarray(source), limits)  # a matrix would stay flat
    if isinstance(source, Image.Image):
        return _from_open(source, "the Pillow image", limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(bytes(source), "bytes", limits)
    if isinstance(source, str | os.PathLike):
        path = local_path(os.fsdecode(source))
        text = shown(path)
        name = repr(text if len(text) <= 200 else text[:200] + "...")
        return _from_bytes(_read_file(path, name, limits), name, limits)
    if callable(getattr(source, "read", None)):
        return _from_file(source, limits)
    raise ImageError(
        "an image must be a path, bytes, an open binary file, a Pillow image or a numpy array, "
        f"got {type(source).__name__}{_instead(source)}"
    )


def _instead(source: object) -> str:
    """What to do with a thing that is nearly an image."""
    if isinstance(source, list | tuple | set) or getattr(source, "ndim", 0) == 1:
        return "; several images go to mien.Analyzer().read_many, or as a list to classify"
    return "; pass numpy.asarray of it" if hasattr(source, "__array__") else ""


def as_rgb(source: ImageSource, color: str) -> ImageSource:
    """``source`` with its channels in the order of RGB, where it is an array in that of ``color``.

    Raises:
        ImageError: ``color`` is neither ``"rgb"`` nor ``"bgr"``.
    """
    if color not in (RGB, BGR):
        raise ImageError(f"color must be 'rgb' or 'bgr', got {color!r}")
    if (
        color == RGB
        or not isinstance(source, np.ndarray)
        or source.ndim != 3
        or source.shape[2] not in (3, 4)
    ):
        return source
    return source[..., [2, 1, 0, 3][: source.shape[2]]]


def _from_array(array: NDArray[Any], limits: ImageLimits) -> NDArray[np.uint8]:
    channels = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if array.dtype != np.uint8 or channels not in (1, 3, 4):
        raise ImageError(
            "an array must be uint8 of shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGB and alpha, "
            f"got {array.dtype} {array.shape}; {_instead_of_array(array)}"
        )
    check_size((array.shape[1], array.shape[0]), "the array", limits)
    if channels == 4:
        return _from_pillow(Image.fromarray(np.ascontiguousarray(array)), "the array", limits)
    if channels == 1:
        array = np.broadcast_to(array.reshape(*array.shape[:2], 1), (*array.shape[:2], 3))
    return np.ascontiguousarray(array)


def _instead_of_array(array: NDArray[Any]) -> str:
    """What to do with an array that is no image; `read_many` takes one of three axes for one image."""
    if array.ndim == 1 and array.dtype == np.uint8:
        return "the bytes of a file go in as array.tobytes()"
    are_gray = array.ndim == 3 and array.shape[2] > 4 and array.shape[0] not in (1, 3, 4)
    if array.ndim == 4 or are_gray or (array.ndim == 1 and array.dtype.kind in "OUST"):
        return "several images go as list(array) to read_many or classify"
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        return "convert it to uint8, 0-255"
    return "pass the image before normalising, channels last"


def _read_file(path: str, name: str, limits: ImageLimits) -> bytes:
    if re.match(r"data:.*,", path, re.IGNORECASE):
        raise ImageError(f"{name} is a data: address; pass base64.b64decode of the part after its comma")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        raise ImageError(f"{name} is a web address; mien never downloads: save the image and pass its path")
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder, not an image; pass the path of a file in it")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device might never end
            raise ImageError(f"{name} is not a regular file; save the image to disk and pass its path")
        check_bytes(status.st_size, name, limits)
        with open(path, "rb") as file:
            return file.read(status.st_size + 1)  # one more, to notice a file that grows meanwhile
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} {_why_unread(path, error)}") from error


def _why_unread(path: str, error: OSError | ValueError) -> str:
    if _is_base64(path):
        return "is an image in base64, not a path; pass base64.b64decode of it"
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    if isinstance(error, ValueError):  # a null character
        return f"is not a path ({_one_line(error)}); check the path"
    reason = (error.strerror or "unknown reason").lower()
    return f"cannot be read ({reason}); check the path and its permissions"


def _is_base64(text: str) -> bool:
    packed = "".join(text[: 2 * HEAD].split())
    try:
        head = binascii.a2b_base64(packed[: len(packed) // 4 * 4], strict_mode=True)
    except ValueError:
        return False
    return format_of(head) is not None


def _from_file(file: BinaryFile, limits: ImageLimits) -> NDArray[np.uint8]:
    own = getattr(file, "name", None)
    name = repr(own[:200]) if isinstance(own, str) else f"the {type(file).__name__}"
    data = bytearray()
    while len(data) <= limits.max_bytes:
        try:
            part = file.read(min(limits.max_bytes + 1 - len(data), READ_BYTES))
        except UnicodeError as error:
            raise ImageError(f"{name} gives text; open it in binary mode ('rb')") from error
        except Exception as error:  # it is the caller's object, or a network behind it
            raise ImageError(f"{name} cannot be read ({_one_line(error)}); check that it is open") from error
        if not isinstance(part, bytes | bytearray | memoryview):
            if callable(getattr(part, "close", None)):
                part.close()  # a coroutine that no one waited for would warn
            kind = type(part).__name__
            raise ImageError(
                f"{name} must give bytes, got {kind}; open it in binary mode, or await its bytes"
            )
        if not part:
            break
        data += part
    if not data:
        raise ImageError(f"{name} gave no bytes; pass it before it is read, or seek(0) first")
    return _from_bytes(bytes(data), name, limits)


def _from_bytes(data: bytes, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    check_bytes(len(data), name, limits)
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); copy or download it again")
    kind = format_of(data[:HEAD])
    if kind is None and looks_like_a_video(data[:HEAD]):
        raise ImageError(f"{name} is a video, not an image; {WATCH_IT}")
    if kind is None:
        known = ", ".join(FORMATS)
        raise ImageError(f"{name} is not an image of a known format ({known}); convert it to PNG or JPEG")
    try:
        data = FORMATS[kind].prepare(data)
        check_structure(kind, data, name, limits)
    except ImageError:
        raise
    except Exception as error:  # what damaged structures raise is as little limited as below
        raise _damaged(name, error) from error
    if kind == "JPEG" and jpeg.is_padded(data):
        return _without_end(data, name, limits)
    try:
        return _decoded(kind, data, name, limits)
    except ImageError as error:
        if kind != "JPEG" or "truncated" not in str(error.__cause__):
            raise
        return _without_end(data, name, limits)


def _without_end(data: bytes, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    """A JPEG that lacks its end mark: read where it lacks nothing else."""
    decoded = (_decoded("JPEG", ended, name, limits) for ended in jpeg.endings(data))
    pixels = next(decoded, None)
    if pixels is not None and all(np.array_equal(pixels, other) for other in decoded):
        return pixels
    raise _damaged(name, OSError("pixels are missing at its end"))


def _decoded(kind: str, data: bytes, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    plugin = decoder(kind)
    if plugin is None:
        raise ImageError(f"{name} is {kind}, which needs {FORMATS[kind].needs}")
    try:
        image = plugin(FrugalFile(data))
    except Exception as error:  # damaged files make Pillow raise nearly any class, asserts and KeyError too
        raise _damaged(name, error) from error
    with contextlib.closing(image):
        slow = next((SLOW_DECODERS[tile[0]] for tile in image.tile if tile[0] in SLOW_DECODERS), None)
        if slow:
            raise ImageError(f"{name} is {slow}, which mien does not read; save it as PNG")
        rawmode = rawmode_of(image)
        return _from_pillow(
            image,
            name,
            limits,
            lambda loaded: colours_of_16_bits(loaded, rawmode, lambda: plugin(FrugalFile(data))),
        )


def _from_open(image: Image.Image, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    """The caller's own Pillow image, which he may have closed, or whose file he may have."""
    check_size(image.size, name, limits)
    is_closed = getattr(image, "fp", None) is None  # some decoders close it where they fail
    try:
        image.load()
    except Exception as error:  # what it raises depends on the format and on what was closed
        if is_closed or "closed" in str(error):
            raise ImageError(f"{name} is closed; pass it while it and its file are open") from error
        raise _damaged(name, error) from error
    return _from_pillow(image, name, limits)


def _from_pillow(
    image: Image.Image,
    name: str,
    limits: ImageLimits,
    deepened: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> NDArray[np.uint8]:
    check_size(image.size, name, limits)
    try:
        image.load()
        check_size(image.size, name, limits)  # a decoder may find another size than the header's
        pixels = _rgb(deepened(image), name)
    except ImageError:
        raise
    except Exception as error:  # as above: what a decoder raises on damaged data is not limited
        raise _damaged(name, error) from error
    turn = UPRIGHT.get(_orientation(image))
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


def _rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise ImageError(f"{name} has float pixels of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return gray_of_16_bits(image, name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        premultiplied = image.mode in ("RGBa", "La")
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (0, 0) or premultiplied:
            canvas = Image.new("RGB", image.size, "white")
            canvas.paste(image, mask=alpha)
            image = canvas
    return _array_of(image if image.mode == "RGB" else image.convert("RGB"))


def _array_of(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an RGB image, band by band: `numpy.array` would copy all of them three times."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # metadata is no reason to refuse pixels that decoded well
        return 1
    return value if isinstance(value, int) else 1


def _damaged(name: str, error: Exception) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(f"{name} does not fit into memory; shrink it")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(f"{name} has more pixels than Pillow allows; shrink it")
    if "unknown pixel mode" in str(error):  # sound, but Pillow has no such pixels
        return ImageError(f"{name} has pixels of a kind that mien does not read; save it with 8 or 16 bits")
    why = "its structure is cut short" if isinstance(error, struct.error) else _one_line(error)
    return ImageError(f"{name} is truncated or damaged ({why}); copy or download it again")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return text if text.isprintable() and text else type(error).__name__
