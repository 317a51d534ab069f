"""``mien average``: the mean of the weights of several runs as one network."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import Device, out_option
from mien.cli.progress import waiting
from mien.errors import needs_extra

EXAMPLES = """\b
Examples:
  mien train fine-tune --data faces.h5 --seeds 3
  mien average runs/fine-tune-seed-* --out runs/fine-tune-average
  mien evaluate runs/fine-tune-average faces.h5 --split val

Only for runs that started from the same weights; others are too different.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def average(
    runs: Annotated[
        list[Path], typer.Argument(help="Finished run folders, two or more.", show_default=False)
    ],
    out: Annotated[Path, out_option("Run folder for the average.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Data set file that the runs were trained on.", show_default="the recipe's"),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Average the weights of fine-tuned runs into one network: often more accurate, and as fast."""
    with needs_extra("averaging runs", "train"):
        from mien.workflows.average import average as average_runs
    with waiting("scoring the validation rows"):
        made = average_runs(runs, out, data, device)
    width = max(map(len, [*made.alone, str(made.folder)]))
    for name, accuracy in [*made.alone.items(), (str(made.folder), made.accuracy)]:
        typer.echo(f"{name:<{width}}  validation {accuracy:.2%}")
    if made.leak:
        typer.echo(made.leak.warning())
    typer.echo(f"wrote {made.folder}; next: mien evaluate {shlex.quote(str(made.folder))} DATA --split val")
