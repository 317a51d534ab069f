"""``mien watch`` of several videos or of folders: a file of rows for each, an index, a line a video."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import ray_option
from mien.cli.progress import LINES_EVERY_S
from mien.cli.stopping import INTERRUPTED, Stop, stop_on_ctrl_c
from mien.cli.terminal import printable, until_closed
from mien.core.paths import local_path
from mien.core.text import counted
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.workflows.video.many import Done, ManyJob
    from mien.workflows.video.pick import Pick
    from mien.workflows.video.watcher import Watched, WatchSettings

RowFormat = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="csv|jsonl|parquet|srt|eaf|...",
        help="File formats to write for each of several videos; may repeat.",
        show_default="csv",
    ),
]
IdFrom = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX|stem",
        help="Add a participant column: what REGEX matches in the video path.",
        show_default="for several videos stem, the file name without suffix",
    ),
]
Blind = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Copy the videos for raters, with neutral names in random order."),
]
RayAddress = Annotated[str | None, ray_option("Watch several videos")]


def are_many(sources: Sequence[str]) -> bool:
    """Whether rows go into a folder: there are several sources, or one is a folder."""
    return len(sources) > 1 or os.path.isdir(local_path(sources[0]))


def one_folder(out: Sequence[Path] | None, refused: dict[str, Any]) -> Path:
    """The folder that ``--out`` names.

    Raises:
        MienError: it names none or several, or an option is given that one video alone has.
    """
    given = [option for option, value in refused.items() if value]
    if given:
        raise MienError(f"{given[0]} is for one video; leave it out, or give one video")
    if out is None or len(out) != 1:
        raise MienError("several videos need one folder for their rows: --out DIR")
    return out[0]


class _Lines:
    """Says on stderr, where nobody looks at a terminal too, how far a run and a long video are.

    Args:
        paths: Of all videos, in the order in which they are watched, or were by an earlier run.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.places = {path: place for place, path in enumerate(paths, 1)}
        self.path, self.n_begun = Path(), 0
        self.start_s = self.video_s = self.reported_s = monotonic()

    def begin(self, path: Path) -> None:
        self.path, self.video_s = path, monotonic()
        self.n_begun += 1
        if sys.stderr.isatty():
            typer.echo(f"watching {printable(str(path))}", err=True)

    def show(self, watched: "Watched") -> None:
        if monotonic() - self.reported_s >= LINES_EVERY_S:
            self.reported_s = monotonic()
            far = f"{self.places[self.path]:,} of {len(self.places):,}"
            at = f"{printable(str(self.path))}: at {watched.rows[0].time_s:.1f} s"
            typer.echo("  ".join([far, at, *self._pace()]), err=True)

    def _pace(self) -> Iterator[str]:
        """The rate and the time left, by the videos of this run that were watched to their end."""
        if self.n_begun > 1:
            each_s = max(self.video_s - self.start_s, 1e-3) / (self.n_begun - 1)
            n_left = len(self.places) - self.places[self.path] + 1
            left_s = max(n_left * each_s - (monotonic() - self.video_s), 0.0)
            yield f"{3600 / each_s:.1f} videos/h"
            yield f"{timedelta(seconds=round(left_s))} left"


def many_job(
    sources: Sequence[str],
    folder: Path,
    formats: Sequence[str] | None,
    pick: "Pick",
    resume: bool,
    id_from: str | None,
) -> "ManyJob":
    """What the options of the command say of several videos."""
    from mien.workflows.video.many import ManyJob
    from mien.workflows.video.participants import STEM, parse_id_from

    suffixes = tuple(f".{name.removeprefix('.')}" for name in formats or ("csv",))
    return ManyJob(sources, folder, suffixes, pick, resume, parse_id_from(id_from or STEM))


def watch_all(job: "ManyJob", settings: "WatchSettings", blind: Path | None, ray: str | None) -> None:
    """Watch all videos, here or on the cluster ``ray``; exit code 1 where the index tells of an error."""
    from mien.workflows.find import PassedOver
    from mien.workflows.video.many import INDEX, find_videos, n_failed

    passed_over = PassedOver(what="a video")
    found = find_videos(job.sources, passed_over)
    job = replace(job, videos=found)
    if blind:
        _copy_blind(job, blind, found)
    if str(passed_over):
        typer.echo(printable(f"mien: passed over {passed_over}"), err=True)
    n_done = n_broken = 0
    say = until_closed(typer.echo)
    with stop_on_ctrl_c() if ray is None else nullcontext(Stop()) as stop:
        for done in _watched(job, settings, ray, stop):
            n_done += 1
            n_broken += done.error is not None
            people = counted(done.persons, "person")
            outcome = done.error or f"{counted(done.frames, 'frame')}, {done.seconds:.1f} s, {people}"
            say(printable(f"{done.video}: {outcome}"))
    if stop.wanted:
        typer.echo(f"mien: stopped after {counted(n_done, 'video')}; continue with --resume", err=True)
        raise typer.Exit(INTERRUPTED)
    n_before = n_failed(job.folder) - n_broken
    before = f", and {n_before:,} of an earlier run" if n_before else ""
    told = f"{counted(n_done, 'video')}, {n_broken:,} not to the end{before}"
    index = job.folder / INDEX
    if not (n_broken or n_before):
        typer.echo(f"{told}; {index} tells of all", err=True)
        return
    again = "once a video is repaired, remove its line there, and --resume watches it again"
    typer.echo(f"{told}; {index} tells of all: {again}", err=True)
    raise typer.Exit(1)


def _watched(job: "ManyJob", settings: "WatchSettings", ray: str | None, stop: Stop) -> Iterator["Done"]:
    if ray is not None:
        from mien.workflows.cluster.videos import watch_on_ray

        yield from watch_on_ray(job, settings, ray)
        return
    from mien.workflows.video.many import watch_many

    lines = _Lines(path for path, _ in job.videos or ())
    yield from watch_many(job, settings, begin=lines.begin, on_watched=lines.show, stop=stop)


def _copy_blind(job: "ManyJob", folder: Path, found: Sequence[tuple[Path, Path]]) -> None:
    from mien.workflows.video.participants import KEY, write_blind

    for source in map(Path, map(local_path, job.sources)):
        if source.is_dir() and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(source)):
            raise MienError(f"the copies would be watched too; give --blind a folder outside {source}")
    videos = [(path, job.id_of(below)) for path, below in found]
    n_copies = len(write_blind(videos, folder, job.folder / KEY))
    typer.echo(f"{folder}: {n_copies:,} videos for raters; {job.folder / KEY} is the key", err=True)
