"""Model cards: what is written is read, and a damaged card says all that is wrong with it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from mien.core.cards import CLASS_SCORES, ModelCard, read_card
from mien.errors import ModelError

CARD = {
    "name": "tiny",
    "summary": "Answers every face alike.",
    "labels": ["angry", "happy"],
    "input_size": 48,
    "mean": 0.5,
    "std": 0.25,
    "sha256": "00",
    "licence": "CC0-1.0",
    "data": "none",
    "intended_use": "Tests.",
    "unfit_use": "Anything else.",
    "limits": "Sees nothing.",
}


def written(table: Any, folder: Path) -> Path:
    path = folder / "card.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    more = {"channels": 3, "temperatures": {"1": 1.25, "2": 1.5}, "prior": (0.25, 0.75), "prior_power": 0.5}
    more |= {"views": "auto", "auto": {"few": 1, "many": 10, "below": 0.5}}
    card = ModelCard(**{**CARD, "labels": ("angry", "happy"), **more})
    card.write(tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == card
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_a_short_card_has_the_defaults(tmp_path: Path) -> None:
    card = read_card(written(CARD, tmp_path))
    assert (card.channels, card.views, card.crop_scale, card.temperature(1)) == (1, 1, 1.0, 1.0)
    with pytest.raises(
        ModelError, match="for 1 views of a face, not for 10; mien calibrate MODEL DATA --views 10 --name"
    ):
        card.temperature(10)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": ["happy", "happy"]}, "labels must be different names"),
        ({"labels": []}, "labels must be different names"),
        ({"labels": [1, 2]}, "labels must be different names"),
        ({"input_size": 7}, r"input_size must lie in 8..1024, got 7"),
        ({"input_size": 2048}, r"input_size must lie in 8..1024, got 2048"),
        ({"input_size": "48"}, r'input_size must be a whole number, got "48"'),
        ({"mean": True}, "mean must be a number, got true"),
        ({"std": 0}, "std must be positive, got 0"),
        ({"crop_scale": -1}, "crop_scale must be positive, got -1"),
        ({"temperatures": {}}, "temperatures must be positive numbers, got {}"),
        ({"temperatures": {"1": "hot"}}, "temperatures must be positive numbers, got "),
        ({"temperatures": {"1": 0}}, "temperatures must be positive numbers, got "),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"views": 3}, "views must be 1, 2, 5, 10, 12, 18 or auto, got 3"),
        ({"views": "many"}, 'views must be .* or auto, got "many"'),
        ({"views": "auto"}, "auto is missing, which automatic views need"),
        ({"auto": {"few": 1}}, r"auto must hold few, many and below \(0..1\), got "),
        ({"auto": {"few": 1, "many": 3, "below": 0.5}}, "auto must hold few, many and below"),
        ({"auto": {"few": 1, "many": 10, "below": 2}}, "auto must hold few, many and below"),
        ({"auto": {"few": [1], "many": 10, "below": 0.5}}, "auto must hold few, many and below"),
        ({"auto": {"few": 1, "many": 10, "below": True}}, "auto must hold few, many and below"),
        (
            {"auto": {"few": 1, "many": 10, "below": 0.5, "temperature": 0}},
            "auto.temperature must be a positive number, got 0",
        ),
        ({"prior": [0.5, 0.2, 0.3]}, "prior must hold one positive share a label, 1 in all, got "),
        ({"prior": [1.0, 0]}, "prior must hold one positive share a label"),
        ({"prior": [0.5, 0.4]}, "prior must hold one positive share a label"),
        ({"prior_power": 0.5}, "prior is missing, which prior_power needs"),
        ({"prior": [0.5, 0.5], "prior_power": -1}, "prior_power must lie in 0..2, got -1"),
        ({"uncertain_below": 1.5}, r"uncertain_below must lie in 0..1, got 1.5"),
        ({"format": 2}, "it has format 2, this mien reads up to 1; upgrade mien"),
        (
            {"format": 2, "age_range": 3},
            r"card of mien: it has format 2, this mien reads up to 1; upgrade mien$",
        ),
        ({"scores": {"test": "high"}}, r'scores.test must be an object or a number, got "high"'),
        ({"scores": {"test": {"accuracy": [1]}}}, r"scores.test.accuracy must be a number, got \[1\]"),
        ({"scores": {"test": {"nll": math.nan}}}, r"scores.test.nll must be a number, got NaN"),
        (
            {"scores": {"test": {"per_class": [dict.fromkeys(CLASS_SCORES, math.nan) | {"label": "sad"}]}}},
            r"per_class of 'sad' must hold the numbers",
        ),
        ({"scores": {"test": {"ece": {}}}}, r"scores.test.ece must be a number, got {}"),
        (
            {"scores": {"test": {"accuracy_interval": [1]}}},
            r"accuracy_interval must be two numbers, got \[1\]",
        ),
        ({"scores": {"test": {"per_class": [1]}}}, r"per_class must be a list of objects with labels, got 1"),
        (
            {"scores": {"test": {"per_class": [{"label": "sad"}]}}},
            r"per_class of 'sad' must hold the numbers",
        ),
        ({"training": json.loads("[" * 30 + "]" * 30)}, "it is nested deeper than 20 levels"),
        ({"lables": ["happy"]}, "unknown field 'lables'; did you mean 'labels'"),
    ],
)
def test_a_field_that_cannot_be_is_named(change: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=text):
        read_card(written(CARD | change, tmp_path))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    table = {k: v for k, v in CARD.items() if k not in ("sha256", "licence")} | {"std": -1, "input_size": 1}
    with pytest.raises(ModelError, match="sha256 is missing; licence is missing"):
        read_card(written(table, tmp_path))
    with pytest.raises(
        ModelError, match=r"input_size must lie in 8..1024, got 1; std must be positive, got -1"
    ):
        read_card(written(CARD | {"std": -1, "input_size": 1}, tmp_path))


def test_scores_may_lack_figures_and_hold_others(tmp_path: Path) -> None:
    scores = {
        "test": {"accuracy": 0.7, "n": 9},
        "by_views": {"1": 0.7},
        "epochs": 3,
        "test_clean": {"ece": 0.1},
    }
    assert read_card(written(CARD | {"scores": scores}, tmp_path)).scores == scores


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000],
    ids=["empty", "cut", "binary", "list", "nested"],
)
def test_a_file_that_is_no_card_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"card.json is not a (readable model card|model card of mien)"):
        read_card(tmp_path / "card.json")
