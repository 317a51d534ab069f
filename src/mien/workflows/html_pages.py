"""What the HTML pages of mien share: one file each, images inside, nothing loaded from elsewhere."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.metrics import Counts
from mien.errors import needs_extra

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(template: str, values: Mapping[str, Any]) -> str:
    """A whole page from a template of the folder ``templates``; all text is escaped.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    with needs_extra("HTML pages", "data"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cells": cells, "data_uri": data_uri}
    return environment.get_template(template).render(values)


class Cell(NamedTuple):
    """A cell of a confusion matrix: its text, its colour, and ``dark`` or ``light`` for that of the text."""

    text: str
    shade: str
    ink: str


def cells(counts: Counts, shares: bool = False) -> list[list[Cell]]:
    """The rows of a confusion matrix, shaded by the share of their row; ``shares`` shows percent."""
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        [_cell(f"{100 * part:.0f}" if shares else f"{n:,}", n, part) for n, part in zip(*row, strict=True)]
        for row in zip(counts.tolist(), parts.tolist(), strict=True)
    ]


def _cell(text: str, n: int, share: float) -> Cell:
    shade = _shade(share)
    return Cell(text if n else "·", shade, _ink(shade))


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


PAGES = (".html", ".htm")
"""What the names of pages end with."""
