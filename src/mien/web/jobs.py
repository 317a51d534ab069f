"""Videos as jobs: queued, read one after the other, their rows kept on disk for a time."""

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from mien.core.timeline import columns
from mien.errors import MienError, VideoError
from mien.web import schemas
from mien.web.engine import Engine
from mien.web.errors import BUG, RefusedError, storing, to_dict
from mien.web.settings import Settings
from mien.workflows.rows.row_file import RowFile
from mien.workflows.video.decode_worker import VideoLimits
from mien.workflows.video.decoding import CostlyVideoError, VideoProcess
from mien.workflows.video.frames import Frame
from mien.workflows.video.pick import Pick
from mien.workflows.video.summary import Summary
from mien.workflows.video.watcher import Watched

LOG = logging.getLogger(__name__)

MOST_RATE = 240
"""Frames a second that count as one second of a video, however little its clock moves."""
MOST_ROWS = 200_000
"""Rows that a video may give."""
MOST_OVER = 32
"""Jobs that are over and kept; the one that was asked for longest ago goes first."""


@dataclass(slots=True)
class Job:
    """One video.

    Attributes:
        folder: Holds the video while it is needed, and the rows.
        name: What the client calls it, for errors.
        read_s: Time of the last request for it, on the clock of `Jobs`.
        n_bytes: Bytes of whole rows in the file.
        future: Its work; ``None`` while the video comes in.
    """

    id: str
    folder: Path
    read_s: float
    name: str = "the video"
    state: str = "waiting"
    pick: Pick = field(default_factory=Pick)
    landmarks: bool = False
    duration_s: float | None = None
    time_s: float = 0.0
    n_frames: int = 0
    n_rows: int = 0
    n_bytes: int = 0
    persons: list[dict[str, Any]] = field(default_factory=list)
    error: MienError | None = None
    stop: Event = field(default_factory=Event)
    future: Future[None] | None = None

    @property
    def video(self) -> Path:
        return self.folder / "video"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed")

    def answer(self) -> schemas.JobAnswer:
        """How far it is."""
        return schemas.JobAnswer.model_validate(
            {
                "id": self.id,
                "state": self.state,
                "time_s": round(self.time_s, 3),
                "duration_s": self.duration_s,
                "frames": self.n_frames,
                "rows": self.n_rows,
                "persons": self.persons,
                "error": self.error and to_dict(self.error),
            }
        )

    def lines(self, after: int, most_bytes: int) -> bytes:
        """Whole lines of JSON from byte ``after`` of the rows on; at least one where there is one.

        Raises:
            RefusedError: no row ends there.
        """
        n_bytes = self.n_bytes  # grows meanwhile
        if after == n_bytes:
            return b""
        if not 0 <= after < n_bytes:
            raise RefusedError(
                "bad_request", f"after must lie in 0..{n_bytes}, got {after}; pass the last 'next'"
            )
        with self.rows.open("rb") as file:
            file.seek(max(after - 1, 0))
            if after and file.read(1) != b"\n":
                raise RefusedError("bad_request", f"no row ends at {after}; pass the last 'next'")
            lines = file.read(min(most_bytes, n_bytes - after))
            return lines if lines.endswith(b"\n") else lines + file.readline()


class Jobs:
    """All videos of a service.

    Args:
        settings: See there.
        engine: What watches.
        folder: Where their files go.
    """

    def __init__(self, settings: Settings, engine: Engine, folder: Path) -> None:
        self.settings, self.engine, self.folder = settings, engine, folder
        self.clock: Callable[[], float] = time.monotonic
        self._jobs: dict[str, Job] = {}
        self.pool = ThreadPoolExecutor(1, "mien-video")

    def count(self, state: str) -> int:
        """Jobs in a state."""
        return sum(job.state == state for job in self._jobs.values())

    def check_room(self) -> None:
        """See whether one more may wait.

        Raises:
            RefusedError: too many are waiting.
        """
        if sum(not job.is_over for job in self._jobs.values()) >= self.settings.max_jobs:
            raise RefusedError(
                "busy", f"{self.settings.max_jobs} videos are waiting already; try again later"
            )

    def new(self) -> Job:
        """A job that is not queued yet: its video must first be written to its file.

        Raises:
            RefusedError: the disk is full.
        """
        number = secrets.token_urlsafe(16)
        folder = self.folder / number
        with storing():
            folder.mkdir()
        return Job(number, folder, self.clock())

    def enqueue(self, job: Job) -> None:
        """Give a place to a job whose video is whole.

        Raises:
            RefusedError: too many are waiting.
        """
        self.check_room()
        self._jobs[job.id] = job

    def check(self, job: Job) -> None:
        """Look at the video's head.

        Raises:
            VideoError: it is no video.
            VideoTooLargeError: its frames are too large.
            RefusedError: it is too long.
            MissingExtraError: PyAV is not installed.
        """
        settings = self.settings
        with _named(job), self.open(job) as video:
            job.duration_s = video.info.duration_s
        if job.duration_s and job.duration_s > settings.max_video_s:
            raise self._too_long(f"lasts {job.duration_s:,.1f} s")

    def start(self, job: Job, pick: Pick, *, landmarks: bool = False) -> None:
        """Watch it as soon as those before it are done."""
        job.pick, job.landmarks = pick, landmarks
        job.future = self.pool.submit(self._run, job)

    def get(self, number: str) -> Job:
        """A job by its id.

        Raises:
            RefusedError: there is none, or none any more.
        """
        job = self._jobs.get(number)
        if job is None:
            raise RefusedError("not_found", "there is no such video, or it has expired")
        job.read_s = self.clock()
        return job

    def remove(self, job: Job) -> None:
        """Stop it and delete all its files, at once or when its thread has let go of them."""
        self._jobs.pop(job.id, None)
        job.stop.set()
        if job.future is None:
            shutil.rmtree(job.folder, ignore_errors=True)
            return
        job.future.cancel()
        job.future.add_done_callback(lambda _: shutil.rmtree(job.folder, ignore_errors=True))

    def purge(self) -> None:
        """Remove finished jobs that no client requested for a while."""
        over = sorted((job for job in self._jobs.values() if job.is_over), key=lambda job: job.read_s)
        oldest = self.clock() - self.settings.keep_rows_s
        for place, job in enumerate(over):
            if job.read_s < oldest or place < len(over) - MOST_OVER:
                self.remove(job)

    def stop(self) -> None:
        """Let every video end, and the streams of its rows with it."""
        for job in list(self._jobs.values()):
            job.stop.set()

    def close(self) -> None:
        """Remove all and end the thread."""
        for job in list(self._jobs.values()):
            self.remove(job)
        self.pool.shutdown()

    def _run(self, job: Job) -> None:
        job.state = "running"
        try:
            with _named(job), storing():
                self._watch(job)
            state = "done"
        except MienError as error:
            job.error, state = error, "failed"
        except Exception:  # a bug; the other videos shall not suffer
            LOG.exception("watching a video")
            job.error, state = RefusedError("internal", BUG), "failed"
        finally:
            job.video.unlink(missing_ok=True)
            job.read_s = self.clock()
            job.state = state

    def _watch(self, job: Job) -> None:
        watcher = self.engine.watcher(landmarks=job.landmarks)
        labels, landmarks = watcher.labels, job.landmarks
        summary = Summary(labels)
        file = RowFile(job.rows, columns(labels, landmarks=landmarks)).begin()

        def give(ready: Iterable[Watched]) -> None:
            rows = [row for watched in ready for row in watched.rows]
            for row in rows:
                summary.add(row)
            file.write([row.cells(labels, landmarks=landmarks) for row in rows])
            job.n_bytes = file.n_bytes
            job.n_rows += len(rows)
            tell()

        def tell() -> None:
            job.persons = [person.to_dict() for person in summary.persons.values()]

        with closing(file), self.open(job) as video:
            watcher.tracker.step_s = job.pick.step_s(video.info.rate)
            error: MienError | None = None
            try:
                for ready in watcher.watch(self.bounded(video, job)):
                    give(ready)
            except (VideoError, RefusedError) as caught:  # what was seen until then is worth having
                error = caught
            give(watcher.finish())
        summary.finish()
        tell()
        if error:
            raise error

    def open(self, job: Job) -> VideoProcess:
        """The video, decoded by a process that can be ended."""
        return VideoProcess(job.video, VideoLimits(self.settings.max_pixels, self.settings.max_decode_s))

    def bounded(self, video: VideoProcess, job: Job) -> Iterator[Frame]:
        """The frames until someone deletes the video, or it grows too large; not every head tells the truth.

        Frames that are left out count too: to decode them takes nearly as long.
        """
        settings, begun_s = self.settings, self.clock()
        start_s: float | None = None
        n_frames = 0

        def check(time_s: float) -> None:
            nonlocal start_s, n_frames
            start_s, n_frames = time_s if start_s is None else start_s, n_frames + 1
            if job.stop.is_set():
                raise RefusedError("not_found", "the video was deleted")
            if time_s - start_s > settings.max_video_s or n_frames > MOST_RATE * settings.max_video_s + 1:
                raise self._too_long("goes on")
            if self.clock() - begun_s > settings.max_watch_s:
                raise RefusedError(
                    "too_costly",
                    f"the video takes more than {settings.max_watch_s:g} s to watch; send a part of it, ask "
                    "for fewer frames with every=0.2s, or serve with a higher --max-watch-seconds",
                )

        for frame in video.frames(job.pick, on_time=check):
            if job.n_rows > MOST_ROWS:
                raise RefusedError("too_many_rows", f"the video gives more than {MOST_ROWS:,} rows")
            job.time_s, job.n_frames = frame.time_s, job.n_frames + 1
            yield frame

    def _too_long(self, what: str) -> RefusedError:
        limit, hint = f"{self.settings.max_video_s:,.0f} s", "cut it, or serve with a higher --max-seconds"
        return RefusedError("video_too_long", f"the video {what}, more than the limit of {limit}; {hint}")


@contextmanager
def _named(job: Job) -> Iterator[None]:
    """Put what the client knows into errors: its name of the video for the path, an address for a command."""
    try:
        yield
    except VideoError as error:
        text = str(error).replace(repr(str(job.video)), job.name)
        text = text.replace("read it with mien read", "send it to /v1/read")
        if isinstance(error, CostlyVideoError):
            raise RefusedError("too_costly", text) from error
        raise type(error)(text) from error
