"""An image of a whole video: for each person, emotions as stacked bands over time."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mien.core.draw import COLOURS, INK, Colour
from mien.core.files import atomic_write
from mien.core.fonts import font_for
from mien.core.outputs import check_output
from mien.core.text import clock
from mien.errors import MienError
from mien.workflows.video.summary import PersonSummary, Summary

WIDTH, LEFT, RIGHT, TOP, BAND, GAP = 1400, 120, 30, 76, 150, 34
MAX_PERSONS = 12
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
PAPER, FAINT, LINE = (255, 255, 255), (110, 116, 128), (222, 225, 230)
MORE_COLOURS: tuple[Colour, ...] = (
    *((51, 34, 136), (136, 34, 85), (17, 119, 51), (221, 204, 119), (204, 102, 119)),
    *((153, 153, 51), (68, 170, 153), (170, 68, 153), (136, 204, 238)),
)
"""Colours that the colour-blind tell apart: Tol, "Colour schemes", SRON 2021, his muted ones."""
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)


def check_plot(path: Path) -> None:
    """Raise MienError unless a plot can be written there."""
    if path.suffix.lower() not in SUFFIXES:
        raise MienError(f"a plot is a {', '.join(SUFFIXES)} file, got '{path.name}'")
    check_output(path)


def plot(summary: Summary, path: Path) -> None:
    """Draw the timeline: smoothed probabilities of the persons seen longest, at most twelve.

    Raises:
        MienError: see `check_plot`.
    """
    check_plot(path)
    with atomic_write(path) as temporary:
        draw(summary).save(temporary)


def draw(summary: Summary) -> Image.Image:
    """The timeline as an RGB image."""
    longest = sorted(summary.persons.values(), key=lambda p: -p.seconds)[:MAX_PERSONS]
    persons = sorted(longest, key=lambda p: p.track)
    height = TOP + max(len(persons), 1) * (BAND + GAP) + 30
    canvas = Image.new("RGB", (WIDTH, height), PAPER)
    pen = ImageDraw.Draw(canvas)
    _legend(pen, summary.labels)
    left_out = len(summary.persons) - len(persons)
    if not persons or left_out:
        text = f"and {left_out} more, seen for less time" if persons else "no face was seen"
        pen.text((WIDTH - RIGHT, 24), text, FAINT, font_for(text, 16), anchor="rm")
    for row, person in enumerate(persons):
        _person(canvas, pen, summary, person, TOP + row * (BAND + GAP))
    return canvas


def colours(labels: Sequence[str]) -> list[Colour]:
    """A colour for each label: that of a known emotion, else the next of `MORE_COLOURS`."""
    more = cycle(MORE_COLOURS)
    return [COLOURS[label] if label in COLOURS else next(more) for label in labels]


def _legend(pen: ImageDraw.ImageDraw, labels: Sequence[str]) -> None:
    x = LEFT
    for label, colour in zip(labels, colours(labels), strict=True):
        font = font_for(label, 16)
        pen.rectangle((x, 16, x + 16, 32), fill=colour)
        pen.text((x + 23, 24), label, INK, font, anchor="lm")
        x += round(23 + font.getlength(label) + 26)


def _person(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, summary: Summary, person: PersonSummary, top: int
) -> None:
    width = WIDTH - LEFT - RIGHT
    span_s = max(summary.seconds, summary.bin_s)
    canvas.paste(Image.fromarray(_bands(summary, person, span_s, width)), (LEFT, top))
    step_s = next((s for s in STEPS_S if span_s / s <= 12), STEPS_S[-1])
    for tick in range(int(np.ceil(summary.first_s / step_s)), int((summary.first_s + span_s) / step_s) + 1):
        x = LEFT + round((tick * step_s - summary.first_s) / span_s * width)
        pen.line((x, top + BAND, x, top + BAND + 5), fill=FAINT)
        time = clock(tick * step_s, step_s)
        pen.text((x, top + BAND + 8), time, FAINT, font_for(time, 14), anchor="mt")
    pen.rectangle((LEFT - 1, top - 1, LEFT + width, top + BAND), outline=LINE)
    name = f"person {person.track}"
    pen.text((LEFT - 14, top + 18), name, INK, font_for(name, 18), anchor="rm")
    share = next(iter(person.shares.items()), ("", 0.0))
    for line, text in enumerate((f"{person.seconds:.1f} s seen", f"{share[1]:.0%} {share[0]}")):
        pen.text((LEFT - 14, top + 44 + 20 * line), text, FAINT, font_for(text, 14), anchor="rm")


def _bands(summary: Summary, person: PersonSummary, span_s: float, width: int) -> np.ndarray:
    """The bands as pixels (BAND, width, 3), the first emotion on top; paper where no one was seen."""
    pixels = np.full((BAND, width, 3), PAPER, np.uint8)
    shades = np.array(colours(summary.labels), np.uint8)
    heights = (np.arange(BAND) + 0.5) / BAND
    for x in range(width):
        sums = person.bins.get(int((x + 0.5) / width * span_s / summary.bin_s))
        if sums is not None:
            edges = np.cumsum(sums[:-1] / sums[-1])
            pixels[:, x] = shades[np.minimum(np.searchsorted(edges, heights), len(shades) - 1)]
    return pixels
