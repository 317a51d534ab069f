"""Search files: every mistake at once, and every end of every axis a sound recipe."""

from pathlib import Path
from typing import Any

import pytest

from mien.errors import RecipeError
from mien.train.recipe_reading import check_recipe, read_recipe
from mien.train.search_space import Axis, overrides, read_search, search_folder

BASE = """
[net]
options = { widths = [8, 8, 8], blocks = [1, 1, 1], dropout = 0.0 }
[run]
epochs = 9
"""


@pytest.fixture
def written(tmp_path: Path):
    """``written(text)`` writes a search beside ``base.toml`` and returns its path."""
    (tmp_path / "base.toml").write_text(BASE)

    def write(text: str) -> str:
        (tmp_path / "search.toml").write_text(text)
        return str(tmp_path / "search.toml")

    return write


def test_all_mistakes_of_the_file_are_listed_at_once_with_near_matches(written) -> None:
    path = written("""
recipe = "base.toml"
trails = 3
sampler = "tpee"
seed = -1
[space]
"optim.lr" = { low = 1e-1, high = 1e-4, stepp = 1 }
"run.ema" = { low = 0, high = 0.9, log = true }
"run.seed" = { low = 0, high = 5, step = 2 }
"run.threads" = { low = 1, choices = [1, 2] }
"loss.label_smoothing" = { high = 1 }
""")
    with pytest.raises(RecipeError) as caught:
        read_search(path)
    text = str(caught.value)
    assert "search.toml has 9 mistake(s): " in text
    for part in (
        "trials: field required",
        "trails: unknown key; did you mean 'trials'?",
        "sampler: input should be 'random' or 'tpe'",
        "seed: input should be greater than or equal to 0",
        "space.optim.lr.stepp: unknown key; did you mean 'step'?",
        "space.run.ema: low must be above 0 where log = true, got 0",
        "space.run.seed: high must be low plus a whole number of steps, got 0, 5 and step 2",
        "space.run.threads: choices stand alone, without low, high, log or step",
        "space.loss.label_smoothing: needs low and high, or choices",
    ):
        assert part in text
    assert "\n" not in text


def test_every_end_of_every_axis_is_tried_on_the_recipe(written) -> None:
    path = written("""
recipe = "base.toml"
trials = 1
[set]
"run.batch_size" = 4
[space]
"optim.lrr" = { low = 1e-4, high = 1e-1 }
"optim.momentum" = { low = 0, high = 1 }
"run.epochs" = { low = 1, high = 2.5 }
"run.batch_size" = { choices = [4, "big"] }
"run.evaluate_every" = { low = 1, high = 4, step = 1.5 }
"optim.name" = { choices = ["sgd", "adm", "adan"] }
""")
    with pytest.raises(RecipeError) as caught:
        read_search(path)
    text = str(caught.value)
    assert text.count("optim.lrr") == 1
    for part in (
        "space.run.batch_size: is also in [set]",
        "space.optim.lrr: unknown key; did you mean 'lr'?",
        "space.optim.momentum: input should be less than 1",
        "space.run.epochs: input should be a valid integer",
        "space.run.batch_size: input should be a valid integer",
        "space.run.evaluate_every: step must be a whole number, got 1.5",
        "space.optim.name: input should be ",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('recipe = "bse.toml"', r"\[set\] on recipe '.*bse.toml': no recipe"),
        ('recipe = "base.toml"\n[set]\n"run.epoch" = 1', "run.epoch: unknown key; did you mean 'epochs'"),
        ('recipe = "base.toml"\n[set]\nrun.epoch = 1', "run.epoch: unknown key; did you mean 'epochs'"),
    ],
    ids=["recipe", "quoted key", "nested key"],
)
def test_a_mistake_of_the_recipe_names_the_search(written, text: str, says: str) -> None:
    path = written(f'trials = 1\n{text}\n[space]\n"optim.lr" = {{ low = 0.1, high = 1 }}')
    with pytest.raises(RecipeError, match=f"search.toml: .*{says}"):
        read_search(path)


@pytest.mark.parametrize(
    "loss",
    ['[set]\n"loss.name" = "wing"', '[space."loss.name"]\nchoices = ["focal", "wing"]'],
    ids=["set", "space"],
)
def test_what_learns_landmarks_is_refused_for_it_has_no_accuracy(written, loss: str) -> None:
    space = '[space."optim.lr"]\nlow = 0.1\nhigh = 1'
    with pytest.raises(
        RecipeError, match=r"mistake.*: loss.name: wing learns landmarks, which have no accuracy"
    ):
        read_search(written(f'recipe = "base.toml"\ntrials = 1\n{space}\n{loss}'))


def test_values_that_only_do_not_suit_the_recipe_are_left_to_the_trials(written, monkeypatch) -> None:
    path = written('recipe="base.toml"\ntrials=1\n[space]\n"optim.lr" = { low = 0.1, high = 1 }')

    def at_odds(name: str, changes: Any = ()) -> Any:
        if any("optim.lr=1" in change for change in changes):
            return check_recipe({"run": {"epochs": 0}})  # another key is to blame
        return read_recipe(name, changes)

    monkeypatch.setattr("mien.train.search_space.read_recipe", at_odds)
    assert read_search(path).search.trials == 1


def test_quoted_and_nested_keys_mean_the_same(written) -> None:
    quoted = read_search(
        written('recipe="base.toml"\ntrials=1\n[set]\n"run.epochs"=2\n[space]\n"optim.lr"={low=0.1,high=1}')
    )
    nested = read_search(
        written('recipe="base.toml"\ntrials=1\n[set]\nrun.epochs=2\n[space.optim]\nlr={low=0.1,high=1}')
    )
    assert quoted == nested
    assert nested.recipe.run.epochs == 2
    assert nested.search.space == {"optim.lr": Axis(low=0.1, high=1)}


def test_keys_of_whole_numbers_are_known_by_the_recipe_and_not_by_how_they_are_written(written) -> None:
    plan = read_search(
        written("""
recipe = "base.toml"
trials = 1
[space]
"run.epochs" = { low = 1.0, high = 4.0 }
"optim.weight_decay" = { low = 0, high = 1 }
"net.options.dropout" = { low = 0, high = 0.5 }
"augment.flip" = { choices = ["none", "random"] }
""")
    )
    assert plan.whole == {"run.epochs"}


@pytest.mark.parametrize(
    "takes",
    ["dropout=0.2", "dropout: float | None = None", "*, dropout: 'float' = 0.0", "dropout=0", "**more"],
)
def test_an_option_of_fractions_is_known_by_the_constructor_of_the_network(
    written, tmp_path: Path, takes: str
) -> None:
    (tmp_path / "own_net.py").write_text(f"class Net:\n    def __init__(self, n_classes, {takes}): pass\n")
    text = (
        'recipe="base.toml"\ntrials=1\n[set]\nnet={{name="{}", options={{}}}}\n[space]\n"{}"={{low=0,high=1}}'
    )
    plan = read_search(written(text.format(f"{tmp_path / 'own_net.py'}:Net", "net.options.dropout")))
    fractions = takes not in ("dropout=0", "**more")
    assert plan.whole == (frozenset() if fractions else {"net.options.dropout"})
    plan = read_search(written('recipe="base.toml"\ntrials=1\n[space]\n"net.options.dropout"={low=0,high=1}'))
    assert plan.whole == frozenset()


def test_a_trial_changes_its_keys_and_nothing_else(written, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = read_search(
        written('recipe="base.toml"\ntrials=1\n[set]\nrun.seed=3\n[space]\n"optim.lr"={low=0.1,high=1}'),
        Path("my faces.h5"),
    )
    recipe = plan.recipe_at({"optim.lr": 0.5, "net.options.widths": [4, 4, 4]})
    wanted = plan.recipe.model_dump()
    wanted["optim"]["lr"] = 0.5
    wanted["net"]["options"]["widths"] = [4, 4, 4]
    assert recipe.model_dump() == wanted
    assert recipe.data.store == str(tmp_path / "my faces.h5")
    assert (recipe.run.seed, recipe.run.epochs) == (3, 9)


@pytest.mark.parametrize(
    "value", [0.0012, 1e-05, 3, True, 'a "b" \\', [[0.0, 12], [0.5, 16]], {"a": [1], "b": {"c": 0.5}}, "é"]
)
def test_an_override_is_read_back_as_the_same_value(value: Any) -> None:
    import tomllib

    (text,) = overrides({"net.options": value})
    key, _, toml = text.partition("=")
    assert key == "net.options"
    assert tomllib.loads(f"value = {toml}") == {"value": value}


def test_an_unknown_search_is_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no search 'cs231m'; did you mean 'cs231n'"):
        read_search("cs231m")


def test_a_file_that_is_not_toml_is_named(written) -> None:
    with pytest.raises(RecipeError, match=r"search.toml: not valid TOML"):
        read_search(written("[space"))


@pytest.mark.parametrize("name", sorted(path.stem for path in search_folder().glob("*.toml")))
def test_every_shipped_search_is_sound_and_the_networks_of_its_ends_can_be_built(name: str) -> None:
    from mien.train.zoo import build

    plan = read_search(name)
    assert plan.search.summary
    for key, axis in plan.search.space.items():
        for end in axis.ends:
            build(plan.recipe_at({key: end}).net, 7)


def test_the_cs231n_search_is_even_in_the_logarithm_around_what_the_paper_found() -> None:
    plan = read_search("cs231n")
    found_by_key = {"optim.lr": 0.00127, "optim.gamma": 0.95, "optim.weight_decay": 0.00172}
    assert plan.search.space.keys() == found_by_key.keys()
    for key, found in found_by_key.items():
        axis = plan.search.space[key]
        assert axis.log
        assert axis.low < found < axis.high
    assert (plan.recipe.net.name, plan.recipe.optim.name) == ("cs231n-final", "adam")
    assert plan.recipe.run.batch_size == 50
