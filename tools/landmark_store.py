"""Make a landmark data set of sheets of faces: every face aligned as it is when it is read.

    python tools/landmark_store.py FOLDER landmarks.h5

FOLDER holds ``faces-00.jpg`` and so on, sheets of 20 x 20 gray faces of 160 x 160 pixels in row order,
and ``points.csv`` with the columns row, source, split, x0, y0 ... x67, y67, in pixels of the face. The
detector finds each face; its five landmarks, or else its box, bring it to the frame in which a landmark
network sees faces. A face that the detector misses is framed by the box that the sheets were cut by:
their middle half. Of each source, the last 8 % of the training faces, in row order so that a person's
frames stay together, become validation faces.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.detection import DetectorSettings
from mien.core.geometry import transform, warp
from mien.core.landmarks import FRAME_SCALE, FRAME_SIZE
from mien.core.mtcnn import Mtcnn
from mien.core.preprocess import crop_matrix
from mien.core.results import Box, Face
from mien.data.records import SPLITS, FaceSet
from mien.data.store import write_store

SIDE, ACROSS, DOWN = 160, 20, 20
VALIDATION = 0.08
MIDDLE = Box(SIDE / 4, SIDE / 4, 3 * SIDE / 4, 3 * SIDE / 4)


def sheet_faces(folder: Path) -> NDArray[np.uint8]:
    """All faces of the sheets, uint8 (N, 160, 160), in row order."""
    sheets = []
    for path in sorted(folder.glob("faces-*.jpg")):
        sheet = np.asarray(Image.open(path).convert("L"))
        rows, columns = len(sheet) // SIDE, sheet.shape[1] // SIDE
        cells = sheet.reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2)
        sheets.append(cells.reshape(rows * columns, SIDE, SIDE))
    return np.concatenate(sheets)


def framed(pixels: NDArray[np.uint8], detector: Mtcnn) -> tuple[NDArray[np.uint8], NDArray[np.float64], bool]:
    """A face in the frame of the landmark network, the map into it, and whether the detector found it."""
    found = detector.find(np.repeat(pixels[..., None], 3, axis=2))
    middle = np.array([SIDE / 2, SIDE / 2])
    near = [f for f in found if np.linalg.norm(np.array(f.box.center) - middle) < SIDE / 5]
    face = near[0] if near else Face(MIDDLE, 0.0)
    matrix = crop_matrix(face, FRAME_SIZE, FRAME_SCALE)
    return warp(pixels, matrix, (FRAME_SIZE, FRAME_SIZE)), matrix, bool(near)


def splits_of(sources: list[str], given: list[str]) -> NDArray[np.uint8]:
    """Train, val and test as indices of `SPLITS`."""
    split = np.array([SPLITS.index(name) for name in given], np.uint8)
    for source in set(sources):
        train = np.flatnonzero((np.array(sources) == source) & (split == 0))
        split[train[len(train) - round(VALIDATION * len(train)) :]] = SPLITS.index("val")
    return split


def main(folder: Path, to: Path) -> None:
    with (folder / "points.csv").open(newline="") as file:
        _, *lines = csv.reader(file)
    sources, given = [line[1] for line in lines], [line[2] for line in lines]
    points = np.array([line[3:] for line in lines], np.float64).reshape(len(lines), -1, 2)
    detector = Mtcnn(DetectorSettings(min_face=30))
    images = np.empty((len(lines), FRAME_SIZE, FRAME_SIZE), np.uint8)
    n_found = 0
    for i, pixels in enumerate(sheet_faces(folder)[: len(lines)]):
        images[i], matrix, is_found = framed(pixels, detector)
        points[i] = transform(points[i], matrix)
        n_found += is_found
        if i % 500 == 0:
            print(f"{i} of {len(lines)}", file=sys.stderr)
    names = tuple(dict.fromkeys(sources))
    faces = FaceSet(
        images=images,
        labels=np.zeros(len(lines), np.int64),
        split=splits_of(sources, given),
        rows=np.arange(len(lines)),
        label_names=("face",),
        name="landmarks",
        landmarks=points.astype(np.float32),
        sources=np.array([names.index(name) for name in sources], np.uint8),
        source_names=names,
    )
    write_store(faces, to)
    print(f"{len(lines)} faces, {n_found} found by the detector; wrote {to}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
