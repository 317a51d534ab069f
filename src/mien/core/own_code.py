"""Classes of the user's own, named as ``package.module:Class`` or ``file.py:Class``."""

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from mien.errors import MienError
from mien.names import nearest


def is_own(name: str) -> bool:
    """Whether a name means code of the user's own and not an entry of a table."""
    return ":" in name


VARIABLE = "MIEN_ALLOW_CODE"
"""Environment variable with the code that run folders may name, comma-separated."""

_allowed: set[str] = set()
_files: dict[Path, None] = {}


def allow_own(*names: str) -> None:
    """Let run folders, which may be somebody else's, name this code; the user named it himself."""
    _allowed.update(names)


def is_allowed(name: str) -> bool:
    """Whether the user named this code in his own recipe, by ``--allow-code`` or in `VARIABLE`."""
    return name in _allowed or name in os.environ.get(VARIABLE, "").split(",")


def load_own(name: str, what: str, error: type[MienError] = MienError) -> Any:
    """The class or function that ``name`` means; its module is imported, so ask only for what the user named.

    Args:
        name: Such as ``mypackage.faces:Finder`` or ``nets.py:Net``; a file is looked for from where you are.
        what: What it is called in the error text, such as ``"detector"``.
        error: The class of the error.

    Raises:
        MienError: there is no such module, it cannot be imported, or it holds nothing callable of that name.
    """
    home, _, attribute = name.rpartition(":")
    if not home or not attribute.isidentifier():
        raise error(f"{what} '{name}' must be package.module:Class or file.py:Class")
    try:
        module = _from_file(Path(home).resolve()) if home.endswith(".py") else importlib.import_module(home)
    except FileNotFoundError as e:
        raise error(f"{what} '{name}': no file {home} here") from e
    except Exception as e:  # whatever the user's code raises
        beside = f"; write {home}.py:{attribute} for a file" if Path(f"{home}.py").is_file() else ""
        raise error(f"{what} '{name}' cannot be imported ({type(e).__name__}: {e}){beside}") from e
    found = getattr(module, attribute, None)
    if not callable(found):
        raise error(f"{what} '{name}': {home} has no class {attribute}{nearest(attribute, vars(module))}")
    return found


def own_sha256(name: str, what: str) -> str:
    """The SHA-256 of the file that holds code, which is loaded for it; see `load_own`."""
    load_own(name, what)
    home = name.rpartition(":")[0]
    path = home if home.endswith(".py") else inspect.getfile(sys.modules[home])
    return sha256(Path(path).read_bytes()).hexdigest()


@cache
def _from_file(path: Path) -> ModuleType:
    """The module that a file holds, under a name that no installed module has.

    Its folder stays the last place to import from, for what its functions import when they are called.
    """
    path.stat()
    name = f"mien_own_{path.stem}_{sha256(os.fsencode(path)).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        with _searched(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _files[path] = None
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    return module


class OwnFiles:
    """Stands in a pickle before objects of the user's classes: unpickled, it loads the files that hold them.

    Without it, another process would look for a module of the name that `_from_file` made up.
    """

    def __init__(self, *kinds: type) -> None:
        """Of objects of these classes: the files that hold them, or that lie beside what holds them."""
        homes = {
            Path(getattr(sys.modules.get(kind.__module__), "__file__", None) or "").parent for kind in kinds
        }
        self.paths = tuple(path for path in _files if path.parent in homes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_files, (self.paths,)


def _load_files(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            _from_file(path)
        except OSError as e:
            raise MienError(f"{path}, which holds the code of a pickled object, cannot be read here") from e


@contextmanager
def _searched(folder: Path) -> Iterator[None]:
    """Let a file import those beside it, as it could where it is run."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
