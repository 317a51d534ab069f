"""What a model still reads when light, focus, angle, size or framing of a face are not what it learned.

    python benchmarks/robustness.py MODEL STORE [--out FOLDER] [--faces N] [--views N] [--split val]

Every change is made to the stored faces, one at a time, at several strengths; accuracy and balanced accuracy
follow it. Lengths are in 48ths of the face's side, FER2013's pixels. "lost" are faces that were read right
before the change and wrong after it, "won" the reverse. Prints a table; ``--out`` also writes
``NAME-robustness.json`` and ``.png`` for the model's page. Choose by the val rows (PublicTest): the test rows
are opened only where ``--split test`` says so. One view a face by default: ten take ten times the
time and move all rows alike.
"""

import argparse
import io
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mien import MienError
from mien.core import metrics
from mien.core.classifier import Classifier
from mien.core.files import write_json
from mien.core.geometry import warp
from mien.core.preprocess import luma, resized
from mien.core.scores import score
from mien.data.store import read_store
from mien.workflows import figure_style as style
from mien.workflows.scorer import checked_rows

Face = NDArray[np.uint8]
Level = float | str
Change = Callable[[Face, Any, np.random.Generator], Face]
GRID = 48


def clipped(values: NDArray[np.floating]) -> Face:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def pixels(face: Face) -> float:
    """How many pixels of this face a 48th of its side has."""
    return len(face) / GRID


def brighter(face: Face, added: float, _: np.random.Generator) -> Face:
    return clipped(face + 255.0 * added)


def contrast(face: Face, factor: float, _: np.random.Generator) -> Face:
    return clipped(face.mean() + factor * (face - face.mean()))


def blurred(face: Face, sigma: float, _: np.random.Generator) -> Face:
    return np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(sigma * pixels(face))))


def noisy(face: Face, sigma: float, rng: np.random.Generator) -> Face:
    return clipped(face + rng.normal(0, sigma, face.shape))


def compressed(face: Face, quality: int, _: np.random.Generator) -> Face:
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def placed(face: Face, turn: complex, shift: complex = 0) -> Face:
    """The face turned and enlarged about its middle, then moved (in 48ths); outside, its edge repeats."""
    middle = complex(len(face), len(face)) / 2
    moved = middle - turn * middle + shift * pixels(face)
    matrix = np.array([[turn.real, -turn.imag, moved.real], [turn.imag, turn.real, moved.imag]])
    return warp(face, matrix, (len(face), len(face)))


def turned(face: Face, degrees: float, _: np.random.Generator) -> Face:
    return placed(face, complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees))))


def enlarged(face: Face, factor: float, _: np.random.Generator) -> Face:
    return placed(face, complex(factor))


def shifted(face: Face, length: float, rng: np.random.Generator) -> Face:
    angle = rng.uniform(0, 2 * math.pi)
    return placed(face, 1, length * complex(math.cos(angle), math.sin(angle)))


def at_side(face: Face, side: int, _: np.random.Generator) -> Face:
    """Shrunk without aliasing, or enlarged, as an image of that size would bring it."""
    return np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BILINEAR))


def half_hidden(face: Face, half: str, _: np.random.Generator) -> Face:
    """The upper or lower half replaced by the face's mean."""
    out, middle = face.copy(), len(face) // 2
    out[slice(None, middle) if half == "upper" else slice(middle, None)] = clipped(face.mean((0, 1)))
    return out


TINTS = {"warm": (1.0, 0.8, 0.55), "cool": (0.7, 0.85, 1.0), "gray": None}


def tinted(face: Face, tint: str, _: np.random.Generator) -> Face:
    """Under coloured light, RGB; or without colour."""
    if TINTS[tint] is None:
        return luma(face)
    return clipped((face[..., None] if face.ndim == 2 else face) * np.array(TINTS[tint]))


@dataclass(frozen=True)
class Family:
    """One kind of change: what its level means, the levels, and the one that changes nothing, if any."""

    change: Change
    unit: str
    levels: tuple[Level, ...]
    neutral: Level | None = None


FAMILIES = {
    "brightness": Family(brighter, "added, share of white", (-0.4, -0.2, 0.0, 0.2, 0.4), 0.0),
    "contrast": Family(contrast, "factor", (0.25, 0.5, 1.0, 1.5, 2.0), 1.0),
    "blur": Family(blurred, "sigma, 48ths of the side", (0.0, 0.5, 1.0, 1.5, 2.0, 3.0), 0.0),
    "noise": Family(noisy, "sigma, of 255", (0, 5, 10, 20, 40), 0),
    "JPEG": Family(compressed, "quality", (90, 70, 50, 30, 10)),
    "rotation": Family(turned, "degrees", (-30, -15, 0, 15, 30), 0),
    "size": Family(at_side, "side of the face, pixels", (24, 32, 48, 96)),
    "hidden": Family(half_hidden, "half of the face", ("upper", "lower")),
    "colour": Family(tinted, "light", ("warm", "cool", "gray")),
    "crop scale": Family(enlarged, "factor", (0.8, 0.9, 1.0, 1.1, 1.25), 1.0),
    "crop shift": Family(shifted, "any direction, 48ths of the side", (0, 1, 2, 4, 6), 0),
}


def changed(faces: Face, family: Family, level: Level) -> Face:
    """All faces (N, S, S) or (N, S, S, 3) after one change; the same every time."""
    rng = np.random.default_rng(0)
    return np.stack([family.change(face, level, rng) for face in faces])


def as_input(faces: Face, model: Classifier) -> Face:
    """Faces with the side and the channels that the model takes."""
    channels = model.card.channels
    if channels == 3 and faces.ndim == 3:
        faces = np.repeat(faces[..., None], 3, axis=3)
    elif channels == 1 and faces.ndim == 4:
        faces = np.stack([luma(face) for face in faces])
    return resized(faces, model.card.input_size)


@dataclass(frozen=True)
class Row:
    """The scores under one change; intervals are 95 %."""

    change: str
    level: Level | None
    accuracy: float
    accuracy_interval: metrics.Interval
    balanced_accuracy: float
    balanced_accuracy_interval: metrics.Interval | None
    ece: float
    lost: int
    won: int


COPIED = ("accuracy", "accuracy_interval", "balanced_accuracy", "balanced_accuracy_interval", "ece")


def measure(
    model: Classifier, faces: Face, labels: metrics.Labels, families: Mapping[str, Family] = FAMILIES
) -> list[Row]:
    """One row without any change, then one for each level of each family."""

    def row(name: str, level: Level | None, probs: metrics.Probs) -> Row:
        s = score(probs, labels, model.labels)
        pair = metrics.mcnemar(labels, plain.argmax(1), probs.argmax(1))
        copied = {key: getattr(s, key) for key in COPIED}
        return Row(name, level, **copied, lost=pair.only_first, won=pair.only_second)

    plain = model.probs(as_input(faces, model))
    rows = [row("none", None, plain)]
    for name, family in families.items():
        for level in family.levels:
            same = level == family.neutral
            probs = plain if same else model.probs(as_input(changed(faces, family, level), model))
            rows.append(row(name, level, probs))
    return rows


def shown(level: Level | None) -> str:
    return "" if level is None else level if isinstance(level, str) else f"{level:g}"


def lines(rows: Iterable[Row]) -> Iterable[str]:
    """The table as Markdown."""
    yield "| change | level | accuracy | balanced accuracy | ECE | lost | won |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows:
        family = FAMILIES.get(r.change)
        if family and r.level == family.neutral:
            continue  # the unchanged face is the first row
        cells = [f"{r.change} ({family.unit})" if family else r.change, shown(r.level)]
        for value, ends in (
            (r.accuracy, r.accuracy_interval),
            (r.balanced_accuracy, r.balanced_accuracy_interval),
        ):
            cells.append(f"{value:.1%}" + (f" ({100 * ends[0]:.1f}-{100 * ends[1]:.1f})" if ends else ""))
        yield f"| {' | '.join([*cells, f'{r.ece:.3f}', str(r.lost), str(r.won)])} |"


MARKS = (("accuracy", style.BLUE, "o"), ("balanced_accuracy", style.VERMILION, "s"))
COLUMNS = 4


def figure(rows: Sequence[Row], path: Path) -> Path:
    """One small panel for each kind of change, all with one height; dotted is the unchanged face."""
    plain, *others = rows
    names = list(dict.fromkeys(row.change for row in others))
    n_rows = math.ceil((len(names) + 1) / COLUMNS)
    drawn = style.new_figure(3 * COLUMNS, 2.5 * n_rows)
    axes = drawn.subplots(n_rows, COLUMNS, sharey=True, squeeze=False).flat
    for i, (ax, name) in enumerate(zip(axes, names, strict=False)):
        style.style_axes(ax, name, FAMILIES[name].unit, "" if i % COLUMNS else "percent right")
        _panel(ax, [row for row in others if row.change == name], plain)
    axes[0].set_ylim(bottom=0)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    handles = axes[0].get_legend_handles_labels()
    axes[len(names)].legend(*handles, fontsize=style.SMALL, frameon=False, loc="center")
    return style.save(drawn, path)


def _panel(ax: Any, rows: Sequence[Row], plain: Row) -> None:
    """Both scores over the levels, with their intervals; levels that are words are not joined by lines."""
    words = isinstance(rows[0].level, str)
    x = list(range(len(rows))) if words else [row.level for row in rows]
    for key, hue, mark in MARKS:
        y = 100 * np.array([getattr(row, key) for row in rows])
        ends = 100 * np.array([getattr(row, f"{key}_interval") or (np.nan, np.nan) for row in rows]).T
        look = {"fmt": mark if words else f"{mark}-", "markersize": 4, "linewidth": 1.4}
        ax.errorbar(x, y, yerr=np.abs(ends - y), color=hue, label=key.replace("_", " "), **look)
        ax.axhline(100 * getattr(plain, key), color=hue, linewidth=0.8, linestyle=":")
    ax.set_xticks(x, [shown(row.level) for row in rows])
    if words:
        ax.margins(x=0.3)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model's name or the path of its .onnx file")
    parser.add_argument("store", type=Path, help="a data set of `mien data import`")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the figure")
    parser.add_argument("--faces", type=int, help="take only so many, drawn at random, the same every time")
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    options = arguments(given)
    model = Classifier(options.model, views=options.views)
    data = read_store(options.store)
    chosen = checked_rows(data, options.split, model.labels)
    if options.faces and options.faces < len(chosen):
        chosen = chosen.take(np.sort(np.random.default_rng(0).permutation(len(chosen))[: options.faces]))
    rows = measure(model, chosen.images, chosen.labels)
    name = model.card.name
    print(f"{name} on {len(chosen):,} {options.split} faces of {data.name}, {options.views} view(s)\n")
    print("\n".join(lines(rows)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        said = {"model": name, "data": data.name, "split": options.split, "n": len(chosen)}
        units = {kind: family.unit for kind, family in FAMILIES.items()}
        result = {**said, "views": options.views, "units": units, "rows": [asdict(row) for row in rows]}
        write_json(options.out / f"{name}-robustness.json", result)
        figure(rows, options.out / f"{name}-robustness.png")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MienError as error:
        sys.exit(f"error: {error}")
