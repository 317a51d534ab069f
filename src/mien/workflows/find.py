"""Find the images that a user names: files, folders, patterns; what is skipped is counted."""

import glob
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from mien.core.image_names import SUFFIXES, is_image, is_image_file
from mien.core.images import open_image
from mien.core.paths import local_path
from mien.core.text import counted
from mien.errors import ImageError
from mien.workflows.selection import NOT_YET, Selection, fits_any

STDIN = "-"
STDIN_STEM = "standard-input"
"""What a file made from it is called."""
STDIN_CLOSED = "standard input is closed; pass the path of an image"
EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Source:
    """An image to read: its path, or `STDIN`.

    Attributes:
        name: The path.
        error: Why the image cannot be used.
        below: Its folder, relative to the given folder or pattern.
        is_named: Whether it was named itself, and not a folder or a pattern that holds it.
    """

    name: str
    error: str | None = None
    below: str = ""
    is_named: bool = False


PAUSE = Source("")
"""Stands between two images where the list that names them is waited for."""


@dataclass(slots=True)
class PassedOver:
    """What lay in the folders and was not taken for ``what``.

    ``closed`` are the errors of folders that cannot be listed, ``n_unfit`` counts what patterns leave out,
    ``n_shut`` folders that they leave out unlooked, ``n_other_parts`` what other shards read. ``idle`` are
    patterns with a slash that fitted no path, known at the end.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    n_links: int = 0
    n_unfit: int = 0
    n_shut: int = 0
    n_other_parts: int = 0
    what: str = "an image"
    closed: list[OSError] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A text for people; empty if nothing was skipped."""
        parts = []
        if self.suffixes:
            most = ", ".join(f"{suffix} {count:,}" for suffix, count in self.suffixes.most_common(5))
            more = ", ..." if len(self.suffixes) > 5 else ""
            files = counted(self.suffixes.total(), "file")
            parts.append(f"{files} not named like {self.what} ({most}{more})")
        if self.n_links:
            parts.append(f"{counted(self.n_links, 'link')} to a folder")
        if self.closed:
            first = f"{self.closed[0].filename!r}" + (", ..." if len(self.closed) > 1 else "")
            parts.append(f"{counted(len(self.closed), 'folder')} that cannot be listed ({first})")
        if self.n_unfit:
            parts.append(f"{self.n_unfit:,} that --include and --exclude leave out")
        if self.n_shut:
            parts.append(f"{counted(self.n_shut, 'folder')} that --exclude leaves out")
        return " and ".join(parts)


def find_images(
    paths: Sequence[str],
    leave_out: str | os.PathLike[str] | None = None,
    passed_over: PassedOver | None = None,
    *,
    listed: Iterable[str] = (),
    selection: Selection = EVERYTHING,
) -> Iterator[Source]:
    """The images that ``paths`` name, one after the other, each once.

    A file stands for itself; a folder for the images in it and below, without hidden ones, in natural
    order (``2.png`` before ``10.png``); a pattern such as ``"**/*.jpg"``, where no such file exists, for what
    it matches; ``-`` for standard input. In a folder an image is recognised by its suffix, or without one
    by its first bytes. Memory grows with ``paths``, the number of folders and the largest folder only.

    Args:
        paths: As a person typed them, in the order wanted; also ``~/...`` and ``file://...``.
        leave_out: A folder that is not searched, for its images are written meanwhile.
        passed_over: Counts what else the folders hold.
        listed: More paths, without patterns, as `listed_paths` gives them; a file among them is read as often
            as it is named, so that memory does not grow.
        selection: What is taken of all these.

    Yields:
        Images; also, with an error, what does not exist, cannot be listed, or holds no image, and `PAUSE`
        for each `NOT_YET` of ``listed``.
    """
    out = None if leave_out is None else os.path.realpath(os.fspath(leave_out))
    counts = passed_over or PassedOver()
    finder = _Finder(out, counts, selection)
    for source in chain(finder.find(map(local_path, paths)), finder.find_listed(map(local_path, listed))):
        if source.name == STDIN or source is PAUSE:
            yield source
        elif source.error is None and not finder.fits(source):
            counts.n_unfit += 1
        elif not selection.in_shard(source.name):
            counts.n_other_parts += 1
        else:
            yield source
    counts.idle = sorted(finder.idle)


class _Finder:
    """Remembers the paths that were named and the folders in them, not every image."""

    def __init__(self, leave_out: str | None, passed_over: PassedOver, selection: Selection) -> None:
        self.leave_out, self.selection = leave_out, selection
        self.passed_over = passed_over
        self.done: dict[str, str | None] = {}  # where what was named lies, and folders, listed with ``below``
        self.n_skipped = 0  # files and folders met again, and folders left out
        self.idle = {p for p in (*selection.include, *selection.exclude) if "/" in p.rstrip("/")}

    def fits(self, source: Source) -> bool:
        """Whether the patterns take an image, and the folders that it was found in."""
        place = os.path.join(source.below, os.path.basename(source.name))
        if source.is_named:
            place = source.name
        elif self._is_shut(source.below):
            return False
        self._note(place)
        return self.selection.fits(place)

    def _is_shut(self, below: str) -> bool:
        """Whether a folder, or one above it, is left out."""
        while below:
            self._note(below)
            if self.selection.excludes(below):
                return True
            below = os.path.dirname(below)
        return False

    def _note(self, place: str) -> None:
        self.idle = {pattern for pattern in self.idle if not fits_any(place, [pattern])}

    def find(self, paths: Iterator[str]) -> Iterator[Source]:
        for path in paths:
            if path == STDIN:
                if path not in self.done:
                    self.done[path] = None
                    yield Source(STDIN)
            elif os.path.lexists(path) or not glob.has_magic(path):
                yield from self._expand(path)
            else:
                yield from self._match(path)

    def find_listed(self, paths: Iterator[str]) -> Iterator[Source]:
        for path in paths:
            if path == NOT_YET:
                yield PAUSE
            elif os.path.isfile(path):
                yield Source(path, is_named=True)
            else:
                yield from self._expand(path)

    def _match(self, pattern: str) -> Iterator[Source]:
        base = _without_magic(pattern)
        matches = [m for m in _matches(pattern) if not self._is_left_out(m)]
        folders = {os.path.realpath(m) for m in matches if os.path.isdir(m)}
        wanted = [
            m
            for m in sorted(matches, key=natural_key)
            if os.path.isdir(m) or is_image(m) or (not _is_below(m, folders) and self._takes(m))
        ]
        if not wanted:
            yield Source(pattern, f"no image matches {pattern!r}; check the pattern")
        for path in wanted:
            folder = path if os.path.isdir(path) else os.path.dirname(path)
            yield from self._expand(path, os.path.relpath(folder or ".", base or "."))

    def _expand(self, path: str, below: str | None = None) -> Iterator[Source]:
        """What a path stands for, which was named itself, or lies ``below`` a pattern."""
        is_named = below is None
        if below is None or below.split(os.sep)[0] in (os.curdir, os.pardir):
            below = ""
        real = os.path.realpath(path)
        source = Source(path, None, below, is_named)
        places = _places(path)
        if any(place in self.done or self._gave(place, source) for place in places):
            return
        if real == self.leave_out:
            yield Source(path, f"{path!r} is where annotated images go; read and write in different folders")
        elif os.path.isdir(path):
            empty, n_skipped = True, self.n_skipped
            for source in self._walk(path, real, below):
                empty = False
                yield source
            if empty and self.n_skipped == n_skipped:
                yield Source(path, f"{path!r} holds no image (mien reads {', '.join(sorted(SUFFIXES))})")
        else:
            yield source if os.path.exists(path) else replace(source, error=_why_not(path))
        for place in places:
            self.done.setdefault(place, None)

    def _is_left_out(self, path: str) -> bool:
        real = os.path.realpath(path)
        return self.leave_out is not None and Path(real).is_relative_to(self.leave_out)

    def _gave(self, place: str, source: Source) -> bool:
        """Whether the folder of an image was listed, and gave it or left it out as now."""
        folder, name = os.path.split(place)
        below = self.done.get(folder)
        if below is None or name.startswith(".") or not os.path.lexists(place) or not is_image_file(place):
            return False
        return self.fits(Source(place, below=below)) or not self.fits(source)

    def _walk(self, folder: str, real: str, below: str) -> Iterator[Source]:
        """Images of a folder, then those of its folders; symbolic links to folders are not followed."""
        waiting = [(folder, real, below)]  # folders may lie deeper than Python calls
        while waiting:
            folder, real, below = waiting.pop()
            if real in self.done:
                self.n_skipped += 1
                continue
            self.done[real] = None
            if real == self.leave_out:
                continue
            try:
                files, folders, n_links = listing(folder)
            except OSError as error:
                reason = (error.strerror or "unknown reason").lower()
                yield Source(folder, f"{folder!r} cannot be listed ({reason}); check its permissions")
                continue
            self.done[real] = below
            self.passed_over.n_links += n_links
            for name in files:
                path = os.path.join(folder, name)
                if os.path.join(real, name) in self.done:
                    self.n_skipped += 1
                elif self._takes(path):
                    yield Source(path, below=below)
            deeper = [name for name in folders if self._enters(os.path.join(below, name))]
            for name in reversed(deeper):
                waiting.append(
                    (os.path.join(folder, name), os.path.join(real, name), os.path.join(below, name))
                )

    def _enters(self, below: str) -> bool:
        """Whether a folder is searched; counts what is not."""
        is_out = self._is_shut(below)
        self.passed_over.n_shut += is_out
        self.n_skipped += is_out
        return not is_out

    def _takes(self, path: str) -> bool:
        """Whether a file in a folder is an image; counts what is not."""
        if is_image_file(path):
            return True
        suffix = os.path.splitext(path)[1].lower()
        self.passed_over.suffixes[suffix or "no suffix"] += 1
        return False


def _places(path: str) -> set[str]:
    """Where a path leads, and where it lies; of a folder, whose links are not followed, the first alone."""
    real = os.path.realpath(path)
    if os.path.isdir(path):
        return {real}
    folder, name = os.path.split(path)
    return {real, os.path.join(os.path.realpath(folder), name)}


def _is_below(path: str, folders: set[str]) -> bool:
    """Whether one of the folders holds it, and so is walked for it."""
    return any(str(parent) in folders for parent in Path(os.path.realpath(path)).parents)


def _matches(pattern: str) -> Iterator[str]:
    """What a pattern stands for, as by `glob.iglob`; but ``**`` ends where links lead in circles."""
    parts = pattern.replace("/", os.sep).split(os.sep)
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    at = parts.index("**")
    above, behind = os.sep.join([*parts[:at], ""]), os.sep.join(parts[at + 1 :])
    for top in glob.iglob(above) if above else [""]:
        for folder in _folders_below(top):
            here = glob.escape(folder)
            if behind:
                yield from _matches(os.path.join(here, behind))
                continue
            yield from [folder] * bool(folder)
            yield from (path for path in glob.iglob(os.path.join(here, "*")) if not os.path.isdir(path))


def _folders_below(top: str) -> Iterator[str]:
    """A folder and those below it, each once, by names without links where there are such; no hidden ones."""
    entered: set[str] = set()
    waiting, links = deque([top]), deque[str]()
    while waiting or links:
        folder = (waiting or links).popleft()
        real = os.path.realpath(folder or os.curdir)
        if real in entered:
            continue
        entered.add(real)
        yield folder
        with suppress(OSError), os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                if _is_any_folder(entry) and not entry.name.startswith("."):
                    (links if entry.is_symlink() else waiting).append(os.path.join(folder, entry.name))


def listing(folder: str | os.PathLike[str]) -> tuple[list[str], list[str], int]:
    """The names of files and of folders, each in natural order, and how many links to folders there are.

    Hidden ones are left out.

    Raises:
        OSError: it cannot be listed.
    """
    files, folders, n_links = [], [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_any_folder(entry):
                files.append(entry.name)
            elif entry.is_symlink():
                n_links += 1
            else:
                folders.append(entry.name)
    return sorted(files, key=natural_key), sorted(folders, key=natural_key), n_links


def _is_any_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; of a link in a circle `os.DirEntry.is_dir` raises."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _without_magic(pattern: str) -> str:
    """The folder that a pattern begins with, before its first part that stands for several names."""
    parts = []
    for part in os.path.dirname(pattern).split(os.sep):
        if glob.has_magic(part):
            break
        parts.append(part)
    return os.sep.join(parts) or (os.sep if pattern.startswith(os.sep) else "")


def _why_not(path: str) -> str:
    """What is wrong with a path that leads nowhere."""
    try:
        open_image(path)
    except ImageError as error:
        return str(error)
    return f"{path!r} appeared just now; run again"  # it did not exist when the caller looked


def natural_key(path: str) -> tuple[list[str | int], str]:
    """A key that sorts numbers in names by value: ``face2`` before ``face10``."""
    parts = re.split(r"(\d+)", path.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path
