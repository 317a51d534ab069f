"""What the architecture tests share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def source() -> Path:
    """The folder that holds the package ``mien``."""
    return Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """``plant({"core/x.py": "import mien.cli"})`` writes a small package ``mien`` and returns its folder."""

    def write(files: dict[str, str]) -> Path:
        for name, text in {"__init__.py": "", **files}.items():
            path = tmp_path / "src" / "mien" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "src"

    return write


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_python(source, code, *arguments, cwd=…)``: warnings are errors, HOME is ``cwd``."""

    def run(source: Path, code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        cwd.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
        environment = {**kept, "HOME": str(cwd), "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-W", "error", "-c", code, *arguments]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    return run
