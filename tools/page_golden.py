"""Golden vectors of the page: what `mien read` answers to 20 made scenes, for Python, Node and the browser.

    python tools/page_golden.py            # after the shipped model or the page's detector changed

Writes golden.json into tests/page/golden, where two faces lie from public-domain photographs: Eileen Collins
(NASA) and Grace Hopper (US Navy), cut out of the files that tools/demo_photos.py names. A scene is described
by whole-number steps that page/test/scenes.ts repeats, so that both sides read the same pixels; their SHA-256
is among the vectors.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.analyzer import Analyzer
from mien.core.classifier import Classifier
from mien.core.files import write_json

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "page" / "golden"
DETECTOR = "one-stage"
"""The page's, whichever is the library's default."""

DIGITS = 6
WALL = 110  # gray value around the photographs

Scene = dict[str, Any]


def photograph(name: str) -> Image.Image:
    """One of the two, RGB."""
    with Image.open(FOLDER / f"{name}.png") as file:
        return file.convert("RGB")


def placed(photo: str, at: Sequence[float], turn: float = 0, zoom: float = 1, mirror: bool = False) -> Scene:
    """A photograph whose middle lies at ``at``, turned by degrees and enlarged; as the map back to it."""
    width, height = photograph(photo).size
    small = (round(width * zoom), round(height * zoom)) if zoom < 1 else (width, height)
    step = 1 if zoom < 1 else 1 / zoom
    cos, sin = step * math.cos(math.radians(turn)), step * math.sin(math.radians(turn))
    a, b, d, e = (-cos if mirror else cos), (-sin if mirror else sin), -sin, cos
    shift = small[0] / 2 - a * at[0] - b * at[1], small[1] / 2 - d * at[0] - e * at[1]
    matrix = [round(v, 5) for v in (a, b, shift[0], d, e, shift[1])]
    return {"photo": photo, "size": list(small), "matrix": matrix}


def scene(name: str, faces: list[Scene], size: tuple[int, int] = (360, 360), **changes: int) -> Scene:
    """A scene; ``gain`` is in 256ths, ``noise`` the largest change of a value, ``gray`` 0 or 1."""
    return {"name": name, "size": list(size), "faces": faces, "gain": 256, "noise": 0, "gray": 0, **changes}


def scenes() -> list[Scene]:
    """All of them."""
    middle = (180, 180)
    one = {name: [placed(name, middle)] for name in ("astronaut", "hopper")}
    row = [
        placed("astronaut", (220, 210), -8, 1.5),
        placed("hopper", (700, 200)),
        placed("hopper", (1150, 210), 10, 0.7),
    ]
    return [
        *(scene(f"{name} as it is", faces) for name, faces in one.items()),
        *(scene(f"{name} in gray", faces, gray=1) for name, faces in one.items()),
        *(scene(f"{name} darker", faces, gain=90) for name, faces in one.items()),
        *(scene(f"{name} over-exposed", faces, gain=320) for name, faces in one.items()),
        *(scene(f"{name} in noise", faces, noise=30) for name, faces in one.items()),
        scene("astronaut lying", [placed("astronaut", middle, 100)]),
        scene("hopper turned", [placed("hopper", middle, -21)]),
        scene("astronaut mirrored", [placed("astronaut", middle, mirror=True)]),
        scene("hopper mirrored and turned", [placed("hopper", middle, 9, mirror=True)]),
        scene("astronaut large", [placed("astronaut", middle, 3, 1.9)]),
        scene("hopper small", [placed("hopper", (100, 240), -5, 0.33)]),
        scene("hopper cut by the left edge", [placed("hopper", (70, 180))]),
        scene(
            "two people", [placed("astronaut", (130, 150)), placed("hopper", (380, 170), 5, 0.8)], (520, 340)
        ),
        scene("three people on a wide image", row, (1400, 420)),
        scene("nobody", [], noise=60),
    ]


def pixels(scene: Scene) -> NDArray[np.uint8]:
    """A scene as RGB (H, W, 3)."""
    width, height = scene["size"]
    canvas = np.full((height, width, 3), WALL, np.uint8)
    for face in scene["faces"]:
        small = photograph(face["photo"]).resize(tuple(face["size"]), Image.Resampling.BILINEAR)
        how = (width, height), Image.Transform.AFFINE, face["matrix"], Image.Resampling.BILINEAR
        inside = np.asarray(Image.new("L", small.size, 255).transform(*how)) > 0
        canvas[inside] = np.asarray(small.transform(*how))[inside]
    if scene["gray"]:
        canvas = np.repeat(np.asarray(Image.fromarray(canvas).convert("L"))[..., None], 3, axis=2)
    values = canvas.astype(np.int64) * scene["gain"] // 256 + noise(canvas.shape, scene["noise"])
    return np.clip(values, 0, 255).astype(np.uint8)


def noise(shape: tuple[int, ...], most: int) -> NDArray[np.int64]:
    """Whole numbers from -most to most, from the place of a value alone."""
    bits = np.arange(math.prod(shape), dtype=np.uint64) * 2654435761 % 2**32
    bits = (bits ^ (bits >> 15)) * 2246822519 % 2**32
    bits = (bits ^ (bits >> 13)) >> 8
    return (bits % (2 * most + 1)).astype(np.int64).reshape(shape) - most


def rounded(value: Any) -> Any:
    """The same with every fraction rounded."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


BOUNDARY = 0.012


def near_a_boundary(analyzer: Analyzer, crops: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether a face is so near to where more views begin that rounding decides which."""
    auto = analyzer.classifier.card.auto_views()
    few = Classifier(views=auto.few).probs(list(crops)).max(axis=1, initial=0)
    return bool((np.abs(few - auto.below) < BOUNDARY).any())


def golden() -> dict[str, Any]:
    """The vectors of the model that is shipped."""
    analyzer, found = Analyzer(detector=DETECTOR), []
    for one in scenes():
        image = pixels(one)
        readings = analyzer.read(image)
        crops = [analyzer.classifier.crop(image, reading.face) for reading in readings]
        if crops and near_a_boundary(analyzer, crops):
            raise SystemExit(f"{one['name']}: a face lies where more views begin; move it")
        vectors = {
            "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
            "readings": [rounded(reading.to_dict()) for reading in readings],
            "crops": [base64.b64encode(crop.tobytes()).decode() for crop in crops],
        }
        found.append(one | vectors)
    return {"model": analyzer.classifier.card.name, "wall": WALL, "scenes": found}


def main() -> None:
    vectors = golden()
    write_json(FOLDER / "golden.json", vectors)
    for one in vectors["scenes"]:
        told = ", ".join(f"{r['emotion']} {max(r['probabilities'].values()):.2f}" for r in one["readings"])
        print(f"{one['name']:32} {told or 'no face'}")


if __name__ == "__main__":
    main()
