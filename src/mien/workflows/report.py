"""One page about a run, or several beside each other, from what other commands left in the run folders.

Nothing is trained or scored here: predictions are read, and what is missing is named with the command that
makes it. A page may show faces of the data set; it stays on this machine.
"""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.cards import not_searched
from mien.core.metrics import mcnemar, risk_coverage
from mien.core.scores import ClassScore
from mien.data.store import read_store
from mien.errors import DataError
from mien.train.recipe_keys import without_places
from mien.workflows.figure_style import percent
from mien.workflows.figures import examples_figure, risk_coverage_figure
from mien.workflows.report_run import PARTS, Run, read_run
from mien.workflows.run_folder import Predictions

SHEETS = ("sheet", "pairs", "mean", "filters", "activations", "faithfulness")
"""What `mien explain` draws."""
MOST_CURVES = 5


@dataclass(frozen=True)
class Heading:
    """A title, level 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; or, with a ``title``, text of fixed width that opens under it."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Plain text; the first cell of a row names it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A confusion matrix, in counts and in percent of the rows."""

    counts: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A PNG file."""

    title: str
    path: Path


Block = Heading | Text | Table | Matrix | Figure


def make_report(folders: Sequence[Path], data: Path | None, draw: Path) -> list[Block]:
    """The page of one run, or of several compared, in its order.

    Args:
        folders: Run folders.
        data: Data set file, to show faces that were read right and wrong where no command has drawn them.
        draw: An empty folder for what is drawn here.

    Raises:
        MienError: a folder is not a run.
        DataError: a file is damaged, or ``data`` has not the faces of the predictions.
        MissingExtraError: matplotlib or h5py is not installed.
    """
    runs = [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    blocks: list[Block] = [Heading(", ".join(run.name for run in runs), 1)]
    for split in PARTS:
        blocks += _comparison([run for run in runs if split in run.predictions], split, draw)
    for run in runs:
        blocks += _one(run, data, draw, alone=len(runs) == 1)
    return blocks


def _names(folders: Sequence[Path]) -> list[str]:
    names = [os.path.basename(os.path.realpath(folder)) for folder in folders]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _comparison(runs: Sequence[Run], split: str, draw: Path) -> Iterator[Block]:
    """Scores on a split side by side, McNemar's test of each pair, and the risk-coverage curves."""
    if not runs:
        return
    yield Heading(f"Scores on {PARTS[split]}")
    yield from _other_data(runs, split)
    yield from _other_scoring(runs, split)
    yield from _leaks(runs, split)
    measured = ("faces", "accuracy (95 %)", "clean", "balanced (95 %)", "macro F1 (95 %)", "ECE", "NLL")
    scored = ("", *measured, "views", "temperature")
    yield Table(scored, tuple(_score_row(run, split) for run in runs))
    if not any(run.clean(split) for run in runs):
        steps = "mien data audit DATA, then mien evaluate RUN DATA --out RUN makes it"
        yield Text(f"No clean score: {steps}, unless every face has a near copy in training.")
    if len(runs) > 1:
        head = ("", "shared faces", "only first right", "only second right", "McNemar's p")
        yield Table(head, tuple(_pair_row(one, other, split) for one, other in combinations(runs, 2)))
    groups = list(_seed_groups(runs, split))
    if groups:
        over = ("mean ± sd over seeds", "seeds", "accuracy", "clean", "balanced", "macro F1", "ECE", "NLL")
        yield Table(over, tuple(_group_row(group, split) for group in groups))
    labels = runs[0].scores[split].label_names
    if len(runs) > 1 and all(run.scores[split].label_names == labels for run in runs):
        yield Heading("Recall of each emotion", 3)
        recalls = [[_of(one, one.recall) for one in run.scores[split].per_class] for run in runs]
        rows = ((name, *(r[i] for r in recalls)) for i, name in enumerate(labels))
        yield Table(("", *(run.name for run in runs)), tuple(rows))
    yield Heading("Accuracy when the least sure answers are withheld", 3)
    for i in range(0, len(runs), MOST_CURVES):
        curves = {run.name: _curve(run.predictions[split]) for run in runs[i : i + MOST_CURVES]}
        drawn = risk_coverage_figure(curves, draw / f"coverage-{split}-{i}.png")
        yield Figure(f"risk and coverage, {split}", drawn)


def _other_data(runs: Sequence[Run], split: str) -> Iterator[Text]:
    """What to know where the runs did not all answer faces of one data set."""
    names = {content: f"{name} ({content[:12]})" for content, name in (run.data(split) for run in runs)}
    if len(names) > 1:
        groups = {one: ", ".join(run.name for run in runs if run.data(split)[0] == one) for one in names}
        listed = "; ".join(f"{groups[one]}: {name if one else 'not known'}" for one, name in names.items())
        yield Text(f"These runs answered different data sets, so their scores do not compare. {listed}.")


def _scoring(run: Run, split: str) -> str:
    """How its predictions were made, as far as it changes their scores."""
    views = "1 view" if run.views(split) == "1" else f"{run.views(split)} views"
    return f"{views}, {'not ' if run.temperature(split) is None else ''}calibrated"


def _other_scoring(runs: Sequence[Run], split: str) -> Iterator[Text]:
    """What to know where the runs were not all scored in the same way."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(_scoring(run, split), []).append(run.name)
    if len(groups) > 1:
        listed = "; ".join(f"{', '.join(names)}: {how}" for how, names in groups.items())
        yield Text(
            f"These runs were not scored alike: {listed}. Views change every score, calibration ECE and NLL; "
            f"mien evaluate RUN DATA --split {split} --views N --out RUN scores each of them alike."
        )


def _leaks(runs: Sequence[Run], split: str) -> Iterator[Text]:
    """Which runs were scored on faces that they learned from, or may have been."""
    for run in runs:
        leak = run.leak(split)
        if leak:
            yield Text(f"LEAK: {run.name}: {leak}; its scores are not of new faces.")
        elif leak is not None and (unknown := not_searched({"leak": leak.to_dict()})):
            yield Text(f"{run.name}: {unknown}.")


def _seed_groups(runs: Sequence[Run], split: str) -> Iterator[list[Run]]:
    """Two runs and more that differ in the seed alone, and were scored on the same faces in the same way.

    They come in the order of the first of each. An average of runs is no seed; of one seed the first run
    counts.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in runs:
        if run.is_average:
            continue
        recipe = without_places(run.files["recipe"]["recipe"])
        seed = recipe.pop("run.seed", 0)
        learned = run.files["recipe"] | {"recipe": recipe}
        same = json.dumps([learned, run.data(split)[0], _scoring(run, split)], sort_keys=True)
        groups.setdefault(same, {}).setdefault(seed, run)
    return (list(group.values()) for group in groups.values() if len(group) > 1)


def _group_row(group: Sequence[Run], split: str) -> tuple[str, ...]:
    """Mean and sample standard deviation (n - 1) of each score over runs."""
    scores = [run.scores[split] for run in group]
    cleans = [clean["accuracy"] for run in group if (clean := run.clean(split))]

    def spread(values: Sequence[float], scale: float, digits: int) -> str:
        if len(values) < 2:
            return "–"
        return f"{np.mean(values) * scale:.{digits}f} ± {np.std(values, ddof=1) * scale:.{digits}f}"

    return (
        ", ".join(dict.fromkeys(re.sub(r"-seed-\d+$", "", run.name) for run in group)),
        str(len(group)),
        spread([one.accuracy for one in scores], 100, 2),
        spread(cleans if len(cleans) == len(group) else (), 100, 2),
        spread([one.balanced_accuracy for one in scores], 100, 2),
        spread([one.macro_f1 for one in scores], 100, 2),
        spread([one.ece for one in scores], 1, 3),
        spread([one.nll for one in scores], 1, 3),
    )


def _curve(found: Predictions) -> Any:
    return risk_coverage(found.probs, found.labels)


def _score_row(run: Run, split: str) -> tuple[str, ...]:
    scores, clean, temperature = run.scores[split], run.clean(split), run.temperature(split)
    return (
        run.name,
        f"{scores.n:,}",
        percent(scores.accuracy, scores.accuracy_interval),
        percent(clean["accuracy"]) if clean else "–",
        percent(scores.balanced_accuracy, scores.balanced_accuracy_interval),
        percent(scores.macro_f1, scores.macro_f1_interval),
        f"{scores.ece:.3f}",
        f"{scores.nll:.3f}",
        run.views(split),
        "–" if temperature is None else f"{temperature:.3f}",
    )


def _pair_row(one: Run, other: Run, split: str) -> tuple[str, ...]:
    """McNemar's test on the faces that both have, by their rows; faces with different labels do not count.

    Rows of different data sets are different faces, whatever their numbers.
    """
    first, second = one.predictions[split], other.predictions[split]
    pair = f"{one.name} – {other.name}"
    if not one.data(split)[0] or one.data(split)[0] != other.data(split)[0]:
        return (pair, "other data", "", "", "")
    if first.names != second.names:
        return (pair, "other labels", "", "", "")
    _, here, there = np.intersect1d(first.rows, second.rows, return_indices=True)
    same = first.labels[here] == second.labels[there]
    here, there = here[same], there[same]
    found = mcnemar(first.labels[here], first.probs[here].argmax(1), second.probs[there].argmax(1))
    figures = (len(here), found.only_first, found.only_second)
    return (pair, *(f"{n:,}" for n in figures), f"{found.p_value:.2g}")


def _one(run: Run, data: Path | None, draw: Path, *, alone: bool) -> Iterator[Block]:
    """Everything about one run."""
    if not alone:
        yield Heading(run.name)
    yield Table(("", ""), tuple(_facts(run)))
    recipe = run.files["recipe"]["recipe"]
    yield Text(json.dumps(recipe, indent=1, ensure_ascii=False), title="the whole recipe")
    if (run.folder / "curves.png").is_file():
        yield Figure("learning curves", run.folder / "curves.png")
    for split in run.predictions:
        yield from _split(run, split, data, draw)
    for path in _sheets(run.folder):
        yield Figure(f"mien explain: {path.stem}", path)
    for what, command in _missing(run, data):
        yield Text(f"No {what}; this makes it: {command}")


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    recipe, machine = run.files["recipe"]["recipe"], run.files.get("environment", {})
    store, seconds = str((recipe.get("data") or {}).get("store", "")), _seconds(run)
    epochs = [row.get("epoch") for row in run.files.get("history", {}).get("history") or []]
    facts = {
        "recipe": recipe.get("summary"),
        "network": (recipe.get("net") or {}).get("name"),
        "epochs": f"{epochs[-1]:g} of {(recipe.get('run') or {}).get('epochs')}" if epochs else None,
        "data set": Path(store).name,
        "content hash of the data": run.files["recipe"].get("data"),
        "computed in": _other_precision(recipe, machine),
        "machine": machine.get("gpu") or machine.get("machine"),
        "threads": machine.get("threads"),
        "training time": f"{seconds:,.0f} s" if seconds else None,
        "begun": machine.get("started"),
        "mien, torch": ", ".join(str(machine[key]) for key in ("mien", "torch") if key in machine),
        "commit": machine.get("commit"),
    }
    return ((what, str(value)) for what, value in facts.items() if value)


def _other_precision(recipe: Mapping[str, Any], machine: Mapping[str, Any]) -> str | None:
    """The precision of a run where it is not that of its recipe, and is known."""
    asked, used = (recipe.get("run") or {}).get("precision"), machine.get("precision")
    return f"{used}, for the device has no {asked} arithmetic" if used not in (None, asked) else None


def _seconds(run: Run) -> float | None:
    found = run.files.get("history", {}).get("seconds") or run.files.get("result", {}).get("seconds")
    return None if found is None else float(found)


def _of(one: ClassScore, share: float) -> str:
    return percent(share) if one.support else "–"


def _split(run: Run, split: str, data: Path | None, draw: Path) -> Iterator[Block]:
    scores = run.scores[split]
    yield Heading(f"{run.name} on {PARTS[split]}", 3)
    yield Matrix(np.array(scores.confusion), scores.label_names)
    if scores.never_predicted:
        yield Text(f"Never predicted: {', '.join(scores.never_predicted)}.")
    yield Table(
        ("", "faces", "precision", "recall", "F1"),
        tuple(
            (
                one.label,
                f"{one.support:,}",
                *(_of(one, x) for x in (one.precision, one.recall, one.f1)),
            )
            for one in scores.per_class
        ),
    )
    for what in ("calibration", "examples"):
        if (path := run.folder / f"{what}-{split}.png").is_file():
            yield Figure(f"{what}, {split}", path)
    if data and not (run.folder / f"examples-{split}.png").is_file():
        drawn = _examples(run.predictions[split], data, draw / f"examples-{run.name}-{split}.png")
        yield Figure(f"examples, {split}", drawn)


def _examples(found: Predictions, data: Path, path: Path) -> Path:
    faces = read_store(data).in_label_order(found.names)
    order = np.argsort(faces.rows)
    at = order[np.searchsorted(faces.rows, found.rows, sorter=order).clip(max=len(faces) - 1)]
    if not (np.array_equal(faces.rows[at], found.rows) and np.array_equal(faces.labels[at], found.labels)):
        raise DataError(f"{data} lacks the faces of the predictions; give the data set that was scored")
    return examples_figure(faces.images[at], found.labels, found.probs, found.names, path)


def _sheets(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*.png")) if path.stem in SHEETS)
    return sorted(found, key=lambda path: SHEETS.index(path.stem))


def _missing(run: Run, data: Path | None) -> Iterator[tuple[str, str]]:
    """What the page lacks, and the command that makes it."""
    folder, store = shlex.quote(str(run.folder)), shlex.quote(str(data or "DATA"))
    evaluate = f"mien evaluate {folder} {store} --split val --out {folder}"
    if "history" not in run.files:
        yield "history", "mien train, by this version"
    if not run.predictions:
        yield "predictions", evaluate
    elif not list(run.folder.glob("calibration-*.png")):
        yield "calibration diagram", evaluate
    if run.predictions and not data and not list(run.folder.glob("examples-*.png")):
        yield "right and wrong faces", f"mien report {folder} --data DATA"
    if not _sheets(run.folder):
        yield "maps", f"mien explain {folder} {store} --out {shlex.quote(str(run.folder / 'explain'))}"
