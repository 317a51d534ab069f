"""Watch many videos: a file of rows for each, an index of all, and resumption of a stopped run."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mien.core.columns import Cell
from mien.core.model_store import find_model
from mien.core.outputs import check_output_folder
from mien.core.paths import cut_name, path_text
from mien.core.video_names import VIDEO_SUFFIXES
from mien.errors import MienError, VideoError
from mien.workflows.find import PassedOver, listing
from mien.workflows.rows.formats import FORMATS
from mien.workflows.rows.row_file import RowFile, check_free
from mien.workflows.rows.run_state import RunState, state_of
from mien.workflows.video.job import Outcome, WatchJob, watch_video
from mien.workflows.video.opening import Source
from mien.workflows.video.participants import IdOf
from mien.workflows.video.pick import Pick
from mien.workflows.video.watcher import Watched, WatchSettings

COLUMNS = ("participant", "video", "rows", "frames", "persons", "seconds", "error")
INDEX = "index.csv"
NO_FILE = "cannot be one of several videos, which are files; watch it alone"
LONGEST_NAME = 255
"""Bytes of a file name that disks take."""
FURTHER = len(".state")
"""Bytes that a file of a run's state adds to the name of its rows."""


@dataclass(frozen=True, slots=True)
class ManyJob:
    """What is watched, and where rows go.

    Args:
        sources: Videos and folders.
        folder: Gets a file of rows for each video, below the folders that it lay in, and the index.
        suffixes: Of these files, such as ``".csv"``.
        pick: Which frames.
        resume: Go on where an earlier run was stopped; videos in the index are not watched again.
        id_of: The participant by the path of a video below the folder; see `parse_id_from`.
        videos: What `find_videos` found in ``sources``, which it is then not asked for again.
    """

    sources: Sequence[str]
    folder: Path
    suffixes: Sequence[str] = (".csv",)
    pick: Pick = field(default_factory=Pick)
    resume: bool = False
    id_of: IdOf = lambda path: None
    videos: Sequence[tuple[Path, Path]] | None = None

    def __post_init__(self) -> None:
        unknown = [suffix for suffix in self.suffixes if suffix not in FORMATS]
        if unknown:
            known = ", ".join(end.removeprefix(".") for end in FORMATS)
            raise MienError(f"rows come in the formats {known}, got '{unknown[0].removeprefix('.')}'")
        check_output_folder(self.folder)


@dataclass(frozen=True, slots=True)
class Done:
    """A video that was watched: its line of the index; ``rows`` is ``None`` where there is no such file."""

    video: str
    rows: str | None
    frames: int = 0
    persons: int = 0
    seconds: float = 0.0
    error: str | None = None
    participant: str | None = None

    def cells(self) -> tuple[Cell, ...]:
        """Values under `COLUMNS`."""
        counts = self.frames, self.persons, round(self.seconds, 3)
        return self.participant, self.video, self.rows, *counts, self.error


def find_videos(sources: Sequence[str], passed_over: PassedOver | None = None) -> list[tuple[Path, Path]]:
    """Each video once, with its place below the folder that all have in common, in natural order a folder.

    Args:
        sources: Files and folders.
        passed_over: Counts what else the folders hold.

    Raises:
        MienError: there is none, or a source is a stream or a camera, which ends when it likes.
    """
    found: dict[str, Path] = {}
    paths = [_local(Source(source)) for source in sources]
    for source in paths:
        for path in _walk(source, passed_over or PassedOver()) if source.is_dir() else [source]:
            found.setdefault(os.path.realpath(path), path)
    if not found:
        raise MienError(
            f"{', '.join(map(repr, sources))} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))})"
        )
    tops = [path if path.is_dir() else path.parent for path in paths]
    base = os.path.commonpath(list(map(_place, tops)))
    return [(path, _place(path.parent).relative_to(base) / path.name) for path in found.values()]


def _place(folder: Path) -> Path:
    """The folder without ``..``, which behind a link leads elsewhere than the text tells."""
    return Path(os.path.realpath(folder)) if os.pardir in folder.parts else folder.absolute()


def _local(source: Source) -> Path:
    if source.is_remote or (source.is_camera and not os.path.isdir(source.text)):
        raise MienError(f"{source.name} {NO_FILE}")
    return Path(source.text)


def _walk(folder: Path, passed_over: PassedOver) -> Iterator[Path]:
    waiting = [folder]  # folders may lie deeper than Python calls
    while waiting:
        below = waiting.pop()
        try:
            files, folders, n_links = listing(below)
        except OSError as error:
            passed_over.closed.append(error)
            continue
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in VIDEO_SUFFIXES:
                yield below / name
            else:
                passed_over.suffixes[suffix or "no suffix"] += 1
        passed_over.n_links += n_links
        waiting += [below / name for name in reversed(folders)]


def watch_many(
    job: ManyJob,
    settings: WatchSettings,
    *,
    begin: Callable[[Path], object] = lambda path: None,
    on_watched: Callable[[Watched], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Done]:
    """Watch one video after the other; a bad one does not stop the rest.

    Args:
        job: See there.
        settings: How.
        begin: Gets the path of each video before it is watched.
        on_watched: Gets each frame's rows.
        stop: Asked before each frame; true ends the run, which can continue later.

    Yields:
        What each video gave, when its rows and its line of the index are on the disk.

    Raises:
        MienError: there is no video, or nothing to resume.
    """
    with left_to_watch(job, settings) as (videos, index):
        for video in videos:
            begin(Path(video.source))
            done = watch_one(video, settings, on_watched, stop)
            if done is None:
                return
            index.add(done)
            yield done
        index.end()


@contextmanager
def left_to_watch(job: ManyJob, settings: WatchSettings) -> Iterator[tuple[list[WatchJob], "Index"]]:
    """The videos that the index does not tell of, and the index.

    Raises:
        MienError: there is no video, or nothing to resume.
    """
    found = find_videos(job.sources) if job.videos is None else job.videos
    videos = [(path, below, job.id_of(below)) for path, below in found]
    job.folder.mkdir(parents=True, exist_ok=True)
    index = Index(job, settings)
    try:
        left = []
        for path, below, participant in videos:
            if index.tells_of(str(path)):
                continue
            (job.folder / below).parent.mkdir(parents=True, exist_ok=True)
            name = name_of_rows(below.name, max(map(len, job.suffixes)))
            files = tuple(job.folder / below.with_name(f"{name}{end}") for end in job.suffixes)
            index.refuse_rows_of_another(str(path), files[0])
            left.append(WatchJob(str(path), job.pick, files, resume=job.resume, participant=participant))
        yield left, index
    finally:
        index.close()


def name_of_rows(video: str, room: int) -> str:
    """The name of a video's files without their suffix: its own, or its beginning where a disk takes no more.

    Args:
        video: The name of the video.
        room: Characters that the longest suffix takes.
    """
    most = LONGEST_NAME - room - FURTHER
    if len(os.fsencode(video)) <= most:
        return video
    end = f"-{hashlib.sha256(os.fsencode(video)).hexdigest()[:8]}"
    return cut_name(video, most - len(end)) + end


def watch_one(
    job: WatchJob,
    settings: WatchSettings,
    on_watched: Callable[[Watched], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Done | None:
    """What a video gave; ``None`` where it was stopped."""
    if os.path.exists(job.source) and not os.path.isfile(job.source):  # to open a pipe may wait for ever
        return failed(job, f"{job.source!r} {NO_FILE}")
    try:
        outcome = _run(job, settings, on_watched, stop)
    except VideoError as error:
        if stop():  # the error may be that of a call that the signal has interrupted
            return None
        return failed(job, str(error))
    if outcome.stopped:
        return None
    summary = outcome.summary
    why = str(outcome.error) if outcome.error else None
    names = path_text(job.source), path_text(str(job.files[0]))
    return Done(*names, summary.n_frames, len(summary.persons), summary.seconds, why, job.participant)


def failed(job: WatchJob, why: str) -> Done:
    """What tells of a video without a result; its file of rows may be there, from a run that was killed."""
    rows = path_text(str(job.files[0])) if job.files[0].exists() else None
    return Done(path_text(job.source), rows, error=why, participant=job.participant)


def _run(
    job: WatchJob,
    settings: WatchSettings,
    on_watched: Callable[[Watched], object] | None,
    stop: Callable[[], bool],
) -> Outcome:
    if job.resume and not state_of(job.files[0]).exists():
        job = replace(job, resume=False)  # rows that are there came to their end before the index was written
    return watch_video(job, settings, on_watched=on_watched, stop=stop)


def n_failed(folder: Path) -> int:
    """How many videos were not watched to their end, as the index in a folder tells, of all runs."""
    return sum(row["error"] is not None for row in FORMATS[".csv"].decode(folder / INDEX))


class Index:
    """The file that tells of every video that was watched."""

    def __init__(self, job: ManyJob, settings: WatchSettings) -> None:
        path = job.folder / INDEX
        identity = {
            "model": find_model(settings.model)[1].sha256,
            "choice of frames": asdict(job.pick),
            "settings": settings.identity(),
            "formats": list(job.suffixes),
        }
        check_free(path, COLUMNS)
        self._state = RunState(path, identity, resume=job.resume)
        self._videos: Counter[str] = Counter()  # names that are not UTF-8 may be one text
        self._whose: dict[str, str] = {}  # the video of a file of rows
        offset: int | None = None
        if self._state.stored is None and path.exists() and not FORMATS[".csv"].has(path, COLUMNS):
            raise MienError(f"{path} is not an index of videos; move it, or give --out another folder")
        if self._state.is_done:  # videos may have come since
            offset = path.stat().st_size
        elif self._state.stored:
            offset = self._state.stored["offset"]
        self._file = RowFile(path, COLUMNS, offset)
        self._state.begin([self._file], {"offset": 0})
        if offset:
            for row in self._file.read():
                video = str(row["video"])
                self._videos[os.path.abspath(video)] += 1
                if row["rows"]:
                    self._whose[os.path.abspath(str(row["rows"]))] = video
        self._save()

    def tells_of(self, video: str) -> bool:
        """Whether an earlier run watched the next video of this name, of which each is asked for once."""
        name = os.path.abspath(path_text(video))
        is_told = self._videos[name] > 0
        self._videos[name] -= is_told
        return is_told

    def refuse_rows_of_another(self, video: str, rows: Path) -> None:
        """Raise a `MienError` where a video would replace the rows of another one of an earlier run."""
        whose = self._whose.get(os.path.abspath(path_text(str(rows))))
        if whose is not None and os.path.abspath(whose) != os.path.abspath(path_text(video)):
            raise MienError(
                f"{rows} holds the rows of {whose}, which those of {video} would replace; give another --out"
            )

    def add(self, done: Done) -> None:
        self._file.write([done.cells()])
        self._save()

    def _save(self) -> None:
        self._file.sync()
        self._state.save({"offset": self._file.n_bytes})

    def end(self) -> None:
        self._state.end()

    def close(self) -> None:
        self._file.close()
