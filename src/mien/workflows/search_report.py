"""The report of a search: important keys, an image of all trials, and the full command for the best."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from mien.errors import MienError
from mien.train.search_space import Axis, overrides
from mien.workflows.figure_style import INK, MUTED, NORMAL, SMALL, VERMILION, new_figure, save
from mien.workflows.search import SearchState, Trial

MIN_TRIALS = 10
"""Fewer complete trials tell nothing of importance."""


@dataclass(frozen=True)
class Importances:
    """Part of the variance of accuracy that each key alone explains, the largest first; they sum to 1."""

    by_key: dict[str, float]
    method: str
    n: int


def importances(state: SearchState) -> Importances | None:
    """Of every key, by fANOVA where scikit-learn is installed, else by PED-ANOVA.

    A key with ``log = true`` is weighed in its logarithm, as it was drawn. optuna's fANOVA would weigh its
    plain value, so that nine tenths of the weight lay on the highest decade.

    Returns:
        ``None`` with fewer than `MIN_TRIALS` complete trials, or when all have one accuracy.

    Source: Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014;
    Watanabe et al., "PED-ANOVA", IJCAI 2023.
    """
    complete = state.of("complete")
    if len(complete) < MIN_TRIALS or len({trial.accuracy for trial in complete}) < 2:
        return None
    space = state.search.space
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = {key: _even(axis) for key, axis in space.items()}
    for trial in complete:
        params = {key: _label(space[key], value) for key, value in trial.point.items()}
        study.add_trial(create_trial(params=params, distributions=distributions, value=trial.accuracy))
    has_forest = find_spec("sklearn") is not None
    evaluator = FanovaImportanceEvaluator(seed=0) if has_forest else PedAnovaImportanceEvaluator()
    found = get_param_importances(study, evaluator=evaluator)
    by_key = {key: float(value) for key, value in found.items()}
    return Importances(by_key, "fANOVA" if has_forest else "PED-ANOVA", len(complete))


def _even(axis: Axis) -> BaseDistribution:
    """The axis on a scale on which it is even."""
    if axis.choices is not None:
        return CategoricalDistribution(axis.labels)
    return FloatDistribution(*(_label(axis, end) for end in axis.ends))


def _label(axis: Axis, value: Any) -> Any:
    if axis.choices is not None:
        return axis.labels[axis.choices.index(value)]
    return math.log10(value) if axis.log else float(value)


def command(state: SearchState, trial: Trial, folder: Path) -> str:
    """The ``mien train`` command that trains a trial's values for as long as the recipe says.

    ``run.epochs`` of ``[set]``, which made the trials short, is left out.
    """
    fixed = {k: v for k, v in state.search.fixed.items() if k not in ("run.epochs", "data.store")}
    settings = overrides({**fixed, **trial.point})
    store, best = shlex.quote(_near(state.store)), shlex.quote(str(folder / "best"))
    lines = [f"mien train {shlex.quote(_near(state.search.recipe))} --data {store} --out {best}"]
    return " \\\n  ".join([*lines, *(f"--set {shlex.quote(setting)}" for setting in settings)])


def _near(path: str) -> str:
    """A path relative to the working folder where it lies below it."""
    return path.removeprefix(f"{Path.cwd()}{os.sep}")


def parallel_figure(state: SearchState, path: str | os.PathLike[str]) -> Path:
    """Each complete trial as a line through one axis a key, to its accuracy; the best is drawn thick.

    Logarithmic keys have logarithmic axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: no trial is complete, or the file cannot be written.
    """
    trials = sorted(state.of("complete"), key=lambda trial: trial.accuracy or 0.0)
    if not trials:
        raise MienError("no trial is complete yet, so there is nothing to draw; wait for the first")
    space = state.search.space
    accuracies = [100 * (trial.accuracy or 0.0) for trial in trials]
    heights = np.array(
        [
            [*(_height(space[key], trial.point[key]) for key in space), _part(a, accuracies)]
            for trial, a in zip(trials, accuracies, strict=True)
        ]
    )
    figure = new_figure(max(1.9 * (len(space) + 1), 5.6), 4.4)
    ax = figure.subplots()
    _draw_lines(ax, heights)
    ticks = [_ticks(axis) for axis in space.values()]
    ends = {min(accuracies), max(accuracies)}
    ticks.append({_part(a, accuracies): f"{a:.1f}" for a in ends})
    for x, marks in enumerate(ticks):
        _draw_axis(ax, x, marks)
    ax.set_xticks(range(len(space) + 1), [*space, "validation %"], fontsize=NORMAL, color=INK)
    ax.set(xlim=(-0.25, len(space) + 0.3), ylim=(-0.04, 1.04), yticks=[])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, pad=8)
    best = f"best {accuracies[-1]:.1f} % by trial {trials[-1].number}"
    ax.set_title(
        f"{len(trials)} trials of {Path(state.search.recipe).stem}: {best}", fontsize=NORMAL, loc="left"
    )
    return save(figure, path)


def _draw_lines(ax: Any, heights: Any) -> None:
    """The last is the best. Lines are smooth: of two that meet on an axis, the eye follows each beyond it."""
    from matplotlib import colormaps

    columns = np.arange(heights.shape[1])
    t = np.linspace(0, 1, 20)
    ease = t * t * (3 - 2 * t)
    x = (columns[:-1, None] + t).ravel()
    for row in heights:
        y = (row[:-1, None] + (row[1:] - row[:-1])[:, None] * ease).ravel()
        ax.plot(x, y, color=colormaps["cividis_r"](0.1 + 0.9 * row[-1]), linewidth=1.1, alpha=0.8)
    ax.plot(x, y, color=VERMILION, linewidth=2.4)


def _draw_axis(ax: Any, x: int, marks: Mapping[float, str]) -> None:
    ax.axvline(x, color=MUTED, linewidth=1)
    for height, text in marks.items():
        ax.plot([x - 0.02, x + 0.02], [height, height], color=MUTED, linewidth=1)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        ax.text(x + 0.05, height, text, va="center", fontsize=SMALL, color=INK, bbox=box, zorder=3)


def _height(axis: Axis, value: Any) -> float:
    """Where a value lies on its axis, from 0 at the bottom to 1."""
    if axis.choices is not None:
        return (axis.choices.index(value) + 0.5) / len(axis.choices)
    return _part(_label(axis, value), [_label(axis, end) for end in axis.ends])


def _part(value: float, among: Sequence[float]) -> float:
    low, high = min(among), max(among)
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(axis: Axis) -> dict[float, str]:
    """Texts by height: every choice, the decades of a logarithm, or some round numbers."""
    if axis.choices is not None:
        return {_height(axis, choice): str(choice) for choice in axis.choices}
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = axis.ends
    whole = isinstance(low, int) and isinstance(high, int)
    locator = LogLocator(10, [1]) if axis.log else MaxNLocator(5, integer=whole)
    values = [float(v) for v in locator.tick_values(low, high) if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    if len(values) < 2:
        values = [low, high]
    return {_height(axis, value): f"{value:.3g}" for value in values}
