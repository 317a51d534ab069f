"""``mien data``: import a data set into one file, and look at what is wrong with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from mien.data.audit import Audit
    from mien.data.records import FaceSet

app = typer.Typer(help="Import data sets and look at what is wrong with them.", no_args_is_help=True)


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="Which data set: fer2013.", show_default=False)],
    path: Annotated[
        Path,
        typer.Argument(
            help="What you downloaded: a CSV, or a folder with train/ and test/.", show_default=False
        ),
    ],
    to: Annotated[Path, typer.Option(help="The data set file to write.")] = Path("fer2013.h5"),
    ferplus: Annotated[
        Path | None, typer.Option(help="fer2013new.csv, the votes of FER+.", show_default=False)
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a part of the data set.")] = False,
    search: Annotated[
        bool,
        typer.Option("--search", help="Find test faces with a near copy in training now; else audit does."),
    ] = False,
) -> None:
    """Read a data set and write it as one checked file.

    Example: mien data import fer2013 fer2013.csv --ferplus fer2013new.csv --to fer2013.h5

    Reads fer2013.csv, icml_face_data.csv, and the release in class folders.
    """
    from rich.console import Console

    from mien.workflows.prepare import ImportSettings, import_data

    with _progress() as progress:
        tasks = {
            step: progress.add_task(step, visible=False) for step in ("reading faces", "comparing faces")
        }

        def report(step: str, done: int, total: int) -> None:
            progress.update(tasks[step], completed=done, total=total, visible=True)

        done = import_data(kind, path, to, ImportSettings(ferplus, partial, search), report)
    console = Console()
    console.print(_face_table(done.faces))
    if done.near is not None:
        clean = int(done.near.clean(done.faces.select("test").rows).sum())
        console.print(f"clean test faces, without a near copy in training: {clean:,}", highlight=False)
    else:
        console.print(f"for the clean score: mien data audit {done.path}", highlight=False, markup=False)
    for note in done.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    console.print(f"wrote {done.path}", highlight=False, markup=False, soft_wrap=True)


@app.command("audit")
def audit(
    store: Annotated[Path, typer.Argument(help="A data set file that import wrote.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="An HTML page to write, with the worst pictures.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find blank pictures, non-faces, copies and contradicting labels.

    Example: mien data audit fer2013.h5 --to audit.html

    The page holds pictures of the data set, loads nothing from elsewhere, and stays on this machine.
    """
    import json

    from rich.console import Console

    from mien.workflows.audit import audit_data

    with _progress() as progress:
        task = progress.add_task("comparing faces", visible=False)
        found = audit_data(
            store, to, lambda done, total: progress.update(task, completed=done, total=total, visible=True)
        )
    if as_json:
        typer.echo(json.dumps(found.summary(), indent=2))
        return
    console = Console()
    console.print(_audit_table(found))
    same = found.summary()["identical"]
    console.print(
        f"{same['redundant_copies']:,} pictures repeat another exactly, in {same['groups']:,} groups; "
        f"{same['groups_with_conflicting_labels']:,} groups carry different labels",
        highlight=False,
    )
    if to is not None:
        console.print(f"wrote {to}", highlight=False, markup=False, soft_wrap=True)


def _progress() -> "Progress":
    """Bars on stderr, with the time left, gone when done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _table(title: str, columns: tuple[str, ...]) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("", box=SIMPLE, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _face_table(faces: "FaceSet") -> "Table":
    from mien.data.records import SPLITS

    votes = " with FER+ votes" if faces.votes is not None else ""
    table = _table(f"{faces.name}, {len(faces):,} faces{votes}", (*SPLITS, "all"))
    counts = faces.counts().T
    for label, row in zip((*faces.label_names, "all"), (*counts, counts.sum(axis=0)), strict=True):
        table.add_row(label, *(f"{n:,}" for n in (*row, row.sum())))
    return table


def _audit_table(found: "Audit") -> "Table":
    from mien.data.records import SPLITS

    table = _table(f"{found.faces.name}, {len(found.faces):,} faces", SPLITS)
    for text, counts in found.table().items():
        table.add_row(text, *(f"{counts[split]:,}" if split in counts else "–" for split in SPLITS))
    return table
