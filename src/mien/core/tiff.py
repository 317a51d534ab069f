"""The directories of a TIFF that determine which page is the image and what it costs.

EXIF is a TIFF too. Classic files and BigTIFF are read, of either byte order. Nothing here decodes pixels.

Source: "TIFF Revision 6.0", Adobe 1992, pages 13-16 and 36; "TIFF Technical Note 1" for SubIFDs;
"BigTIFF Design", libtiff.gitlab.io/libtiff/specification/bigtiff.html.
"""

import struct
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from PIL import TiffTags

TAG_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
TAG_BLOBS = (1, 2, 7)  # types that stay bytes
MAX_TAG_VALUES = 2**20  # of numbers in one tag, which become a tuple; strips of a large scan take 2**17
MAX_TAGS = 65535  # what the 16-bit count of a classic TIFF can say
MAX_PAGES = 1000  # that are looked through for the image itself, as long as they have MAX_TAGS tags together
MOST_WITH_SUB_DIRECTORIES = 10  # pages below which the image may lie

WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 259, 262
STRIPS, STRIP_BYTES = 273, 279
BITS, SAMPLES, PLANES = 258, 277, 284
TILE_WIDTH, TILE_LENGTH, TILES, TILE_BYTES = 322, 323, 324, 325
SUB_DIRECTORIES = 330
REDUCED, MASK = 1, 4  # bits of SUBFILE
OLD_REDUCED = 2  # a value of OLD_SUBFILE
SEPARATE = 2  # of PLANES
WHITE_IS_ZERO = 0  # of PHOTOMETRIC
PLAIN = 1  # of COMPRESSION
JPEG = 7  # of COMPRESSION; libtiff decodes only sequential JPEG for the older 6
UNKNOWN = 65_000  # a number that is free for anybody
NEEDED = frozenset((WIDTH, LENGTH, COMPRESSION, PHOTOMETRIC, TILE_WIDTH, TILE_LENGTH))
NEEDED |= {266, 274, 277, 278, 284, 292, 293, 317}  # how bits, rows and planes are laid out; T.4 and T.6
SENSOR_DATA = (32803, 34892)  # of PHOTOMETRIC: a colour filter array, and LinearRaw (DNG specification)


class Tag(NamedTuple):
    """Where the values of a tag lie, and its own entry, both counted from the start of the file."""

    number: int
    kind: int
    n: int
    at: int
    entry_at: int

    @property
    def size(self) -> int:
        """Bytes of the values; 0 for a type that is unknown."""
        return TAG_BYTES.get(self.kind, 0) * self.n


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory: its tags in the order of the file, and where the next directory is (0: nowhere)."""

    tiff: bytes
    order: str
    inline: int
    tags: tuple[Tag, ...]
    next_at: int

    @property
    def is_big(self) -> bool:
        """Whether it is of a BigTIFF."""
        return self.inline == 8

    def numbers(self, number: int) -> tuple[int, ...]:
        """The whole numbers of a tag; none where it is absent or of another type.

        Raises:
            struct.error: they lie outside the file.
        """
        tag = next((tag for tag in self.tags if tag.number == number), None)
        if tag is None or tag.kind not in WHOLE_NUMBERS or tag.n > MAX_TAG_VALUES:
            return ()
        return struct.unpack_from(f"{self.order}{tag.n}{WHOLE_NUMBERS[tag.kind]}", self.tiff, tag.at)

    def number(self, number: int, default: int = 0) -> int:
        """The first whole number of a tag."""
        return next(iter(self.numbers(number)), default)

    @property
    def is_image(self) -> bool:
        """Whether it is neither a reduced copy of another page nor a mask for one."""
        return not self.number(SUBFILE) & (REDUCED | MASK) and self.number(OLD_SUBFILE) != OLD_REDUCED


def directory(tiff: bytes, at: int | None = None, *, may_be_cut: bool = False) -> Directory:
    """The directory at a place, by default the first.

    Args:
        tiff: The whole file, or a block of EXIF.
        at: Where the directory begins.
        may_be_cut: Whether one that ends too early has the tags up to there, as readers of EXIF do.

    Raises:
        struct.error: it is cut, or there is none.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    (version,) = struct.unpack_from(order + "H", tiff, 2)
    big = version == 43
    count_form, offset_form, entry, inline = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
    start = struct.unpack_from(order + offset_form, tiff, 8 if big else 4)[0] if at is None else at
    (n_tags,) = struct.unpack_from(order + count_form, tiff, start)
    if n_tags > MAX_TAGS:
        raise struct.error("too many tags")
    first = start + struct.calcsize("<" + count_form)
    tags, next_at = [], 0
    try:
        for place in range(first, first + entry * n_tags, entry):
            number, kind, count = struct.unpack_from(f"{order}HH{offset_form}", tiff, place)
            tag = Tag(number, kind, count, place + entry - inline, place)
            if tag.size > inline:
                tag = tag._replace(at=struct.unpack_from(order + offset_form, tiff, tag.at)[0])
            tags.append(tag)
        (next_at,) = struct.unpack_from(order + offset_form, tiff, first + entry * n_tags)
    except struct.error:
        if not may_be_cut:
            raise
    return Directory(tiff, order, inline, tuple(tags), next_at)


def with_image_first(tiff: bytes) -> bytes:
    """The file, so that its first directory is that of the image, and not of a small copy or a mask.

    Scanners, and cameras in their raw files, put a thumbnail first and mark it as reduced. The image is
    then another page, or lies below one. The file stays as it is where no page is an image.

    Raises:
        struct.error: the first directory is cut.
    """
    first = directory(tiff)
    if first.is_image:
        return tiff
    pages, seen, at = [first], {0}, first.next_at
    n_tags = len(first.tags)
    while at not in seen and len(seen) < MAX_PAGES and n_tags < MAX_TAGS:
        seen.add(at)
        try:
            page = directory(tiff, at)
        except struct.error:
            break
        if page.is_image:
            return _starting_at(tiff, at)
        if len(pages) < MOST_WITH_SUB_DIRECTORIES:
            pages.append(page)
        n_tags += len(page.tags)
        at = page.next_at
    for page in pages:
        for below in page.numbers(SUB_DIRECTORIES)[:10]:
            if directory(tiff, below).is_image:
                return _starting_at(tiff, below)
    return tiff


def _starting_at(tiff: bytes, at: int) -> bytes:
    order = "<" if tiff[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", tiff, 2) == (43,):
        return tiff[:8] + struct.pack(order + "Q", at) + tiff[16:]
    return tiff[:4] + struct.pack(order + "I", at) + tiff[8:]


def without_odd_tags(tiff: bytes) -> bytes:
    """The file, so that no tag of its first directory has several values where Pillow expects one.

    It would warn of each. Tags that the image does not need become unknown ones.

    Raises:
        OSError: a tag that it needs has several values.
        struct.error: the directory is cut.
    """
    page = directory(tiff)
    odd = [
        tag
        for tag in page.tags
        if tag.n != 1 and tag.kind not in TAG_BLOBS and TiffTags.lookup(tag.number).length == 1
    ]
    if not odd:
        return tiff
    hidden = bytearray(tiff)
    for tag in odd:
        if tag.number in NEEDED:
            raise OSError(f"tag {tag.number} has {tag.n:,} values instead of one")
        struct.pack_into(page.order + "H", hidden, tag.entry_at, UNKNOWN)
    return bytes(hidden)


def prepared(tiff: bytes) -> bytes:
    """Both of the above."""
    return without_odd_tags(with_image_first(tiff))


def check_tags(page: Directory) -> None:
    """Pillow reads every tag, warns of a broken one, and Python remembers every warning for good.

    Raises:
        OSError: tags lie outside the file, share its bytes, or hold absurdly many numbers.
    """
    claimed, length = 0, len(page.tiff)
    for tag in page.tags:
        claimed += tag.size if tag.size > page.inline else 0
        outside = tag.size > page.inline and tag.at + tag.size > length
        if outside or claimed > length or (tag.n > MAX_TAG_VALUES and tag.kind not in TAG_BLOBS):
            raise OSError(f"tag {tag.number} claims {tag.size:,} bytes at {tag.at:,} of {length:,}")


def has_deep_planes(page: Directory) -> bool:
    """Whether colours of more than 8 bits lie in a plane each, without compression."""
    in_planes = page.number(PLANES) == SEPARATE and page.number(SAMPLES, 1) > 1
    return in_planes and page.number(COMPRESSION, PLAIN) == PLAIN and max(page.numbers(BITS), default=1) > 8


def tile_pixels(page: Directory) -> int:
    """Pixels of all tiles together, which are decoded whole however small the image is; 0 without tiles."""
    across, down = page.number(TILE_WIDTH), page.number(TILE_LENGTH)
    if across < 1 or down < 1:
        return 0
    return ceil(page.number(WIDTH) / across) * across * ceil(page.number(LENGTH) / down) * down


def jpeg_parts(page: Directory) -> list[tuple[bytes, int]]:
    """The JPEG files inside a page, and how often each is decoded: parts may share their bytes."""
    if page.number(COMPRESSION) != JPEG:
        return []
    offsets = page.numbers(TILES) or page.numbers(STRIPS)
    counts = page.numbers(TILE_BYTES) or page.numbers(STRIP_BYTES)
    times: dict[tuple[int, int], int] = {}
    for part in zip(offsets, counts, strict=False):
        times[part] = times.get(part, 0) + 1
    return [(page.tiff[at : at + size], n) for (at, size), n in times.items()]
