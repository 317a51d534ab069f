"""``mien read``: images in; a table, rows in files or on standard output, or annotated images out."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import (
    Detector,
    Landmarks,
    LeastFace,
    MinQuality,
    MinScore,
    Resume,
    RunsOn,
    Shipped,
    Views,
)
from mien.cli.read_inputs import Exclude, FilesFrom, Include, Inputs, Limit, Shard, refuse_nothing
from mien.cli.read_ray import RayAddress, ray_job, read_by_ray
from mien.cli.read_screen import TABLE_HEAD, Tally, progress, searched_side, table_lines
from mien.cli.stopping import GOES_ON, GOES_ON_PLAIN, INTERRUPTED, Stop, stop_on_ctrl_c
from mien.cli.terminal import printable, row_stream, until_closed
from mien.core.outputs import check_apart
from mien.core.text import counted
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.core.analyzer import Analyzer
    from mien.core.bulk import BulkSettings
    from mien.workflows.find import Source
    from mien.workflows.read import ImageResult, ReadSettings
    from mien.workflows.read_job import RowFiles, RowRun

Taker = Callable[["ImageResult"], object]
"""Does something with each result: prints it, or writes it to a file."""

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  mien read party.jpg
  mien read photos/ more/*.png --annotate out/
  mien read photos/ --csv > faces.csv
  mien read photos/ --json | jq '.faces[].emotion'
  mien read photos/ --out faces.parquet --errors errors.csv
  mien read photos/ --out faces.parquet --resume
  mien read photos/ --landmarks --csv > faces.csv
  find . -name '*.jpg' -print0 | mien read --files-from - --out faces.csv
  mien read s3://photos/2024 --ray auto --out s3://rows/2024 --resume
  curl -s https://example.org/a.jpg | mien read -

Exit code: 0 all images were read; 1 some or all could not be read; 2 there was
nothing to read, or an output could not be written; 130 stopped by Ctrl-C or SIGTERM: rows already
in files are kept, and --resume continues after them.
Other files in folders are counted on standard error.
"""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go; the table is for people and shows where nothing else is asked for."""

    json: bool
    csv: bool
    annotate: Path | None
    rows: "RowFiles"

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise MienError("--json and --csv both go to standard output; choose one")
        if self.annotate and self.rows.resume:
            from mien.workflows.rows.run_state import refuse_to_annotate, state_of

            if state_of(self.rows.files[0]).exists():
                refuse_to_annotate("annotated images", self.rows.files[0])

    @property
    def table(self) -> bool:
        return not (self.json or self.csv or self.rows.files)

    @property
    def in_files(self) -> bool:
        return bool(self.rows.files or self.rows.errors or self.annotate)


@app.command(epilog=EXAMPLES)
def read(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Files, folders, patterns, or - for standard input.", show_default=False
        ),
    ] = None,
    out: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write rows to a .csv, .jsonl or .parquet file; may repeat. With --ray a folder or URL.",
        ),
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write failed images and the reasons to a .csv, .jsonl or .parquet file."
        ),
    ] = None,
    resume: Resume = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one CSV row per face.")] = False,
    annotate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write annotated images; overwrites nothing."),
    ] = None,
    files_from: FilesFrom = None,
    include: Include = None,
    exclude: Exclude = None,
    shard: Shard = None,
    ray: RayAddress = None,
    model: Shipped = None,
    detector: Detector = None,
    min_score: MinScore = 0.0,
    min_quality: MinQuality = 0.0,
    min_face: LeastFace = None,
    rotated: Annotated[
        bool,
        typer.Option(
            "--rotated",
            help="With --detector mtcnn: also find rotated and upside-down faces, 4 x slower. The "
            "default detector always finds them.",
        ),
    ] = False,
    views: Views = None,
    landmarks: Landmarks = False,
    device: RunsOn = "cpu",
    limit: Limit = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            help="Number of parallel processes.",
            show_default="the free cores; 1 for a few images",
        ),
    ] = None,
) -> None:
    """Name the emotion of every face in images and folders.

    Prints the three most likely emotions of each face, with calibrated probabilities. Images without a face
    are listed too. An unreadable image does not stop the others. Hidden files in folders and links to folders
    are skipped. Rows are in the order of the images.
    """
    from mien.core.bulk import BulkSettings
    from mien.core.detection import DEFAULT_DETECTOR
    from mien.core.model_store import DEFAULT_MODEL
    from mien.workflows.find import PassedOver
    from mien.workflows.read import ReadSettings, build_analyzer
    from mien.workflows.read_job import Counts, RowFiles

    files = tuple(map(Path, out or ()))
    inputs = Inputs(paths or (), files_from, include or (), exclude or (), shard, limit, annotate)
    settings = ReadSettings(
        model or DEFAULT_MODEL,
        detector or DEFAULT_DETECTOR,
        min_score,
        min_quality,
        min_face,
        rotated,
        views,
        device,
        landmarks,
    )
    if ray is not None:
        refused = {"--json": as_json, "--csv": as_csv, "--annotate": annotate, "--errors": errors}
        read_by_ray(inputs, ray_job(ray, out, refused, settings, jobs, resume))
        return
    for path in (*files, *([errors] if errors else ())):
        check_apart(path, [*inputs.paths, *([files_from] if files_from else [])])
    outputs = Outputs(as_json, as_csv, annotate, RowFiles(files, errors, resume))
    side = searched_side(settings.detector, min_face)
    tally = Tally(Counts(), PassedOver(), side, errors or next(iter(files), None))
    stop = Stop()
    sources = refuse_nothing(inputs.sources(tally.passed_over, stop), tally.passed_over)
    analyzer = build_analyzer(settings)
    with stop_on_ctrl_c(stop) if files else nullcontext():
        bulk = BulkSettings(
            1 if outputs.table or annotate else 8,  # pixels of all would wait
            1 if jobs is None and device != "cpu" else jobs,
            annotate is not None,
            stop,
        )
        with _rows(outputs, inputs, analyzer, settings, stop) as rows:
            if rows is not None and rows.files.is_done:
                rows.check_done(sources)
                if annotate and not annotate.exists():
                    raise MienError(
                        f"{files[0]} is complete already; to draw its images, leave --out and --resume out"
                    )
                typer.echo(f"{files[0]} is complete already; delete it to start over", err=True)
                _tell_failed(rows.earlier.n_failed, outputs.rows)
                raise typer.Exit(1 if rows.earlier.n_failed else 0)
            _run(Job(inputs, outputs, analyzer, bulk), sources, rows, tally)
    if stop.wanted:
        hint = GOES_ON_PLAIN if annotate else GOES_ON
        typer.echo(f"mien: stopped after {tally.counts.n_images:,} images; {hint}", err=True)
        raise typer.Exit(INTERRUPTED)
    tally.report(summary=not (as_json or as_csv))


def _tell_failed(n_failed: int, rows: "RowFiles") -> None:
    """Say how to read again what a run that came to its end could not read."""
    if n_failed:
        told = rows.errors or rows.files[0]
        again = f"mien read --files-from {quote(str(told))} --out again{rows.files[0].suffix}"
        what = f"{counted(n_failed, 'image')} could not be read"
        typer.echo(
            printable(f"mien: {what}; {again} reads {'it' if n_failed == 1 else 'them'} again"), err=True
        )


@dataclass(frozen=True, slots=True)
class Job:
    """All that a run needs besides its images and its files."""

    inputs: Inputs
    outputs: Outputs
    analyzer: "Analyzer"
    bulk: "BulkSettings"


def _run(job: Job, sources: Iterator["Source"], rows: "RowRun | None", tally: Tally) -> None:
    from mien.workflows.read import read_images

    outputs = job.outputs
    shown = _shown(outputs, job.analyzer)
    takers = [tally.take, *([rows.take] if rows else ()), *_annotator(outputs.annotate)]
    takers += map(until_closed, shown) if outputs.in_files else shown
    if rows is not None:
        rows.begin()  # behind the takers, which may refuse: it empties files of rows
        tally.go_on_from(rows.earlier)
        sources = rows.without_done(sources)
    stdin = getattr(sys.stdin, "buffer", None)  # there is no stdin where it was closed
    hidden = outputs.table and sys.stdout.isatty()
    with progress(job.inputs.count, tally.n_earlier, hidden=hidden) as step:
        for result in read_images(sources, job.analyzer, stdin=stdin, bulk=job.bulk):
            for take in takers:
                take(result)
            step()


@contextmanager
def _rows(
    outputs: Outputs, inputs: Inputs, analyzer: "Analyzer", settings: "ReadSettings", stop: Stop
) -> Iterator["RowRun | None"]:
    """The files of rows; after a stop or an error they end behind an image, and --resume goes on."""
    from mien.workflows.read_job import RowRun

    if not (outputs.rows.files or outputs.rows.errors):
        yield None
        return
    identity = {
        "model": analyzer.classifier.card.sha256,
        "settings": settings.identity(),
        "shard": inputs.selection().shard,
    }
    rows = RowRun(outputs.rows, analyzer.classifier.labels, identity, landmarks=settings.landmarks)
    try:
        yield rows
    except BaseException:
        rows.files.end(whole=False)
        raise
    if stop.wanted:
        rows.files.save()
    rows.files.end(whole=not stop.wanted)


def _annotator(folder: Path | None) -> Iterator[Taker]:
    from mien.workflows.read_outputs import AnnotatedFolder

    if folder:
        yield AnnotatedFolder(folder).write


def _shown(outputs: Outputs, analyzer: "Analyzer") -> Iterator[Taker]:
    """What prints each result."""
    from mien.workflows.read_outputs import to_object

    if outputs.json:
        import json

        yield lambda result: typer.echo(json.dumps(to_object(result)))
    if outputs.csv:
        yield _csv_taker(analyzer.classifier.labels, analyzer.landmarks)
    if outputs.table:
        typer.echo(TABLE_HEAD)
        yield lambda result: typer.echo("\n".join(table_lines(result)))


def _csv_taker(labels: Sequence[str], landmarks: bool) -> Taker:
    from mien.workflows.read_outputs import columns, to_rows
    from mien.workflows.rows.formats import csv_bytes

    names, stream = columns(labels, landmarks=landmarks), row_stream()
    clean = printable if stream.isatty() else str
    stream.write(csv_bytes(names, [names]).decode())

    def take(result: "ImageResult") -> None:
        rows = to_rows(result, labels, landmarks=landmarks)
        safe = ([clean(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
        stream.write(csv_bytes(names, safe).decode())
        stream.flush()

    return take
