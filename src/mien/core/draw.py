"""Draw readings into an image: box, landmarks, the emotion with its probability, a bar for each emotion."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mien.core.fonts import font_for
from mien.core.images import DEFAULT_LIMITS, RGB, ImageLimits, ImageSource, as_rgb, open_image
from mien.core.results import Reading
from mien.errors import MienError

MOST_JPEG_SIDE = 65_500
"""Pixels of a side of a JPEG file that libjpeg writes."""

Colour = tuple[int, int, int]
Rect = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie outside."""

COLOURS: dict[str, Colour] = {
    "neutral": (200, 200, 200),
    "happy": (240, 228, 66),
    "surprise": (86, 180, 233),
    "sad": (0, 114, 178),
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "contempt": (230, 159, 0),
}
"""Colours that the colour-blind tell apart: Okabe and Ito, "Color Universal Design", 2008."""

OTHER_COLOUR: Colour = (235, 235, 235)
INK: Colour = (17, 19, 24)
PAPER: Colour = (250, 250, 250)
SHADE = (*INK, 205)  # under text and around lines: what is bright or dark behind no longer matters


def annotate(
    image: ImageSource,
    readings: Iterable[Reading],
    captions: Sequence[str] | None = None,
    *,
    color: str = RGB,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> NDArray[np.uint8]:
    """Draw every reading into a copy of the image.

    Sizes follow the face and the image. A label is left out where it is larger than the image, and bars
    where they fit neither beside, below nor above the box without covering another face. Letters that
    Pillow's own font lacks are drawn in a font of the system that has them.

    Args:
        image: RGB uint8 (H, W, 3), or anything else that `open_image` takes.
        readings: Faces whose boxes are in pixels of ``image``; they may lie partly or fully outside.
        captions: The text over each face, instead of its emotion and confidence; ``""`` for none.
        color: ``"bgr"`` where ``image`` is an array of OpenCV; what is returned is one too.
        limits: How large an image may be that is no RGB array.

    Returns:
        RGB uint8 (H, W, 3), a new array; without readings an equal copy.

    Raises:
        ImageError: ``image`` is of another type or shape, or cannot be read.
        MienError: ``readings`` holds something else, or there is not one caption for each.
    """
    if color != RGB:
        rgb = annotate(as_rgb(image, color), readings, captions, limits=limits)
        return np.ascontiguousarray(rgb[..., ::-1])
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        image = open_image(image, limits)
    faces = _checked(readings, captions)
    if image.size == 0:
        return image.copy()
    canvas = Image.fromarray(np.ascontiguousarray(image))
    height, width = image.shape[:2]
    texts = [None] * len(faces) if captions is None else captions
    marks = [mark for mark in map(_Mark.of, faces, texts, repeat((width, height))) if mark is not None]
    for mark in marks:
        _draw_landmarks(canvas, mark)
    pen = ImageDraw.Draw(canvas, "RGBA")  # blends what is translucent into the RGB canvas
    for mark in marks:
        _draw_box(pen, mark)
    taken = [mark.box for mark in marks]
    tags = []
    for mark in marks:
        tag = _place_tag(mark, (width, height), taken) if mark.label else None
        tags.append(tag)
        taken += [tag] if tag else []
    for mark in marks:
        chart = _place_chart(mark, (width, height), taken)
        if chart:
            taken.append(chart)
            _draw_chart(pen, mark, chart)
    for mark, tag in zip(marks, tags, strict=True):
        if tag:
            _draw_tag(pen, mark, tag)
    return np.array(canvas)


def _checked(readings: Iterable[Reading], captions: Sequence[str] | None) -> list[Reading]:
    faces = list(readings) if isinstance(readings, Iterable) else [readings]
    other = next((face for face in faces if not isinstance(face, Reading)), None)
    if not isinstance(readings, Iterable) or other is not None:
        kind = type(readings if other is None else other).__name__
        raise MienError(f"readings must be a sequence of mien.Reading, as mien.read returns, got {kind}")
    if captions is not None and len(captions) != len(faces):
        raise MienError(f"expected a caption for each of {len(faces)} faces, got {len(captions)}")
    return faces


@dataclass(frozen=True, slots=True)
class _Mark:
    """A reading with its place on the canvas and its sizes in pixels."""

    reading: Reading
    caption: str | None
    box: Rect
    line: int
    text: int

    @classmethod
    def of(cls, reading: Reading, caption: str | None, canvas_wh: tuple[int, int]) -> "_Mark | None":
        width, height = canvas_wh
        edges = (reading.box.x1, reading.box.y1, reading.box.x2, reading.box.y2)
        limits = (width, height, width, height)
        # a box far outside is cut just outside, where its edges stay invisible and numbers stay small
        x1, y1, x2, y2 = (round(min(max(e, -99), limit + 99)) for e, limit in zip(edges, limits, strict=True))
        if x2 <= max(x1, 0) or y2 <= max(y1, 0) or x1 >= width or y1 >= height:
            return None
        side, long_side = min(x2 - x1, y2 - y1), max(width, height)
        text = round(min(max(0.125 * side, 11, long_side / 90), max(11, long_side / 24)))
        return cls(reading, caption, (x1, y1, x2, y2), max(1, round(min(side / 70, text / 7))), text)

    @property
    def colour(self) -> Colour:
        return COLOURS.get(self.reading.emotion, OTHER_COLOUR)

    @property
    def label(self) -> str:
        if self.caption is not None:
            return self.caption
        doubt = "?" if self.reading.uncertain else ""
        return f"{self.reading.emotion}{doubt}  {self.reading.confidence:.0%}"

    @property
    def tag_size_wh(self) -> tuple[int, int]:
        return round(_text_width(self.label, self.text) + self.text), round(1.6 * self.text)

    @property
    def row(self) -> int:
        """Height of one bar with its name."""
        return max(11, round(0.95 * self.text))

    @property
    def name_text(self) -> int:
        return max(9, round(0.75 * self.text))

    @property
    def name_width(self) -> int:
        return round(max(_text_width(name, self.name_text) for name in self.reading.labels))

    @property
    def chart_size_wh(self) -> tuple[int, int]:
        pad = self.row // 2
        return 3 * pad + self.name_width + round(4.5 * self.text), 2 * pad + self.row * len(
            self.reading.labels
        )


def _draw_box(pen: ImageDraw.ImageDraw, mark: _Mark) -> None:
    """A fine frame with strong corners, both with a dark rim."""
    x1, y1, x2, y2 = mark.box
    line, arm = mark.line, max(3, min(x2 - x1, y2 - y1) // 5)
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(*INK, 110), width=line + 2)
    rim = 1 if min(x2 - x1, y2 - y1) > 8 else 0
    pen.rectangle((x1 + rim, y1 + rim, x2 - 1 - rim, y2 - 1 - rim), outline=mark.colour, width=line)
    thick = 2 * line
    arms = []
    for x, left in ((x1, True), (x2 - thick, False)):
        for y, top in ((y1, True), (y2 - thick, False)):
            across = x if left else x + thick - arm
            down = y if top else y + thick - arm
            arms += [(across, y, across + arm, y + thick), (x, down, x + thick, down + arm)]
    for left_, top_, right, bottom in arms:
        pen.rectangle((left_ - 1, top_ - 1, right, bottom), fill=INK)
    for left_, top_, right, bottom in arms:
        pen.rectangle((left_, top_, right - 1, bottom - 1), fill=mark.colour)


def _draw_landmarks(canvas: Image.Image, mark: _Mark) -> None:
    if mark.reading.landmarks is None:
        return
    x1, y1, x2, y2 = mark.box
    radius = max(1.0, min(x2 - x1, y2 - y1) / 70)
    for size, colour, opacity in ((radius + 1, INK, 110), (radius, PAPER, 210)):
        disc = _disc(round(2 * size), opacity)
        for x, y in mark.reading.landmarks.points:
            if -99 < x < canvas.width + 99 and -99 < y < canvas.height + 99:
                canvas.paste(colour, (round(x - disc.width / 2), round(y - disc.height / 2)), disc)


def _place_tag(mark: _Mark, canvas_wh: tuple[int, int], taken: Sequence[Rect]) -> Rect | None:
    """Above the box, else below, else a line or two further off, else inside at its top.

    It begins where the box does, else ends where the box does; both are moved sideways into the canvas.
    """
    x1, y1, x2, y2 = mark.box
    width, height = mark.tag_size_wh
    gap = mark.line + 1
    if width > canvas_wh[0] or height > canvas_wh[1]:
        return None
    first, *_ = lefts = [min(max(x, 0), canvas_wh[0] - width) for x in (x1, x2 - width)]
    lines = (line * (height + gap) for line in range(3))
    pairs = ((y1 - height - gap - line, y2 + gap + line) for line in lines)
    spots = ((x, y, x + width, y + height) for tops in pairs for x in lefts for y in tops)
    inside = min(max(y1 + 2 * gap, 0), canvas_wh[1] - height)
    free = (spot for spot in spots if _fits(spot, canvas_wh, taken))
    return next(free, (first, inside, first + width, inside + height))


def _place_chart(mark: _Mark, canvas_wh: tuple[int, int], taken: Sequence[Rect]) -> Rect | None:
    """Right of the box, left, below or above: the first place that is on the canvas and free."""
    x1, y1, x2, y2 = mark.box
    width, height = mark.chart_size_wh
    gap = 3 * mark.line + 2
    top = min(max(y1, 0), max(canvas_wh[1] - height, 0))
    left = min(max(x1, 0), max(canvas_wh[0] - width, 0))
    below, above = y2 + gap, y1 - gap - height
    tag = round(1.6 * mark.text) + gap  # room for the label between box and bars
    corners = [(x2 + gap, top), (x1 - gap - width, top)]
    corners += [(left, below), (left, below + tag), (left, above), (left, above - tag)]
    spots = ((x, y, x + width, y + height) for x, y in corners)
    return next((spot for spot in spots if _fits(spot, canvas_wh, taken)), None)


def _draw_tag(pen: ImageDraw.ImageDraw, mark: _Mark, tag: Rect) -> None:
    x1, y1, x2, y2 = tag
    pen.rounded_rectangle((x1 - 1, y1 - 1, x2, y2), radius=mark.text // 4 + 1, fill=SHADE)
    pen.rounded_rectangle((x1, y1, x2 - 1, y2 - 1), radius=mark.text // 4, fill=mark.colour)
    ink = INK if np.dot(mark.colour, (0.299, 0.587, 0.114)) > 110 else PAPER
    font = font_for(mark.label, mark.text)
    pen.text((x1 + mark.text / 2, (y1 + y2) / 2), mark.label, ink, font, anchor="lm")


def _draw_chart(pen: ImageDraw.ImageDraw, mark: _Mark, chart: Rect) -> None:
    x1, y1, x2, y2 = chart
    row, pad = mark.row, mark.row // 2
    pen.rounded_rectangle((x1, y1, x2 - 1, y2 - 1), radius=mark.text // 3, fill=SHADE)
    bar_left, bar_right = x1 + 2 * pad + mark.name_width, x2 - pad
    thick = max(3, round(0.5 * row))
    for index, (name, prob) in enumerate(mark.reading.probabilities.items()):
        middle = y1 + pad + index * row + row // 2
        top = middle - thick // 2
        strength = 255 if name == mark.reading.emotion else 175
        font = font_for(name, mark.name_text)
        pen.text((bar_left - pad, middle), name, (*PAPER, strength), font, anchor="rm")
        pen.rectangle((bar_left, top, bar_right - 1, top + thick - 1), fill=(*PAPER, 38))
        length = round(min(max(prob, 0.0), 1.0) * (bar_right - bar_left))
        if length:
            colour = COLOURS.get(name, OTHER_COLOUR)
            pen.rectangle((bar_left, top, bar_left + length - 1, top + thick - 1), fill=colour)


def _fits(spot: Rect, canvas_wh: tuple[int, int], taken: Iterable[Rect]) -> bool:
    x1, y1, x2, y2 = spot
    if x1 < 0 or y1 < 0 or x2 > canvas_wh[0] or y2 > canvas_wh[1]:
        return False
    return not any(
        x1 < right and left < x2 and y1 < bottom and top < y2 for left, top, right, bottom in taken
    )


@lru_cache(maxsize=256)
def _text_width(text: str, size: int) -> float:
    return font_for(text, size).getlength(text)


@lru_cache(maxsize=32)
def _disc(size: int, opacity: int) -> Image.Image:
    """A round mask with soft edges, which Pillow's own circles lack."""
    large = Image.new("L", (8 * size, 8 * size))
    ImageDraw.Draw(large).ellipse((0, 0, 8 * size - 1, 8 * size - 1), fill=opacity)
    return large.resize((size, size), Image.Resampling.BOX)
