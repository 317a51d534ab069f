"""What `pip install mien` brings: its size, what it leaves out, and that the weights come along."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.install

PROJECT = Path(__file__).resolve().parents[2]


def run(python: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run that interpreter, without the folders that this one was told of."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(python, "-m", "pip", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of a fresh environment with the light half, installed from a copy of the sources."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if pip(python, "download", "--no-deps", "--dest", str(folder / "probe"), "shellingham").returncode:
        pytest.skip("needs a package index: pip cannot download a small package")
    sources = folder / "mien"  # setuptools writes build/ beside the sources
    shutil.copytree(
        PROJECT / "src", sources / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
    )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, sources)
    done = pip(python, "install", str(sources))
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def site(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return Path(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )


@pytest.fixture(scope="module")
def tool(module_at) -> ModuleType:
    return module_at("tools/try_install.py")


def test_the_light_half_fits_in_its_budget(site, tool) -> None:
    sizes = tool.sizes_mb(site)
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:6]
    assert sum(sizes.values()) <= tool.MAX_MB == 215, largest


def test_the_size_counts_every_package_but_the_installers(tmp_path, tool) -> None:
    for name in ("numpy", "pip", "setuptools-65.dist-info"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "data").write_bytes(bytes(3 * 2**20))
    assert tool.sizes_mb(tmp_path) == {"numpy": 3.0}


def test_neither_torch_nor_opencv_comes_along(python) -> None:
    listed = json.loads(pip(python, "list", "--format=json").stdout)
    have = {one["name"].lower() for one in listed}
    assert {"mien", "numpy", "onnxruntime", "pillow", "typer"} <= have
    assert not have & {"torch", "opencv-python", "opencv-python-headless", "scipy", "matplotlib", "h5py"}


def test_the_wheel_holds_weights_and_recipes_but_no_tests(site) -> None:
    def shipped(folder: Path) -> set[str]:
        return {
            p.relative_to(folder).as_posix()
            for p in folder.rglob("*")
            if p.suffix in (".onnx", ".json", ".toml")
        }

    assert shipped(site / "mien") == shipped(PROJECT / "src" / "mien") != set()
    assert (site / "mien" / "py.typed").exists()
    assert not (site / "tests").exists()


def test_the_licences_of_code_and_weights_come_along(site) -> None:
    (info,) = site.glob("mien-*.dist-info")
    found = {path.name for path in (info / "licenses").rglob("*") if path.is_file()}
    assert {"LICENSE", "mtcnn-LICENSE.txt"} <= found


@pytest.mark.parametrize(
    "arguments",
    [["-c", "import mien; mien.read"], ["-m", "mien", "--help"], ["-m", "mien", "models"]],
    ids=["import", "help", "models"],
)
def test_it_runs_with_warnings_as_errors(arguments, python, tmp_path) -> None:
    done = run(python, "-W", "error", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
