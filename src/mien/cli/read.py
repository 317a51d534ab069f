"""``mien read``: images in; a table, JSON lines, CSV, Parquet or annotated images out."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Detector, MinScore, RunsOn, Shipped, parse_views
from mien.cli.terminal import bar, printable, progress_bar
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.core.results import Reading
    from mien.workflows.find import PassedOver, Source
    from mien.workflows.read import ImageResult

Taker = Callable[["ImageResult"], object]
"""Does something with each result: prints it, or writes it to a file."""

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  mien read party.jpg
  mien read photos/ more/*.png --annotate out/
  mien read photos/ --csv > faces.csv
  mien read photos/ --json | jq '.faces[].emotion'
  mien read photos/ --parquet faces.parquet
  curl -s https://example.org/a.jpg | mien read -

Exit code: 0 all images were read; 1 some could not be read; 2 nothing was read.
A folder's other files, such as notes and films, are counted on standard error.
"""
FEW = 3  # images, up to which a progress bar is more flicker than help
SHOWN_ERRORS = 20
TABLE_HEAD = "  #  x1,y1     x2,y2      most likely emotions (?: uncertain)"
TOP = 3


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go; the table is for people and shows where nothing else is asked for."""

    json: bool
    csv: bool
    parquet: Path | None
    annotate: Path | None

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise MienError("--json and --csv both go to standard output; choose one")

    @property
    def table(self) -> bool:
        return not (self.json or self.csv or self.parquet)


@app.command(epilog=EXAMPLES)
def read(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Files, folders, patterns, or - for standard input.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one CSV row a face.")] = False,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows to a Parquet file.")
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write images with faces marked; overwrites nothing."),
    ] = None,
    model: Shipped = None,
    detector: Detector = None,
    min_score: MinScore = 0.0,
    min_face: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="Side of the smallest face to look for; smaller is slower.",
            show_default="40, of large images 1/32 of the longest side",
        ),
    ] = None,
    rotated: Annotated[
        bool,
        typer.Option("--rotated", help="Also find faces that lie or stand on their head; 4 x slower."),
    ] = False,
    views: Annotated[
        str | None,
        typer.Option(
            metavar="1|2|10|auto",
            help="Test-time augmentation: views of a face to average; auto takes more of doubtful faces.",
        ),
    ] = None,
    device: RunsOn = "cpu",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Read the first N images only.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Images read at the same time.")
    ] = 1,
) -> None:
    """Name the emotion on every face of images and folders.

    Prints the three likeliest emotions of each face with calibrated probabilities. An image without a
    face is listed too, and one that cannot be read does not stop the rest. Of folders, hidden files and links
    to folders are not read.
    """
    outputs = Outputs(as_json, as_csv, parquet, annotate)
    from itertools import islice

    from mien.core.detection import DEFAULT_DETECTOR, DetectorSettings
    from mien.core.model_store import DEFAULT_MODEL
    from mien.workflows.find import PassedOver, find_images
    from mien.workflows.read import ReadSettings, build_analyzer, read_images

    def sources(passed_over: "PassedOver | None" = None) -> Iterator["Source"]:
        return islice(find_images(paths, annotate, passed_over), limit)

    _refuse_nothing(sources())
    analyzer = build_analyzer(
        ReadSettings(
            model or DEFAULT_MODEL,
            detector or DEFAULT_DETECTOR,
            min_score,
            min_face,
            rotated,
            parse_views(views),
            device,
        )
    )
    tally = Tally(PassedOver(), None if min_face is not None else DetectorSettings().max_side)
    with ExitStack() as stack:
        takers = [tally.take, *_takers(outputs, analyzer.classifier.labels, stack)]
        step = stack.enter_context(_progress(sources, hidden=outputs.table and sys.stdout.isatty()))
        stdin = getattr(sys.stdin, "buffer", None)  # there is no stdin where it was closed
        for result in read_images(sources(tally.passed_over), analyzer, stdin=stdin, jobs=jobs):
            for take in takers:
                take(result)
            step()
    tally.report(summary=not (as_json or as_csv))


def _refuse_nothing(sources: Iterator["Source"]) -> None:
    """Raise unless there is an image, before a model is loaded."""
    errors: list[str] = []
    for source in sources:
        if source.error is None:
            return
        errors.append(source.error)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise MienError(f"nothing to read: {errors[0]}{more}")


def _takers(outputs: Outputs, labels: Sequence[str], stack: ExitStack) -> Iterator[Taker]:
    from mien.workflows.read_outputs import AnnotatedFolder, columns, parquet_file, to_object, to_rows

    if outputs.annotate:
        yield AnnotatedFolder(outputs.annotate).write
    if outputs.parquet:
        rows = stack.enter_context(parquet_file(outputs.parquet, columns(labels)))
        yield lambda result: rows.write(to_rows(result, labels))
    if outputs.json:
        import json

        yield lambda result: typer.echo(json.dumps(to_object(result)))
    if outputs.csv:
        yield _csv_taker(labels)
    if outputs.table:
        typer.echo(TABLE_HEAD)
        yield lambda result: typer.echo("\n".join(table_lines(result)))


def _csv_taker(labels: Sequence[str]) -> Taker:
    import csv

    from mien.workflows.read_outputs import columns, to_rows

    clean = printable if sys.stdout.isatty() else str
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns(labels))

    def take(result: "ImageResult") -> None:
        for row in to_rows(result, labels):
            writer.writerow([clean(cell) if isinstance(cell, str) else cell for cell in row])
        sys.stdout.flush()

    return take


def table_lines(result: "ImageResult") -> Iterator[str]:
    """An image and its faces as lines of at most 80 characters, but for long names."""
    width, height = result.size_wh or (0, 0)
    name = printable(result.name)
    if result.error is not None:
        yield f"{name}: could not be read"
        return
    yield f"{name}  {width} x {height}" + ("" if result.readings else ": no face found")
    for number, reading in enumerate(result.readings, start=1):
        yield _face_line(number, reading)


def _face_line(number: int, reading: "Reading") -> str:
    box = reading.box
    top = sorted(zip(reading.probs, reading.labels, strict=True), reverse=True)[:TOP]
    names = [f"{label}{'?' if reading.uncertain and not i else ''}" for i, (_, label) in enumerate(top)]
    emotions = "  ".join(
        f"{name:<9}{prob:>4.0%} {bar(prob, 3)}" for name, (prob, _) in zip(names, top, strict=True)
    )
    start, end = f"{box.x1:.0f},{box.y1:.0f}", f"{box.x2:.0f},{box.y2:.0f}"
    return f"{number:>3}  {start:<9} {end:<9} {emotions}".rstrip()


@dataclass
class Tally:
    """Counts results and keeps the first errors, for the last lines on stderr and the exit code.

    Images with a side beyond ``searched_side`` were searched shrunk to it; ``None`` where none was.
    """

    passed_over: "PassedOver"
    searched_side: int | None
    n_shrunk: int = 0
    n_images: int = 0
    n_faces: int = 0
    n_faceless: int = 0
    n_failed: int = 0
    errors: list[str] = field(default_factory=list)

    def take(self, result: "ImageResult") -> None:
        self.n_images += 1
        self.n_faces += len(result.readings)
        self.n_shrunk += max(result.size_wh or (0,)) > (self.searched_side or float("inf"))
        if result.error is not None:
            self.n_failed += 1
            self.errors += [result.error] if len(self.errors) < SHOWN_ERRORS else []
        elif not result.readings:
            self.n_faceless += 1

    def report(self, *, summary: bool) -> None:
        """Print the last lines; exit code 1 where an image failed."""
        if summary and self.n_images > 1:
            typer.echo(
                f"{_count(self.n_images, 'image')}, {_count(self.n_faces, 'face')}; "
                f"{self.n_faceless:,} without a face, {self.n_failed:,} not readable",
                err=True,
            )
        for note in self._notes():
            typer.echo(f"mien: {note}", err=True)
        if self.n_failed:
            for error in self.errors:
                typer.echo(f"mien: {printable(error)}", err=True)
            if self.n_failed > len(self.errors):
                rest = self.n_failed - len(self.errors)
                typer.echo(f"mien: and {rest:,} more; --json and --csv give the error of each", err=True)
            raise typer.Exit(1)

    def _notes(self) -> Iterator[str]:
        """What a person should know who expected more faces or more images."""
        if self.n_shrunk:
            side = self.searched_side
            yield (
                f"{_count(self.n_shrunk, 'image')} of more than {side} pixels a side searched at that size "
                "for faces of 1/32 of it and larger; --min-face 40 finds smaller ones, and is slower"
            )
        text = str(self.passed_over)
        if text:
            yield f"passed over {text}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


@contextmanager
def _progress(sources: Callable[[], Iterator["Source"]], *, hidden: bool) -> Iterator[Callable[[], object]]:
    """What to call after each image; a bar on stderr where that is a terminal and there is some work."""
    total = 0 if hidden or not sys.stderr.isatty() else sum(1 for _ in sources())
    if total <= FEW:
        yield lambda: None
        return
    from time import monotonic

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]:.1f} images/s")
    columns = (BarColumn(), MofNCompleteColumn(), rate, TextColumn("left"), TimeRemainingColumn())
    start, n_done = monotonic(), 0
    with progress_bar(*columns, rows=True) as progress:
        task = progress.add_task("reading", total=total, rate=0.0)

        def step() -> None:
            nonlocal n_done
            n_done += 1
            progress.update(task, completed=n_done, rate=n_done / max(monotonic() - start, 1e-3))

        yield step
