"""The segments of a JPEG that determine its cost and whether the file is complete.

Source: ITU-T Recommendation T.81 (1992), annexes B and G.
"""

import re
from collections.abc import Iterator

from mien.errors import ImageError

MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""A marker that is neither stuffing nor a restart; what lies between two of them is data or rubbish."""

RESTART = re.compile(rb"\xff[\xd0-\xd7]")
END, SCAN, WITHOUT_LENGTH = 0xD9, 0xDA, (0x01, 0xD8)
END_MARK, SCAN_MARK = b"\xff\xd9", b"\xff\xda"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ARITHMETIC = range(0xC9, 0xD0)
MAX_SEGMENTS = 100_000
MOST_COMPONENTS = 4  # of an image, as of a scan (T.81, B.2.3)
PADDING = bytes(16)

STARTS = (b"\xfe", b"\x55", b"\xb6\x6d")
NOISE = bytes(1 + i * 89 % 251 for i in range(256))
"""What a decoder that waits for pixels gets: a start, of which some bits differ from the zeros that it makes
up by itself, and bytes of all values."""


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment, to the end mark.

    Raises:
        ImageError: there are absurdly many.
    """
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(data, at)
        if found is None or found[1][0] == END:
            return
        code, at = found[1][0], found.end()
        if code not in WITHOUT_LENGTH:
            length = max(int.from_bytes(data[at : at + 2]), 2)
            yield code, data[at + 2 : at + length]
            at += length
    raise ImageError("too much metadata")


def is_padded(data: bytes) -> bool:
    """Whether a file ends in zeros instead of its end mark, as after a download that stopped."""
    return data.endswith(PADDING) and not data.rstrip(b"\0").endswith(END_MARK)


def endings(data: bytes) -> Iterator[bytes]:
    """Ways to end a file that lacks its end mark; all decode alike where only that mark is missing.

    In all but the first, bytes that mean nothing lie before the end mark, unless pixels are missing: then
    they become those. There is no way where scans are missing.
    """
    if not _has_all_scans(data):
        return
    if data.endswith(PADDING):
        data = data.rstrip(b"\0") + bytes(4)  # a scan itself may end in some
    whole = data.removesuffix(b"\xff")
    yield whole + END_MARK
    n_restarts = len(RESTART.findall(whole, whole.rfind(SCAN_MARK)))
    marks = [b"\xff" + bytes([0xD0 + (n_restarts + i) % 8]) for i in range(8)]
    for start in STARTS:
        yield whole + b"".join(start + NOISE + mark for mark in marks) + start + NOISE + END_MARK


def _has_all_scans(data: bytes) -> bool:
    """Whether scans of every coefficient of every component, to the last bit, have at least begun."""
    components: set[int] = set()
    missing: set[tuple[int, int]] = set()
    for code, body in segments(data):
        if code in FRAMES and len(body) >= 6:
            if body[5] > MOST_COMPONENTS:
                return False
            components = set(body[6::3])
            missing = {(component, k) for component in components for k in range(64)}
        elif code == SCAN and body:
            n = body[0]
            if n > MOST_COMPONENTS:
                return False
            spectrum = body[1 + 2 * n :]
            if len(spectrum) < 3:
                return False
            first, last, precision = spectrum[:3]
            if precision & 15 == 0:
                missing -= {(c, k) for c in body[1 : 1 + 2 * n : 2] for k in range(first, min(last, 63) + 1)}
    return bool(components) and not missing
