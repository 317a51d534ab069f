"""What an image may cost in memory and time, known from the file's structure before anything is decoded.

Bytes and pixels do not bound the work. A progressive JPEG goes over all its pixels once a scan, and a scan
of nothing takes 15 bytes; the tiles of a TIFF are decoded whole, however small the image; an AVIF is
decoded at the size that its AV1 stream states, and then scaled to the one that its header states. So each
format's structure is walked, in less time than its decoder would take, and what exceeds `ImageLimits` is
refused. docs/decisions/0015-cost-of-an-image.md lists what each limit costs at most, as measured.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

from mien.core import avif, jpeg, tiff
from mien.core.arguments import is_whole
from mien.errors import ImageError, ImageTooLargeError

MAX_READS = 400_000  # 64 MiB of PNG in chunks of 512 bytes; an ordinary image takes some hundred
MAX_EXIF_BLOCKS = 64  # Pillow joins them one by one, which is quadratic; a camera writes one
MAX_PASSES = 32  # over the largest image allowed; encoders make 6 to 20
MAX_SCANS = 1000  # of a JPEG however small; an ordinary progressive one has 10
FEW_SCANS = 16  # that cost less than `MAX_PASSES` whatever is in them


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may cost.

    Args:
        max_bytes: Largest file, in bytes; checked before anything is read.
        max_pixels: Largest width x height; checked before decoding. Memory peaks at 10 bytes a pixel for RGB,
            at 17 with alpha. The default lies just under the 89.4 million at which Pillow starts to warn.
            What is decoded besides the image counts too: tiles of a TIFF that reach over its edge, scans
            of a progressive JPEG (which may go over 32 times as many pixels), streams in an AVIF.
        max_side: Largest width or height: a row costs time however short it is.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 89_000_000
    max_side: int = 100_000

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_side"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ImageError(f"{name} must be a whole number of at least 1, got {value!r}")


DEFAULT_LIMITS = ImageLimits()


def check_bytes(n_bytes: int, name: str, limits: ImageLimits) -> None:
    """Raise `ImageTooLargeError` where a file is too long."""
    if n_bytes > limits.max_bytes:
        too_many = f"{name} has {n_bytes:,} bytes, more than the limit of {limits.max_bytes:,}"
        raise ImageTooLargeError(f"{too_many}; shrink it, or raise max_bytes of mien.ImageLimits in Python")


def check_size(size_wh: tuple[int, int], name: str, limits: ImageLimits) -> None:
    """Raise where an image has no pixels, or too many."""
    width, height = size_wh
    if min(width, height) < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}); pass an image of at least 1 x 1")
    if width * height > limits.max_pixels:
        too_many = f"{name} has {width} x {height} pixels, more than the limit of {limits.max_pixels:,}"
        raise ImageTooLargeError(f"{too_many}; shrink it, or raise max_pixels of mien.ImageLimits in Python")
    if max(width, height) > limits.max_side:
        too_long = (
            f"{name} has {width} x {height} pixels, a side longer than the limit of {limits.max_side:,}"
        )
        raise ImageTooLargeError(f"{too_long}; cut it up, or raise max_side of mien.ImageLimits in Python")


def check_structure(kind: str, data: bytes, name: str, limits: ImageLimits) -> None:
    """Raise where decoding a file of a format would cost more than its size tells.

    Raises:
        ImageTooLargeError: it would.
        ImageError: the format is of a kind that costs too much whatever its size.
        Exception: of nearly any class, where the structure is damaged.
    """
    check = STRUCTURES.get(kind)
    if check is not None:
        check(data, name, limits)


# --- JPEG ------------------------------------------------------------------------------------------------


def _check_jpeg(data: bytes, name: str, limits: ImageLimits) -> None:
    if data.count(b"Exif\0\0") > MAX_EXIF_BLOCKS:
        raise ImageError(
            f"{name} has more than {MAX_EXIF_BLOCKS} EXIF blocks; save it again without metadata"
        )
    _check_work(_scan_work(data, name), name, limits)


def _scan_work(data: bytes, name: str) -> int:
    """Pixels that all scans go over; 0 where the scans are few, which is known without looking for them."""
    few = data.count(jpeg.SCAN_MARK) <= FEW_SCANS
    n_scans, passes, pixels = 0, 0, 0
    for code, body in jpeg.segments(data):
        if code in jpeg.FRAMES:
            if code in jpeg.ARITHMETIC:  # its decoder makes up what the file lacks
                raise ImageError(
                    f"{name} is a JPEG with arithmetic coding, which mien does not read; save it as PNG"
                )
            pixels = int.from_bytes(body[1:3]) * int.from_bytes(body[3:5])
        elif code == jpeg.SCAN:
            if few:
                return 0
            n_scans += 1
            passes += body[0] if body else 0
            if n_scans > MAX_SCANS:
                raise ImageTooLargeError(
                    f"{name} is a JPEG of more than {MAX_SCANS:,} scans; save it again, not progressive"
                )
    return passes * pixels


def _check_work(work: int, name: str, limits: ImageLimits) -> None:
    if work > MAX_PASSES * limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} is a progressive JPEG whose scans cover {work:,} pixels, more than {MAX_PASSES} times "
            f"the limit of {limits.max_pixels:,}; save it again, not progressive"
        )


# --- TIFF ------------------------------------------------------------------------------------------------


def _check_tiff(data: bytes, name: str, limits: ImageLimits) -> None:
    page = tiff.directory(data)
    if page.is_big and page.order == ">":  # Pillow takes it for a classic one
        raise ImageError(f"{name} is a big-endian BigTIFF, which mien does not read; save it little-endian")
    if page.number(tiff.PHOTOMETRIC) in tiff.SENSOR_DATA:
        raise ImageError(f"{name} holds a camera's raw data, which mien does not read; export it as JPEG")
    tiff.check_tags(page)
    if tiff.has_deep_planes(page):  # Pillow takes each byte for a pixel
        raise ImageError(
            f"{name} stores 16-bit colours in uncompressed planes, which mien does not read; "
            "save it with compression, or as PNG"
        )
    tiled = tiff.tile_pixels(page)
    if tiled > limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} has tiles of {tiled:,} pixels together, more than the limit of {limits.max_pixels:,}; "
            "save it again with smaller tiles"
        )
    work = sum(times * _scan_work(part, name) for part, times in tiff.jpeg_parts(page))
    _check_work(work, name, limits)


# --- GIF, WebP: Pillow compares their sizes with its own limit when it opens them, and warns ----------------


def _check_gif(data: bytes, name: str, limits: ImageLimits) -> None:
    screen_wh = struct.unpack_from("<HH", data, 6)
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    for _ in range(MAX_READS):
        if data[at] == IMAGE:
            left, top, width, height = struct.unpack_from("<HHHH", data, at + 1)
            check_size((max(screen_wh[0], left + width), max(screen_wh[1], top + height)), name, limits)
            return
        at += 1
        if data[at - 1] == EXTENSION:
            at = _behind_blocks(data, at + 1)
    raise OSError("too much metadata")


IMAGE, EXTENSION = 0x2C, 0x21
"""First bytes of the parts of a GIF; any other is skipped, as Pillow does."""


def _behind_blocks(data: bytes, at: int) -> int:
    for _ in range(MAX_READS):
        if not data[at]:
            return at + 1
        at += data[at] + 1
    raise OSError("too much metadata")


def _check_webp(data: bytes, name: str, limits: ImageLimits) -> None:
    """The size lies where the kind of the first chunk says (RFC 9649, sections 2.5-2.7)."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    check_size((width, height), name, limits)


# --- AVIF ------------------------------------------------------------------------------------------------


def _check_avif(data: bytes, name: str, limits: ImageLimits) -> None:
    pixels = avif.coded_pixels(data)
    if pixels > avif.MAX_SHARE * limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} holds AV1 images of {pixels:,} pixels together, more than {avif.MAX_SHARE} times the "
            f"limit of {limits.max_pixels:,}; shrink it"
        )


STRUCTURES: dict[str, Callable[[bytes, str, ImageLimits], None]] = {
    "JPEG": _check_jpeg,
    "TIFF": _check_tiff,
    "GIF": _check_gif,
    "WEBP": _check_webp,
    "AVIF": _check_avif,
}


class FrugalFile(io.BytesIO):
    """A file in memory that may be read often enough for any sane image, and no more.

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
