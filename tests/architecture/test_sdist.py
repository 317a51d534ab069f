"""What the source distribution holds: enough to build the package, run the tests and make the site."""

import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.install

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> set[str]:
    """The names of its files, without the folder that all lie in."""
    if not find_spec("pyproject_hooks"):  # `build` would also find the folder build/ of the project
        pytest.skip("needs the package build")
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", str(folder), str(PROJECT)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "No matching distribution found for setuptools" in done.stdout:
        pytest.skip("needs a package index: pip cannot download setuptools")
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as found:
        return {name.partition("/")[2] for name in found.getnames()}


@pytest.mark.parametrize("folder", ["src/mien", "tests", "docs", "tools", "benchmarks"])
def test_it_holds_every_file_of_the_folder(folder: str, names: set[str]) -> None:
    files = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files
    assert sorted(files - names) == []


def test_it_holds_what_building_and_testing_read(names: set[str]) -> None:
    wanted = {"pyproject.toml", "Makefile", "constraints.txt", "mkdocs.yml", "LICENSE", "CITATION.cff"}
    assert wanted | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "EXPERIMENTS.md"} <= names


def test_it_holds_nothing_that_was_built(names: set[str]) -> None:
    assert [name for name in names if "__pycache__" in name or name.startswith(("build/", ".venv"))] == []
