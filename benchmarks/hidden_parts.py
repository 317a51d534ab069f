"""What two emotions that a model confuses are told apart by: parts of the face are hidden, one at a time.

    python benchmarks/hidden_parts.py MODEL STORE [--pair sad,neutral --pair contempt,happy] [--faces N]
        [--split val] [--out FILE.json] [--figure FILE.png --patch 12]

Each part is a box on the aligned face (`mien.data.parts`), turned back onto the face by its five landmarks
and filled with the mean gray of the training faces. For the faces of each emotion of a pair: how often the
model names it, and the other one; and how much the log-odds of the right one against the other fall, with
95 % intervals of the mean (bootstrap over faces). ``--figure`` draws where a sliding square takes most of
these log-odds, averaged over aligned faces, under the outline of the mean 68 landmarks: no face of the data
is shown. Choose by the val rows (PublicTest).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import MienError
from mien.core.classifier import Classifier
from mien.core.detectors import landmarks_on_crops
from mien.core.files import write_json
from mien.core.geometry import similarity, transform, warp
from mien.core.metrics import accuracy_interval
from mien.core.preprocess import FER2013_POINTS
from mien.core.quality import five_of_68
from mien.data.parts import PARTS
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.workflows.scorer import checked_rows

HIDDEN = {
    "eyes and brows": PARTS["eyes"],
    "nose": (17.0, 22.0, 31.0, 32.0),
    "mouth": PARTS["mouth"],
    "upper half": PARTS["upper"],
    "lower half": PARTS["lower"],
    "forehead": (6.0, 0.0, 42.0, 9.0),
}
"""Box (x1, y1, x2, y2) of each part on a face aligned as FER2013's mean face, 48 x 48 pixels."""
SIDE, RESAMPLES = 48, 1000

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
Floats = NDArray[np.float64]
Pair = tuple[str, str]


def hide(faces: Pixels, points: Points, box: Sequence[float], gray: int) -> Pixels:
    """Faces (N, 48, 48) with a box of the aligned face filled, by their five landmarks (N, 5, 2)."""
    pixels = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2) + 0.5
    out = faces.copy()
    for face, five in zip(out, points, strict=True):
        x, y = transform(pixels, similarity(five, FER2013_POINTS)).T
        inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        face[inside.reshape(SIDE, SIDE)] = gray
    return out


def log_odds(probs: Floats, right: int, other: int) -> Floats:
    """log p(right) - log p(other) of each face (N,)."""
    logs = np.log(np.clip(probs, 1e-9, 1))
    return np.asarray(logs[:, right] - logs[:, other])


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """Mean, and its 95 % interval over resampled faces."""
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def measure(model: Classifier, faces: Pixels, points: Points, pair: Pair) -> list[dict[str, Any]]:
    """A row for the whole faces, and for each hidden part; all faces have the first label of the pair."""
    right, other = map(model.labels.index, pair)
    gray = round(255 * model.card.mean)
    whole = np.asarray(model.probs(faces), np.float64)
    shown = {"nothing": whole}
    for part, box in HIDDEN.items():
        shown[part] = np.asarray(model.probs(hide(faces, points, box, gray)), np.float64)
    rows = []
    for part, probs in shown.items():
        named = probs.argmax(axis=1)
        fall = log_odds(whole, right, other) - log_odds(probs, right, other)
        rows.append(
            {
                "shown": pair[0],
                "other": pair[1],
                "hidden": part,
                "n": len(faces),
                "named_right": float((named == right).mean()),
                "named_right_interval": accuracy_interval(int((named == right).sum()), len(faces)),
                "named_other": float((named == other).mean()),
                "named_other_interval": accuracy_interval(int((named == other).sum()), len(faces)),
                "probability": float(probs[:, right].mean()),
                "fall": mean_interval(fall),
            }
        )
    return rows


def mean_map(model: Classifier, faces: Pixels, points: Points, pair: Pair, patch: int) -> Floats:
    """Mean fall (48, 48) of the log-odds where a square of ``patch`` pixels covers aligned faces."""
    right, other = map(model.labels.index, pair)
    gray = round(255 * model.card.mean)
    straight = np.stack(
        [
            warp(face, similarity(p, FER2013_POINTS), (SIDE, SIDE))
            for face, p in zip(faces, points, strict=True)
        ]
    )
    whole = log_odds(np.asarray(model.probs(straight), np.float64), right, other)
    total, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for top in range(0, SIDE - patch // 2, patch // 2):
        for left in range(0, SIDE - patch // 2, patch // 2):
            covered = straight.copy()
            place = slice(top, top + patch), slice(left, left + patch)
            covered[:, place[0], place[1]] = gray
            fall = whole - log_odds(np.asarray(model.probs(covered), np.float64), right, other)
            total[place] += fall.mean()
            count[place] += 1
    return np.asarray(total / count)


def outline() -> Floats:
    """The mean 68 landmarks on the aligned 48-pixel face, (68, 2)."""
    from mien.core import landmark_finder

    path = Path(landmark_finder.__file__).parent / "weights" / "mean-face.json"
    points = np.array(json.loads(path.read_text("utf-8"))["points"], np.float64)[:, :2]
    five = five_of_68(points)
    return np.asarray(transform(points, similarity(five, FER2013_POINTS)))


STROKES = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
CLOSED = {36, 42, 48, 60}


def draw(maps: dict[Pair, Floats], to: Path) -> None:
    """One panel a pair and direction: the map in colour, the outline of the mean landmarks over it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(maps), 3.5), layout="constrained")
    points = outline()
    for axes, (pair, found) in zip(
        figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True
    ):
        reach = float(np.abs(found).max())
        image = axes.imshow(found, "RdBu_r", vmin=-reach, vmax=reach, extent=(0, SIDE, SIDE, 0))
        for start, end in STROKES:
            stroke = points[[*range(start, end), *([start] if start in CLOSED else [])]]
            axes.plot(*stroke.T, color="black", linewidth=1)
        axes.set(title=f"{pair[0]}, against {pair[1]}", xticks=[], yticks=[], xlim=(0, SIDE), ylim=(SIDE, 0))
        figure.colorbar(image, ax=axes, shrink=0.7, label="fall of the log-odds")
    figure.savefig(to, dpi=90)


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The table as Markdown."""
    out = [
        "| shown | hidden | faces | named right (95 %) | named as the other (95 %) | log-odds lost (95 %) |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        right, other = (
            f"{row[key]:.1%} ({100 * row[f'{key}_interval'][0]:.1f}-{100 * row[f'{key}_interval'][1]:.1f})"
            for key in ("named_right", "named_other")
        )
        mean, low, high = row["fall"]
        fall = "-" if row["hidden"] == "nothing" else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"
        out.append(f"| {row['shown']} | {row['hidden']} | {row['n']:,} | {right} | {other} | {fall} |")
    return out


def faces_of(rows: FaceSet, emotion: str, most: int | None) -> tuple[Pixels, Points]:
    """Faces of a label with reliable landmarks, and these; at most so many, the same each time."""
    if emotion not in rows.label_names:
        raise MienError(f"{rows.name} has no label '{emotion}'; known: {', '.join(rows.label_names)}")
    chosen = np.flatnonzero(rows.labels == rows.label_names.index(emotion))
    points, scores = landmarks_on_crops(rows.images[chosen])
    reliable = np.flatnonzero(scores >= 0.5)
    drawn = np.sort(np.random.default_rng(0).permutation(reliable)[:most])
    return rows.images[chosen[drawn]], points[drawn]


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model's name or the path of its .onnx file")
    parser.add_argument("store", type=Path, help="a data set of `mien data import`, faces of 48 pixels")
    parser.add_argument("--pair", action="append", help="two emotions, such as sad,neutral")
    parser.add_argument("--faces", type=int, help="at most so many of an emotion")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--figure", type=Path, help="a PNG file to write")
    parser.add_argument("--figure-faces", type=int, default=60, help="faces of an emotion behind the figure")
    parser.add_argument("--patch", type=int, default=12, help="side of the figure's sliding square")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    options = arguments(given)
    model = Classifier(options.model, views=1)
    rows = checked_rows(read_store(options.store), options.split, model.labels)
    found, maps = [], {}
    for told in options.pair or ("sad,neutral", "contempt,happy"):
        first, second = told.split(",")
        for pair in ((first, second), (second, first)):
            faces, points = faces_of(rows, pair[0], options.faces)
            found += measure(model, faces, points, pair)
            if options.figure:
                few = slice(options.figure_faces)
                maps[pair] = mean_map(model, faces[few], points[few], pair, options.patch)
    print(f"{model.card.name}, one view, {options.split} faces of {rows.name}\n")
    print("\n".join(lines(found)))
    if options.figure:
        draw(maps, options.figure)
    if options.out:
        write_json(options.out, {"model": model.card.name, "data": rows.name, "rows": found})


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MienError as error:
        sys.exit(f"error: {error}")
