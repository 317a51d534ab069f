"""Search the keys of a recipe in short trials; several processes share them and may stop at any time.

A search folder holds ``search.db`` (SQLite, by optuna) unless another database is named, ``trials/NNNN`` (run
folders) and ``locks/``. A process holds the lock of the trial that it trains; the system drops it however the
process ends. So a trial that is running and whose lock is free was left: the next process to look for work
goes on with it from its checkpoint, under its number.
"""

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from mien.core.addresses import shown
from mien.core.files import refusals
from mien.core.outputs import check_output_folder
from mien.core.own_files import reading
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.errors import DataError, MienError, OutputError, RecipeError
from mien.train.batches import votes_hash
from mien.train.devices import pick_device
from mien.train.recipe_keys import without_places
from mien.train.recipe_reading import check_recipe
from mien.train.search_space import Axis, Label, Plan, Search, read_search
from mien.workflows.train import TrainProgress, train

State = Literal["complete", "failed", "unfinished"]
STUDY, DATABASE, LOCKS = "search", "search.db", "locks"
DIGITS = 4
"""Significant digits of a drawn number: as good as any in practice, and short enough to type."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: From 0.
        state: ``complete``, ``failed``, or ``unfinished``: running now, or left by a process that ended.
        point: Values by recipe key.
        accuracy: Part of the validation rows that the run's weights read right, if complete.
        reason: Why it failed.
    """

    number: int
    state: State
    point: dict[str, Any]
    accuracy: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class SearchProgress:
    """Where a search stands after a step of a trial, or with ``ended`` after a trial.

    ``finished`` counts the complete and failed trials of all processes, and ``seconds_left`` is for all that
    are left.
    """

    trial: int
    run: TrainProgress | None
    finished: int
    trials: int
    best: Trial | None
    seconds_left: float | None
    ended: Trial | None = None


@dataclass(frozen=True)
class SearchState:
    """All trials of a folder, by number, and what the search was."""

    search: Search
    store: str
    trials: tuple[Trial, ...]

    def of(self, state: State) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state]

    @property
    def finished(self) -> int:
        return len(self.trials) - len(self.of("unfinished"))

    @property
    def best(self) -> Trial | None:
        """The complete trial of highest accuracy, the earliest of equals."""
        return max(self.of("complete"), key=lambda trial: trial.accuracy or 0.0, default=None)


def run_search(
    search: str,
    folder: Path,
    *,
    data: Path | None = None,
    device: str = "cpu",
    storage: str | None = None,
    report: Callable[[SearchProgress], None] = lambda _: None,
) -> SearchState:
    """Train trials until none is left to take; other processes may do the same on the same folder.

    A trial is scored by the validation rows; nothing reads the test rows. One whose values do not go
    together, or whose loss is no number, is recorded as failed and counts.

    Args:
        search: A shipped search's name, or a .toml path.
        folder: The search folder; made if missing.
        data: The data set file; by default the recipe's.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        storage: URL of a database for the trials, as optuna takes it, which several machines share; ``None``
            is ``search.db`` in the folder.
        report: Called after every step and every trial.

    Raises:
        RecipeError: the search has mistakes, or the folder holds another one.
        DataError: the data set cannot be read or has no validation rows.
    """
    plan = read_search(search, data)
    pick_device(device)
    faces = read_store(plan.recipe.data.store)
    if not len(faces.select("val")):
        raise DataError(f"{plan.recipe.data.store} has no validation rows, by which a search chooses")
    check_output_folder(folder)
    with open_ledger(folder, storage) as ledger:
        ledger.claim(plan, faces)
        worker = _Worker(plan, ledger, device, report)
        while taken := ledger.next_trial(plan):
            number, lock = taken
            try:
                worker.run(number)
            finally:
                lock.release()
        return ledger.state()


def read_search_folder(folder: Path, storage: str | None = None) -> SearchState:
    """The trials so far, also while processes work on them.

    Raises:
        MienError: ``folder`` holds no search.
    """
    needed = DATABASE if storage is None else LOCKS
    if not (folder / needed).exists():
        raise MienError(f"no search in {folder}: {needed} is absent; start one with `mien search run`")
    with open_ledger(folder, storage) as ledger:
        return ledger.state()


def draw(plan: Plan, past: Sequence[FrozenTrial]) -> FrozenTrial:
    """The next trial, as running: a function of the seed, its number and, for TPE, of the trials before it.

    So several processes never draw the same point, and random points do not depend on how many processes ran.
    """
    space = {key: _distribution(axis, key in plan.whole) for key, axis in plan.search.space.items()}
    seed = int(np.random.SeedSequence([plan.search.seed, len(past)]).generate_state(1)[0])
    samplers = optuna.samplers
    is_random = plan.search.sampler == "random"
    sampler = samplers.RandomSampler(seed=seed) if is_random else samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)  # in memory: one write makes the trial
    if not is_random:
        study.add_trials(_with_values(past))
    drawn = study.ask(space).params
    params = {key: _short(value, space[key]) for key, value in drawn.items()}
    return create_trial(state=TrialState.RUNNING, params=params, distributions=space)


def _with_values(past: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that run or failed count as the worst so far, which keeps TPE from proposing them again."""
    worst = min((one.value for one in past if one.value is not None), default=None)
    if worst is None:
        return []
    return [
        create_trial(
            params=one.params,
            distributions=one.distributions,
            value=worst if one.value is None else one.value,
        )
        for one in past
    ]


def _distribution(axis: Axis, is_whole: bool) -> BaseDistribution:
    if axis.choices is not None:
        return CategoricalDistribution(axis.labels)
    low, high = axis.low or 0, axis.high or 0
    if is_whole:
        return IntDistribution(int(low), int(high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(low, high, log=axis.log, step=axis.step)


def _short(value: Label, distribution: BaseDistribution) -> Label:
    if not isinstance(distribution, FloatDistribution):
        return value
    digits = DIGITS if distribution.step is None else 12  # a step is exact but for binary noise
    return min(max(float(f"{value:.{digits}g}"), distribution.low), distribution.high)


def validation_accuracy(run: Path) -> float:
    """Of the weights that a run keeps, by its ``predictions-val.csv``.

    Raises:
        RecipeError: the file is missing or damaged.
    """
    path = run / "predictions-val.csv"
    with reading(path, error=RecipeError), path.open(newline="", encoding="utf-8") as file:
        right: list[bool] = [row["label"] == row["predicted"] for row in csv.DictReader(file)]
        return sum(right) / len(right)


@contextmanager
def at_database(where: str) -> Iterator[None]:
    """Around what reads or writes the search's database: what goes wrong becomes one line.

    Raises:
        OutputError: it cannot be written, as on a full disk.
        DataError: it is damaged, or cannot be reached.
    """
    verdict, advice = "is not a search or is damaged", "search again in another folder"
    if not where.endswith(DATABASE):
        verdict, advice = "cannot be used", "--storage takes a URL such as postgresql://user@host/database"
    with reading(where, verdict, advice=advice), refusals(Path(where)):
        yield


@contextmanager
def open_ledger(folder: Path, storage: str | None = None) -> Iterator["_Ledger"]:
    """The trials of a search folder, made if it is not there."""
    (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    getLogger("optuna.storages").setLevel(ERROR)  # of a damaged file it would print its SQL before our line
    file = folder.resolve() / DATABASE
    url, where, name = storage or f"sqlite:///{file}", str(folder / DATABASE), STUDY
    if storage is not None:
        where, name = shown(storage), file.parent.name  # several searches may share the database
    is_file = url.startswith("sqlite:")
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if is_file else {"pool_pre_ping": True}
    with FileLock(folder / LOCKS / "search"), at_database(where):  # two cannot make the tables at once
        opened = optuna.storages.RDBStorage(url, engine_kwargs=options)
        study = optuna.create_study(
            study_name=name, storage=opened, direction="maximize", load_if_exists=True
        )
    try:
        yield _Ledger(folder, where, opened, study)
    finally:
        opened.remove_session()
        opened.engine.dispose()


@dataclass(frozen=True)
class _Ledger:
    """The search: its trials in a database, and the locks that say which of them are trained now."""

    folder: Path
    where: str
    storage: optuna.storages.RDBStorage
    study: optuna.Study

    def claim(self, plan: Plan, faces: FaceSet) -> None:
        """Write what the search is, or check that it is this one. The number of trials may change."""
        asked = {
            "search": plan.search.model_dump(mode="json", by_alias=True),
            "recipe": plan.recipe.model_dump(mode="json"),
            "data set": faces.content_hash(),
            "set of votes": votes_hash(faces, plan.recipe),
        }
        with FileLock(self.folder / LOCKS / "search"):
            with at_database(self.where):
                found = self.study.user_attrs
                same = {what: LASTING[what](found.get(what, asked[what])) for what in asked}
            for what, value in asked.items():
                if same[what] != LASTING[what](value):
                    raise RecipeError(
                        f"{self.folder} holds a search with another {what}; "
                        "choose another folder with --out, or delete it"
                    )
            with at_database(self.where):
                for what, value in asked.items():
                    self.study.set_user_attr(what, value)

    def state(self) -> SearchState:
        with at_database(self.where):
            found = self.study.user_attrs
            if "data set" in found:
                search = Search.model_validate(found["search"])
                trials = tuple(_trial(search, one) for one in self.study.get_trials(deepcopy=False))
                return SearchState(search, str(found["recipe"]["data"]["store"]), trials)
        raise MienError(f"the search in {self.folder} has not begun; run `mien search run` again")

    def next_trial(self, plan: Plan) -> tuple[int, FileLock] | None:
        """The number of a trial that a process left, or else of a new one, and its lock, held."""
        with FileLock(self.folder / LOCKS / "search"):
            trials = self.state().trials
            for number in [trial.number for trial in trials if trial.state == "unfinished"]:
                if lock := self._lock(number):
                    if self.state().trials[number].state == "unfinished":  # and did not end just before
                        return number, lock
                    lock.release()
            number = len(trials)
            if number >= plan.search.trials or not (lock := self._lock(number)):
                return None
            with at_database(self.where):
                self.study.add_trial(draw(plan, self.study.get_trials(deepcopy=False)))
            return number, lock

    def _lock(self, number: int) -> FileLock | None:
        lock = FileLock(self.folder / LOCKS / f"{number:04}", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def complete(self, number: int, accuracy: float) -> None:
        with at_database(self.where):
            self.study.tell(number, accuracy)

    def fail(self, number: int, reason: str) -> None:
        with at_database(self.where):
            study_id = self.storage.get_study_id_from_name(self.study.study_name)
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
            self.storage.set_trial_user_attr(trial_id, "reason", reason)
            self.study.tell(number, state=TrialState.FAIL)


LASTING: dict[str, Callable[[Any], object]] = {
    "search": lambda table: Search.model_validate(table).model_dump(exclude={"trials", "summary"}),
    "recipe": lambda table: without_places(check_recipe(table).model_dump(mode="json")),
    "data set": str,
    "set of votes": str,
}
"""What of a search must not change, and how to compare it, whatever keys a newer version knows."""


def _trial(search: Search, found: FrozenTrial) -> Trial:
    states: dict[TrialState, State] = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}
    point = {key: axis.value_of(found.params[key]) for key, axis in search.space.items()}
    state, reason = states.get(found.state, "unfinished"), found.user_attrs.get("reason")
    accuracy = None if found.value is None else float(found.value)  # SQLite may hold text
    return Trial(found.number, state, point, accuracy, reason)


class _Worker:
    """Trains trials one after another, and reports how far the whole search is."""

    def __init__(
        self, plan: Plan, ledger: _Ledger, device: str, report: Callable[[SearchProgress], None]
    ) -> None:
        self._plan, self._ledger, self._device, self._report = plan, ledger, device, report
        self._begun = time.monotonic()
        self._finished_before = ledger.state().finished

    def run(self, number: int) -> None:
        """Train a trial to its end, and record its accuracy or why it failed."""
        state, first = self._ledger.state(), -1

        def watch(at: TrainProgress) -> None:
            if at.preparing:
                return
            nonlocal first
            first = at.step - 1 if first < 0 else first  # a trial that was left begins in its middle
            self._tell(number, state, at, (at.step - first) / at.steps)
            if not math.isfinite(at.loss):
                raise RecipeError(f"the loss was {at.loss} at step {at.step} of {at.steps}")

        folder = self._ledger.folder / "trials" / f"{number:04}"
        try:
            recipe = self._plan.recipe_at(state.trials[number].point)
            train(recipe, folder, device=self._device, report=watch)
            self._ledger.complete(number, validation_accuracy(folder))
        except (OutputError, DataError):  # a full disk, or data that cannot be read, say nothing of the trial
            raise
        except (MienError, RuntimeError, ValueError) as e:  # torch: no memory, a face or a batch too small
            self._ledger.fail(number, str(e).partition("\n")[0] or type(e).__name__)
        self._tell(number, self._ledger.state(), None, 0.0)

    def _tell(self, number: int, state: SearchState, at: TrainProgress | None, gained: float) -> None:
        """``gained`` is the part of the trial that this process trained."""
        done = state.finished - self._finished_before + gained
        trials = self._plan.search.trials
        rest = max(trials - state.finished - (at.step / at.steps if at else 0), 0)
        epoch = at.step / at.epoch / at.steps if at else 0  # its part of a trial; less tells no time
        seconds_left = (time.monotonic() - self._begun) / done * rest if done and done >= epoch else None
        ended = None if at else state.trials[number]
        self._report(SearchProgress(number, at, state.finished, trials, state.best, seconds_left, ended))
