"""Temporary folders of servers: removed when the server ends, or when the next one starts.

Each server holds a lock on a file in its folder. The operating system lets go of it however the process ends,
so a folder whose lock is free belongs to a server that was killed.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PREFIX = "mien-serve-"
LOCK = "lock"


@contextmanager
def own_folder(where: Path | None = None) -> Iterator[Path]:
    """A folder that only this user can read, removed at the end; those of servers that were killed go first.

    Args:
        where: The folder that it is made in; the system's for temporary files by default.
    """
    parent = Path(where or tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with (folder / LOCK).open("wb") as lock:
            _take(lock)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Whether it is this user's, and no living server holds its lock."""
    with suppress(OSError):
        status = folder.lstat()
        if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            return False
        with (folder / LOCK).open("r+b") as lock:
            _take(lock)
            return True
    return False


def _take(lock: BinaryIO) -> None:
    """Lock an open file without waiting.

    Raises:
        OSError: another process has it.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
