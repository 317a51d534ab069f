"""``mien papers``: the published and corrected figures of five papers, and the same recipes trained again."""

import math
import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import Data, Device, Overrides, out_option
from mien.cli.terminal import text_console
from mien.cli.training_bar import training_bar
from mien.errors import MienError, needs_extra

if TYPE_CHECKING:
    from mien.workflows.train import TrainProgress

EXAMPLES = """\b
Examples:
  mien papers
  mien papers show maastricht-cnn1
  mien papers run maastricht-cnn1 --data fer2013.h5
  mien papers run --all --data fer2013.h5 --out runs
  mien papers leak
  mien papers table --runs runs --out docs/papers.md
"""
RUN_EXAMPLES = """\b
Examples:
  mien papers run maastricht-cnn1
  mien papers run cs231n-final cs231n-distilled --data fer2013.h5
  mien papers run chmura-cnn --set run.epochs=5 --out short
  mien papers run chmura-cnn --as-is
  mien papers run --all --hours 8

A stopped run continues. A trained row is only scored, a scored row is only
printed: PrivateTest is scored once. Rows that another process runs are
skipped: start --all on several machines, with one --out, to share them.
"""


class OutOfTime(KeyboardInterrupt):
    """The hours of ``--hours`` are over: training ends as by Ctrl-C, with a checkpoint."""


app = typer.Typer(
    help="The papers' rows: published figure, corrected figure, and score here.",
    invoke_without_command=True,
    epilog=EXAMPLES,
)

Runs = Annotated[Path, typer.Option(help="Parent folder of the run folders.")]


@app.callback()
def start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_rows()


@app.command("list")
def list_rows() -> None:
    """Print every row, published and corrected. A star marks those that are trained here.

    Example: mien papers list
    """
    from rich.table import Table

    from mien.workflows.papers.claims import papers, rows

    console = text_console()
    for key, paper in papers().items():
        console.print(f"\n{paper.title}")
        table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
        for width in (1, 36, 13, None):
            table.add_column(width=width, overflow="fold")
        for row in rows().values():
            if row.paper == key:
                star = "" if not row.command else "*" if not row.why else "+"
                table.add_row(star, row.name, row.published, row.holds)
        console.print(table)
    typer.echo(
        "\ncolumns: row, published, corrected  * run here  + needs other weights or data\n"
        "next: mien papers show ROW"
    )


@app.command("show")
def show(row: Annotated[str, typer.Argument(help="A row of `mien papers`.", show_default=False)]) -> None:
    """Print a row's specification, source and training command.

    Example: mien papers show maastricht-cnn1
    """
    import textwrap

    from mien.workflows.papers.claims import papers
    from mien.workflows.papers.claims import row as find

    found = find(row)
    paper = papers()[found.paper]
    facts = {
        "what": found.what,
        "paper": paper.title,
        "code": paper.code,
        "source": found.source,
        "published": found.published,
        "measured on": found.on,
        "corrected": found.holds,
        "note": found.note,
        "all networks": paper.spec,
        "this network": found.spec,
        "recipe": found.made_by,
        "our data": paper.data if found.command else "",
        "not run": found.why,
        "run": found.command,
    }
    typer.echo(found.name)
    for name, text in facts.items():
        if text:
            lines = textwrap.wrap(text, 64, break_on_hyphens=False)
            typer.echo("\n".join(f"  {name if i == 0 else '':<13}{line}" for i, line in enumerate(lines)))


@app.command("run", epilog=RUN_EXAMPLES)
def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ROW...", help="Rows of `mien papers`.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every row that can be trained here.")] = False,
    data: Data = None,
    out: Annotated[Path, out_option("Parent folder of the run folders.", True)] = Path("runs"),
    overrides: Overrides = None,
    device: Device = "cpu",
    as_is: Annotated[bool, typer.Option("--as-is", help="Do not train; score the existing runs.")] = False,
    val_only: Annotated[bool, typer.Option("--val-only", help="Do not score PrivateTest.")] = False,
    hours: Annotated[
        float | None,
        typer.Option(min=0, help="Stop after this time; the same command continues.", show_default=False),
    ] = None,
) -> None:
    """Train rows, score on PublicTest and PrivateTest, draw figures."""
    with needs_extra("running the papers"):
        from mien.workflows.papers.run import PaperSettings, TakenError, run_row
    from mien.workflows.papers.claims import chosen

    settings = PaperSettings(data, out, tuple(overrides or ()), device, as_is, not val_only)
    failed, end = 0, math.inf if hours is None else time.monotonic() + 3600 * hours
    for row in chosen(names or [], everything):
        try:
            with training_bar() as show:
                result = run_row(row, settings, _until(end, partial(show, name=row.name)))
        except OutOfTime:
            typer.echo(f"{row.name}: stopped after {hours:g} hours; the same command continues", err=True)
            break
        except MienError as e:
            if not everything:
                raise
            failed += not isinstance(e, TakenError)
            typer.echo(f"{row.name}: {e}", err=True)
        else:
            typer.echo(_result_line(row.name, row.published, result))
    if not val_only:  # the table is of PrivateTest
        typer.echo(f"next: mien papers table --runs {shlex.quote(str(out))}")
    if failed:
        raise typer.Exit(1)


@app.command("table")
def table(
    runs: Runs = Path("runs"),
    out: Annotated[Path, out_option("Page to write; its data go beside it.", True)] = Path("docs/papers.md"),
) -> None:
    """Write the page of all rows from the run folders.

    Example: mien papers table --runs runs --out docs/papers.md
    """
    from mien.workflows.papers.page import write_page

    tally, leaks = write_page(runs, out)
    typer.echo(f"{tally}\nwrote {out}{f' and {leaks}' if leaks else ''}")


@app.command("leak")
def leak(runs: Runs = Path("runs")) -> None:
    """Compare scores that include training rows with PrivateTest alone.

    Example: mien papers leak
    """
    from mien.workflows.papers.claims import leaky_rows, read_result

    if runs.is_file():
        raise MienError(f"{runs} is a file; --runs takes the folder of `mien papers run`")
    typer.echo(f"{'row':<29}{'printed':>8}{'theirs':>9}{'ours, as they scored':>21}{'ours':>9}")
    for row in leaky_rows():
        result = read_result(runs / row.name) or {}
        found = [result["leak"], result["test"]] if result.get("leak") else []
        ours = [f"{scores['accuracy']:.2%}" for scores in found] or ["-", "-"]
        theirs = row.holds.partition(" on ")[0]
        theirs = theirs if theirs.endswith("%") else "-"
        typer.echo(f"{row.name:<29}{row.published:>8}{theirs:>9}{ours[0]:>21}{ours[1]:>9}")
    typer.echo("theirs, ours: PrivateTest alone; as they scored: with Training, learned from")


def _result_line(name: str, published: str, result: dict[str, Any]) -> str:
    from mien.workflows.papers.claims import POINT_ERROR
    from mien.workflows.papers.page import epochs

    if result["metric"] == POINT_ERROR:
        errors = {"val": result["val"], **{one["source"]: one for one in result["test"] or ()}}
        figures = ", ".join(f"{what} {one['error']:.2%}" for what, one in errors.items())
        return f"{name}: error of the points {figures}; epochs {epochs(result)}"
    scores = {"PublicTest": result["val"], "PrivateTest": result["test"], "clean": result["clean"]}
    figures = ", ".join(f"{what} {s['accuracy']:.2%}" for what, s in scores.items() if s)
    leaked = f", as printed {result['leak']['accuracy']:.2%}" if result["leak"] else ""
    return f"{name}: {figures}{leaked} (published {published}); epochs {epochs(result)}"


def _until(end: float, report: "Callable[[TrainProgress], None]") -> "Callable[[TrainProgress], None]":
    """The report, which ends the training at a moment of the monotonic clock."""

    def checked(at: "TrainProgress") -> None:
        report(at)
        if time.monotonic() >= end:
            raise OutOfTime

    return checked
