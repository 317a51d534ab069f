"""Atomic file writes: a file is complete and on the disk, or absent, even if the process is killed.

What is being written has a name that begins with `PREFIX`, and is locked by its process. The next run that
writes into the folder removes those that no living process holds.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.core.locks import is_left, is_named, take
from mien.core.outputs import check_place
from mien.errors import MienError, OutputError

PREFIX = ".mien-"
REFUSALS = {
    "no space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "disk quota exceeded": getattr(errno, "EDQUOT", errno.ENOSPC),
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "input/output error": errno.EIO,
}
"""What libraries that write by themselves say in errors of their own, where the disk refuses."""

_swept: set[Path] = set()


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it at the end; removed if anything goes wrong.

    The temporary name keeps the suffix, because writers choose their format by it. When the block ends, the
    file is on the disk under its name, whenever the power goes. Where ``path`` is a link, the file that it
    leads to is replaced, as by writing into it.

    Args:
        path: The file.
        replace: Whether one that is there may be replaced.

    Raises:
        OutputError: the file cannot be written, is no file but a folder or a device, or must not be replaced.
    """
    path = Path(path)
    check_place(path)
    place = Path(os.path.realpath(path)) if replace and path.is_symlink() else path
    with refusals(path), temporary_file(place.parent, path.suffix) as temporary:
        yield temporary
        sync(temporary)
        if replace:
            os.replace(temporary, place)
        elif not took_place(temporary, path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        sync_folder(place.parent)


@contextmanager
def temporary_file(folder: Path, suffix: str = "") -> Iterator[Path]:
    """An empty file in ``folder`` that is gone at the end, unless it was renamed, and after a kill too."""
    sweep(folder)
    descriptor, path = _locked_file(folder, suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _locked_file(folder: Path, suffix: str) -> tuple[int | None, Path]:
    while True:
        path = folder / f"{PREFIX}{os.urandom(8).hex()}{suffix}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if os.name == "nt":  # an open file cannot be renamed there
            os.close(descriptor)
            return None, path
        with suppress(OSError):  # a file system without locks
            take(descriptor, wait=True)
        if is_named(descriptor, path):
            return descriptor, path
        os.close(descriptor)  # swept between the two calls


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder in ``parent``, by default the system's, that is gone at the end and after a kill."""
    parent = parent or Path(tempfile.gettempdir())
    sweep(parent)
    folder = Path(tempfile.mkdtemp("-lock", PREFIX, parent))  # what holds it open is a lock, and looks so
    descriptor = None if os.name == "nt" else os.open(folder, os.O_RDONLY)
    try:
        if descriptor is not None:
            with suppress(OSError):
                take(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder; once a process, for folders may be large."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for path in folder.glob(f"{PREFIX}*"):
            if is_left(path):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """What the disk refuses inside becomes an `OutputError` that names ``path``; other errors pass.

    Those of mien do too, whatever they quote: they have named what they are about.
    """
    try:
        yield
    except MienError:
        raise
    except Exception as error:
        number = _refusal(error, path)
        if number is None:
            raise
        raise OutputError(path, os.strerror(number), number) from error


def _refusal(error: Exception, path: Path) -> int | None:
    """The number of the system's error where it is about ``path`` or its temporary file."""
    if isinstance(error, OSError) and error.errno is not None:
        name = path.name if error.filename is None else Path(os.fsdecode(error.filename)).name
        return error.errno if name == path.name or name.startswith(PREFIX) else None
    said = str(error).lower()
    return next((number for text, number in REFUSALS.items() if text in said), None)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can be asked for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text in UTF-8, atomically; raises as `atomic_write` does."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write readable JSON, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def took_place(file: Path, path: Path) -> bool:
    """Give a file the name ``path``, unless something has that name already, even a link to nowhere.

    Of two that try at the same moment, one succeeds.
    """
    try:
        os.link(file, path)
    except OSError:  # the name is taken, or the file system has no hard links
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        os.replace(file, path)
    return True
