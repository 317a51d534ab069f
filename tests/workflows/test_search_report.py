"""What a search found: importances on the scale of the axes, an image, a command that repeats the best."""

import math
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("optuna", reason="needs the train extra")

from mien.errors import MienError
from mien.train.recipe_reading import read_recipe
from mien.train.search_space import Search, read_search
from mien.workflows import search_report
from mien.workflows.search import SearchState, Trial
from mien.workflows.search_report import command, importances, parallel_figure

SPACE = {
    "optim.lr": {"low": 1e-5, "high": 1e-1, "log": True},
    "optim.momentum": {"low": 0.0, "high": 0.9},
    "run.sizes": {"choices": [[[0.0, 12]], [[0.0, 12], [0.5, 16]]]},
}


def found(score: Callable[[float, float, int], float], n: int = 60, **more: object) -> SearchState:
    """``n`` random trials scored by ``score(lr, momentum, number of sizes)``."""
    search = Search.model_validate({"recipe": "fer2013-s2d-cpu", "trials": n, "space": SPACE, **more})
    rng = np.random.default_rng(0)
    trials = []
    for number in range(n):
        lr, momentum = float(10 ** rng.uniform(-5, -1)), float(rng.uniform(0, 0.9))
        sizes = SPACE["run.sizes"]["choices"][rng.integers(2)]
        point = {"optim.lr": lr, "optim.momentum": momentum, "run.sizes": sizes}
        trials.append(Trial(number, "complete", point, score(lr, momentum, len(sizes))))
    return SearchState(search, "/data/my faces.h5", tuple(trials))


PLANTED = {
    "rate": (lambda lr, m, s: 0.5 - 0.1 * abs(math.log10(lr) + 3), "optim.lr"),
    "momentum": (lambda lr, m, s: 0.5 + 0.3 * m, "optim.momentum"),
    "sizes": (lambda lr, m, s: 0.5 + 0.1 * s, "run.sizes"),
    # Only the lowest decade matters: a quarter of the logarithmic axis, a thousandth of an even one.
    "lowest decade": (lambda lr, m, s: 0.5 + 0.2 * (lr < 1e-4) + 0.02 * m, "optim.lr"),
}


@pytest.mark.parametrize("method", ["fANOVA", "PED-ANOVA"])
@pytest.mark.parametrize(("score", "key"), PLANTED.values(), ids=PLANTED)
def test_the_key_that_was_planted_is_found_to_matter(score, key, method, monkeypatch) -> None:
    if method == "fANOVA":
        pytest.importorskip("sklearn", reason="fANOVA needs scikit-learn")
    else:
        monkeypatch.setattr(search_report, "find_spec", lambda name: None)
    got = importances(found(score))
    assert (got.method, got.n) == (method, 60)
    assert next(iter(got.by_key)) == key
    assert got.by_key[key] > (0.75 if method == "fANOVA" else 0.5)  # PED-ANOVA looks at the best tenth alone
    assert sum(got.by_key.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("score", "n"), [(lambda lr, m, s: m, 9), (lambda lr, m, s: 0.5, 30)], ids=["few trials", "all alike"]
)
def test_nothing_is_said_of_importance_where_nothing_can_be_known(score, n) -> None:
    assert importances(found(score, n)) is None


def test_failed_and_unfinished_trials_have_no_part_in_it() -> None:
    state = found(PLANTED["rate"][0])
    point = state.trials[0].point
    more = [Trial(60, "failed", point, reason="nan"), Trial(61, "unfinished", point)]
    with_more = SearchState(state.search, state.store, (*state.trials, *more))
    assert importances(with_more) == importances(state)
    assert with_more.best == state.best
    assert with_more.finished == 61


def test_the_command_trains_the_values_of_the_trial_for_as_long_as_the_recipe_says(monkeypatch) -> None:
    fixed = {"run.epochs": 2, "net.options": {"widths": [8, 8, 8]}, "augment.flip": "none"}
    state = found(PLANTED["rate"][0], set=fixed)
    words = shlex.split(command(state, state.best, Path("found it")).replace("\\\n", ""))
    assert words[:3] == ["mien", "train", "fer2013-s2d-cpu"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options["--out"] == "found it/best"
    assert options["--data"] == "/data/my faces.h5"
    settings = [value for name, value in zip(words[3::2], words[4::2], strict=True) if name == "--set"]
    recipe, shipped = read_recipe(words[2], settings), read_recipe("fer2013-s2d-cpu")
    best = state.best.point
    assert (recipe.optim.lr, recipe.optim.momentum) == (best["optim.lr"], best["optim.momentum"])
    assert [list(pair) for pair in recipe.run.sizes] == best["run.sizes"]
    assert recipe.net.options == {"widths": [8, 8, 8]}
    assert recipe.augment.flip == "none"
    assert recipe.run.epochs == shipped.run.epochs == 40


def test_files_below_the_working_folder_are_named_from_there(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = found(PLANTED["rate"][0], recipe=str(tmp_path / "mine.toml"))
    near = SearchState(state.search, str(tmp_path / "faces.h5"), state.trials)
    assert command(near, near.best, Path("f")).startswith("mien train mine.toml --data faces.h5 --out f/best")


@pytest.fixture
def drawn(monkeypatch):
    """The figures in place of their files."""
    kept = []
    monkeypatch.setattr(search_report, "save", lambda figure, path: kept.append(figure))
    return kept


def test_the_image_is_a_readable_png_of_sensible_size(tmp_path: Path) -> None:
    path = tmp_path / "trials.png"
    assert parallel_figure(found(PLANTED["rate"][0]), path) == path
    with Image.open(path) as image:
        image.load()
        assert 700 <= image.width <= 2600
        assert 400 <= image.height <= 1400


def test_a_logarithmic_key_has_a_logarithmic_axis_with_its_decades(drawn) -> None:
    parallel_figure(found(PLANTED["rate"][0]), "unused.png")
    (ax,) = drawn[0].axes
    marks = {(round(t.get_position()[0]), t.get_text()): t.get_position()[1] for t in ax.texts}
    decades = {"1e-05": 0, "0.0001": 0.25, "0.001": 0.5, "0.01": 0.75, "0.1": 1}
    assert {text: y for (x, text), y in marks.items() if x == 0} == pytest.approx(decades)
    momentum = {"0": 0, "0.2": 2 / 9, "0.4": 4 / 9, "0.6": 6 / 9, "0.8": 8 / 9}
    assert {text: y for (x, text), y in marks.items() if x == 1} == pytest.approx(momentum)
    assert {text: y for (x, text), y in marks.items() if x == 2} == {
        "[[0.0, 12]]": 0.25,
        "[[0.0, 12], [0.5, 16]]": 0.75,
    }
    assert [t.get_text() for t in ax.get_xticklabels()] == [*SPACE, "validation %"]


def test_each_line_runs_through_the_values_of_its_trial_and_the_best_is_drawn_last_and_thick(drawn) -> None:
    state = found(PLANTED["rate"][0])
    parallel_figure(state, "unused.png")
    (ax,) = drawn[0].axes
    lines = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert len(lines) == 61
    assert lines[-1].get_linewidth() > 2 * lines[0].get_linewidth()
    line = {round(x, 6): y for x, y in lines[-1].get_xydata()}
    best = state.best
    heights = [(math.log10(best.point["optim.lr"]) + 5) / 4, best.point["optim.momentum"] / 0.9]
    assert [line[x] for x in (0, 1, 3)] == pytest.approx([*heights, 1])
    assert f"best {100 * best.accuracy:.1f} % by trial {best.number}" in ax.get_title(loc="left")


def test_without_a_complete_trial_there_is_no_image(tmp_path: Path) -> None:
    state = found(PLANTED["rate"][0], 1)
    empty = SearchState(state.search, "", (Trial(0, "unfinished", state.trials[0].point),))
    with pytest.raises(MienError, match="no trial is complete yet, so there is nothing to draw"):
        parallel_figure(empty, tmp_path / "trials.png")
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_search_can_be_drawn_and_repeated(drawn) -> None:
    plan = read_search("cs231n")
    point = {key: axis.low for key, axis in plan.search.space.items()}
    state = SearchState(plan.search, "x.h5", (Trial(0, "complete", point, 0.6),))
    parallel_figure(state, "unused.png")
    assert "--set optim.gamma=0.8" in command(state, state.best, Path("f"))
