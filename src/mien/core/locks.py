"""Locks that the operating system releases when their process ends, even by ``kill -9``."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def take(descriptor: int, *, wait: bool = False) -> None:
    """Lock an open file.

    Raises:
        OSError: another process has it, or the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def sole(path: Path) -> Iterator[str]:
    """Hold the lock file ``path``, which is gone at the end; gives who else holds it, or nothing.

    Raises:
        OSError: the file cannot be made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            take(descriptor)
        except OSError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            yield holder
            return
        if is_named(descriptor, path):
            break
        os.close(descriptor)  # whoever had it removed it between the two calls
    try:
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # a full disk: then the holder has no name
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield ""
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_named(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still is the name of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def is_left(path: Path) -> bool:
    """Whether a file or folder is this user's, and no living process holds its lock."""
    with suppress(OSError):
        status = path.lstat()
        if path.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            return False
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            take(descriptor)
            return True
        finally:
            os.close(descriptor)
    return False
