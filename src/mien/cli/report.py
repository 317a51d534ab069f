"""``mien report``: a run, or several beside each other, on one page."""

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.options import out_option
from mien.cli.progress import waiting
from mien.cli.terminal import printable
from mien.core.text import counted

EXAMPLES = """\b
Examples:
  mien report runs/fer2013-s2d-cpu
  mien report runs/a runs/b --data fer2013.h5 --out comparison.html
  mien report runs/a --out a.md

The page shows what train, evaluate, papers and explain wrote to the run folders,
and names the command for what is missing. It may show faces of the data set:
keep it on this machine.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(help="Data set file, to show faces.", show_default=False)
    ] = None,
    out: Annotated[Path, out_option("Page to write: .html, or .md with a folder.", True)] = Path(
        "report.html"
    ),
) -> None:
    """Show runs on one page: recipe, data, scores, confusion, calibration, faces, maps, comparison."""
    from mien.workflows.report_page import write_report

    with waiting(f"arranging {counted(len(runs), 'run')}"):
        write_report(runs, out, data)
    typer.echo(f"wrote {printable(str(out))}")
