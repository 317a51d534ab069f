"""What the HTML pages of mien share."""

import re

import numpy as np

from mien.workflows.html_pages import TEMPLATES, cells


def test_the_figures_of_a_confusion_matrix_can_be_read_on_every_shade() -> None:
    """At least 4.5 to 1, which the Web Content Accessibility Guidelines ask of small text."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    inks = dict(re.findall(r"\.matrix \.(\w+) \{ color: (#\w+); \}", style))
    matrices = [cells(np.array([[n, 100 - n], [0, 1]])) for n in range(101)]
    shown = [cell for matrix in matrices for row in matrix for cell in row]
    contrasts = [contrast(inks[cell.ink], cell.shade) for cell in shown]
    assert len(contrasts) == 404
    assert min(contrasts) >= 4.5


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
