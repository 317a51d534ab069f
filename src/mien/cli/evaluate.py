"""``mien evaluate``: the score of a model on a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mien.cli.options import (
    AllowLeak,
    AsJson,
    DataFile,
    Device,
    ScoresFolder,
    Split,
    Subject,
    Views,
)
from mien.cli.progress import waiting
from mien.cli.terminal import print_result, text_console, text_table
from mien.core.cards import not_searched
from mien.core.text import counted, with_interval
from mien.errors import needs_extra

if TYPE_CHECKING:
    from mien.core.scores import Scores
    from mien.workflows.evaluate import Evaluation

EXAMPLES = """\b
Examples:
  mien evaluate fer2013-medium fer2013.h5
  mien evaluate runs/fer2013-s2d-cpu fer2013.h5 --split val --views 10
  mien evaluate model.onnx fer2013.h5 --out scores/ --json

Splits: train, val and test, or their FER2013 names Training, PublicTest and
PrivateTest. Choose models on val, and score test only once.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def evaluate(
    model: Subject,
    data: DataFile,
    split: Split = "test",
    views: Views = None,
    out: ScoresFolder = None,
    device: Device = "cpu",
    allow_leak: AllowLeak = False,
    as_json: AsJson = False,
) -> None:
    """Score a model on pooled predictions, with confidence intervals; also without near copies of training
    faces."""
    with needs_extra("evaluating", "data"):
        from mien.workflows.evaluate import EvaluateSettings
        from mien.workflows.evaluate import evaluate as run_evaluation
    with waiting(f"scoring the {split} rows of {data.name}"):
        result = run_evaluation(model, data, EvaluateSettings(split, views, out, device, allow_leak))
    print_result(result, lambda found: _print(found, data), out, as_json=as_json)


def _print(result: "Evaluation", data: Path) -> None:
    from mien.core.scores import shown_share
    from mien.data.store import why_not_clean

    scores, clean = result.scores, result.clean
    of_what = "clean" if result.leak is not None else "clean of this file's training"
    columns = {f"all {scores.n:,}": scores} | ({f"{of_what} {clean.n:,}": clean} if clean else {})
    title = f"{result.model} on {result.data} {result.split}, {result.views} view(s)"
    table = text_table(title, ("", *columns))
    for name, show in ROWS.items():
        table.add_row(name, *map(show, columns.values()))
    console = text_console()
    console.print(table)
    classes = text_table("each emotion", ("", "faces", "precision", "recall", "F1"))
    for row in scores.per_class:
        classes.add_row(
            row.label,
            f"{row.support:,}",
            *(shown_share(x, row.support) for x in (row.precision, row.recall, row.f1)),
        )
    console.print(classes)
    if result.leak:
        console.print(result.leak.warning(), style="bold")
    elif result.leak is not None and result.leak.official:
        same = f"{result.leak.official:,} of the faces are, pixel by pixel, also among the training faces"
        console.print(f"{same} of the official split; the clean score leaves them out")
    if unknown := not_searched(result.to_dict()):
        console.print(unknown)
    note = f"temperature {result.temperature:.3f}; ECE before it {result.uncalibrated.ece:.4f}"
    console.print(note)
    if scores.never_predicted:
        console.print(f"never predicted: {', '.join(scores.never_predicted)}")
    if clean is None and result.split != "train":
        console.print(f"no clean score: {why_not_clean(data)}", soft_wrap=True)
    if result.test_evaluations:
        console.print(f"test set evaluated {counted(result.test_evaluations, 'time')} by this run")


ROWS: dict[str, Callable[["Scores"], str]] = {
    "accuracy (95 %)": lambda s: with_interval(s.accuracy, s.accuracy_interval),
    "balanced accuracy": lambda s: with_interval(s.balanced_accuracy, s.balanced_accuracy_interval),
    "macro F1": lambda s: with_interval(s.macro_f1, s.macro_f1_interval),
    "Cohen's kappa": lambda s: f"{s.cohen_kappa:.3f}",
    "NLL": lambda s: f"{s.nll:.3f}",
    "Brier": lambda s: f"{s.brier:.3f}",
    "ECE (if calibrated)": lambda s: (
        f"{s.ece:.4f} ({s.ece_if_calibrated[0]:.3f}-{s.ece_if_calibrated[1]:.3f})"
    ),
    "accuracy at 50 % coverage": lambda s: f"{dict(s.coverage_accuracy)[0.5]:.1%}",
}
"""What the table shows, and how."""
