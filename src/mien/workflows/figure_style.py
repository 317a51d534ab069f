"""How every figure looks, and how it is written.

Hues are those of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers can tell apart.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mien.core.files import atomic_write
from mien.core.metrics import Interval
from mien.errors import needs_extra

INK, MUTED, GRID = "#222222", "#666666", "#dddddd"
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
HUES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)
SMALL, NORMAL = 9, 10  # points
DPI = 150


def new_figure(width: float, height: float) -> Any:
    """An empty figure of a size in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needs_extra("drawing figures", "data", "matplotlib"):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    spacing = ConstrainedLayoutEngine(
        w_pad=0.1, h_pad=0.08
    )  # inches; tick labels of neighbours must not touch
    return Figure(figsize=(width, height), layout=spacing, facecolor="white")


def style_axes(ax: Any, title: str, x: str, y: str) -> None:
    """Give the axes their title, the names of width and height, and our lines."""
    ax.set_title(title, fontsize=NORMAL, color=INK, loc="left")
    ax.set_xlabel(x, fontsize=NORMAL, color=INK)
    ax.set_ylabel(y, fontsize=NORMAL, color=INK)
    ax.tick_params(labelsize=SMALL, colors=INK, length=3, color=MUTED)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)


def legend(ax: Any, loc: str = "best", names: Iterable[str] = ()) -> None:
    """Name the lines inside the axes, where matplotlib finds room or at ``loc``.

    As labels, matplotlib would leave out ``names`` that begin with ``_``, and set what is between two ``$``.
    """
    made = ax.legend(loc=loc, fontsize=SMALL, frameon=False, labelcolor=INK)
    for text, name in zip(made.get_texts(), names, strict=False):
        text.set_parse_math(False)
        text.set_text(name)


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write the PNG under a temporary name, then rename it: a reader never sees half a file."""
    target = Path(path)
    with atomic_write(target) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return target


def percent(value: float, interval: Interval | None = None) -> str:
    """A share as percent, with its interval."""
    text = f"{100 * value:.1f} %"
    return text if interval is None else f"{text} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"
