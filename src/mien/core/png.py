"""The chunks of a PNG that its decoder does not need: colour profiles, and texts of any length.

Pillow unpacks all of them, and refuses an image with one of more than 1 MB. Nothing here decodes pixels.

Source: "Portable Network Graphics (PNG) Specification (Third Edition)", W3C 2025, sections 5.3 and 11.3.3.
"""

import struct
import zlib
from collections.abc import Iterator

RAW_PROFILES = ("Raw profile type exif", "Raw profile type APP1")
"""Texts in which ImageMagick and ExifTool keep EXIF, as hexadecimal digits."""
XMP = "XML:com.adobe.xmp"
NEEDED = frozenset(name.encode() for name in (*RAW_PROFILES, XMP, "exif"))
"""Keywords of the texts that may tell which way is up."""

SIGNATURE_BYTES = 8
MAX_CHUNKS = 140_000  # more than a decoder may read
MOST_TEXT = 2**20  # bytes of an unpacked text; the orientation lies at its beginning
PROFILE = b"iCCP"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PLAIN_TEXT, PACKED_TEXT = TEXTS[:2]
DEFLATE = 0


def prepared(png: bytes) -> bytes:
    """The file without colour profiles and texts, but for the first text of each `NEEDED` keyword.

    Those are not packed then, and packed ones end where they become too long. What is broken is left to the
    decoder.
    """
    parts, at = [], 0
    needed = set(NEEDED)
    for kind, start, end in _chunks(png):
        if kind != PROFILE and kind not in TEXTS:
            continue
        parts.append(png[at:start])
        at = end
        keyword, _, rest = png[start + 8 : end - 4].partition(b"\0")
        if keyword in needed and kind != PROFILE:
            needed.remove(keyword)
            parts.append(_unpacked_text(kind, keyword, rest))
    return b"".join([*parts, png[at:]]) if parts else png


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk, with its length and checksum."""
    at = SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        if end > len(png):
            return
        yield png[at + 4 : at + 8], at, end
        at = end


def _unpacked_text(kind: bytes, keyword: bytes, rest: bytes) -> bytes:
    """The chunk of a text that is not packed; an empty text where it cannot be unpacked."""
    if kind == PLAIN_TEXT:
        return _chunk(kind, keyword + b"\0" + rest)
    if kind == PACKED_TEXT:
        return _chunk(PLAIN_TEXT, keyword + b"\0" + _unpacked(rest[:1], rest[1:]))
    is_packed, method = rest[:1] != b"\0", rest[1:2]
    text = rest[2:].split(b"\0", 2)[-1]  # behind the language and the translated keyword
    return _chunk(kind, keyword + bytes(5) + (_unpacked(method, text) if is_packed else text))


def _unpacked(method: bytes, packed: bytes) -> bytes:
    if method != bytes([DEFLATE]):
        return b""
    try:
        return zlib.decompressobj().decompress(packed, MOST_TEXT)
    except zlib.error:
        return b""


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
