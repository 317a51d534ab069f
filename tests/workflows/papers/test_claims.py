"""The papers' rows as data."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mien.errors import MienError
from mien.workflows.papers import claims

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = json.loads((ROOT / "tests" / "core" / "reference_metrics.json").read_text())
RECIPES = ROOT / "src" / "mien" / "recipes"


def test_every_row_says_all_that_a_reader_needs() -> None:
    for row in claims.rows().values():
        assert row.paper in claims.papers(), row.name
        for fact in (row.what, row.published, row.on, row.holds, row.source):
            assert fact, row.name
        assert row.command or row.why, f"{row.name} has neither a recipe nor a reason"
        assert row.kind == "network" or not row.recipe, row.name
        assert (row.kind == "human") == (row.needs == "people"), row.name
        assert row.needs in claims.NEEDS, row.name
        assert row.needs == "gpu" or bool(row.needs) == bool(row.why) or "mien evaluate" in row.why, row.name
        assert row.spec or row.kind != "network" or "quoted" in row.holds, row.name


@pytest.mark.parametrize(
    ("paper", "people", "others"),
    [
        ("cs230", 2, 9),
        ("auc", 0, 13),
        ("khanzada", 1, 21),
        ("cs231n", 3, 4),
        ("chmura", 0, 2),
        ("maastricht", 0, 12),
    ],
)
def test_no_row_of_a_paper_is_forgotten(paper: str, people: int, others: int) -> None:
    kinds = [row.kind == "human" for row in claims.rows().values() if row.paper == paper]
    assert (sum(kinds), len(kinds) - sum(kinds)) == (people, others)


def test_every_recipe_of_a_paper_has_its_row_and_every_row_its_recipe() -> None:
    shipped = {path.stem for path in RECIPES.glob("*.toml")}
    named = {row.recipe for row in claims.rows().values() if row.recipe}
    assert named - shipped == set()
    assert {name for name in shipped - named if name.split("-")[0] in claims.papers()} == set()


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ("maastricht-cnn1", "maastricht_cnn1_40ep|privatetest_3589"),
        ("maastricht-cnn2", "maastricht_cnn2_40ep|privatetest_3589"),
        ("maastricht-cnn3", "maastricht_cnn3_40ep|privatetest_3589"),
        ("maastricht-googlenet", "maastricht_googlenet_10ep|privatetest_3589"),
        ("chmura-cnn", "chmura_owncnn"),
        ("cs230-base-64", "cs230_base64"),
    ],
)
def test_what_holds_is_what_the_committed_predictions_give(row: str, entry: str) -> None:
    scores = PUBLISHED[entry]
    found = claims.row(row)
    assert found.holds.startswith(f"{scores['accuracy']:.2%}".replace("%", " %"))
    assert f"{scores['correct']:,}" in found.note + found.holds
    assert f"macro F1 {100 * scores['macro_f1']:.1f} %" in found.note + found.holds


@pytest.mark.parametrize("row", ["maastricht-cnn1-20-epochs", "maastricht-cnn4"])
def test_the_leaking_figure_is_what_the_committed_predictions_give(row: str) -> None:
    key = {"maastricht-cnn4": "maastricht_cnn4_40ep(commit ccef0a7)"}.get(
        row, "maastricht_cnn1_20ep(commit ab23986)"
    )
    assert f"{100 * PUBLISHED[f'{key}|all_32298']['accuracy']:.2f} % on all" in claims.row(row).note


@pytest.mark.parametrize(
    ("row", "right", "n"),
    [("cs230-human-untrained", 57, 100), ("cs230-human-trained", 63, 100), ("cs231n-human", 190, 300)],
)
def test_the_intervals_of_the_human_figures_are_wilsons(row: str, right: int, n: int) -> None:
    """By the formula of Wilson 1927, written out again."""
    z, p = 1.959964, right / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    printed = [float(x) for x in re.findall(r"\d+\.\d", claims.row(row).holds)]
    assert printed == pytest.approx([100 * low, 100 * high], abs=0.11)


def test_an_unknown_row_is_answered_with_the_nearest() -> None:
    with pytest.raises(MienError, match="no row named 'mastricht-cnn1'; did you mean 'maastricht-cnn1'"):
        claims.row("mastricht-cnn1")


def test_all_leaves_out_what_needs_more_than_fer2013() -> None:
    names = {row.name for row in claims.chosen([], True)}
    assert {"maastricht-cnn1", "maastricht-face", "cs231n-distilled", "chmura-cnn"} <= names
    assert not {"maastricht-googlenet", "maastricht-xception", "cs230-human-trained"} & names
    order = [row.name for row in claims.chosen([], True)]
    assert order.index("cs231n-final") < order.index("cs231n-distilled")
    assert order[-2:] == ["auc-ensemble", "auc-five-layer-views"], "when their members are trained"


def test_the_vote_is_of_seven_rows_that_learn_from_the_same_data() -> None:
    row = claims.row("auc-ensemble")
    members = [claims.row(name) for name in row.members]
    assert len({one.name for one in members}) == 7
    assert all(one.recipe and not one.derived and not one.why for one in members)
    assert row.made_by.startswith("mien ensemble runs/face-transfer-finetuned runs/face-transfer-frozen ")
    runs = [json.loads((ROOT / "docs" / "papers" / f"{one.name}.json").read_text()) for one in members]
    assert len({run["data"]["content_hash"] for run in runs}) == 1
    on_val = [run["val"]["accuracy"] for run in runs]
    assert on_val == sorted(on_val, reverse=True), "the best on PublicTest comes first"


def test_a_row_of_several_views_is_made_by_evaluate() -> None:
    row = claims.row("auc-five-layer-views")
    assert row.made_by == "mien evaluate runs/khanzada-five-layer fer2013.h5 --views 10"
    assert row.command == "mien papers run auc-five-layer-views"


@pytest.mark.parametrize(
    ("names", "everything", "text"),
    [
        ([], False, "give rows, such as maastricht-cnn1, or --all"),
        (["chmura-cnn"], True, "give rows, such as maastricht-cnn1, or --all"),
        (
            ["auc-vgg16"],
            False,
            "'auc-vgg16' cannot be trained: figure from another paper: see khanzada",
        ),
    ],
    ids=["nothing", "both", "untrainable"],
)
def test_a_choice_that_cannot_be_run_is_refused(names: list[str], everything: bool, text: str) -> None:
    with pytest.raises(MienError, match=re.escape(text)):
        claims.chosen(names, everything)
