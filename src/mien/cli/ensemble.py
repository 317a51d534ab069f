"""``mien ensemble``: the vote of several models, compared with each model alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import AllowLeak, AsJson, Device, ScoresFolder, Views, split_option
from mien.cli.progress import waiting
from mien.cli.terminal import print_result, text_console, text_table
from mien.core.cards import not_searched
from mien.core.text import with_interval
from mien.errors import needs_extra

if TYPE_CHECKING:
    from mien.core.scores import Scores
    from mien.workflows.ensemble import EnsembleScores

EXAMPLES = """\b
Examples:
  mien ensemble runs/a runs/b runs/c --data fer2013.h5 --split val
  mien ensemble runs/a fer2013-medium --data fer2013.h5 --out votes/

soft: mean of the probabilities. weighted: weights fitted on the validation set.
hard: one vote per model. All named models vote: none is chosen by test scores.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def ensemble(
    models: Annotated[
        list[str],
        typer.Argument(help="Two or more model names, .onnx files or run folders.", show_default=False),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data set file from `mien data import`.", show_default="the first run's, or fer2013.h5"
        ),
    ] = None,
    split: Annotated[str, split_option("val or test.")] = "test",
    views: Views = None,
    out: ScoresFolder = None,
    device: Device = "cpu",
    allow_leak: AllowLeak = False,
    as_json: AsJson = False,
) -> None:
    """Score several models together, by soft, weighted and hard voting."""
    with needs_extra("ensembles", "data"):
        from mien.workflows.ensemble import ensemble as run_ensemble
        from mien.workflows.ensemble import usual_data
        from mien.workflows.evaluate import EvaluateSettings
    data = data or usual_data(models)
    with waiting(f"scoring {len(models)} models on the {split} rows of {data.name}"):
        result = run_ensemble(models, data, EvaluateSettings(split, views, out, device, allow_leak))
    print_result(result, _print, out, as_json=as_json)


def _print(result: "EnsembleScores") -> None:
    title = f"{len(result.members)} models on {result.data} {result.split}"
    clean_head = "clean of this file's training" if None in result.leaks else "clean"
    table = text_table(title, ("", "weight", "accuracy (95 %)", "macro F1", "ECE", clean_head))
    for name, weight, scores in zip(result.members, result.weights, result.alone, strict=True):
        table.add_row(name, f"{weight:.2f}", *_figures(scores), "")
    table.add_section()
    for kind, scores in result.votes.items():
        clean = result.clean.get(kind)
        table.add_row(f"{kind} vote", "", *_figures(scores), f"{clean.accuracy:.2%}" if clean else "")
    console = text_console()
    console.print(table)
    for name, leak in zip(result.members, result.leaks, strict=True):
        if leak:
            console.print(leak.warning(name), style="bold")
    for member in result.to_dict()["members"]:
        if unknown := not_searched(member):
            console.print(f"{member['name']}: {unknown}", soft_wrap=True)
    test = result.against_best
    console.print(
        f"soft vote against {result.best}, the best member on val: {test.only_first} faces only the vote got "
        f"right, {test.only_second} only {result.best}; McNemar's p = {test.p_value:.3g}",
        soft_wrap=True,
    )


def _figures(scores: "Scores") -> tuple[str, ...]:
    accuracy = with_interval(scores.accuracy, scores.accuracy_interval)
    return accuracy, f"{scores.macro_f1:.1%}", f"{scores.ece:.3f}"
