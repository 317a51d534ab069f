"""Add to a data set one copy of each training face as a detector would crop it.

    python tools/found_faces.py fer2013.h5 found.h5
    python tools/found_faces.py fer2013.h5 found.h5 targets.safetensors found-targets.safetensors

Each face is put into a scene of smooth colour, 40 to 200 pixels large and turned by up to 15 degrees, found
by `one-stage` and by MTCNN, and cut from itself as it would be read: beyond its edge the edge repeats, so
that no scene is learned. One of the two copies is kept, by chance where both found the face. A network
that learns from both sees faces framed as FER2013 frames them and as they come from photographs. The copies
are training rows with numbers from `COPIES` on, and carry the labels and votes of their faces, and their soft
targets where a file of these is given.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from end_to_end import GRID, nearest, places, scene  # noqa: E402

from mien.core.detection import DetectorSettings  # noqa: E402
from mien.core.detectors import make_detector  # noqa: E402
from mien.core.geometry import invert, warp  # noqa: E402
from mien.core.preprocess import crop_matrix  # noqa: E402
from mien.core.results import Face  # noqa: E402
from mien.data.records import FaceSet  # noqa: E402
from mien.data.store import read_near_duplicates, read_store, write_store  # noqa: E402
from mien.train.soft_targets import read_soft_targets, write_soft_targets  # noqa: E402

Pixels = NDArray[np.uint8]
SIDES = (40, 48, 64, 80, 96, 128, 160, 200)
DEGREES = 15
COPIES = 1_000_000
DETECTORS = ("one-stage", "mtcnn")


def found_copies(faces: Pixels, detector: str, seed: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """Gray faces (N, 48, 48) as a detector crops them, and which of them it found (N,)."""
    rng, finder = np.random.default_rng(seed), make_detector(detector, DetectorSettings())
    order = rng.permutation(len(faces))
    copies, found = np.zeros_like(faces), np.zeros(len(faces), np.bool_)
    start = 0
    while start < len(faces):
        side = int(rng.choice(SIDES))
        rows = order[start : start + len(list(places(side)))]
        start += len(rows)
        pixels, maps = scene(faces[rows], side, DEGREES, rng)
        there = finder.find(pixels)
        for row, grid in zip(rows, maps, strict=True):
            if face := nearest(there, grid, side):
                copies[row], found[row] = cropped(faces[row], face, grid, side), True
    return copies, found


def cropped(stored: Pixels, face: Face, grid: NDArray[np.float64], side: int) -> Pixels:
    """A stored face (48, 48), enlarged to ``side`` and cut as the face found in its scene is."""
    zoom = np.array([[side / GRID, 0, 0], [0, side / GRID, 0]])
    whole = [np.vstack([matrix, (0, 0, 1)]) for matrix in (crop_matrix(face, GRID), grid, invert(zoom))]
    return warp(warp(stored, zoom, (side, side)), (whole[0] @ whole[1] @ whole[2])[:2], (GRID, GRID))


def with_copies(given: Path, faces: FaceSet, to: Path) -> None:
    """Write the soft targets of a set with copies; a copy has those of its face."""
    targets = read_soft_targets(given)
    place = {row: i for i, row in enumerate(targets.rows.tolist())}
    rows = faces.select("train").rows
    probs = targets.probs[[place[row % COPIES] for row in rows.tolist()]]
    write_soft_targets(replace(targets, rows=rows, probs=probs, content_hash=faces.content_hash()), to)


def main(source: Path, target: Path, given: Path | None = None, to: Path | None = None) -> None:
    faces = read_store(source)
    train = faces.select("train")
    (one, has_one), (other, has_other) = (
        found_copies(train.images, name, seed) for seed, name in enumerate(DETECTORS, 1)
    )
    takes_other = has_other & (~has_one | (np.random.default_rng(3).random(len(train)) < 0.5))
    kept = np.flatnonzero(has_one | has_other)
    images = np.where(takes_other[:, None, None], other, one)[kept]
    copies = replace(train.take(kept), images=images, rows=train.rows[kept] + COPIES)
    columns = {name: np.concatenate([v, copies.columns()[name]]) for name, v in faces.columns().items()}
    both = replace(faces, **columns)
    write_store(both, target, near=read_near_duplicates(source))
    if given and to:
        with_copies(given, both, to)
    shares = ", ".join(
        f"{name} {has.mean():.1%}" for name, has in zip(DETECTORS, (has_one, has_other), strict=True)
    )
    print(f"{target}: {len(faces):,} faces and {len(kept):,} copies; found by {shares}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
