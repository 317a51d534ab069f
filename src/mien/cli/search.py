"""``mien search``: try many values of a recipe's keys, in as many processes as there is room for."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import Data, Device, out_option
from mien.cli.progress import progress_bar
from mien.cli.terminal import printable, text_console
from mien.core.outputs import check_output
from mien.core.text import clock
from mien.errors import needs_extra

if TYPE_CHECKING:
    from mien.workflows.search import SearchProgress, SearchState, Trial
    from mien.workflows.search_report import Importances

EXAMPLES = """\b
Examples:
  mien search run cs231n --data fer2013.h5
  mien search show searches/cs231n --out trials.png
"""
app = typer.Typer(
    help="Search values for a recipe's keys, and show the results.", epilog=EXAMPLES, no_args_is_help=True
)

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database of trials, for several machines: postgresql://user@host/database, mysql://...",
        show_default="search.db in the folder",
    ),
]

RUN_EXAMPLES = """\b
Examples:
  mien search run cs231n --data fer2013.h5
  mien search run my-search.toml --out searches/first --device cuda
  mien search run cs231n --out /shared/s --storage postgresql://me@host/db

Start it in several terminals to share the work. The trial of a stopped or killed
process is taken over by the next one. The test set is never read.
"""
SHOW_EXAMPLES = """\b
Examples:
  mien search show searches/cs231n
  mien search show searches/cs231n --out trials.png --best 20
  mien search show searches/cs231n --json | jq '.trials[].accuracy'
"""


@app.command("run", epilog=RUN_EXAMPLES)
def run(
    search: Annotated[
        str, typer.Argument(help="Name of a shipped search, or a .toml file.", show_default=False)
    ],
    out: Annotated[Path | None, out_option("Search folder.", "searches/SEARCH")] = None,
    data: Data = None,
    device: Device = "cpu",
    storage: Storage = None,
) -> None:
    """Train trials until all are done; choose by validation accuracy."""
    with needs_extra("searching", "search"):
        from mien.workflows.search import run_search
    folder = out or Path("searches") / Path(search).stem
    with progress_bar("description", "bar", "done", "best", "rate", "time") as progress:
        bar = progress.add_task("starting", total=None, done="", best="", rate="", time="")

        def report(at: "SearchProgress") -> None:
            part = at.run.step / at.run.steps if at.run else 0.0
            best = at.best.accuracy if at.best else None
            progress.update(
                bar,
                description=f"trial {at.trial}",
                completed=at.finished + part,
                total=at.trials,
                done=f"{at.finished + part:.1f}/{at.trials}",
                best=f"best {best:.1%}" if best is not None else "",
                rate=f"{at.run.images_per_s:,.0f} faces/s" if at.run else "",
                time=f"{clock(at.seconds_left)} left" if at.seconds_left is not None else "",
            )
            if at.ended:
                progress.console.print(_line(at.ended), soft_wrap=True)

        state = run_search(search, folder, data=data, device=device, storage=storage, report=report)
    typer.echo(f"{_summary(state)}; next: mien search show {shlex.quote(str(folder))}")


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    folder: Annotated[Path, typer.Argument(help="Search folder of `mien search run`.", show_default=False)],
    out: Annotated[Path | None, out_option("PNG file to write: each trial is a line.")] = None,
    best: Annotated[int, typer.Option(help="Number of trials to list.", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print every trial as JSON.")] = False,
    storage: Storage = None,
) -> None:
    """Show the best trials, key importance, and the best command."""
    with needs_extra("searching", "search"):
        from mien.workflows.search import read_search_folder
        from mien.workflows.search_report import command, importances, parallel_figure
    if out:
        check_output(out, ends=[".png"])
    state = read_search_folder(folder, storage)
    found = importances(state)
    line = command(state, state.best, folder) if state.best else None
    if out:
        parallel_figure(state, out)
    if as_json:
        typer.echo(json.dumps(_object(state, found, line), indent=1))
        return
    _print(state, found, best)
    if line:
        typer.echo(f"\ntrain the best in full:\n{line}")
    if out:
        typer.echo(f"wrote {out}")


def _object(state: "SearchState", found: "Importances | None", line: str | None) -> dict[str, Any]:
    return {
        "search": state.search.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "trials": [asdict(trial) for trial in state.trials],
        "best": state.best.number if state.best else None,
        "importances": asdict(found) if found else None,
        "command": line,
    }


def _print(state: "SearchState", found: "Importances | None", n: int) -> None:
    from rich.table import Table

    console = text_console()
    table = Table(
        "trial",
        "validation",
        *_headings(list(state.search.space)),
        title=_summary(state),
        title_justify="left",
    )
    for column in table.columns:
        column.justify, column.overflow = "right", "fold"
    for trial in sorted(state.of("complete"), key=lambda trial: -(trial.accuracy or 0.0))[:n]:
        table.add_row(f"{trial.number}", f"{trial.accuracy:.2%}", *map(_value, trial.point.values()))
    if table.row_count:
        console.print(table)
    else:
        console.print(_summary(state))
    for trial in state.of("failed")[:n]:
        console.print(_line(trial))
    if found:
        parts = ", ".join(f"{key} {value:.0%}" for key, value in found.by_key.items())
        console.print(f"importance ({found.method}, n = {found.n}): {parts}")
    else:
        console.print("importance: needs ten complete trials that differ")


def _headings(keys: list[str]) -> list[str]:
    """The last parts of the keys, so that many fit beside each other; whole keys where two would be alike."""
    leaves = [key.rpartition(".")[2] for key in keys]
    return leaves if len(set(leaves)) == len(leaves) else keys


def _summary(state: "SearchState") -> str:
    text = f"{state.finished} of {state.search.trials} trials finished"
    if failed := len(state.of("failed")):
        text += f", {failed} of them failed"
    if unfinished := len(state.of("unfinished")):
        text += f", {unfinished} unfinished"
    if state.best:
        text += f"; best {state.best.accuracy:.2%} by trial {state.best.number}"
    return text


def _line(trial: "Trial") -> str:
    values = " ".join(f"{key}={_value(value)}" for key, value in trial.point.items())
    score = f"validation {trial.accuracy:.1%}" if trial.reason is None else f"failed: {trial.reason}"
    return printable(f"trial {trial.number}  {score}  {values}")


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
