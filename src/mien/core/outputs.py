"""Check that a file or folder can be written, before the work that fills it."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from mien.errors import MienError, OutputError


def check_output(
    path: str | os.PathLike[str], *, makes_folder: bool = False, ends: Sequence[str] = ()
) -> None:
    """Raise, before any work, what writing the file ``path`` would end with.

    Args:
        path: The file.
        makes_folder: Whether the work makes the folder where it is missing.
        ends: Of its name, one of them, so that a slip does not cost the user a file of another kind.

    Raises:
        OutputError: a folder or a device has its name, its folder is missing or not writable, or its name is
            too long or has another end.
    """
    path = Path(path)
    folder = path.absolute().parent
    check_place(path)
    if ends and not path.name.lower().endswith(tuple(ends)):
        raise OutputError(path, f"give it a name that ends with {' or '.join(ends)}")
    if makes_folder:
        check_output_folder(path.parent)
    elif not _is_folder(folder, path):
        raise OutputError(path, f"there is no folder {path.parent}; make it first")
    else:
        _check_permission(folder, path)


def check_place(path: Path) -> None:
    """Raise an `OutputError` where what has the name ``path`` is no file: writing would replace it."""
    if _is_folder(path, path):
        raise OutputError(path, "it is a folder; name a file")
    if _exists(path, path) and not path.is_file():
        raise OutputError(path, "it is a pipe or a device; name a file")


def check_apart(path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Raise an `OutputError` where the output ``path`` is one of the files that it is made of.

    The text ``-`` stands for the file that standard input is taken from, if it is one.
    """
    for source in sources:
        is_same = False
        with suppress(OSError, ValueError):  # one is not there
            is_same = os.path.samefile(path, 0 if source == "-" else source)
        if is_same:
            raise OutputError(path, "it is an input; name another file")


def check_distinct(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise where two of the outputs are one file."""
    names = [os.path.realpath(path) for path in paths]
    if len(set(names)) < len(names):
        raise MienError("two outputs have the same name; give each its own")


def check_output_folder(path: str | os.PathLike[str]) -> None:
    """Raise, before any work, what making the folder ``path``, or writing into it, would end with.

    Raises:
        OutputError: a file has its name or that of a folder above it, it is not writable, or a name in it is
            too long.
    """
    path = Path(path)
    above = path.absolute()
    while not _exists(above, path):
        above = above.parent
    if not above.is_dir():
        raise OutputError(path, f"{'it' if above == path.absolute() else above} is a file; name a folder")
    _check_permission(above, path)


def _is_folder(path: Path, named: Path) -> bool:
    return _exists(path, named) and path.is_dir()


def _exists(path: Path, named: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name too long, a circle of links, a zero in the name
        raise OutputError(named, getattr(error, "strerror", None) or str(error)) from error
    return True


def _check_permission(folder: Path, named: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(named, f"folder {folder} is not writable")
    try:
        with TemporaryFile(dir=folder):  # permission is not all: a share, /proc or a full disk may refuse yet
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise OutputError(named, f"folder {folder} takes no file ({why})") from error
