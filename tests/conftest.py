"""What every test may ask for."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def mien_data() -> Path:
    """The folder of the real data sets, named by MIEN_DATA; tests that need it are skipped without it."""
    folder = Path(os.environ.get("MIEN_DATA", HERE.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data sets: {folder} is absent; set MIEN_DATA")
    return folder


def _mutations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations", HERE / "core" / "mutations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def picture_files() -> dict[str, bytes]:
    """One small sound picture a file format and kind, by name."""
    return _mutations().picture_files()


@pytest.fixture(scope="session")
def mutants() -> Callable[..., Iterator[tuple[str, bytes]]]:
    """``mutants(n=2000, seed=0)`` yields (what was done, bytes of a damaged picture)."""
    return _mutations().mutants
