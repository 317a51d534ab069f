"""What finding, aligning and cutting a face costs in accuracy, against the face as it was stored.

    python benchmarks/end_to_end.py MODEL STORE [--sides 48,64,96,128,200] [--faces N] [--views N]
        [--rotation DEGREES] [--detector NAME] [--split val] [--out FILE.json]

Stored faces are enlarged to SIDE pixels, turned, and put into scenes of smooth random colour, which are
read as a photograph is. Each face that is read right as stored and not from the scene was either missed
(no box on it), mis-cropped (the corners of its crop are more than 5 of 48 pixels off on average) or
misread. "won" are faces read right from the scene alone. Choose by the val rows (PublicTest); ``--split
test`` opens the test rows.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien import MienError
from mien.core.analyzer import Analyzer
from mien.core.classifier import Classifier
from mien.core.detection import DEFAULT_DETECTOR
from mien.core.files import write_json
from mien.core.geometry import transform, warp
from mien.core.metrics import accuracy_interval
from mien.core.preprocess import crop_matrix
from mien.core.results import Face
from mien.data.store import read_store
from mien.workflows.scorer import checked_rows

GRID = 48
SCENE_WH = 960, 720
CELL = 1.6  # room for each face, in its sides
MAX_ERROR = 5.0  # mean distance of the crop's corners from where they belong, in 48ths of the face's side

Pixels = NDArray[np.uint8]
Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One size of faces: shares of all of them; the three losses sum to what is lost."""

    side: int
    n: int
    alone: float
    found: float
    end_to_end: float
    end_to_end_interval: tuple[float, float]
    missed: float
    mis_cropped: float
    misread: float
    won: float


def background(rng: np.random.Generator, size_wh: tuple[int, int]) -> Pixels:
    """Smooth random colour, without any edge that could be taken for a face."""
    coarse = rng.integers(40, 216, (4, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize(size_wh, Image.Resampling.BICUBIC))


def scene(faces: Pixels, side: int, degrees: float, rng: np.random.Generator) -> tuple[Pixels, list[Affine]]:
    """Gray faces (K, S, S) in one RGB scene, and the map (2, 3) from each one's 48 x 48 grid to the scene."""
    canvas = background(rng, SCENE_WH)
    maps = []
    for face, (x, y) in zip(faces, places(side), strict=False):
        scale = side / GRID
        turn = math.radians(rng.uniform(-degrees, degrees))
        middle = np.array([x, y]) + rng.uniform(-0.15, 0.15, 2) * side
        linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        grid = np.column_stack([linear, middle - linear @ [GRID / 2, GRID / 2]])
        maps.append(grid)
        paste(canvas, face, grid, side)
    return canvas, maps


def paste(canvas: Pixels, face: Pixels, grid: Affine, side: int) -> None:
    """Lay a face over the scene in place, with a soft edge."""
    x, y = transform(np.array([[GRID / 2, GRID / 2]]), grid)[0]
    x1, y1 = (max(0, int(v - 0.75 * side)) for v in (x, y))
    part = canvas[y1 : int(y + 0.75 * side) + 1, x1 : int(x + 0.75 * side) + 1]
    matrix = grid.copy()
    matrix[:, :2] *= GRID / len(face)
    matrix[:, 2] -= x1, y1
    layer, mask = (
        warp(image, matrix, (part.shape[1], part.shape[0])).astype(np.float32)[..., None]
        for image in (face, np.pad(np.full((len(face) - 2,) * 2, 255, np.uint8), 1))
    )
    part[:] = np.rint(part + (layer - part) * (mask / 255)).astype(np.uint8)


def places(side: int) -> Iterator[tuple[float, float]]:
    """Middles of the cells that faces of this side are put into."""
    columns, rows = (max(1, int(length / (CELL * side))) for length in SCENE_WH)
    for row in range(rows):
        for column in range(columns):
            yield SCENE_WH[0] * (column + 0.5) / columns, SCENE_WH[1] * (row + 0.5) / rows


def crop_error(face: Face, grid: Affine, crop_scale: float) -> float:
    """How far the crop's corners are on average from those of the stored face, in 48ths of its side."""
    corners = np.array([(0, 0), (GRID, 0), (0, GRID), (GRID, GRID)], np.float64)
    got = transform(transform(corners, grid), crop_matrix(face, GRID, crop_scale))
    return float(np.linalg.norm(got - corners, axis=1).mean())


def nearest(faces: Sequence[Face], grid: Affine, side: int) -> Face | None:
    """The face whose box's middle is within a third of a side of where one was put."""
    x, y = transform(np.array([[GRID / 2, GRID / 2]]), grid)[0]
    best = min(faces, key=lambda f: math.dist(f.box.center, (x, y)), default=None)
    return best if best and math.dist(best.box.center, (x, y)) < side / 3 else None


def measure(analyzer: Analyzer, images: Pixels, labels: NDArray[np.int64], side: int, degrees: float) -> Row:
    """Read every face as stored and from a scene."""
    model: Classifier = analyzer.classifier
    rng = np.random.default_rng(side)
    alone = model.logits(images).argmax(axis=1) == labels
    found, cropped, right = (np.zeros(len(images), bool) for _ in range(3))
    per_scene = len(list(places(side)))
    for start in range(0, len(images), per_scene):
        pixels, maps = scene(images[start : start + per_scene], side, degrees, rng)
        faces = [f for f in analyzer.detector.find(pixels) if f.score >= analyzer.min_score]
        for i, grid in enumerate(maps, start):
            face = nearest(faces, grid, side)
            if face is None:
                continue
            found[i] = True
            cropped[i] = crop_error(face, grid, model.card.crop_scale) <= MAX_ERROR
            right[i] = model.logits(model.crop(pixels, face)[None])[0].argmax() == labels[i]
    lost, n = alone & ~right, len(images)
    return Row(
        side=side,
        n=n,
        alone=float(alone.mean()),
        found=float(found.mean()),
        end_to_end=float(right.mean()),
        end_to_end_interval=accuracy_interval(int(right.sum()), n),
        missed=float((lost & ~found).mean()),
        mis_cropped=float((lost & found & ~cropped).mean()),
        misread=float((lost & found & cropped).mean()),
        won=float((right & ~alone).mean()),
    )


def lines(rows: Iterable[Row]) -> Iterable[str]:
    """The table as Markdown."""
    yield "| side, px | faces | as stored | found | from the scene | missed | mis-cropped | misread | won |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for r in rows:
        low, high = r.end_to_end_interval
        yield (
            f"| {r.side} | {r.n:,} | {r.alone:.1%} | {r.found:.1%} | {r.end_to_end:.1%} "
            f"({100 * low:.1f}-{100 * high:.1f}) | {r.missed:.1%} | {r.mis_cropped:.1%} | {r.misread:.1%} "
            f"| {r.won:.1%} |"
        )


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model's name or the path of its .onnx file")
    parser.add_argument("store", type=Path, help="a data set of `mien data import`")
    parser.add_argument("--sides", default="48,64,96,128,200", help="sides of the faces in the scene, pixels")
    parser.add_argument("--rotation", type=float, default=10, help="largest turn either way, degrees")
    parser.add_argument("--faces", type=int, help="take only so many, drawn at random, the same every time")
    parser.add_argument("--views", type=int, help="of each face; by default as the model's card says")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR, help="a name, or your own as file.py:Class")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    options = arguments(given)
    model = Classifier(options.model, views=options.views)
    analyzer = Analyzer(model, detector=options.detector)
    chosen = checked_rows(read_store(options.store), options.split, model.labels)
    if options.faces and options.faces < len(chosen):
        chosen = chosen.take(np.sort(np.random.default_rng(0).permutation(len(chosen))[: options.faces]))
    rows = []
    for side in map(int, options.sides.split(",")):
        rows.append(measure(analyzer, chosen.images, chosen.labels, side, options.rotation))
        print(f"{side} px: {rows[-1].end_to_end:.1%} of {rows[-1].n:,}", file=sys.stderr)
    print(
        f"{model.card.name}, {model.views} view(s), {options.detector}, {options.split} faces of "
        f"{chosen.name}, turned by up to {options.rotation:g}°\n"
    )
    print("\n".join(lines(rows)))
    if options.out:
        said = {
            "model": model.card.name,
            "detector": options.detector,
            "data": chosen.name,
            "split": options.split,
            "views": model.views,
        }
        write_json(options.out, {**said, "rotation": options.rotation, "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MienError as error:
        sys.exit(f"error: {error}")
