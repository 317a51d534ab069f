"""Which of the images that are found are read, and the lists that name them."""

import codecs
import os
import re
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from mien.errors import DataError, MienError
from mien.workflows.rows.formats import ALIASES, FORMATS

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
LONGEST_MARK = 4
MARK_BYTES = 8
"""Bytes that tell how a list is written."""
NOT_YET = ""
"""Stands in a list of paths where the next one is waited for."""
ERROR_COLUMNS = ("path", "error")
"""Of a file that tells what could not be read; those of all rows have them too."""


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
        raise MienError(f"--shard takes PART/PARTS, 1/4 to 4/4 for four parts; got '{text}'")
    return part, n_parts


def failed_paths(path: Path) -> Iterator[str] | None:
    """The images that could not be read, as a file of ``mien read`` tells; ``None`` where it is another list.

    Args:
        path: A file of errors or of rows, by the end of its name and its columns.

    Raises:
        MissingExtraError: it is a Parquet file, and pyarrow is not installed.
        DataError: it is damaged; when the paths are asked for.
    """
    end = path.suffix.lower()
    kind = FORMATS.get(ALIASES.get(end, end))
    if kind is None or kind.reads is None or not path.is_file():
        return None
    kind.check()
    with suppress(DataError):  # any list may be called so
        columns = next(kind.reads(path), {}).keys()
        if kind.has(path, ERROR_COLUMNS) or columns >= set(ERROR_COLUMNS):
            rows = kind.reads(path)
            return (str(row["path"]) for row in rows if "path" in row and row.get("error") is not None)
    return None


def listed_paths(stream: BinaryIO, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """The paths of a list, one a line, or each ended by a NUL as by ``find -print0``.

    The first bytes tell which, and whether it is UTF-8 or, with its mark, UTF-16 or UTF-32, as Windows
    writes lists. Empty lines are nothing.

    Args:
        stream: The list.
        stop: Asked again and again while the list is waited for; true ends it.

    Yields:
        Paths, and `NOT_YET` again and again while the list is waited for; not on Windows.

    Raises:
        MienError: it is UTF-16 without a mark.
    """
    blocks = _blocks(stream, stop)
    start = b""
    for block in blocks:
        if block is None:
            yield NOT_YET
        start += block or b""
        least = MARK_BYTES if block else LONGEST_MARK  # a short name may be all that comes for now
        if len(start) >= least and (b"\n" in start or b"\0" in start):
            break
    if len(start) >= MARK_BYTES and not any(start[1:MARK_BYTES:2]) and all(start[:MARK_BYTES:2]):
        raise MienError("the list of paths is UTF-16 without a byte order mark; save it as UTF-8")
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    if encoding is not None:
        decode = codecs.getincrementaldecoder(encoding)(errors="surrogatepass").decode
        blocks = _as_utf8(blocks, decode)
        start = decode(start).encode(errors="surrogatepass")
    end = b"\0" if b"\0" in start else b"\n"
    rest = b""
    for block in chain([start], blocks):
        if block is None:
            yield NOT_YET
            continue
        *whole, rest = (rest + block).split(end)
        yield from filter(None, map(_path, whole))
    yield from filter(None, [_path(rest)])


def _blocks(stream: BinaryIO, stop: Callable[[], bool]) -> Iterator[bytes | None]:
    """The bytes of a stream as they come, ``None`` while there are none; a signal would not end a read."""
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    tells = os.name != "nt" and _has_descriptor(stream)  # on Windows select knows sockets alone
    wait_s = 0.0
    while not stop():
        if tells and not select.select([stream], [], [], wait_s)[0]:
            wait_s = POLL_S
            yield None
            continue
        wait_s = 0.0
        block = read(BLOCK)
        if not block:
            return
        yield block


def _has_descriptor(stream: BinaryIO) -> bool:
    """Whether it is a file of the system, and not in memory."""
    try:
        stream.fileno()
    except OSError:
        return False
    return True


def _as_utf8(blocks: Iterator[bytes | None], decode: Callable[[bytes], str]) -> Iterator[bytes | None]:
    for block in blocks:
        yield block and decode(block).encode(errors="surrogatepass")


def _path(line: bytes) -> str:
    return os.fsdecode(line.removesuffix(b"\r"))
