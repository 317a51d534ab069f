"""Recipes: every mistake at once, and every shipped one sound."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.errors import RecipeError
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe_reading import check_recipe, read_recipe, recipe_folder
from mien.train.zoo import build

SHIPPED = sorted(path.stem for path in recipe_folder().glob("*.toml"))


def test_a_recipe_may_begin_with_the_mark_that_windows_writes(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[run]\nepochs = 7\n", encoding="utf-8-sig")
    assert read_recipe(str(tmp_path / "mine.toml")).run.epochs == 7


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
        ("lr=1", "lr: unknown key; did you mean 'optim.lr'?"),
        ("optim.epochs=1", "optim.epochs: unknown key; did you mean 'run.epochs'?"),
        ("name=x", "name: unknown key; did you mean 'net.name' or 'loss.name' or 'optim.name'?"),
    ],
)
def test_a_wrong_override_is_named(override: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text.replace("(", r"\(")):
        read_recipe("fer2013-s2d-cpu", [override])


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no recipe 'fer2013-s2d-cup'; did you mean 'fer2013-s2d-cpu'"):
        read_recipe("fer2013-s2d-cup")


def test_a_run_given_as_a_recipe_is_told_what_continues_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(
        RecipeError, match="is a run, not a recipe; the command that began it continues it: mien train"
    ):
        read_recipe(str(tmp_path))


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[run\nepochs=1")
    with pytest.raises(RecipeError, match=r"bad.toml: not valid TOML"):
        read_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_sound_and_its_network_can_be_built(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.summary
    with torch.device("meta"):
        n_outputs = 136 if recipe.loss.name in LANDMARK_LOSSES else 7
        build(recipe.net, n_outputs, 10 if recipe.loss.votes_weight else 0, fresh=False)


@pytest.mark.parametrize(
    ("net", "text"),
    [
        ({"name": "s2d-resnett"}, "no network named 's2d-resnett'; did you mean 's2d-resnet'?"),
        (
            {"name": "s2d-resnet", "options": {"width": [8]}},
            "'s2d-resnet' has no option 'width'; did you mean 'widths'?",
        ),
    ],
)
def test_an_unknown_network_or_option_is_named(recipe_table: dict[str, Any], net: dict, text: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(text)):
        check_recipe({**recipe_table, "net": net})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["augment.mixup=0.2", 'distil.teachers=["x"]'], "augment.mixup: a teacher has not seen mixed faces"),
        (['loss.class_weights="balanced"', 'data.sampling="balanced"'], "rare emotions would count twice"),
        (['data.sampling="balanced"', "loss.logit_adjustment=1"], "rare emotions would count twice"),
        (['loss.class_weights="balanced"', "loss.logit_adjustment=1"], "rare emotions would count twice"),
        (["run.sizes=[[0.5, 48]]"], "run.sizes: the first must start at 0.0"),
        (['net={name="cs231n-final"}', "run.sizes=[[0.0,64]]"], "'cs231n-final' is built for 48 px alone"),
        (['optim.schedule="one-cycle"'], "one-cycle warms up by itself"),
        (['loss={name="valence-arousal",label_smoothing=0.1}'], "loss.label_smoothing: is for emotions"),
        (
            ['loss={name="wing",class_weights="balanced"}'],
            "loss.class_weights: is for emotions, ",
        ),
        (['loss={name="wing"}', "augment.mixup=0.2"], "augment.mixup: is for emotions"),
        (
            ['optim={schedule="plateau",lr=0.001,min_lr=0.01}'],
            "min_lr .0.01. must not exceed lr",
        ),
    ],
    ids=[
        "mixup and teacher",
        "balanced twice",
        "balanced and adjusted",
        "weighted and adjusted",
        "first size",
        "size of the net",
        "warm-up",
        "regression",
        "weights of points",
        "mixed points",
        "least rate",
    ],
)
def test_what_cannot_go_together_is_a_mistake(changes: list[str], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        read_recipe("fer2013-s2d-cpu", changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (f"run.seed={2**64}", f"1 mistake(s): run.seed: input should be less than or equal to {2**64 - 1}"),
        ("run.threads=1000000", "1 mistake(s): run.threads: input should be less than or equal to 1024"),
        ("run.sizes=[[0.0,16],[1.0,24]]", "1 mistake(s): run.sizes: what starts at 1.0 is never learned"),
        ("run.sizes=[[1.0,24]]", "1 mistake(s): run.sizes: the first must start at 0.0"),
        ("net.options.dropout=nan", "net.options.dropout.float: input should be a finite number"),
        *(
            (f"{key}=inf", f"1 mistake(s): {key}: input should be a finite number")
            for key in (
                "augment.mixup",
                "loss.logit_adjustment",
                "distil.temperature",
                "optim.weight_decay",
                "optim.time_decay",
            )
        ),
    ],
)
def test_numbers_that_no_run_can_take_are_mistakes(change: str, text: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(text)):
        read_recipe("fer2013-s2d-cpu", [change])


def test_the_largest_seed_is_one_that_torch_takes() -> None:
    seed = read_recipe("fer2013-s2d-cpu", [f"run.seed={2**64 - 1}"]).run.seed
    torch.Generator().manual_seed(seed)
    with pytest.raises((RuntimeError, ValueError), match="verflow"):
        torch.Generator().manual_seed(seed + 1)


def test_missing_files_are_listed_with_the_other_mistakes(tmp_path: Path) -> None:
    changes = [
        f"data.store={tmp_path / 'no.h5'}",
        f'distil.teachers=["{tmp_path / "no"}"]',
        "run.sizes=[[1,48]]",
    ]
    with pytest.raises(RecipeError) as caught:
        read_recipe("fer2013-s2d-cpu", changes, files=True)
    for part in (
        "3 mistake(s)",
        "data.store: no data set at",
        "distil.teachers: no run at",
        "run.sizes: the first",
    ):
        assert part in str(caught.value)
