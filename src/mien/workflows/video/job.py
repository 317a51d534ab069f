"""Watch one video from its first frame to its files, and continue a stopped run."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core.addresses import shown
from mien.core.arguments import check_kind, is_whole
from mien.core.outputs import check_apart, check_distinct
from mien.core.own_files import check_shape, reading
from mien.core.timeline import TimelineRow
from mien.errors import MienError, VideoError
from mien.workflows.rows.formats import format_of
from mien.workflows.rows.run_files import RunFiles
from mien.workflows.rows.run_state import check_resume, refuse_to_annotate, state_of
from mien.workflows.video.decoding import VideoProcess, open_video
from mien.workflows.video.finished import are_of
from mien.workflows.video.frames import Frame, Video, VideoInfo
from mien.workflows.video.live import Newest
from mien.workflows.video.opening import Source
from mien.workflows.video.pick import Pick
from mien.workflows.video.rows import named_cells, named_columns
from mien.workflows.video.summary import Summary
from mien.workflows.video.watcher import Watched, Watcher, WatchSettings

if TYPE_CHECKING:
    from mien.workflows.video.annotate import AnnotatedVideo

FORMAT = 3
EVERY_FRAME = Pick()
SAVE_EVERY_S = 1.0
"""Between two states on the disk, for which a run waits; rows behind the last one are made again."""


@dataclass(frozen=True, slots=True, init=False)
class WatchJob:
    """What is watched, and what becomes of it.

    Args:
        source: A file, a URL or the number of a camera, also as an `int`.
        pick: Which frames.
        files: One path or several. Rows go into ``.csv``, ``.jsonl`` or ``.parquet``; events into ``.srt``,
            ``.eaf`` of ELAN, ``.events.csv`` or ``.boris.xlsx``.
        annotate: An ``.mp4`` or ``.mkv`` for the video with faces marked.
        sound: Whether the annotated video gets the sound.
        resume: Go on where an earlier run into the same files was stopped.
        live: Always take the newest frame; what comes meanwhile is left out. A file plays at its own pace.
        participant: Whose video it is; gets a column of its own.
    """

    source: str
    pick: Pick
    files: tuple[Path, ...]
    annotate: Path | None
    resume: bool
    live: bool
    sound: bool
    participant: str | None

    def __init__(
        self,
        source: str | os.PathLike[str] | int,
        pick: Pick = EVERY_FRAME,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
        annotate: str | os.PathLike[str] | None = None,
        resume: bool = False,
        live: bool = False,
        *,
        sound: bool = True,
        participant: str | None = None,
    ) -> None:
        if is_whole(source):
            text = str(source)
        elif isinstance(source, str | os.PathLike):
            text = os.fsdecode(source)
        else:
            kind = type(source).__name__
            raise MienError(f"source must be a path, an address or the number of a camera, got {kind}")
        several = [files] if isinstance(files, str | os.PathLike) else files
        kept = {
            "source": text,
            "pick": pick,
            "files": tuple(Path(path) for path in several),
            "annotate": None if annotate is None else Path(annotate),
            "resume": resume,
            "live": live,
            "sound": sound,
            "participant": participant,
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        check_kind(self.pick, "pick", Pick)
        for path in self.files:
            format_of(path, named_columns((), None))
            check_apart(path, [self.source])
        check_distinct(self.files)
        check_resume(self.files, resume=self.resume)
        if self.live and self.annotate:
            raise MienError("live images cannot be annotated into a file: their sound would not be in sync")
        if self.resume and self.annotate:
            refuse_to_annotate("an annotated video", self.files[0])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went.

    Attributes:
        summary: Of all rows, those of earlier runs included; empty where only events of them are left.
        stopped: Whether ``stop`` ended it before the video did.
        error: Why the video ended early, if it did.
        is_old: Whether there was nothing to go on with, because an earlier run came to the end.
        is_compared: Whether the rows of that run were compared with the video, where they can be.
    """

    summary: Summary
    stopped: bool
    error: VideoError | None
    is_old: bool = False
    is_compared: bool = True


def _checked_job(job: object) -> WatchJob:
    """A job, or the job of a source alone.

    Raises:
        MienError: it is neither.
    """
    if isinstance(job, WatchJob):
        return job
    if not (is_whole(job) or isinstance(job, str | os.PathLike)):
        raise MienError(f"watch_video takes a path or a mien.WatchJob, got {type(job).__name__}")
    return WatchJob(job)


def watch_video(
    job: WatchJob | str | os.PathLike[str] | int,
    settings: WatchSettings | None = None,
    *,
    on_watched: Callable[[Watched], object] | None = None,
    begin: Callable[[VideoInfo], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
    keep_pixels: bool = False,
) -> Outcome:
    """Watch a video and write what was asked for; rows are on disk some frames after they were seen.

    Args:
        job: See there; or only its source, such as the path of a video.
        settings: How.
        on_watched: Gets each frame's rows.
        begin: Gets what the container tells of itself, before the first frame.
        stop: Asked before each frame; true ends the run, which can continue later.
        keep_pixels: Whether ``on_watched`` gets the images as well.

    Returns:
        How it went: the ``summary`` of all rows; whether it was ``stopped``; the ``error`` that ended it.

    Raises:
        VideoError: the video cannot be opened, or holds no frame.
        MienError: a file cannot be written, there is nothing to resume, or ``job`` is of the wrong type.
    """
    job = _checked_job(job)
    with ExitStack() as stack:
        video = open_video(job.source, apart=not (job.annotate or job.live))
        stack.enter_context(video)
        annotated = None
        if job.annotate and isinstance(video, Video):
            from mien.workflows.video.annotate import AnnotatedVideo

            annotated = stack.enter_context(AnnotatedVideo(job.annotate, video, sound=job.sound))
        watcher = Watcher(settings)
        watcher.tracker.step_s = job.pick.step_s(video.info.rate)
        run = _Run(job, watcher)
        if run.files.is_done:
            return run.old_outcome(_decoded(job.pick, -1, video, None))
        stack.callback(run.files.end, whole=False)
        run.go_on()
        if begin:
            begin(video.info)

        takers = (annotated.write if annotated else None), on_watched

        def give(ready: list[Watched]) -> None:
            run.write([row for watched in ready for row in watched.rows])
            for watched in ready:
                for take in filter(None, takers):
                    take(watched)

        error: VideoError | None = None
        decoded = _decoded(job.pick, watcher.last_index, video, annotated)
        newest = Newest(decoded, at_own_pace=Source(job.source).is_file) if job.live else None
        frames = _Stoppable(stack.enter_context(newest) if newest else decoded, stop)
        try:
            for ready in watcher.watch(frames, keep_pixels=keep_pixels or annotated is not None):
                give(ready)
                run.save()
        except VideoError as caught:
            if watcher.last_index < 0:
                run.files.end(whole=True)  # which are as they were before
                raise
            error = caught
        run.files.save(run.noted)
        give(watcher.finish())
        run.summary.finish()
        run.files.end(whole=not frames.stopped or (isinstance(video, Video) and video.shows_once))
        return Outcome(run.summary, frames.stopped, error)


def _decoded(
    pick: Pick, after: int, video: Video | VideoProcess, annotated: "AnnotatedVideo | None"
) -> Iterator[Frame]:
    """The frames to be watched; the sound goes on its way to an annotated video."""
    if isinstance(video, Video):
        return video.frames(pick, after=after, other=annotated.sound if annotated else None)
    return video.frames(pick, after=after)


class _Stoppable:
    """Frames until someone says stop."""

    def __init__(self, frames: Iterable[Frame], stop: Callable[[], bool]) -> None:
        self.frames, self.stop, self.stopped = frames, stop, False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            if self.stop():
                self.stopped = True
                return
            yield frame


class _Run:
    """The files of a run and the state beside them."""

    def __init__(self, job: WatchJob, watcher: Watcher) -> None:
        self.job, self.watcher = job, watcher
        self.summary = Summary(watcher.labels)
        names = named_columns(watcher.labels, job.participant, landmarks=watcher.settings.landmarks)
        self.files = RunFiles(
            dict.fromkeys(job.files, names),
            self._identity() if job.files else None,
            resume=job.resume,
            source=shown(job.source),
        )

    def _sum_up(self) -> None:
        for cells in self.files.rows() or ():
            self.summary.add_cells(cells)

    def old_outcome(self, frames: Iterable[Frame]) -> Outcome:
        """How an earlier run went that came to its end; rows are compared with the video where they can be.

        Raises:
            MienError: they are those of another one, or of other options.
        """
        self._sum_up()
        self.summary.finish()
        is_same_again = Source(self.job.source).is_file and not self.job.live
        rows = self.files.rows() if is_same_again else None
        end_s = self.job.pick.end_s
        is_longer = end_s is not None and self.summary.last_s > end_s
        if is_longer or (rows is not None and not are_of(rows, self.watcher, frames)):
            raise MienError(
                f"{self.job.files[0]} is complete, but of another video or other settings; "
                "name another file, or delete it"
            )
        compared = rows is not None
        return Outcome(self.summary, stopped=False, error=None, is_old=True, is_compared=compared)

    def go_on(self) -> None:
        """From the state of a stopped run; a new one waits with its files for the first frame."""
        if stored := self.files.stored:
            with reading(state_of(self.job.files[0]), advice="delete it and start again"):
                check_shape(stored, {"offsets": {}, "watcher": {}})
                self.watcher.restore(stored["watcher"])
        self.noted = {"watcher": self.watcher.to_dict()}
        if self.watcher.last_index < 0:
            self.files.save(self.noted)
            return
        self.files.begin()
        with reading(self.files.files[0].lines, advice="start over without --resume"):
            self._sum_up()

    def _identity(self) -> dict[str, Any]:
        """What must be the same for rows to continue others."""
        job = self.job
        source = Path(job.source)
        return {
            "format": FORMAT,
            "source": shown(job.source),
            "size of the source": source.stat().st_size if source.is_file() else None,
            "model": self.watcher.classifier.card.sha256,
            "choice of frames": asdict(job.pick),
            "settings": self.watcher.settings.identity(),
            "files": [str(path) for path in job.files],
            "participant": job.participant,
        }

    def write(self, rows: list[TimelineRow]) -> None:
        """Take the rows of frames that were watched; those of the first ones may not be ready yet."""
        if not self.files.has_begun and self.watcher.last_index >= 0:
            self.files.begin()
        for row in rows:
            self.summary.add(row)
        if not self.job.files:
            return
        labels, landmarks = self.watcher.labels, self.watcher.settings.landmarks
        cells = [named_cells(row, labels, self.job.participant, landmarks=landmarks) for row in rows]
        self.files.write(cells, self.job.files)

    def save(self) -> None:
        """Note where the run is, and put it on the disk where the last time was some while ago."""
        if self.job.files:
            self.noted = {"watcher": self.watcher.to_dict()}
            self.files.save(self.noted, every_s=SAVE_EVERY_S)
