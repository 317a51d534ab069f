"""Recipes: every mistake at once, and every shipped one sound."""

from pathlib import Path
from typing import Any

import pytest

from mien.errors import RecipeError
from mien.train.recipe import check_recipe, read_recipe, recipe_folder
from mien.train.zoo import build

SHIPPED = sorted(path.stem for path in recipe_folder().glob("*.toml"))


def test_all_mistakes_are_listed_at_once_with_near_matches() -> None:
    table = {
        "run": {"epochs": "many", "batchsize": 3},
        "optim": {"lr": -1},
        "augment": {"zoom": 2, "rotaton_deg": 3},
        "losss": {},
    }
    with pytest.raises(RecipeError) as caught:
        check_recipe(table, "x.toml")
    text = str(caught.value)
    assert "x.toml has 6 mistake(s)" in text
    for part in (
        "run.epochs: input should be a valid integer",
        "run.batchsize: unknown key; did you mean 'batch_size'?",
        "optim.lr: input should be greater than 0",
        "augment.zoom: input should be less than 1",
        "augment.rotaton_deg: unknown key; did you mean 'rotation_deg'?",
        "losss: unknown key; did you mean 'loss'?",
    ):
        assert part in text
    assert "\n" not in text


def test_overrides_reach_their_key_with_their_type() -> None:
    recipe = read_recipe("fer2013-s2d-cpu", ["run.epochs=3", "optim.lr=0.25", "data.store=other.h5"])
    assert (recipe.run.epochs, recipe.optim.lr, recipe.data.store) == (3, 0.25, "other.h5")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("epochs", "--set needs key=value such as run.epochs=5, got 'epochs'"),
        ("run.epochs.x=1", "'epochs' is a value, not a table"),
        ("run.epoch=1", "run.epoch: unknown key; did you mean 'epochs'?"),
    ],
)
def test_a_wrong_override_is_named(override: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text.replace("(", r"\(")):
        read_recipe("fer2013-s2d-cpu", [override])


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no recipe 'fer2013-s2d-cup'; did you mean 'fer2013-s2d-cpu'"):
        read_recipe("fer2013-s2d-cup")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[run\nepochs=1")
    with pytest.raises(RecipeError, match=r"bad.toml: not valid TOML"):
        read_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_sound_and_its_network_can_be_built(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.summary
    build(recipe.net, 7, 10 if recipe.loss.votes_weight else 0)


@pytest.mark.parametrize(
    ("net", "text"),
    [
        ({"name": "s2d-resnett"}, "no network named 's2d-resnett'; did you mean 's2d-resnet'?"),
        ({"name": "s2d-resnet", "options": {"width": [8]}}, "net.options of 's2d-resnet': .*'width'"),
    ],
)
def test_an_unknown_network_or_option_is_named(recipe_table: dict[str, Any], net: dict, text: str) -> None:
    recipe = check_recipe({**recipe_table, "net": net})
    with pytest.raises(RecipeError, match=text):
        build(recipe.net, 7)
