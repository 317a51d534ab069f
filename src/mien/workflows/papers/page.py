"""docs/papers.md: published and corrected figures, and the scores of our runs; no number is typed by hand.

Beside the page, a folder of its name holds each run's ``result.json`` as ROW.json and its small images;
none shows a face. The page is made from these files alone, so a test can check whether it is up to date.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.core.files import atomic_write, write_text
from mien.core.outputs import check_output
from mien.core.own_files import reading
from mien.core.text import counted, markdown_table
from mien.errors import MienError
from mien.workflows.papers.claims import NEEDS, POINT_ERROR, Row, checked_result, papers, read_result, rows

Results = Mapping[str, dict[str, Any]]
"""What ``result.json`` holds, by row."""

PICTURES = {"curves": "curves.png", "confusion": "confusion-test.png"}
MAX_PICTURE_BYTES = 60_000
COLOURS = 32
HEAD = """\
# The papers, retrained

These tables list every network, ensemble and human rater with a figure in five papers, and in a sixth that
one of them follows: the published figure, the corrected figure, and the score of the same recipe here. Our
networks are trained on FER2013's Training, selected on PublicTest, and scored on PrivateTest with one view
per face: accuracy with its 95 % interval, balanced accuracy and macro F1. A landmark network is scored by
the mean distance of its points from the true ones, as a share of the distance between the outer eye corners.
**Clean** is the accuracy without the test faces that have a near copy in Training. Each row is one run with
one seed: a difference of one or two points between rows is noise.
[How scores are measured](concepts/protocol.md) · [the networks](reference/networks.md) ·
[what leaks do](concepts/leaks.md) · [cropped faces and mouths](concepts/face-parts.md) ·
[sad or neutral, contempt or happy](concepts/sad-neutral.md), which the first paper leaves open

`mien papers show ROW` prints the specification of a row and its source; `mien papers run ROW` trains it
again. This page is written by `mien papers table` from the run folders.
"""
COLUMNS = (
    "row",
    "published",
    "corrected",
    "accuracy (95 %)",
    "balanced",
    "macro F1",
    "clean",
    "epochs",
    "machine",
    "seconds",
    "commit",
    "",
)
BLOCK = re.compile(r"(<!-- mien papers table: begin -->\n).*?(<!-- end -->)", re.S)


def write_page(runs: Path, to: Path) -> tuple[str, Path | None]:
    """Copy the results of the run folders into the folder beside the page, and write the page again.

    Results that were copied before stay, unless their row was run again. Where ``concepts/leaks.md`` lies
    beside the page, its table is written too.

    Returns:
        How many rows have a score, see `tally`, and the page about leaks, if there is one.

    Raises:
        MienError: nothing has been run.
    """
    check_output(to, makes_folder=True, ends=[".md"])
    folder = to.with_suffix("")
    for name in rows():
        result = read_result(runs / name)
        if result and result["test"]:
            _take_over(runs / name, folder)
    results = read_results(folder)
    if not results:
        out = shlex.quote(str(runs))
        raise MienError(f"no results in {runs} or {folder}; first: mien papers run --all --out {out}")
    _write(to, page(results, folder))
    leaks = to.parent / "concepts" / "leaks.md"
    if not leaks.is_file():
        return tally(results), None
    _write(leaks, with_leaks(leaks.read_text(encoding="utf-8"), results))
    return tally(results), leaks


def tally(results: Results) -> str:
    """How many of the rows have a score, and what the others need."""
    waiting: Counter[str] = Counter(row.needs for row in rows().values() if row.name not in results)
    others = [f"{text} ({waiting[need]})" for need, text in NEEDS.items() if waiting[need]]
    found = f"{len(results)} of {len(rows())} rows have a score"
    return f"{found}; the others need {', '.join(others)}" if others else found


def read_results(folder: Path) -> Results:
    """The results beside a page, in the order of the rows."""
    return {
        name: checked_result(folder / f"{name}.json")
        for name in rows()
        if (folder / f"{name}.json").is_file()
    }


def page(results: Results, folder: Path) -> str:
    """The page, as Markdown; images are linked where they lie in ``folder``."""
    parts = [HEAD, f"\n{tally(results)}.\n"]
    for key, paper in papers().items():
        parts.append(f"\n## {paper.title}\n\nCode: {paper.code}. Our training data: {paper.data}.\n\n")
        own = [row for row in rows().values() if row.paper == key]
        parts.append(markdown_table(COLUMNS, (_cells(row, results.get(row.name), folder) for row in own)))
        parts.append("\n")
        parts += [text for row in own if (text := _footnote(row, results.get(row.name)))]
    return "".join(parts)


def with_leaks(text: str, results: Results) -> str:
    """The page about leaks with its table written again."""
    lines = []
    for name, result in results.items():
        if leak := result["leak"]:
            theirs = rows()[name].holds.partition(" on ")[0]
            ours = [
                _percent(scores["accuracy"], scores["accuracy_interval"]) for scores in (leak, result["test"])
            ]
            lines.append([f"`{name}`", rows()[name].published, theirs, *ours])
    head = ("row", "printed", "theirs, PrivateTest alone", "ours, as they scored", "ours, PrivateTest alone")
    missing = "Not measured yet: `mien papers run maastricht-cnn1` does it."
    table = markdown_table(head, lines) if lines else missing
    return BLOCK.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text)


def _cells(row: Row, result: dict[str, Any] | None, folder: Path) -> list[str]:
    printed = [f"`{row.name}`", row.published, row.holds]
    if result is None:
        waits = "not run yet" + (": for a GPU" if row.needs == "gpu" else "")
        return [*printed, row.why or waits, *[""] * 8]
    links = [
        f"[{what}]({folder.name}/{row.name}-{what}.png)"
        for what in PICTURES
        if (folder / f"{row.name}-{what}.png").is_file()
    ]
    environment = result["environment"]
    return [
        *printed,
        *_score_cells(result),
        _how_far(row, result),
        machine(environment),
        f"{result['seconds']:,.0f}",
        environment["commit"] or "-",
        ", ".join([*links, f"[json]({folder.name}/{row.name}.json)"]),
    ]


def _how_far(row: Row, result: dict[str, Any]) -> str:
    """Of how many epochs, or where nothing is trained, of how many votes or views."""
    if row.views > 1:
        return f"{row.views} views"
    return f"{len(row.members)} votes" if row.members else epochs(result)


def _score_cells(result: dict[str, Any]) -> list[str]:
    """Accuracy, balanced accuracy, macro F1 and clean accuracy; of landmarks, the error on each source."""
    test, clean = result["test"], result["clean"]
    if result["metric"] == POINT_ERROR:
        errors = [f"{one['source']} **{_percent(one['error'], one['error_interval'])}**" for one in test]
        return [f"error of the points: {', '.join(errors)}", "", "", ""]
    return [
        f"**{_percent(test['accuracy'], test['accuracy_interval'])}**",
        _percent(test["balanced_accuracy"]),
        _percent(test["macro_f1"]),
        _percent(clean["accuracy"]) if clean else "not searched",
    ]


def _footnote(row: Row, result: dict[str, Any] | None) -> str:
    """Where a run differs from its recipe, and the classes that it never predicts."""
    if result is None:
        return ""
    never = [] if result["metric"] == POINT_ERROR else result["test"]["never_predicted"]
    facts = [
        *(["does not follow its recipe: " + ", ".join(result["changes"])] if result["changes"] else []),
        *([f"never predicts {', '.join(never)}"] if never else []),
        *(
            [f"PrivateTest opened {result['test_evaluations']} times"]
            if (result["test_evaluations"] or 0) > 1
            else []
        ),
    ]
    return f"\n`{row.name}`: {'; '.join(facts)}.\n" if facts else ""


def epochs(result: dict[str, Any]) -> str:
    """How far a run went, such as ``40``, ``17 of 40`` or ``32 (stopped itself)``."""
    done, wanted = result["epochs"], result["epochs_wanted"]
    if (
        result["finished"]
        and done < wanted
        and not any(c.startswith("run.epochs=") for c in result["changes"])
    ):
        return f"{done:g} (stopped itself)"
    return f"{done:g}" if done >= wanted else f"{done:g} of {wanted}"


def machine(environment: dict[str, Any]) -> str:
    """The graphics card where there is one, else cores, processor and threads."""
    if environment["gpu"]:
        return str(environment["gpu"])
    return f"{environment['machine']}, {counted(environment['threads'], 'thread')}"


def _percent(value: float, interval: list[float] | None = None) -> str:
    text = f"{100 * value:.2f} %" if interval else f"{100 * value:.1f} %"
    return f"{text} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})" if interval else text


def _take_over(run: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{run.name}.json", (run / "result.json").read_text(encoding="utf-8"))
    for what, file in PICTURES.items():
        target = folder / f"{run.name}-{what}.png"
        if (run / file).is_file():
            _shrink(run / file, target)
        else:
            target.unlink(missing_ok=True)


def _shrink(path: Path, target: Path) -> None:
    """Keep an image in few colours, for the repository; one that stays large is left out."""
    from PIL import Image

    with reading(path, "is not an image"), Image.open(path) as image, atomic_write(target) as temporary:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, optimize=True)
    if target.stat().st_size > MAX_PICTURE_BYTES:
        target.unlink()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
