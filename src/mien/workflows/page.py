"""A folder of static files that read emotions in the browser: no server, nothing is sent anywhere."""

import gzip
import hashlib
import json
import lzma
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mien.core.files import atomic_write
from mien.core.model_store import DEFAULT_MODEL, SHIPPED, find_model
from mien.core.outputs import check_output_folder
from mien.core.own_files import read_json
from mien.errors import MienError

ASSETS = Path(__file__).resolve().parents[1] / "page"
"""The page, and the scripts that `npm run build` makes of the folder page/ of the project."""

SHARED = (ASSETS.parent / "web" / "static" / "style.css", ASSETS.parent / "web" / "static" / "icon.svg")
"""What it has in common with the page of `mien serve`."""

RUNTIME = "runtime.wasm.xz"
NETS = ("one-stage-net.onnx", "one-stage-refine.onnx")
LICENCES = ("one-stage.json",)
MANIFEST = "files.json"
"""Sizes of the files by name. Where it names `OWN`, `write_page` wrote the folder, and may write it again."""

OWN = dict.fromkeys(("runtime.gz", "model.onnx", "model.json", "ONNXRUNTIME-LICENSE.txt"), int)
"""What the list of a page of any version names; other sites have lists of the same name."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was written.

    Attributes:
        folder: Where it lies.
        model: The name of its model.
        sizes: Bytes by file name.
    """

    folder: Path
    model: str
    sizes: dict[str, int]

    @property
    def n_bytes(self) -> int:
        """What a browser loads at the first visit."""
        return sum(self.sizes.values())


def write_page(to: Path, model: str | os.PathLike[str] = DEFAULT_MODEL) -> Page:
    """Write the page with a model; the folder may be put on any web host as it is.

    Args:
        to: A new or empty folder, or one that was written so before.
        model: A model's name, or the path of its ``.onnx`` file. The page gives the numbers that Python gives
            with it.

    Raises:
        OutputError: the folder cannot be written.
        MienError: the folder holds something else.
        ModelError: the model cannot be found or verified.
    """
    weights, card = find_model(model)
    earlier = _listed(to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())) and not earlier:
        raise MienError(f"{to} holds something else; give a new or an empty folder")
    check_output_folder(to)
    to.mkdir(parents=True, exist_ok=True)
    files = {name: (SHIPPED / name).read_bytes() for name in (*NETS, *LICENCES)}
    assets = (path for path in (*ASSETS.iterdir(), *SHARED) if path.name != RUNTIME)
    files |= {path.name: path.read_bytes() for path in sorted(assets, key=lambda path: path.name)}
    files["runtime.gz"] = gzip.compress(lzma.decompress((ASSETS / RUNTIME).read_bytes()), mtime=0)
    files["model.onnx"] = weights.read_bytes()
    files["model.json"] = weights.with_suffix(".json").read_bytes()
    files[MANIFEST] = json.dumps({name: len(data) for name, data in files.items()}).encode()
    files["sw.js"] = worker_head(files) + files["sw.js"]
    for name, data in files.items():
        with atomic_write(to / name) as temporary:
            temporary.write_bytes(data)
    for path in to.iterdir():
        if path.name in earlier - files.keys():
            path.unlink()
    return Page(to, card.name, {name: len(data) for name, data in files.items()})


def _listed(folder: Path) -> set[str]:
    """The files that `write_page` wrote into a folder; none where it did not write it."""
    with suppress(MienError):
        return set(read_json(folder / MANIFEST, shape=OWN))
    return set()


def worker_head(files: dict[str, bytes]) -> bytes:
    """What the service worker keeps, and a version that changes with any byte of it."""
    version = hashlib.sha256()
    for name, data in sorted(files.items()):
        version.update(name.encode() + hashlib.sha256(data).digest())
    names = ["./", *sorted(name for name in files if name != "sw.js")]
    return f'const FILES={json.dumps(names)},VERSION="{version.hexdigest()[:16]}";\n'.encode()
