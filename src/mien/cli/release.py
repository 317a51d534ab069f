"""``mien release``: from a run folder to a model that `mien read` loads."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import AllowLeak, out_option, prior_power_option, views_option
from mien.cli.progress import waiting
from mien.core.cards import is_leaking, not_searched
from mien.core.model_store import folder_for, when_made
from mien.core.text import counted, with_interval
from mien.errors import needs_extra

if TYPE_CHECKING:
    from mien.core.cards import ModelCard

EXAMPLES = """\b
Examples:
  mien release runs/fer2013-s2d-cpu --name mine --summary "my first net"
  mien release runs/second-try --name mine2 --data faces.h5 --card card.toml
  mien read photo.jpg --model mine
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def release(
    run: Annotated[Path, typer.Argument(help="Finished run folder.", show_default=False)],
    name: Annotated[str, typer.Option(help="Name of the model.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(help="Data set file that the run was trained on.", show_default="the recipe's"),
    ] = None,
    out: Annotated[Path | None, out_option("Folder for the model.", "where mien looks")] = None,
    views: Annotated[Any, views_option(True)] = "2",
    prior_power: Annotated[Any, prior_power_option(True)] = "0",
    int8: Annotated[
        bool,
        typer.Option("--int8/--no-int8", help="Use 8-bit weights if the validation set allows it; or never."),
    ] = True,
    card: Annotated[
        Path | None,
        typer.Option(help="TOML with summary, licence, data, limits … for the card.", show_default=False),
    ] = None,
    summary: Annotated[str, typer.Option(help="One-line summary for the card.", show_default=False)] = "",
    allow_leak: AllowLeak = False,
) -> None:
    """Export a run to ONNX, check it against torch, calibrate and score it, and write its card."""
    with needs_extra("releasing"):
        from mien.workflows.release import ReleaseSettings, read_card_text
        from mien.workflows.release import release as run_release
    settings = ReleaseSettings(views, out, prior_power, int8, allow_leak)
    text = read_card_text(card, summary or f"trained in {run.name}")
    earlier = when_made(folder_for(name, out) / f"{name}.json")
    with waiting("exporting, comparing with torch, calibrating, scoring: some minutes"):
        made = run_release(run, name, data, text, settings)
    echo_written(made.weights, earlier)
    same = f"{made.same_labels:.2%} of the rows; logits within {made.largest_difference:.1e}"
    typer.echo(f"same label as torch on {same}")
    echo_figures(made.card, made.data)
    if int8_tried := made.card.scores.get("int8"):
        typer.echo(f"shipped in {int8_tried['shipped']}: {int8_tried['why']}")
    if made.test_evaluations:
        typer.echo(f"test set evaluated {counted(made.test_evaluations, 'time')} by this run")
    echo_next(name if out is None else made.weights)


def echo_written(weights: Path, earlier: str) -> None:
    """Where a new model lies, and when one that it has replaced was made."""
    typer.echo(f"wrote {weights} ({weights.stat().st_size / 1e6:.1f} MB) and its card")
    if earlier:
        typer.echo(f"replaced {weights.stem}, made {earlier}")


def echo_next(model: str | Path) -> None:
    """The command that reads with a new model, as it can be pasted."""
    typer.echo(f"next: mien read photo.jpg --model {shlex.quote(str(model))}")


def echo_figures(card: "ModelCard", data: Path) -> None:
    """The scores of a new card, and what calibration chose."""
    from mien.data.store import why_not_clean

    scores = card.scores
    typer.echo(f"test {_accuracy(scores['test'])}")
    if "test_clean" in scores:
        typer.echo(f"clean test {_accuracy(scores['test_clean'])}")
    else:
        known = scores["test"]["leak"] is not None
        why = why_not_clean(data) if known else "this model's training faces are not known here"
        typer.echo(f"no clean score in the card: {why}")
    if is_leaking(scores["test"]):
        typer.echo("LEAK: the network has learned from test faces; these scores are not of new faces")
    if unknown := not_searched(scores["test"]):
        typer.echo(unknown)
    certain = scores["val_certain"]
    typer.echo(f"calibrated on {card.calibrated_on}")
    typer.echo(
        f"uncertain below {card.uncertain_below:.4f}: {certain['coverage']:.1%} of the validation faces "
        f"are named, {certain['accuracy']:.2%} of them right"
    )
    typer.echo(f"CPU time, one thread: {scores['cpu']['ms_a_face']:.2f} ms a face, {card.views} view(s)")
    if "val_by_prior_power" in scores:
        typer.echo(f"prior power {scores['val_by_prior_power']['why']}")


def _accuracy(scores: dict[str, Any]) -> str:
    accuracy = with_interval(scores["accuracy"], scores["accuracy_interval"])
    return f"accuracy {accuracy}, ECE {scores['ece']:.4f}"
