"""How many pixels the AV1 streams inside an AVIF file have, whatever its header says.

A decoder allocates what the stream's sequence header states, and scales the result to the size in the
file's header afterwards: a file of 64 x 64 may decode 16384 x 16384 pixels.

Source: ISO/IEC 14496-12 (boxes, `iloc`, `stco`), AV1 Bitstream & Decoding Process Specification, sections
5.3-5.5 (OBU and sequence headers), "AV1 Image File Format (AVIF)", aomediacodec.github.io/av1-avif.
"""

import struct
from collections.abc import Iterator

MAX_SHARE = 3  # the image, its alpha plane and its thumbnails
MAX_BOXES = 10_000
MAX_OBUS = 1000  # of one item; a still image has 3
MAX_ITEMS = 1000
MAX_EXTENTS = 10_000  # of all items; extents may take no bytes of the list that has them
FULL_BOX = 4  # bytes of version and flags, at the start of some boxes
SEQUENCE_HEADER = 1
HEADER_BYTES = 512  # more than 32 operating points take


def is_avif(head: bytes) -> bool:
    """Whether a file is AVIF, by its first box."""
    brands = _brands(head)
    return bool(brands) and (brands[0] in (b"avif", b"avis") or b"avif" in brands)


def is_heif(head: bytes) -> bool:
    """Whether a file is HEIF with HEVC images, by its first box."""
    brands = _brands(head)
    return bool(HEVC_BRANDS.intersection(brands[:1])) or (
        brands[:1] in ([b"mif1"], [b"msf1"]) and not is_avif(head)
    )


HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})


def _brands(head: bytes) -> list[bytes]:
    """The major brand and the compatible ones."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4]), len(head), 256)
    return [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]


def coded_pixels(data: bytes) -> int:
    """Pixels of all AV1 streams of a file together, by their largest sequence headers.

    Raises:
        OSError: there are absurdly many boxes, items or extents, or items share their bytes.
        struct.error: the structure is cut short.
    """
    pixels, claimed = 0, 0
    for extents in _streams(data):
        claimed += sum(end - start for start, end in extents)
        if claimed > 2 * len(data):
            raise OSError("items share their bytes")
        pixels += _largest(b"".join(data[start:end] for start, end in extents))
    return pixels


def without_exif(data: bytes) -> bytes:
    """The file with its EXIF unnamed: it must not turn an AVIF, and Pillow's reader warns of broken ones."""
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            return data[:start] + data[start:end].replace(b"Exif", b"skip") + data[end:]
    return data


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the body of each box between two places."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if size == 0 else start + size
        if stop < body or stop > end:
            return
        yield kind, body, stop
        start = stop
    raise OSError("too many boxes")


Extents = list[tuple[int, int]]
"""Start and end of the pieces that a stream lies in."""


def _streams(data: bytes) -> Iterator[Extents]:
    """What holds an AV1 stream: items of that type, and the first sample of every track."""
    described = False
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"meta":
            if described:
                raise OSError("several meta boxes")
            described = True
            inside = {name: (a, b) for name, a, b in _boxes(data, start + FULL_BOX, end)}
            if b"iloc" in inside and b"iinf" in inside:
                av1 = _av1_items(data, *inside[b"iinf"])
                items = _located(data, *inside[b"iloc"], inside.get(b"idat", (0, 0))[0])
                yield from (extents for number, extents in items if number in av1)
        elif kind == b"moov":
            yield from _first_samples(data, start, end)


def _av1_items(data: bytes, start: int, end: int) -> set[int]:
    """The numbers of the items that an `iinf` box gives the type of AV1."""
    found = set()
    for kind, a, b in _boxes(data, start + FULL_BOX + (4 if data[start] else 2), end):
        wide = data[a] > 2
        number_at = a + FULL_BOX
        type_at = number_at + (6 if wide else 4)
        if kind == b"infe" and type_at + 4 <= b and data[type_at : type_at + 4] == b"av01":
            found.add(int.from_bytes(data[number_at : number_at + (4 if wide else 2)]))
    return found


class _Numbers:
    """Takes big-endian numbers off a box."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._at, self._end = data, start, end

    def read(self, n_bytes: int) -> int:
        self._at += n_bytes
        if self._at > self._end:
            raise struct.error("a box is cut short")
        return int.from_bytes(self._data[self._at - n_bytes : self._at])


def _located(data: bytes, start: int, end: int, idat: int) -> Iterator[tuple[int, Extents]]:
    """Number and place of every item that an `iloc` box lists."""
    numbers = _Numbers(data, start, end)
    version, _ = numbers.read(1), numbers.read(3)
    sizes = numbers.read(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    id_size = 4 if version == 2 else 2
    n_items = numbers.read(id_size)
    if n_items > MAX_ITEMS:
        raise OSError("too many items")
    left = MAX_EXTENTS
    for _ in range(n_items):
        number = numbers.read(id_size)
        method = numbers.read(2) & 15 if version else 0
        numbers.read(2)
        base = numbers.read(base_size) + (idat if method == 1 else 0)
        extents = []
        n_extents = numbers.read(2)
        left -= n_extents
        if left < 0:
            raise OSError("too many extents")
        for _ in range(n_extents):
            numbers.read(index_size if version else 0)
            first = base + numbers.read(offset_size)
            length = numbers.read(length_size)
            extents.append((first, min(first + length, len(data)) if length else len(data)))
        yield number, extents


def _first_samples(data: bytes, start: int, end: int) -> Iterator[Extents]:
    """Where the first sample of each track lies."""
    inside = {kind: a for kind, a, _ in _boxes(data, start, end)}
    chunks = inside.get(b"stco", inside.get(b"co64"))
    if chunks is not None and b"stsz" in inside:
        (first,) = struct.unpack_from(">I" if b"stco" in inside else ">Q", data, chunks + FULL_BOX + 4)
        same, _, own = struct.unpack_from(">III", data, inside[b"stsz"] + FULL_BOX)
        yield [(first, min(first + (same or own), len(data)))]
    for kind, a, b in _boxes(data, start, end):
        if kind in (b"trak", b"mdia", b"minf", b"stbl"):
            yield from _first_samples(data, a, b)


def _largest(stream: bytes) -> int:
    """Width x height by the largest sequence header among the parts (OBUs) of a stream; 0 without any."""
    at, largest = 0, 0
    for _ in range(MAX_OBUS):
        if at + 2 > len(stream) or stream[at] & 0x80:
            break
        head, at = stream[at], at + (2 if stream[at] & 4 else 1)
        size, at = _leb128(stream, at) if head & 2 else (len(stream) - at, at)
        if head >> 3 & 15 == SEQUENCE_HEADER:
            largest = max(largest, _sequence_pixels(stream[at : at + size]))
        at += size
    return largest


def _leb128(stream: bytes, at: int) -> tuple[int, int]:
    """A number of up to 8 bytes, 7 bits each, and the place behind it."""
    value = 0
    for i, byte in enumerate(stream[at : at + 8]):
        value |= (byte & 127) << 7 * i
        if not byte & 128:
            return value, at + i + 1
    return value, at + 8


class _Bits:
    """Takes bits off the front of some bytes; zeros where they end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))
        self._left = 8 * HEADER_BYTES

    def read(self, n: int) -> int:
        self._left -= n
        return self._value >> max(self._left, 0) & (1 << n) - 1

    def skip_uvlc(self) -> None:
        """A number that says its own length by leading zeros."""
        zeros = 0
        while zeros < 32 and not self.read(1):
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


def _sequence_pixels(header: bytes) -> int:
    """Largest width x height of a frame, from a sequence header (section 5.5.1)."""
    bits = _Bits(header)
    bits.read(4)  # profile, still image
    if bits.read(1):  # reduced header
        bits.read(5)
    else:
        delay_bits = _skip_timing(bits) if bits.read(1) else 0
        has_delays = bits.read(1)
        for _ in range(bits.read(5) + 1):
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if delay_bits and bits.read(1):
                bits.read(2 * delay_bits + 1)
            if has_delays and bits.read(1):
                bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _skip_timing(bits: _Bits) -> int:
    """Skip timing and decoder model; the bits that a buffer delay of an operating point has, 0 for none."""
    bits.read(64)
    if bits.read(1):
        bits.skip_uvlc()
    if not bits.read(1):
        return 0
    delay_bits = bits.read(5) + 1
    bits.read(42)  # units in a decoding tick, two lengths
    return delay_bits
