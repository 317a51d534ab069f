"""Which of the images that are found are read, and the lists that name them."""

import codecs
import os
import re
import select
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import BinaryIO
from zlib import crc32

from mien.errors import MienError

BLOCK = 2**16
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark begins alike
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks at the start of a text, and how it is written then."""
POLL_S = 0.2
MARK_BYTES = 8
"""Bytes that tell how a list is written."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken of the images that are found.

    A pattern such as ``"*.jpg"`` stands for names; one with a slash, ``"raw/*"``, for paths below the folder
    that was named. A slash at its end changes nothing. Upper and lower case are alike.

    Args:
        include: Images must fit one of these patterns, if there are any.
        exclude: Images and folders that fit one of these are left out.
        shard: Which part of how many, from 1; a path is always in the same part, whatever else is found.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    shard: tuple[int, int] | None = None

    def fits(self, path: str) -> bool:
        """Whether the patterns take an image, by its path below the folder that was named."""
        return not self.excludes(path) and (not self.include or fits_any(path, self.include))

    def excludes(self, path: str) -> bool:
        """Whether an image or a folder is left out."""
        return bool(self.exclude) and fits_any(path, self.exclude)

    def in_shard(self, path: str) -> bool:
        """Whether a path, as it is named, belongs to this part."""
        if self.shard is None:
            return True
        part, n_parts = self.shard
        return crc32(os.fsencode(path)) % n_parts == part - 1


def fits_any(path: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns stands for a path; see `Selection`."""
    path = path.replace(os.sep, "/").casefold()
    name = path.rsplit("/", 1)[-1]
    plain = (pattern.casefold().rstrip("/") for pattern in patterns)
    return any(fnmatchcase(path if "/" in p else name, p) for p in plain)


def parse_shard(text: str) -> tuple[int, int]:
    """``(2, 4)`` of ``"2/4"``.

    Raises:
        MienError: it is no part of a whole.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part, n_parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= n_parts:
        raise MienError(f"--shard takes a part of how many, 1/4 to 4/4 of four; got '{text}'")
    return part, n_parts


def listed_paths(stream: BinaryIO, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """The paths of a list, one a line, or each ended by a NUL as by ``find -print0``.

    The first bytes tell which, and whether it is UTF-8 or, with its mark, UTF-16 or UTF-32, as Windows
    writes lists. Empty lines are nothing.

    Args:
        stream: The list.
        stop: Asked again and again while the list is waited for; true ends it.

    Raises:
        MienError: it is UTF-16 without a mark.
    """
    read = _read_until(stop, stream)
    start = b""
    while len(start) < MARK_BYTES and (block := read(BLOCK)):
        start += block
    if len(start) >= MARK_BYTES and not any(start[1:MARK_BYTES:2]) and all(start[:MARK_BYTES:2]):
        raise MienError("the list of paths is UTF-16 without a mark; save it as UTF-8")
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    if encoding is not None:
        decode = codecs.getincrementaldecoder(encoding)(errors="surrogatepass").decode
        read = _as_utf8(read, decode)
        start = decode(start).encode(errors="surrogatepass")
    block = start
    end = b"\0" if b"\0" in block else b"\n"
    rest = b""
    while block:
        *whole, rest = (rest + block).split(end)
        yield from filter(None, map(_path, whole))
        block = read(BLOCK)
    yield from filter(None, [_path(rest)])


def _read_until(stop: Callable[[], bool], stream: BinaryIO) -> Callable[[int], bytes]:
    """How to read the stream, which ends when someone says stop; a signal alone would not end a read."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    try:
        descriptor = stream.fileno()
    except OSError:  # it is in memory
        return read

    def reading(n: int) -> bytes:
        while not stop():
            if select.select([descriptor], [], [], POLL_S)[0]:
                return read(n)
        return b""

    return read if os.name == "nt" else reading  # where select knows sockets alone


def _as_utf8(read: Callable[[int], bytes], decode: Callable[[bytes], str]) -> Callable[[int], bytes]:
    def reading(n: int) -> bytes:
        while block := read(n):
            if text := decode(block):  # half a character may be all that came
                return text.encode(errors="surrogatepass")
        return b""

    return reading


def _path(line: bytes) -> str:
    return os.fsdecode(line.removesuffix(b"\r"))
