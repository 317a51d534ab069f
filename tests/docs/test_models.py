"""No number about the shipped model is copied by hand."""

import re
from pathlib import Path
from typing import Any

import pytest

from mien.core.model_store import DEFAULT_MODEL, SHIPPED, find_model
from mien.core.text import with_interval

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(
        not (SHIPPED / f"{DEFAULT_MODEL}.onnx").is_file(), reason="no emotion model is shipped"
    ),
]


def test_the_page_of_the_model_is_what_its_card_gives(module_at: Any) -> None:
    tool = module_at("tools/model_page.py")
    weights, card = find_model(DEFAULT_MODEL)
    folder = ROOT / "docs" / "models"
    page = (folder / f"{DEFAULT_MODEL}.md").read_text(encoding="utf-8")
    robustness = tool.measured_robustness(folder, DEFAULT_MODEL)
    assert page == tool.page(card, weights.stat().st_size, robustness), "run tools/model_page.py again"


def test_the_page_names_the_worst_level_of_each_change(module_at: Any) -> None:
    tool = module_at("tools/model_page.py")

    def row(change: str, level: float | None, accuracy: float) -> dict[str, Any]:
        both = {"accuracy": accuracy, "accuracy_interval": [accuracy - 0.01, accuracy + 0.01]}
        return {"change": change, "level": level, **both, **{f"balanced_{k}": v for k, v in both.items()}}

    rows = [row("none", None, 0.7), row("noise", 5, 0.65), row("noise", 40, 0.25), row("blur", 3, 0.3)]
    units = {"noise": "sigma", "blur": "pixels"}
    lines = tool.robustness_lines({"model": "m", "n": 3589, "views": 1, "units": units, "rows": rows})
    assert [line for line in lines if line.startswith("| noise")] == [
        "| noise (sigma) | 40 | 25.00% (24.0%-26.0%) | 25.00% (24.0%-26.0%) |"
    ]
    assert any("unchanged 70.00%" in line for line in lines)
    assert tool.robustness_lines(None) == []


@pytest.mark.parametrize("rows", ["test", "test_clean"])
def test_the_readme_gives_the_scores_of_the_card(rows: str) -> None:
    scores = find_model(DEFAULT_MODEL)[1].scores[rows]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if f"| {scores['n']:,} |" in line)
    assert with_interval(scores["accuracy"], scores["accuracy_interval"], 1) in line
    assert f"{scores['macro_f1']:.1%}" in line
    assert f"{scores['ece']:.3f}" in line


def test_the_pages_tell_one_share_of_test_faces_with_a_near_copy() -> None:
    scores = find_model(DEFAULT_MODEL)[1].scores
    n, copies = scores["test"]["n"], scores["test"]["n"] - scores["test_clean"]["n"]
    percent = f"{copies / n:.0%}".replace("%", " %")
    for page, text in (
        ("docs/concepts/protocol.md", f"Of the {n:,} PrivateTest faces,"),
        ("docs/concepts/protocol.md", f"{copies} ({percent}) have a near copy"),
        ("docs/concepts/leaks.md", f"{percent} of PrivateTest has a near copy"),
        ("README.md", f"a near copy in Training: {percent} have one"),
    ):
        assert text in (ROOT / page).read_text(encoding="utf-8")


MISSED = re.compile(r"(?:most )?\(recall (\d+), (\d+) and (\d+) %")
WRONG = re.compile(r"half of the predictions of disgust are wrong \(precision (\d+) %\)")


@pytest.mark.parametrize("name", ["fer2013-medium", "fer2013-nano"])
def test_the_limits_name_the_emotions_that_the_scores_say_are_missed(name: str) -> None:
    _, card = find_model(name)
    found = {one["label"]: one for one in card.scores["test"]["per_class"]}
    missed = sorted(found, key=lambda label: found[label]["recall"])[:3]
    assert missed == ["fear", "sad", "angry"]
    texts = [card.limits]
    if name == DEFAULT_MODEL:
        texts.append((ROOT / "docs/concepts/intended-use.md").read_text(encoding="utf-8"))
    for text in texts:
        assert "fear, sadness and anger" in text
        assert MISSED.search(text).groups() == tuple(f"{100 * found[one]['recall']:.0f}" for one in missed)
        assert WRONG.search(text)[1] == f"{100 * found['disgust']['precision']:.0f}"


def test_the_shipped_weights_are_small() -> None:
    assert find_model(DEFAULT_MODEL)[0].stat().st_size <= 6_000_000
