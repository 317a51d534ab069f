"""The sheets of `mien explain`, as PNG files.

A map lies over its face in the colours of cividis (Nunez, Anderton and Renslow, 2018): perceptually uniform,
and nearly the same to readers with and without colour-blindness. What speaks against a class is shown as 0.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.workflows import figure_style as style
from mien.workflows.explain.faithfulness import CELLS, STEPS, Faithfulness
from mien.workflows.explain.subject import METHODS

COLOURS = "cividis"
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue in gray
OPACITY = 0.65
CELL = 1.7  # inches
SHARE_SHOWN = 99.5
"""Percentile of a map at which its scale ends: a single pixel must not darken all others."""

HUES = dict(zip(METHODS, (style.ORANGE, style.PURPLE, style.GREEN, style.BLUE, style.VERMILION), strict=True))


@dataclass(frozen=True)
class Tile:
    """One place of a sheet: a face, perhaps a map over it, and lines below it; the ``warning`` in red."""

    face: NDArray[np.uint8] | None = None
    map: NDArray[np.float32] | None = None
    text: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Sheet:
    """Rows of tiles under named columns."""

    title: str
    columns: Sequence[str]
    rows: list[list[Tile]] = field(default_factory=list)


def top_of_scale(values: NDArray[np.floating[Any]]) -> float:
    """Where the colours of a map end; 0 where nothing speaks for the class."""
    return max(0.0, float(np.percentile(values, SHARE_SHOWN)))


def overlay(face: NDArray[np.uint8], values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The map in colour over the face in gray, RGB in 0-1; the face is (H, W) or (H, W, 3)."""
    from matplotlib import colormaps

    gray = face if face.ndim == 2 else face @ LUMA
    top = top_of_scale(values)
    shade = np.clip(values / top, 0, 1) if top else np.zeros_like(values)
    colour = colormaps[COLOURS](shade)[..., :3]
    return np.asarray((1 - OPACITY) * gray[..., None] / 255 + OPACITY * colour)


def draw_sheet(sheet: Sheet, path: Path) -> Path:
    """Write a sheet.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: the file cannot be written.
    """
    n_rows, n_columns = len(sheet.rows), len(sheet.columns)
    width = max(CELL * n_columns + 1.1, 5.5)
    figure = style.new_figure(width, (CELL + 0.35) * n_rows + 0.8)
    figure.get_layout_engine().set(h_pad=0.08)
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for i, row in enumerate(sheet.rows):
        for ax, tile in zip(axes[i], row, strict=False):
            _draw_tile(ax, tile)
    for ax, name in zip(axes[0], sheet.columns, strict=True):
        ax.set_title(name, fontsize=style.NORMAL, color=style.INK)
    if any(tile.map is not None for row in sheet.rows for tile in row):
        _draw_scale(figure, axes)
    lines = textwrap.wrap(sheet.title, int(width * 13))
    figure.suptitle("\n".join(lines), fontsize=style.NORMAL, color=style.INK)
    return style.save(figure, path)


def _draw_tile(ax: Any, tile: Tile) -> None:
    if tile.face is None:
        return
    if tile.map is None:
        ax.imshow(tile.face, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        ax.imshow(overlay(tile.face, tile.map), interpolation="nearest")
    lines = tile.text.count("\n") + 1 if tile.text else 0
    place = {"transform": ax.transAxes, "ha": "center", "va": "top", "fontsize": style.SMALL}
    ax.text(0.5, -0.03, tile.text, color=style.INK, **place)
    if tile.warning:
        ax.text(0.5, -0.03 - 0.115 * lines, tile.warning, color=style.VERMILION, **place)


def _draw_scale(figure: Any, axes: Any) -> None:
    """One bar for all maps, in the colours that they have over mid gray."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = (1 - OPACITY) * 0.5 + OPACITY * colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3]
    mappable = ScalarMappable(Normalize(0, 1), ListedColormap(colours))
    bar = figure.colorbar(mappable, ax=axes, location="right", shrink=min(1.0, 1.2 / len(axes)), pad=0.01)
    bar.set_ticks([0, 1], labels=["0", "top"], fontsize=style.SMALL)
    bar.outline.set_visible(False)


# --- arrays that are no maps over faces ------------------------------------------------------------------


def filters_figure(filters: NDArray[np.float32], title: str, path: Path) -> Path:
    """The first kernels (filters, channels, height, width), gray around zero; three channels as colours."""
    top = float(np.abs(filters).max()) or 1.0
    shown = 0.5 + filters / (2 * top)
    if filters.shape[1] == 3:
        tiles = list(np.moveaxis(shown, 1, -1))
        note = "red, green and blue together"
    else:
        tiles = [channel for one in shown for channel in one]
        note = "dark below zero, gray zero, bright above"
    return _grid(tiles, f"{title}\n{note}; the ends are ±{top:.2g}", path, (0.0, 1.0))


def activations_figure(values: NDArray[np.float32], face: NDArray[np.uint8], title: str, path: Path) -> Path:
    """What a layer gives one face: its maps (channels, height, width), each in its own scale, after the face.

    Raises:
        MienError: the layer gives no maps.
    """
    if values.ndim != 3:
        raise MienError(f"activations are drawn of layers that give maps, got {values.ndim - 1} dimension(s)")
    low, high = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    shown = (values - low) / np.where(high > low, high - low, 1)
    dead = int((high == low).sum())
    note = f"{len(values)} channels, each from its least to its largest value; {dead} are constant"
    return _grid([face / 255, *shown], f"{title}\n{note}", path, (0.0, 1.0))


def _grid(tiles: Sequence[NDArray[Any]], title: str, path: Path, limits: tuple[float, float]) -> Path:
    n_columns = min(16, max(4, math.ceil(math.sqrt(2 * len(tiles)))))
    n_rows = math.ceil(len(tiles) / n_columns)
    figure = style.new_figure(max(0.62 * n_columns, 5.5), 0.62 * n_rows + 0.8)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01)
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, tile in zip(axes.ravel(), tiles, strict=False):
        ax.imshow(tile, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
    figure.suptitle(title, fontsize=style.NORMAL, color=style.INK, wrap=True)
    return style.save(figure, path)


def faithfulness_figure(found: Faithfulness, model: str, path: Path) -> Path:
    """Deletion and insertion curves against random rankings; gains with their intervals and verdicts."""
    figure = style.new_figure(11.5, 4.6)
    deletion, insertion, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    share = np.linspace(0, 100, STEPS + 1)
    for ax, kind, x in (
        (deletion, "deletion", "percent taken away"),
        (insertion, "insertion", "percent shown"),
    ):
        style.style_axes(ax, kind, x, "mean probability of the class" if ax is deletion else "")
        for name, curve in found.curves[kind].items():
            hue, dash = (style.MUTED, "--") if name == "random" else (HUES[name], "-")
            ax.plot(share, curve, dash, color=hue, linewidth=1.8, label=name)
        ax.set_ylim(0, 1)
    style.legend(deletion)
    style.style_axes(right, "better than random by (area, 95 %)", "", "")
    for i, score in enumerate(found.scores):
        for kind, marker, up in (("deletion", "o", 0.17), ("insertion", "s", 0.02)):
            low, high = getattr(score, f"{kind}_interval")
            gain = getattr(score, f"{kind}_gain")
            hue = HUES[score.method] if low > 0 else style.VERMILION
            y = len(found.scores) - i + up
            right.plot([low, high], [y, y], color=hue, linewidth=1.6)
            right.plot(gain, y, marker, color=hue, markersize=5, fillstyle="full" if low > 0 else "none")
        shuffled = "" if score.shuffled is None else f"; ρ after shuffling {score.shuffled:+.2f}"
        weak = "no better" in score.verdict or "hardly" in score.verdict
        y = len(found.scores) - i - 0.2
        tint = style.VERMILION if weak else style.INK
        right.text(
            0.02,
            y,
            score.verdict + shuffled,
            fontsize=style.SMALL - 1.5,
            color=tint,
            va="center",
            transform=right.get_yaxis_transform(),
        )
    right.axvline(0, color=style.INK, linewidth=0.8)
    right.set_yticks(range(len(found.scores), 0, -1), [s.method for s in found.scores])
    right.set_ylim(0.5, len(found.scores) + 0.5)
    figure.suptitle(
        f"{model}, {found.n:,} faces in {CELLS} x {CELLS} cells · random: deletion "
        f"{style.percent(found.random_deletion)}, insertion "
        f"{style.percent(found.random_insertion)} · circles deletion, squares insertion",
        fontsize=style.NORMAL,
        color=style.INK,
    )
    return style.save(figure, path)
