"""``mien watch``: a video in; rows, a timeline, a summary, an annotated video out."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import (
    Detector,
    Landmarks,
    MinFace,
    MinQuality,
    MinScore,
    Resume,
    RunsOn,
    Shipped,
    views_option,
)
from mien.cli.progress import progress_bar
from mien.cli.stopping import GOES_ON, GOES_ON_PLAIN, INTERRUPTED, stop_on_ctrl_c
from mien.cli.terminal import bar, row_stream, until_closed
from mien.cli.watch_many import (
    Blind,
    IdFrom,
    RayAddress,
    RowFormat,
    are_many,
    many_job,
    one_folder,
    watch_all,
)
from mien.cli.watch_screen import Show, screen
from mien.core.addresses import URL, shown
from mien.core.text import clock
from mien.errors import MienError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mien.workflows.video.frames import VideoInfo
    from mien.workflows.video.job import Outcome
    from mien.workflows.video.pick import Pick
    from mien.workflows.video.summary import Summary
    from mien.workflows.video.watcher import Watched, WatchSettings

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  mien watch talk.mp4
  mien watch talk.mp4 --out rows.csv --annotate marked.mp4 --plot timeline.png
  mien watch film.mkv --every 0.2s --from 1:00 --to 2:30 --out rows.parquet
  mien watch film.mkv --every 0.2s --out rows.csv --resume
  mien watch talk.mp4 --landmarks --out rows.csv
  mien watch talk.mp4 --json | jq 'select(.track == 1) | .label'
  mien watch rtsp://127.0.0.1:8554/room --out rows.jsonl
  mien watch 0
  mien watch talk.mp4 --out talk.srt --out talk.eaf --out talk.events.csv
  mien watch interviews/ --out rows/ --resume
  mien watch interviews/ --out rows/ --id-from 'P\\d+' --format eaf
  mien watch interviews/ --out rows/ --blind for-raters/
  mien watch /shared/interviews --out /shared/rows --ray auto --resume

Exit code: 0 watched to the end; 1 some of several videos were not; 2 the video is missing, damaged or
cut off (the rows so far are kept); 130 stopped by Ctrl-C or SIGTERM: --resume
continues.
"""
TOP = 3
CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)s?")


@app.command(epilog=EXAMPLES)
def watch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Video file, stream URL or camera number; or several files and folders."
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write rows to .csv, .jsonl or .parquet, or events to .srt, .eaf, .events.csv or "
            ".boris.xlsx; may repeat. For several videos, a folder.",
        ),
    ] = None,
    row_format: RowFormat = None,
    id_from: IdFrom = None,
    blind: Blind = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON lines.")] = False,
    annotate: Annotated[Path | None, typer.Option(metavar="FILE", help="Annotated video to write.")] = None,
    sound: Annotated[
        bool, typer.Option("--sound/--no-sound", help="Keep the sound in the annotated video.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot of emotions over time, as .png.")
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print each person's emotion shares, even with rows.")
    ] = False,
    every: Annotated[
        str | None, typer.Option(metavar="STEP", help="Read a frame every 0.2s or 5frames.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Start time: 90, 1:30...")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End time.")] = None,
    resume: Resume = False,
    ray: RayAddress = None,
    model: Shipped = None,
    views: Annotated[Any, views_option("the model's, at most 2")] = None,
    detector: Detector = None,
    landmarks: Landmarks = False,
    device: RunsOn = "cpu",
    min_face: MinFace = 40,
    min_score: MinScore = 0.0,
    min_quality: MinQuality = 0.0,
    smooth: Annotated[
        float, typer.Option(metavar="SECONDS", help="Smoothing time constant; 0 turns it off.")
    ] = 0.3,
    live: Annotated[
        bool, typer.Option("--live", help="Read and show only the newest frame; cameras always do.")
    ] = False,
) -> None:
    """Track each person in a video, and name their emotion over time.

    Each frame gives one row per face, with its true time; a frame without a face gives one row. Faces keep
    their number through gaps and crossings. Both raw and smoothed probabilities are written.
    """
    if as_csv and as_json:
        raise MienError("--json and --csv both go to standard output; choose one")
    from mien.core.detection import DEFAULT_DETECTOR
    from mien.core.model_store import DEFAULT_MODEL
    from mien.core.smoothing import SmoothingSettings
    from mien.workflows.video.job import WatchJob
    from mien.workflows.video.job import watch_video as run
    from mien.workflows.video.participants import parse_id_from
    from mien.workflows.video.pick import Pick, parse_every
    from mien.workflows.video.watcher import WatchSettings

    pick = Pick(*(parse_every(every) if every else (0.0, 1)), parse_time(start), parse_time(end))
    live = live or (sources[0].isdecimal() and not are_many(sources))
    settings = WatchSettings(
        model or DEFAULT_MODEL,
        views,
        detector or DEFAULT_DETECTOR,
        device,
        min_face,
        min_score,
        min_quality,
        batch=1 if live else 8,
        smoothing=SmoothingSettings(time_s=smooth, ahead_s=0.0 if live else min(2 * smooth, 60.0)),
        landmarks=landmarks,
    )
    if are_many(sources):
        one_only = {
            "--csv": as_csv,
            "--json": as_json,
            "--annotate": annotate,
            "--plot": plot,
            "--live": live,
        }
        many = many_job(sources, one_folder(out, one_only), row_format, pick, resume, id_from)
        watch_all(many, settings, blind, ray)
        return
    _refuse_of_many({"--blind": blind, "--format": row_format, "--ray": ray})
    participant = parse_id_from(id_from)(PurePath(shown(sources[0])))
    outputs = tuple(out or ())
    job = WatchJob(sources[0], pick, outputs, annotate, resume, live, sound=sound, participant=participant)
    _check_plot(plot, sources[0])
    prints = as_csv or as_json
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_ctrl_c())
        show = stack.enter_context(screen(stop) if live and not prints else _progress(pick, hidden=prints))
        printer = _printer(settings, as_csv, participant) if prints else None
        if printer and (outputs or annotate or plot):
            printer = until_closed(printer)

        def on_watched(watched: "Watched") -> None:
            show.show(watched)
            if printer:
                printer(watched)

        outcome = run(
            job, settings, on_watched=on_watched, begin=show.begin, stop=stop, keep_pixels=show.wants_pixels
        )
    if outcome.is_old:
        doubt = "" if outcome.is_compared else ", but nothing tells whether it is of this source"
        typer.echo(f"{job.files[0]} is complete already{doubt}; delete it to start over", err=True)
    _report(outcome, plot, summary=summary, prints=prints)
    # A stream shows nothing twice.
    _end(outcome, may_resume=bool(out) and not URL.match(sources[0]), annotates=bool(annotate), live=live)


def _refuse_of_many(given: dict[str, object]) -> None:
    for option in [option for option, value in given.items() if value]:
        raise MienError(f"{option} is for several videos, or a folder of them")


def _report(outcome: "Outcome", plot: Path | None, *, summary: bool, prints: bool) -> None:
    if outcome.is_old and not outcome.summary.n_frames:
        if plot or summary:
            raise MienError("--plot and --summary need rows, and these files hold events alone; start over")
        return
    if plot:
        from mien.workflows.video.plot import plot as draw

        draw(outcome.summary, plot)
    if summary or not prints:
        typer.echo("\n".join(summary_lines(outcome.summary)), err=prints)


def _check_plot(plot: Path | None, source: str) -> None:
    if plot:
        from mien.core.outputs import check_apart
        from mien.workflows.video.plot import check_plot

        check_plot(plot)
        check_apart(plot, [source])


def _end(outcome: "Outcome", *, may_resume: bool, annotates: bool, live: bool) -> None:
    """Raise where the video was not watched to its end."""
    if outcome.error:
        raise outcome.error
    if outcome.stopped and not live:
        hint = f"; {GOES_ON_PLAIN if annotates else GOES_ON}" if may_resume else ""
        typer.echo(f"mien: stopped at {outcome.summary.last_s:.2f} s{hint}", err=True)
        raise typer.Exit(INTERRUPTED)


def parse_time(text: str | None) -> float | None:
    """Seconds of ``90``, ``1:30`` or ``1:02:03.5``.

    Raises:
        MienError: it is no time.
    """
    if text is None:
        return None
    match = CLOCK.fullmatch(text.strip())
    if not match:
        raise MienError(f"a time is given as 90, 1:30 or 1:02:03.5, got '{text}'")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds  # inf for absurdly many digits, which `Pick` refuses


def _printer(
    settings: "WatchSettings", as_csv: bool, participant: str | None
) -> Callable[["Watched"], object]:
    """Prints rows on standard output."""
    from mien.core.model_store import find_model
    from mien.workflows.rows.formats import csv_bytes, json_bytes
    from mien.workflows.video.rows import named_cells, named_columns

    labels, landmarks = find_model(settings.model)[1].labels, settings.landmarks
    names = named_columns(labels, participant, landmarks=landmarks)
    stream = row_stream()
    encode = csv_bytes if as_csv else json_bytes
    if as_csv:
        stream.write(csv_bytes(names, [names]).decode())

    def on_watched(watched: "Watched") -> None:
        rows = (named_cells(row, labels, participant, landmarks=landmarks) for row in watched.rows)
        stream.write(encode(names, rows).decode())
        stream.flush()

    return on_watched


class _Bar:
    """A progress bar in seconds of the video, with frames a second and the time left."""

    wants_pixels = False

    def __init__(self, pick: "Pick", progress: "Progress | None") -> None:
        self.pick, self.progress = pick, progress
        self.start_s, self.n_frames, self.began = 0.0, 0, monotonic()

    def begin(self, info: "VideoInfo") -> None:
        if self.progress is None:
            return
        self.start_s = max(info.start_s, self.pick.start_s or 0.0)
        end_s = info.start_s + info.duration_s if info.duration_s else None
        if self.pick.end_s is not None:
            end_s = min(self.pick.end_s, end_s or self.pick.end_s)
        total = None if end_s is None else max(end_s - self.start_s, 0.0)
        self.task = self.progress.add_task("watching", total=total, at="at 0:00", rate="")
        self.began = monotonic()

    def show(self, watched: "Watched") -> None:
        if self.progress is None:
            return
        self.n_frames += 1
        at_s = watched.rows[0].time_s
        rate = f"{self.n_frames / max(monotonic() - self.began, 1e-3):.1f} frames/s"
        self.progress.update(self.task, completed=at_s - self.start_s, at=f"at {clock(at_s)}", rate=rate)


@contextmanager
def _progress(pick: "Pick", *, hidden: bool) -> Iterator[Show]:
    if hidden or not sys.stderr.isatty():
        yield _Bar(pick, None)
        return
    with progress_bar("bar", "at", "rate", "left", rows=True) as progress:
        yield _Bar(pick, progress)


def summary_lines(summary: "Summary") -> Iterator[str]:
    """The video and its persons as lines of at most 80 characters."""
    n_frames, n_faceless = summary.n_frames, summary.n_faceless
    yield f"{n_frames:,} frames, {summary.seconds:.1f} s; {n_faceless:,} frames without a face"
    if summary.persons:
        yield "  #     seen  expressive  share of the time under each label"
    for person in summary.persons.values():
        top = list(person.shares.items())[:TOP]
        shares = "  ".join(f"{label:<9} {share:>4.0%} {bar(share, 2)}" for label, share in top)
        yield f"{person.track:>3} {person.seconds:>6.1f} s {person.expressiveness:>10.0%}   {shares}".rstrip()
