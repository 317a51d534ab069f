"""Files appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it at the end; removed if anything goes wrong.

    The temporary name keeps the suffix, because writers choose their format by it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.urandom(4).hex()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Readable JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


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
