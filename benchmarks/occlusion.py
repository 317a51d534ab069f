"""Whether a hidden part of a face can be told: the curve of `Quality.occluded`, fitted and measured.

    python benchmarks/occlusion.py FOLDER [--faces N] [--out FILE.json]

FOLDER holds sheets of faces and ``points.csv``, as `tools/landmark_store.py` takes them. Each face is read
whole, and with a rectangle over its lower half, its eyes and forehead, one side, and a quarter at a random
place; what covers it is smooth noise, one gray, or a part of another face, in turn. Of what the detector
still finds, the gap between its five landmarks and those of the 68 is taken (`landmark_gap`). The curve is
fitted on the validation faces, which the landmark network did not learn from; everything printed
is measured on the test faces. Whole and hidden faces weigh the same in both. Intervals are of 95 %, over
resampled faces. A whole face may be hidden in truth, by glasses or a hand: no one has looked.
"""

import argparse
import csv
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien import MienError
from mien.core.detection import DetectorSettings
from mien.core.files import write_json
from mien.core.landmark_finder import LandmarkFinder
from mien.core.mtcnn import Mtcnn
from mien.core.pose import head_pose
from mien.core.quality import BY_GAP, by_gap, landmark_gap
from mien.data.records import SPLITS

PLACES = ("lower half", "eyes and forehead", "side", "quarter")
FILLS = ("noise", "gray", "another face")
TURNS = ((0, 15), (15, 30), (30, 90))  # degrees of yaw, either way
ALARM = 0.5
N_BINS, RESAMPLES = 10, 1000

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Rect = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shown:
    """A face as it was shown; ``gap`` is NaN where the detector did not find it."""

    row: int
    source: str
    split: str
    yaw: float
    place: str
    fill: str
    gap: float


def rectangle(place: str, points: Floats, rng: np.random.Generator) -> Rect:
    """What of a face with these points (68, 2) is covered: x1, y1, x2, y2."""
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    wide, high = x2 - x1, 1.25 * (y2 - y1)
    top, middle = y2 - high, float(points[27:31, 0].mean())  # a forehead above the brows
    left, right = x1 - wide / 10, x2 + wide / 10
    if place == "lower half":
        return left, float(points[30, 1]) - high / 20, right, y2 + high / 20
    if place == "eyes and forehead":
        return left, top, right, float(points[36:48, 1].max()) + high / 20
    if place == "side":
        return (left, top, middle, y2) if rng.random() < 0.5 else (middle, top, right, y2)
    x, y = rng.uniform(x1, x1 + wide / 2), rng.uniform(top, top + high / 2)
    return x, y, x + wide / 2, y + high / 2


def cover(face: Pixels, where: Rect, fill: str, other: Pixels, rng: np.random.Generator) -> Pixels:
    """A face (H, W) with a rectangle over it; ``other`` is the face whose part may cover it."""
    out = face.copy()
    x1, x2 = np.clip(np.rint([where[0], where[2]]), 0, face.shape[1]).astype(int)
    y1, y2 = np.clip(np.rint([where[1], where[3]]), 0, face.shape[0]).astype(int)
    hole = out[y1:y2, x1:x2]
    if not hole.size:
        return out
    if fill == "gray":
        hole[:] = rng.integers(0, 256)
    elif fill == "noise":
        side = int(rng.integers(4, 16))
        coarse = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8))
        hole[:] = np.asarray(coarse.resize((x2 - x1, y2 - y1), Image.Resampling.BICUBIC))
    else:
        y, x = (int(rng.integers(0, a - b + 1)) for a, b in zip(other.shape, hole.shape, strict=True))
        hole[:] = other[y : y + hole.shape[0], x : x + hole.shape[1]]
    return out


class Reader:
    """Finds the face in the middle of a gray image, and its gap."""

    def __init__(self) -> None:
        self.detector, self.finder = Mtcnn(DetectorSettings(min_face=30)), LandmarkFinder()

    def gap(self, pixels: Pixels) -> float:
        rgb, middle = np.repeat(pixels[..., None], 3, axis=2), np.array(pixels.shape[::-1]) / 2
        for face in self.detector.find(rgb):
            if np.linalg.norm(np.array(face.box.center) - middle) < len(pixels) / 5 and face.landmarks:
                return landmark_gap(face.landmarks, self.finder.find(rgb, [face])[0])
        return float("nan")


def show(folder: Path, most: int | None) -> Iterator[Shown]:
    """Every validation and test face, whole and covered in each place; at most so many of a part."""
    path = Path(__file__).parents[1] / "tools" / "landmark_store.py"
    spec = importlib.util.spec_from_file_location("landmark_store", path)
    assert spec is not None
    assert spec.loader is not None
    sheets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sheets)
    with (folder / "points.csv").open(newline="") as file:
        _, *lines = csv.reader(file)
    points = np.array([line[3:] for line in lines], np.float64).reshape(len(lines), -1, 2)
    faces = sheets.sheet_faces(folder)
    splits = sheets.splits_of([line[1] for line in lines], [line[2] for line in lines])
    reader = Reader()
    for split in ("val", "test"):
        rows = np.flatnonzero(splits == SPLITS.index(split))
        chosen = np.sort(np.random.default_rng(0).permutation(rows)[:most])
        for n, row in enumerate(chosen):
            rng, yaw = np.random.default_rng(row), head_pose(points[row]).yaw
            about = int(row), lines[row][1], split, yaw
            yield Shown(*about, "nothing", "", reader.gap(faces[row]))
            for i, place in enumerate(PLACES):
                fill, other = FILLS[(n + i) % len(FILLS)], faces[rng.choice(rows)]
                covered = cover(faces[row], rectangle(place, points[row], rng), fill, other, rng)
                yield Shown(*about, place, fill, reader.gap(covered))
            if n % 100 == 99:
                print(f"{split}: {n + 1} of {len(chosen)}", file=sys.stderr)


def halves(hidden: NDArray[np.bool_]) -> Floats:
    """Weights by which whole and hidden faces weigh the same; they sum to 1."""
    return np.where(hidden, 0.5 / max(hidden.sum(), 1), 0.5 / max((~hidden).sum(), 1))


def fit(gaps: Floats, hidden: NDArray[np.bool_]) -> tuple[float, float]:
    """Steepness and gap of even odds of `mien.core.quality.by_gap`, by Newton's method."""
    weights, x = halves(hidden), np.column_stack([np.log(np.maximum(gaps, 1e-6)), np.ones(len(gaps))])
    w = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        w += np.linalg.solve((x.T * (weights * p * (1 - p))) @ x, x.T @ (weights * (hidden - p)))
    return float(w[0]), float(np.exp(-w[1] / w[0]))


def area(scores: Floats, hidden: NDArray[np.bool_]) -> float:
    """Area under the curve of hits against false alarms; a tie counts half."""
    whole = np.sort(scores[~hidden])
    below = np.searchsorted(whole, scores[hidden], "left") + np.searchsorted(whole, scores[hidden], "right")
    return float(below.mean() / (2 * len(whole)))


def calibration_error(probs: Floats, hidden: NDArray[np.bool_]) -> float:
    """Mean gap between probability and share of hidden faces over bins of equal width."""
    weights, bins = halves(hidden), np.minimum((probs * N_BINS).astype(int), N_BINS - 1)
    return float(np.abs(np.bincount(bins, weights * (probs - hidden), N_BINS)).sum())


def interval(
    rows: NDArray[np.int64], measure: Callable[[NDArray[np.int64]], float]
) -> tuple[float, float, float]:
    """A figure of all images, and its 95 % interval over resampled faces, each with all its images."""
    names, place = np.unique(rows, return_inverse=True)
    images = [np.flatnonzero(place == i) for i in range(len(names))]
    rng = np.random.default_rng(0)
    drawn = [
        measure(np.concatenate([images[i] for i in rng.integers(0, len(images), len(images))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return measure(np.arange(len(rows))), float(low), float(high)


def shares(shown: Sequence[Shown]) -> Iterator[str]:
    """How many faces count as hidden, by what covers them and by their turn, as Markdown."""
    yield f"| faces | of | found | of these p >= {ALARM:g} |"
    yield "|---|---|---|---|"
    groups: dict[str, Callable[[Shown], bool]] = {
        **{
            f"whole, turned by {a}-{b}°": lambda s, a=a, b=b: s.place == "nothing" and a <= abs(s.yaw) < b
            for a, b in TURNS
        },
        **{f"{place} hidden": lambda s, place=place: s.place == place for place in PLACES},
        **{f"hidden by {fill}": lambda s, fill=fill: s.fill == fill for fill in FILLS},
    }
    for source in sorted({one.source for one in shown}):
        groups[f"whole, {source}"] = lambda s, source=source: s.place == "nothing" and s.source == source
    for name, belongs in groups.items():
        gaps = np.array([one.gap for one in shown if belongs(one)])
        found = gaps[~np.isnan(gaps)]
        share = f"{(by_gap(found) >= ALARM).mean():.1%}" if len(found) else "-"
        yield f"| {name} | {len(gaps)} | {len(found)} | {share} |"


def main(given: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="sheets of faces and points.csv")
    parser.add_argument("--faces", type=int, help="at most so many of each part, drawn at random")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args(given)
    shown = list(show(options.folder, options.faces))
    parts = {split: [s for s in shown if s.split == split] for split in ("val", "test")}
    found = {split: [s for s in part if not np.isnan(s.gap)] for split, part in parts.items()}
    gaps = {split: np.array([s.gap for s in part]) for split, part in found.items()}
    hidden = {split: np.array([s.place != "nothing" for s in part]) for split, part in found.items()}
    fitted = fit(gaps["val"], hidden["val"])
    print(f"fitted on {len(gaps['val'])} images of validation faces: steepness, middle = {fitted}")
    print(f"mien.core.quality.BY_GAP = {BY_GAP}\n")
    rows, probs, truth = np.array([s.row for s in found["test"]]), by_gap(gaps["test"]), hidden["test"]
    figures = {
        "area under the curve": interval(rows, lambda i: area(probs[i], truth[i])),
        "calibration error": interval(rows, lambda i: calibration_error(probs[i], truth[i])),
    }
    for name, (value, low, high) in figures.items():
        print(f"{name}: {value:.3f} ({low:.3f}-{high:.3f}), {(~truth).sum()} whole, {truth.sum()} hidden")
    print("\n" + "\n".join(shares(parts["test"])))
    if options.out:
        write_json(options.out, {"fitted": fitted, **figures, "shown": [vars(s) for s in shown]})


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MienError as error:
        sys.exit(f"error: {error}")
