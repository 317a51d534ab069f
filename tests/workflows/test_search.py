"""A search ends with the trials that it was asked for, however many processes ran and however they ended."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from logging import WARNING, getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("optuna", reason="needs the train extra")

from optuna.trial import FrozenTrial, TrialState, create_trial

import mien.workflows.search as search_module
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError, OutputError, RecipeError
from mien.train.recipe import Recipe
from mien.train.search_space import Plan, read_search
from mien.workflows.search import SearchProgress, draw, read_search_folder, run_search
from mien.workflows.train import TrainProgress

BASE = """
[net]
options = { widths = [8, 8, 8], blocks = [1, 1, 1], dropout = 0.0 }
[run]
epochs = 3
batch_size = 16
sizes = [[0.0, 16]]
threads = 1
checkpoint_every_s = 0
"""
HEAD = 'recipe = "base.toml"\n'
LR = '[space]\n"optim.lr" = { low = 1e-4, high = 1e-1, log = true }\n'
MIXED = (
    LR
    + """"optim.momentum" = { low = 0, high = 0.95 }
"net.options.dropout" = { low = 0, high = 0.5, step = 0.1 }
"run.epochs" = { low = 1, high = 4 }
"run.seed" = { low = 1, high = 1000, log = true }
"augment.flip" = { choices = ["none", "random"] }
"run.sizes" = { choices = [[[0.0, 12]], [[0.0, 12], [0.5, 16]]] }
"""
)


def bars(n: int = 160, size: int = 16) -> FaceSet:
    """Noise with a bright bar at one of three heights, one an emotion."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    images = rng.integers(60, 120, (n, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 5 : label * 5 + 5] += 60
    return FaceSet(
        images=images,
        labels=labels.astype(np.int64),
        split=np.repeat([0, 1, 2], [n // 2, n // 4, n // 4]).astype(np.uint8),
        rows=np.arange(n, dtype=np.int64),
        label_names=("angry", "happy", "neutral"),
        name="bars",
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], str]:
    """``make(text)`` writes a search on a tiny recipe and generated faces, and returns its path."""
    write_store(bars(), tmp_path / "faces.h5")
    (tmp_path / "base.toml").write_text(f"[data]\nstore = '{tmp_path / 'faces.h5'}'\n{BASE}")

    def write(text: str, name: str = "search") -> str:
        (tmp_path / f"{name}.toml").write_text(HEAD + text)
        return str(tmp_path / f"{name}.toml")

    return write


Train = Callable[[Recipe, Callable[[TrainProgress], None]], float]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[[Train], list[float]]:
    """``trained(score)`` puts a function in the place of training; its list fills with learning rates."""

    def put(score: Train) -> list[float]:
        rates: list[float] = []

        def fake(recipe: Recipe, folder: Path, *, device: str, report: Callable[[TrainProgress], None]):
            rates.append(recipe.optim.lr)
            folder.mkdir(parents=True, exist_ok=True)
            right = round(1000 * score(recipe, report))
            lines = ["row,label,predicted", *["1,happy,happy"] * right, *["1,happy,sad"] * (1000 - right)]
            (folder / "predictions-val.csv").write_text("\n".join(lines) + "\n")
            return folder

        monkeypatch.setattr(search_module, "train", fake)
        return rates

    return put


def good_near_a_hundredth(recipe: Recipe, _: object = None) -> float:
    return 1 - abs(math.log10(recipe.optim.lr) + 2) / 4


def draws(plan: Plan, n: int) -> list[FrozenTrial]:
    past: list[FrozenTrial] = []
    for _ in range(n):
        past.append(draw(plan, past))
    return past


# Drawing


def test_random_draws_lie_in_the_space_and_are_even_on_the_scale_of_their_axis(make) -> None:
    points = [one.params for one in draws(read_search(make(f"trials = 1\nseed = 7\n{MIXED}")), 400)]
    logs = np.array([math.log10(p["optim.lr"]) for p in points])
    assert -4 <= logs.min() < -3.95
    assert -1.05 < logs.max() <= -1
    # Of 400 draws 133 should lie in each decade; the standard deviation is 9.4.
    assert np.all(np.abs(np.histogram(logs, [-4, -3, -2, -1])[0] - 133) < 4 * 9.4)
    momentum = np.array([p["optim.momentum"] for p in points])
    assert abs(momentum.mean() - 0.475) < 4 * 0.95 / math.sqrt(12 * 400)
    assert {p["net.options.dropout"] for p in points} == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert {p["run.epochs"] for p in points} == {1, 2, 3, 4}
    assert 0.4 < np.mean([p["run.seed"] < math.sqrt(1000) for p in points]) < 0.6
    assert {p["augment.flip"] for p in points} == {"none", "random"}
    assert {p["run.sizes"] for p in points} == {"[[0.0, 12]]", "[[0.0, 12], [0.5, 16]]"}


def test_drawn_numbers_have_four_digits_and_no_two_trials_are_alike(make) -> None:
    rates = [one.params["optim.lr"] for one in draws(read_search(make(f"trials = 1\n{LR}")), 50)]
    assert all(float(f"{rate:.4g}") == rate for rate in rates)
    assert len(set(rates)) == 50


def test_random_points_depend_on_seed_and_number_alone(make) -> None:
    plan = read_search(make(f"trials = 1\n{LR}"))
    past = draws(plan, 6)
    for trial in past[:5]:
        trial.state, trial.value = TrialState.COMPLETE, 0.5
    assert draw(plan, past[:5]).params == past[5].params
    other = read_search(make(f"trials = 1\nseed = 1\n{LR}"))
    assert draw(other, past[:5]).params != past[5].params


def tpe_past(plan: Plan, n: int, last: TrialState = TrialState.COMPLETE) -> list[FrozenTrial]:
    """``n`` trials spread over the space, scored by a rate near 0.01, and one at 0.0105 in another state."""
    space = draw(plan, []).distributions
    points = [10**x for x in np.linspace(-4, -1, n)]
    done = [
        create_trial(params={"optim.lr": x}, distributions=space, value=1 - abs(math.log10(x) + 2) / 4)
        for x in points
    ]
    if last is TrialState.COMPLETE:
        return done
    return [*done, *[create_trial(params={"optim.lr": 0.0105}, distributions=space, state=last)] * 10]


def distances(plan: Plan, past: list[FrozenTrial], n: int = 12) -> float:
    """Mean distance of drawn rates from 0.0105, in decades, over several seeds."""
    found = []
    for seed in range(n):
        seeded = Plan(plan.search.model_copy(update={"seed": seed}), plan.recipe, plan.whole)
        found.append(abs(math.log10(draw(seeded, past).params["optim.lr"] / 0.0105)))
    return float(np.mean(found))


def test_tpe_draws_nearer_to_the_best_than_chance(make) -> None:
    random, tpe = (read_search(make(f"trials = 1\nsampler = '{s}'\n{LR}")) for s in ("random", "tpe"))
    past = tpe_past(tpe, 24)
    assert distances(tpe, past) < 0.6 * distances(random, past)


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL], ids=["running", "failed"])
def test_tpe_keeps_away_from_trials_that_run_or_failed(make, state: TrialState) -> None:
    plan = read_search(make(f"trials = 1\nsampler = 'tpe'\n{LR}"))
    assert distances(plan, tpe_past(plan, 24, state)) > 1.5 * distances(plan, tpe_past(plan, 24))


# Running, with a function in the place of training


@pytest.mark.parametrize(("sampler", "n"), [("random", 4), ("tpe", 12)])
def test_a_search_makes_its_trials_and_the_best_is_the_most_accurate(
    make, trained, tmp_path, sampler, n
) -> None:
    rates = trained(good_near_a_hundredth)
    state = run_search(make(f"trials = {n}\nsampler = '{sampler}'\n{LR}"), tmp_path / "found")
    assert [trial.number for trial in state.trials] == list(range(n))
    assert [trial.point["optim.lr"] for trial in state.trials] == rates
    best = min(state.trials, key=lambda trial: abs(math.log10(trial.point["optim.lr"]) + 2))
    assert state.best == best
    assert best.accuracy == pytest.approx(1 - abs(math.log10(best.point["optim.lr"]) + 2) / 4, abs=1e-3)
    assert read_search_folder(tmp_path / "found") == state


def test_a_second_call_adds_nothing_and_more_trials_go_on_from_there(make, trained, tmp_path) -> None:
    rates = trained(good_near_a_hundredth)
    first = run_search(make(f"trials = 2\n{LR}"), tmp_path / "found")
    assert run_search(make(f"trials = 2\n{LR}"), tmp_path / "found") == first
    assert len(rates) == 2
    more = run_search(make(f"trials = 3\n{LR}"), tmp_path / "found")
    assert more.trials[:2] == first.trials
    assert len(more.trials) == len(rates) == 3


def test_trials_that_fail_are_recorded_with_the_reason_and_count(make, trained, tmp_path) -> None:
    def score(recipe: Recipe, report: Callable[[TrainProgress], None]) -> float:
        if recipe.optim.lr > 5e-3:
            report(TrainProgress(3, 9, 0.3, math.nan, 1.0))
        elif recipe.optim.lr > 3e-3:
            raise RecipeError("these do not go together")
        elif recipe.optim.lr > 1e-3:
            raise RuntimeError("CUDA out of memory\nand much more")
        return 0.5

    trained(score)
    state = run_search(make(f"trials = 8\n{LR}"), tmp_path / "found")
    assert len(state.trials) == state.finished == 8
    for trial in state.trials:
        rate = trial.point["optim.lr"]
        nan = "the loss was nan at step 3 of 9"
        reasons = {5e-3: nan, 3e-3: "these do not go together", 1e-3: "CUDA out of memory"}
        reason = next((text for above, text in reasons.items() if rate > above), None)
        assert (trial.reason, trial.state) == (reason, "failed" if reason else "complete")
        assert trial.accuracy == (None if reason else 0.5)
    assert {trial.reason for trial in state.trials} == {None, *reasons.values()}


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        OSError(),
        OutputError("weights.safetensors", "no space left on device"),
        DataError("faces.h5 cannot be read"),
    ],
    ids=["ctrl-c", "of the system", "full disk", "lost data"],
)
def test_a_stopped_trial_goes_on_under_its_number_with_its_values(make, trained, tmp_path, error) -> None:
    def stop(*_: object) -> float:
        raise error

    trained(good_near_a_hundredth)
    path = make(f"trials = 3\n{LR}")
    whole = run_search(path, tmp_path / "whole")
    run_search(make(f"trials = 1\n{LR}", "short"), tmp_path / "found")
    trained(stop)
    with pytest.raises(type(error)):
        run_search(path, tmp_path / "found")
    left = read_search_folder(tmp_path / "found")
    assert [trial.state for trial in left.trials] == ["complete", "unfinished"]
    trained(good_near_a_hundredth)
    assert run_search(path, tmp_path / "found") == whole


def test_a_trial_that_another_process_trains_is_left_to_it(make, trained, tmp_path) -> None:
    path, folder = make(f"trials = 3\n{LR}"), tmp_path / "found"
    meanwhile = []

    def score(recipe: Recipe, _: object) -> float:
        if len(rates) == 1:  # in the first trial: another process finds that one taken, and makes the others
            meanwhile.append(run_search(path, folder))
        return good_near_a_hundredth(recipe)

    rates = trained(score)
    state = run_search(path, folder)
    assert [trial.state for trial in meanwhile[0].trials] == ["unfinished", "complete", "complete"]
    assert [trial.state for trial in state.trials] == ["complete"] * 3


def test_a_trial_that_ends_between_the_look_and_the_lock_is_not_taken(make, trained, tmp_path) -> None:
    """The last look at its state is under its lock."""
    path, folder = make(f"trials = 1\n{LR}"), tmp_path / "found"
    rates = trained(good_near_a_hundredth)
    run_search(path, folder)
    with search_module.open_ledger(folder) as ledger:
        true_state, looks = ledger.state(), []

        def old_then_true() -> Any:
            looks.append(1)
            stale = search_module.Trial(0, "unfinished", true_state.trials[0].point)
            return (
                search_module.SearchState(true_state.search, "", (stale,)) if len(looks) == 1 else true_state
            )

        object.__setattr__(ledger, "state", old_then_true)
        assert ledger.next_trial(read_search(path)) is None
    assert len(rates) == 1
    assert len(looks) == 2


CHANGES = {
    "search": (f"trials = 2\nseed = 1\n{LR}", "another search"),
    "space": ('trials = 2\n[space]\n"optim.lr" = { low = 1e-4, high = 1 }', "another search"),
    "recipe": (None, "another recipe"),
    "data": ("faces", "another data set"),
    "votes": ("votes", "another set of votes"),
}


@pytest.mark.parametrize(("text", "says"), CHANGES.values(), ids=CHANGES)
def test_a_folder_of_another_search_is_left_alone(make, trained, tmp_path, text, says) -> None:
    trained(good_near_a_hundredth)
    first = run_search(make(f"trials = 2\n{LR}"), tmp_path / "found")
    if text is None:
        base = tmp_path / "base.toml"
        base.write_text(base.read_text().replace("epochs = 3", "epochs = 4"))
    if text == "faces":
        write_store(bars(80), tmp_path / "faces.h5")
    if text == "votes":  # all raters call the first face none
        votes = np.eye(2, dtype=np.uint8)[[1, *[0] * 159]]
        write_store(replace(bars(), votes=votes, vote_names=("happy", "not-a-face")), tmp_path / "faces.h5")
    path = make(text if text and text not in ("faces", "votes") else f"trials = 3\n{LR}")
    with pytest.raises(RecipeError, match=f"found holds a search with {says}; choose another folder"):
        run_search(path, tmp_path / "found")
    assert read_search_folder(tmp_path / "found") == first


def test_data_without_validation_rows_is_refused_before_anything_is_written(make, tmp_path) -> None:
    faces = bars()
    write_store(faces.take(faces.split != 1), tmp_path / "faces.h5")
    with pytest.raises(DataError, match=r"faces.h5 has no validation rows, by which a search chooses"):
        run_search(make(f"trials = 2\n{LR}"), tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_a_wrong_device_is_a_mistake_of_the_command_and_fails_no_trial(make, tmp_path) -> None:
    with pytest.raises(MienError, match="no device 'cuda:77' here"):
        run_search(make(f"trials = 2\n{LR}"), tmp_path / "found", device="cuda:77")
    assert not (tmp_path / "found").exists()


def test_a_folder_without_a_search_is_named_and_stays_empty(tmp_path) -> None:
    with pytest.raises(MienError, match=r"search\.db is absent; start one with `mien search run`"):
        read_search_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_searches_share_a_database_and_their_folders_hold_the_runs(make, trained, tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    trained(good_near_a_hundredth)
    one = run_search(make(f"trials = 2\n{LR}"), tmp_path / "one", storage=url)
    other = run_search(make(f"trials = 3\nseed = 1\n{LR}"), tmp_path / "other", storage=url)
    assert [len(state.of("complete")) for state in (one, other)] == [2, 3]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["locks", "trials"]
    assert read_search_folder(tmp_path / "one", url) == one
    studies = search_module.optuna.get_all_study_names(url)
    assert sorted(studies) == ["one", "other"]
    with pytest.raises(MienError, match=r"no search in .*nothing: locks is absent"):
        read_search_folder(tmp_path / "nothing", url)


STORAGES = {
    "no driver": "made+up://me:secret@host/db",
    "no url": "my database",
    "no server": "sqlite:////no/such/folder/x.db",
}


@pytest.mark.parametrize("url", STORAGES.values(), ids=STORAGES)
def test_a_database_that_cannot_be_used_is_told_without_its_password(make, tmp_path, url) -> None:
    with pytest.raises(DataError) as told:
        run_search(make(f"trials = 2\n{LR}"), tmp_path / "found", storage=url)
    assert "postgresql://user@host/database" in str(told.value)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_progress_tells_trial_best_and_time_left(make, trained, tmp_path, monkeypatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(search_module.time, "monotonic", lambda: float(next(clock)))

    def score(recipe: Recipe, report: Callable[[TrainProgress], None]) -> float:
        report(TrainProgress(5, 10, 5.0, 1.0, 100.0))
        return good_near_a_hundredth(recipe)

    trained(score)
    told: list[SearchProgress] = []
    state = run_search(make(f"trials = 2\n{LR}"), tmp_path / "found", report=told.append)
    assert [(at.trial, at.finished, at.ended is not None) for at in told] == [
        (0, 0, False),
        (0, 1, True),
        (1, 1, False),
        (1, 2, True),
    ]
    assert told[0].best is None
    assert told[1].ended == told[2].best == state.trials[0]
    # After 10 s a tenth of the first trial was seen (step 5 alone, of 10), and one and a half are left.
    assert told[0].seconds_left == pytest.approx(10 / 0.1 * 1.5)
    assert told[1].seconds_left == pytest.approx(20)
    assert told[3].seconds_left == 0


def test_no_time_left_is_told_before_an_epoch_was_seen(make, trained, tmp_path) -> None:
    def score(recipe: Recipe, report: Callable[[TrainProgress], None]) -> float:
        for step in range(1, 21):
            report(TrainProgress(step, 40, step / 10, 1.0, 100.0))
        return good_near_a_hundredth(recipe)

    trained(score)
    told: list[SearchProgress] = []
    run_search(make(f"trials = 2\n{LR}"), tmp_path / "found", report=told.append)
    known = [at.seconds_left is not None for at in told]
    assert known == [False] * 9 + [True] * (len(told) - 9)


# Real training


@pytest.mark.train
def test_the_accuracy_is_that_of_the_kept_weights_on_the_validation_rows(make, tmp_path) -> None:
    text = 'trials = 2\n[set]\nrun.ema = 0.5\n[space]\n"optim.lr" = { choices = [0.1, 0.5] }'
    state = run_search(make(text), tmp_path / "found")
    for trial in state.trials:
        run = tmp_path / "found" / "trials" / f"{trial.number:04}"
        history = json.loads((run / "history.json").read_text())["history"]
        assert trial.accuracy == pytest.approx(history[-1]["val_accuracy"], abs=1e-6)
        assert len((run / "predictions-val.csv").read_text().splitlines()) == 1 + 40


@pytest.mark.train
def test_the_test_rows_play_no_part(make, tmp_path) -> None:
    text = 'trials = 1\n[space]\n"optim.lr" = { choices = [0.1] }'
    first = run_search(make(text), tmp_path / "first")
    faces = bars()
    noise = np.random.default_rng(1).permuted(faces.images, axis=0)
    altered = np.where((faces.split == 2)[:, None, None], noise, faces.images)
    write_store(replace(faces, images=altered), tmp_path / "faces.h5")
    second = run_search(make(text), tmp_path / "second")
    assert second.trials == first.trials


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Straight from the SQLite file."""
    base = sqlite3.connect(folder / "search.db")
    try:
        return base.execute(query).fetchall()
    finally:
        base.close()


POINTS = "select number, param_name, param_value from trial_params join trials using (trial_id) order by 1, 2"


@pytest.mark.train
def test_two_processes_one_killed_and_started_again_end_with_twenty_finished_trials(make, tmp_path) -> None:
    space = '"optim.momentum" = { low = 0, high = 0.9 }'
    path = make(f"trials = 20\n[set]\nrun.epochs = 1\n{LR}{space}\n")
    folder = tmp_path / "found"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[bytes]:
        command = ["-m", "mien", "search", "run", path, "--out", str(folder)]
        return subprocess.Popen([sys.executable, "-W", "error", *command], env=env, stdout=subprocess.PIPE)

    def begun() -> set[str]:
        return {p.parent.name for p in folder.glob("trials/*/checkpoint.safetensors")}

    def wait(until: Callable[[], bool]) -> None:
        while not until():
            assert all(p.poll() in (None, 0) for p in processes), "a process failed"
            time.sleep(0.01)

    processes = [start()]
    while True:  # until it is stopped in the middle of a trial
        wait(lambda: bool(begun()))
        processes[0].send_signal(signal.SIGSTOP)
        if len(stopped_in := begun()) == 1:
            break
        processes[0].send_signal(signal.SIGCONT)
    before = rows(folder, POINTS)
    processes.append(start())
    wait(lambda: bool(begun() - stopped_in))  # the other leaves the trial of a process that still lives
    processes[0].kill()
    processes[0].communicate()
    assert processes[0].returncode == -signal.SIGKILL
    processes[0] = start()
    printed = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert any(text.startswith("20 of 20 trials finished; best ") for text in printed)

    assert rows(folder, "select state, count(*) from trials group by state") == [("COMPLETE", 20)]
    assert rows(folder, "select number from trials order by number") == [(n,) for n in range(20)]
    points = rows(folder, POINTS)
    assert set(before) <= set(points)
    (number,) = map(int, stopped_in)
    assert number in {row[0] for row in before}
    alone = [one.params for one in draws(read_search(path), 20)]
    assert points == [(n, key, alone[n][key]) for n in range(20) for key in sorted(alone[n])]
    assert len(list(folder.glob("trials/*/weights.safetensors"))) == 20
    assert begun() == set()


def test_what_optuna_says_of_a_damaged_file_does_not_come_before_our_line(tmp_path):
    with search_module.open_ledger(tmp_path):
        pass
    assert not getLogger("optuna.storages._rdb.storage").isEnabledFor(WARNING)
    assert getLogger("optuna.study.study").isEnabledFor(WARNING)  # of trials
