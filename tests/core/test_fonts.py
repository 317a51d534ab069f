from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import ImageFont

from mien.core import fonts
from mien.core.draw import annotate
from mien.core.results import Box, Face, Reading

PILLOWS = ImageFont.load_default(16).getname()


class Drawn:
    """A font that has some letters; what it draws is the letter, or nothing."""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def getmask(self, text: str) -> bytes:
        return text.encode() if text in self.letters else b""


INSTALLED = {"latin.ttf": Drawn("aé"), "wide.ttf": Drawn("aéЖ"), "wider.ttf": Drawn("aéЖ中")}


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    own = ImageFont.truetype

    def truetype(name: Any, *options: Any, **more: Any) -> Any:
        if not isinstance(name, str):  # Pillow's, out of memory
            return own(name, *options, **more)
        if name not in INSTALLED:
            raise OSError("cannot open resource")
        return INSTALLED[name]

    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ("absent.ttf", *INSTALLED))
    monkeypatch.setattr(fonts.ImageFont, "truetype", truetype)
    fonts.font_name.cache_clear()
    yield
    fonts.font_name.cache_clear()


@pytest.mark.parametrize(("text", "name"), [("aé a", "latin.ttf"), ("aЖ", "wide.ttf"), ("é中", "wider.ttf")])
def test_the_first_font_of_the_system_that_has_every_letter_is_taken(text: str, name: str) -> None:
    assert fonts.font_for(text, 16) is INSTALLED[name]


@pytest.mark.parametrize("text", ["happy?  93%", "…°", "ab\uffff", "é م"])
def test_pillows_font_draws_what_it_has_and_what_no_other_has(text: str) -> None:
    assert fonts.font_for(text, 16).getname() == PILLOWS


def test_a_label_is_drawn_in_the_font_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own, large = ImageFont.load_default(16), ImageFont.load_default(40)
    monkeypatch.setattr("mien.core.draw.font_for", lambda text, size: own if text.isascii() else large)

    def width(label: str) -> int:
        one = Reading(Face(Box(20, 80, 120, 180), 0.9), (label,), (1.0,))
        drawn = annotate(np.full((200, 600, 3), 128, np.uint8), [one])
        return int(np.ptp(np.flatnonzero((drawn[:75] != 128).any(axis=(0, 2)))))

    assert width("dégoût") > 1.5 * width("degout")
