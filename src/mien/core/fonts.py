"""A font for a text: Pillow's own, or one of the system where the text has letters that it lacks."""

from contextlib import suppress
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SYSTEM_FONTS = (
    # Linux: wide ones, then those of one script each
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "FreeSans.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf"),
    *("NotoSansDevanagari-Regular.ttf", "NotoSansBengali-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc"),
    # Windows
    *("segoeui.ttf", "arial.ttf", "msyh.ttc", "YuGothM.ttc", "msgothic.ttc", "malgun.ttf"),
    *("Nirmala.ttc", "Nirmala.ttf", "LeelawUI.ttf"),
    # macOS
    *("Arial Unicode.ttf", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "Kohinoor.ttc"),
)
"""Names of files that Pillow looks for where a system keeps its fonts."""
NO_LETTER = "\uffff"  # no font has it, so it shows what stands for a letter that is not there


def font_for(text: str, size: int) -> Font:
    """Pillow's own font, in pixels, or the first of `SYSTEM_FONTS` that has what it lacks of a text."""
    return _font(font_name("".join(sorted(set(text)))), size)


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


@lru_cache(maxsize=256)
def font_name(letters: str) -> str:
    """The name of a font that has them all; empty for Pillow's own, which is taken too where none has."""
    if letters.isascii() or _has("", letters):
        return ""
    return next((name for name in SYSTEM_FONTS if _has(name, letters)), "")


def _has(name: str, letters: str) -> bool:
    with suppress(OSError, ImportError):  # it is not installed, or Pillow lacks FreeType
        font = _font(name, 16)
        absent = bytes(font.getmask(NO_LETTER))
        return all(letter.isspace() or bytes(font.getmask(letter)) != absent for letter in letters)
    return False
