"""No number about the shipped model is copied by hand."""

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


def test_the_shipped_weights_are_small() -> None:
    assert find_model(DEFAULT_MODEL)[0].stat().st_size <= 6_000_000
