"""What the HTML pages of mien share: one file each, images inside, nothing loaded from elsewhere."""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.files import atomic_write
from mien.core.metrics import Counts
from mien.core.outputs import check_output
from mien.errors import DataError

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1c1e21, #e8e8e6); --soft: light-dark(#6a6f76, #9aa0a6);
  --paper: light-dark(#fcfcfa, #17181a); --line: light-dark(#e3e3de, #33363a);
  --warn: light-dark(#a33a12, #ff9d73); }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.5rem 0 .25rem; font-size: 1.2rem; }
p { margin: .25rem 0 1rem; color: var(--soft); max-width: 46rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; font-weight: 500; } thead th { color: var(--soft); font-size: .85rem; }
.wall { display: flex; flex-wrap: wrap; gap: .75rem; }
.group { display: flex; gap: 2px; padding: .4rem; border: 1px solid var(--line); border-radius: .4rem; }
figure { margin: 0; width: 76px; font-size: .72rem; line-height: 1.3; text-align: center;
  color: var(--soft); }
figure img { width: 72px; height: 72px; border-radius: .2rem; image-rendering: pixelated; }
figcaption b { display: block; font-weight: 600; color: var(--ink); }
.differ figcaption b { color: var(--warn); }
"""

MATRIX_STYLE = """
.scroll { overflow-x: auto; } .scroll td, .scroll th { white-space: nowrap; }
.scroll .words td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
h3 { margin: 1.25rem 0 .25rem; font-size: 1rem; }
.matrix { font-size: .8rem; margin: .25rem 1.5rem 1rem 0; }
.matrix caption { text-align: left; font-weight: 600; }
.matrix th { font-weight: 400; font-size: .75rem; padding: .2rem .4rem .2rem 0; border: 0;
  color: var(--soft); }
.matrix td { width: 2.3rem; padding: .3rem .2rem; border: 1px solid var(--paper); text-align: center; }
.matrix .dark { color: #fff; } .matrix .light { color: #000; }
"""


def page(title: str, body: Iterable[str], style: str = "") -> str:
    """A whole page; ``title`` is plain text, ``body`` HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text; the first cell of each row names it. Without headings, its cells are words."""
    headings = "".join(f"<th scope='col'>{escape(text)}</th>" for text in head)
    kind, top = ("", f"<thead><tr>{headings}</tr></thead>") if any(head) else (" class='words'", "")
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(text)}</td>" for text in rest)
        lines.append(f"<tr><th scope='row'>{escape(first)}</th>{cells}</tr>")
    return f"<div class='scroll'><table{kind}>{top}<tbody>{''.join(lines)}</tbody></table></div>"


def matrix(title: str, counts: Counts, names: Sequence[str], *, shares: bool = False) -> str:
    """A confusion matrix, rows true; shaded by the share of its row. ``shares`` shows percent, not counts."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th scope='col'>{escape(name[:4])}</th>" for name in names)
    lines = []
    for name, row, parts in zip(names, counts.tolist(), share.tolist(), strict=True):
        cells = (
            f"<td class='{_ink(shade := _shade(part))}' style='background:{shade}'>"
            f"{(f'{100 * part:.0f}' if shares else f'{n:,}') if n else '·'}</td>"
            for n, part in zip(row, parts, strict=True)
        )
        lines.append(f"<tr><th scope='row'>{escape(name)}</th>{''.join(cells)}</tr>")
    return (
        f"<table class='matrix'><caption>{escape(title)}</caption><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _shade(share: float) -> str:
    """From nearly white to dark blue, as the figures' confusion matrices."""
    low, high = np.array([239, 243, 250]), np.array([8, 69, 148])
    return "#" + bytes(np.round(low + share * (high - low)).astype(np.uint8)).hex()


def _ink(colour: str) -> str:
    """``dark`` for white text or ``light`` for black, whichever has more contrast with a colour.

    Source: Web Content Accessibility Guidelines 2.2, "relative luminance" and "contrast ratio".
    """
    levels = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "dark" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "light"


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image as PNG inside an address."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def check_place(path: str | os.PathLike[str]) -> None:
    """Fail before the work where a page could not be written after it.

    Raises:
        DataError: the folder does not exist.
        OutputError: the page cannot be written.
    """
    if not Path(path).parent.is_dir():
        raise DataError(f"no folder {Path(path).parent} to write {Path(path).name} in; create it first")
    check_output(path)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as e:
        raise DataError(f"{path} cannot be written: {e.strerror}") from e
