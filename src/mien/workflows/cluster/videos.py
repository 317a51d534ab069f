"""Watch many videos on a Ray cluster: one task per video, and the same files as on one machine."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mien.core.paths import check_told_apart
from mien.errors import MienError
from mien.workflows.cluster.connection import connected, n_readers, share
from mien.workflows.video.job import WatchJob
from mien.workflows.video.many import Done, ManyJob, failed, find_videos, left_to_watch, watch_one
from mien.workflows.video.watcher import WatchSettings

TRIES = 3
"""How often a video is begun whose worker dies; it goes on where the last one was."""


def watch_on_ray(job: ManyJob, settings: WatchSettings, address: str = "auto") -> Iterator[Done]:
    """Watch videos by a Ray cluster, whose machines all see the videos and the folder under the same paths.

    Args:
        job: See there.
        settings: How.
        address: Of the cluster; ``auto`` for the one of this machine, ``local`` to start one here.

    Yields:
        What each video gave, as they end, when its rows and its line of the index are on the disk.

    Raises:
        MienError: there is no video, nothing to resume, or no such cluster; or two videos have the same name
            but for bytes that are not UTF-8.
    """
    found = find_videos(job.sources) if job.videos is None else job.videos
    check_told_apart(str(path) for path, _ in found)  # they end in any order
    videos = [(path.absolute(), below) for path, below in found]
    job = replace(job, folder=job.folder.absolute(), videos=videos)
    with connected(address), left_to_watch(job, settings) as (left, index):
        for done in _in_tasks(left, settings):
            index.add(done)
            yield done
        index.end()


def _in_tasks(videos: Sequence[WatchJob], settings: WatchSettings) -> Iterator[Done]:
    import ray

    task = ray.remote(max_retries=TRIES - 1, **share(settings.device))(_watch)
    waiting = list(reversed(videos))
    running: dict[Any, WatchJob] = {}
    most = 2 * n_readers(settings.device)  # the next ones wait at the machines
    while waiting or running:
        while waiting and len(running) < most:
            video = waiting.pop()
            running[task.remote(video, settings)] = video
        (ready,), _ = ray.wait(list(running), num_returns=1)
        yield _result(ready, running.pop(ready))


def _result(ready: Any, video: WatchJob) -> Done:
    import ray

    try:
        done: Done = ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MienError):
            raise error.cause from error
        raise
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        text = f"the process that watched it ended {TRIES} times ({type(error).__name__})"
        return failed(video, text)
    return done


def _watch(video: WatchJob, settings: WatchSettings) -> Done | None:
    """What a worker does; one that begins a video again goes on with the rows of the one that died."""
    return watch_one(replace(video, resume=True), settings)
