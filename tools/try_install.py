"""Build the sdist and the wheel, check them, and read a photograph with each in fresh environments.

    python tools/try_install.py [PYTHON ...]

Fails where twine objects, the README would have a broken link on a package index, the wheel or what
`pip install mien` brings is too large, or the photograph is not read. PYTHON is an interpreter, by default
this one. Needs a package index.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from demo_photos import PHOTOS, downloaded  # the file beside this one

ROOT = Path(__file__).resolve().parents[1]
MAX_MB, MAX_WHEEL_MB = 215, 12
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
RENDER = """
import sys
from email import message_from_file
from readme_renderer.markdown import render
print(render(message_from_file(open(sys.argv[1], encoding="utf-8")).get_payload()))
"""
NOT_ABSOLUTE = re.compile(r'(?:href|src)="(?!https?://|#)([^"]*)"')


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints, without the folders that this interpreter was told of."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path, *packages: str | Path, python: str = sys.executable) -> Path:
    """The interpreter of a new environment with these packages."""
    run(python, "-m", "venv", folder)
    made = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(made, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages)
    return made


def sizes_mb(site: Path) -> dict[str, float]:
    """Megabytes on disk of each package, without pip and setuptools."""

    def used(folder: Path) -> Iterator[int]:
        files = folder.rglob("*") if folder.is_dir() else [folder]
        return (file.lstat().st_size for file in files if file.is_file())

    entries = (entry for entry in site.iterdir() if not entry.name.startswith(INSTALLERS))
    return {entry.name: sum(used(entry)) / 2**20 for entry in entries}


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist and the wheel that is built from it, as twine accepts them."""
    python = environment(folder / "tools", "build", "twine", "readme_renderer[md]")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    print(run(python, "-m", "twine", "check", "--strict", sdist, wheel).rstrip())
    (metadata,) = unpacked(wheel, folder / "wheel").glob("*.dist-info/METADATA")
    page = run(python, "-c", RENDER, metadata)
    if broken := NOT_ABSOLUTE.findall(page):
        sys.exit(f"the README would have broken links on a package index: {', '.join(broken)}")
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "readme.html").write_text(page, encoding="utf-8")
    size = wheel.stat().st_size / 2**20
    print(f"wheel {size:.1f} MB of at most {MAX_WHEEL_MB}, sdist {sdist.stat().st_size / 2**20:.1f} MB")
    print("README without a broken link; as an index shows it: build/readme.html")
    if size > MAX_WHEEL_MB:
        sys.exit("the wheel is too large")
    return sdist, wheel


def unpacked(wheel: Path, folder: Path) -> Path:
    """The folder with the files of a wheel."""
    run(sys.executable, "-m", "zipfile", "-e", wheel, folder)
    return folder


def main(pythons: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photo = folder / "astronaut.png"
        distribution, package, member = PHOTOS[photo.name]
        photo.write_bytes(downloaded(distribution, f"{package}/{member}"))
        for file in build(folder):
            for i, python in enumerate(pythons):
                made = environment(folder / f"{file.suffix[1:]}-{i}", file, python=python)
                told = run(made, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))")
                total = sum(sizes_mb(Path(told.strip())).values())
                (face,) = json.loads(run(made, "-m", "mien", "read", photo, "--json", cwd=folder))["faces"]
                version = run(made, "--version").strip()
                print(f"{version}, {file.name}: {total:.0f} MB of at most {MAX_MB}; reads {face['emotion']}")
                if total > MAX_MB or face["emotion"] != "happy":
                    sys.exit("too large, or read wrongly")


if __name__ == "__main__":
    main(sys.argv[1:] or [sys.executable])
