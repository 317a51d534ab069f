"""Whether a file or folder can be written, asked before the work that fills it."""

import os
from pathlib import Path

from mien.errors import OutputError


def check_output(path: str | os.PathLike[str], *, makes_folder: bool = False) -> None:
    """Raise, before any work, what writing the file ``path`` would end with.

    Args:
        path: The file.
        makes_folder: Whether the work makes the folder where it is missing.

    Raises:
        OutputError: a folder has its name, its folder is missing or not writable, or its name is too long.
    """
    path = Path(path)
    folder = path.absolute().parent
    if _is_folder(path, path):
        raise OutputError(path, "it is a folder; name a file")
    if makes_folder:
        check_output_folder(path.parent)
    elif not _is_folder(folder, path):
        raise OutputError(path, f"there is no folder {path.parent}; make it first")
    else:
        _check_permission(folder, path)


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
