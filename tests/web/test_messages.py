"""The words of the pages in every language: the same keys, the same placeholders, the same emotions."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("de", "en", "es", "fr", "zh")
QUIZ = {code: ROOT / f"src/mien/web/static/quiz.{code}.json" for code in LANGUAGES}
PAGE = {code: ROOT / f"page/ui/messages/{code}.json" for code in LANGUAGES}


def read(path: Path) -> dict:
    def unique(pairs: list) -> dict:
        assert len(dict(pairs)) == len(pairs), f"{path.name} has a key twice"
        return dict(pairs)

    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)


def shape(value: object) -> object:
    """What must be the same in every language: keys, and the placeholders of each text."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    assert isinstance(value, str)
    assert value.strip()
    return sorted(re.findall(r"\{\w+\}", value))


@pytest.mark.parametrize("files", [QUIZ, PAGE], ids=["quiz", "page"])
@pytest.mark.parametrize("code", LANGUAGES)
def test_every_language_has_the_same_keys_and_placeholders(files: dict[str, Path], code: str) -> None:
    assert shape(read(files[code])) == shape(read(files["en"]))


@pytest.mark.parametrize("code", LANGUAGES)
def test_an_emotion_has_the_same_word_on_both_pages(code: str) -> None:
    assert read(QUIZ[code])["emotions"] == read(PAGE[code])["emotions"]


def test_the_pages_offer_the_languages_that_there_are() -> None:
    code = (ROOT / "src/mien/web/static/quiz.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"const LANGUAGES = \{(.+)\};", code)
    offered = dict(re.findall(r'(\w+): "([^"]+)"', listed))
    assert offered == {one: read(QUIZ[one])["language"] for one in LANGUAGES}
    assert {path.name for path in QUIZ["en"].parent.glob("quiz.*.json")} == {p.name for p in QUIZ.values()}


def test_the_quiz_names_no_message_that_is_missing() -> None:
    static = QUIZ["en"].parent
    html = (static / "quiz.html").read_text(encoding="utf-8")
    code = (static / "quiz.js").read_text(encoding="utf-8")
    asked = set(re.findall(r'data-(?:say|label)="(\w+)"', html))
    asked |= set(re.findall(r'say\("(\w+)"', code)) | set(re.findall(r'fill\("\w+", "(\w+)"', code))
    assert asked <= set(read(QUIZ["en"]))
    assert len(asked) > 15
