"""The file formats that mien opens: how each is recognised, which decoder reads it, and orientation.

A format is recognised by its first bytes, never by the file's name, and only those of `FORMATS` are tried;
none of them runs a program.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, cast

from PIL import Image, ImageFile

from mien.core import avif, png, tiff

ORIENTATION_TAG = 0x0112
HEAD = 256  # bytes that tell a format

# Decoders that Pillow runs in Python, some microseconds a pixel.
SLOW_DECODERS = {
    "ppm_plain": "a plain-text PPM",
    "ppm": "a PPM of an unusual depth",
    "bmp_rle": "a run-length BMP",
}

XMP_ORIENTATION = re.compile(r"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\b")


class _OrientationOnly(ImageFile.ImageFile):
    """Of metadata only the orientation matters, and Pillow's reader is slow and loud on broken blocks."""

    def getexif(self) -> Image.Exif:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = self._stored_orientation()
        return exif

    def _stored_orientation(self) -> int:
        """EXIF's, or else XMP's; 1 (upright) where neither tells."""
        block = self.info.get("exif") or next(
            (_hex(self.info[name]) for name in png.RAW_PROFILES if name in self.info), b""
        )
        try:
            page = tiff.directory(block.removeprefix(b"Exif\0\0"), may_be_cut=True)
            return page.number(ORIENTATION_TAG) or _xmp_orientation(self.info)
        except struct.error:
            return _xmp_orientation(self.info)


class _RotatedByPillow(_OrientationOnly):
    """A TIFF turns itself upright while loading, and forgets its orientation then."""

    tag_v2: Mapping[int, Any]

    def _stored_orientation(self) -> int:
        return cast(int, self.tag_v2.get(ORIENTATION_TAG, 1))


def _hex(text: object) -> bytes:
    """The bytes of a raw profile: a name, a length and hexadecimal digits, on lines of their own."""
    _, _, digits = str(text).strip().partition("\n")
    try:
        return bytes.fromhex(digits.strip().partition("\n")[2])
    except ValueError:
        return b""


def _xmp_orientation(info: Mapping[Any, Any]) -> int:
    packet = info.get("xmp") or info.get(png.XMP) or b""
    text = packet.decode("latin-1") if isinstance(packet, bytes) else str(packet)
    found = XMP_ORIENTATION.search(text)
    return int(found[1]) if found else 1


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is recognised by its first bytes, its decoder's class, and what is laid over that.

    Attributes:
        is_it: Whether bytes begin a file of the format.
        decoder: Module and class.
        laid_over: Classes that replace parts of the decoder.
        prepare: What is done to the bytes before they are decoded.
        needs: What the format needs and how to get it, where that may be absent.
    """

    is_it: Callable[[bytes], object]
    decoder: tuple[str, str]
    laid_over: tuple[type, ...] = ()
    prepare: Callable[[bytes], bytes] = bytes
    needs: str = ""


def _pillow(first: bytes, name: str, *laid_over: type, prepare: Callable[[bytes], bytes] = bytes) -> Format:
    pattern = re.compile(first, re.DOTALL)
    return Format(pattern.match, (f"PIL.{name}ImagePlugin", f"{name}ImageFile"), laid_over, prepare)


FORMATS: dict[str, Format] = {
    "JPEG": _pillow(rb"\xff\xd8\xff", "Jpeg", _OrientationOnly),  # of a stereo MPO the first
    "PNG": _pillow(rb"\x89PNG\r\n\x1a\n", "Png", _OrientationOnly, prepare=png.prepared),
    "WEBP": _pillow(rb"RIFF.{4}WEBP", "WebP", _OrientationOnly),
    "BMP": _pillow(rb"BM", "Bmp"),
    "GIF": _pillow(rb"GIF8[79]a", "Gif"),
    "TIFF": _pillow(rb"II[*+]\0|MM\0[*+]", "Tiff", _RotatedByPillow, prepare=tiff.prepared),
    "PPM": _pillow(rb"P[1-6]\s", "Ppm"),
    "AVIF": Format(
        avif.is_avif,
        ("PIL.AvifImagePlugin", "AvifImageFile"),
        (_OrientationOnly,),
        avif.without_exif,
        "Pillow 11.3 or newer; run: pip install --upgrade pillow",
    ),
    "HEIC": Format(
        avif.is_heif,
        ("pi_heif", "HeifImageFile"),
        (_OrientationOnly,),
        needs='pi-heif; run: pip install "mien[heif]"',
    ),
}


def format_of(head: bytes) -> str | None:
    """The name of the format that bytes begin with."""
    return next((name for name, known in FORMATS.items() if known.is_it(head)), None)


@cache
def decoder(kind: str) -> type[ImageFile.ImageFile] | None:
    """The class that decodes a format, imported at the first such image: all of them would delay the start.

    Not `Image.open`: that one compares with Pillow's global pixel limit, and warns or raises. `None` where
    this installation has no decoder for the format.
    """
    known = FORMATS[kind]
    module_name, class_name = known.decoder
    try:
        module = import_module(module_name)
    except ModuleNotFoundError:
        return None
    if not getattr(module, "SUPPORTED", True):
        return None
    return type(kind, (*known.laid_over, getattr(module, class_name)), {})
