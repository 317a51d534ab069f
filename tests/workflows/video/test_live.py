"""Frames of a live source."""

import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("av", reason="needs PyAV")

from mien.core.smoothing import SmoothingSettings
from mien.errors import MienError
from mien.workflows.video.frames import Frame
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.live import Newest, paced


def test_live_frames_are_the_newest_and_the_others_are_dropped() -> None:
    read_all = threading.Event()

    def source():
        for n in range(10):
            yield Frame(n, n / 25, np.zeros((2, 2, 3), np.uint8))
        read_all.set()

    with Newest(source()) as newest:
        read_all.wait(5)
        assert [frame.index for frame in newest] == [9]


def test_frames_of_a_live_file_come_at_its_own_pace() -> None:
    clock, waits = [100.0], []

    def wait(seconds: float) -> None:
        waits.append(round(seconds, 6))
        clock[0] += seconds

    frames = (Frame(n, t, np.zeros((2, 2, 3), np.uint8)) for n, t in enumerate((60.0, 60.5, 61.5, 61.6)))
    for frame in paced(frames, wait, lambda: clock[0]):
        clock[0] += 0.2 if frame.index < 2 else 0.5  # what a decoder or a reader takes
    assert waits == [0.3, 0.8]


def test_a_live_file_gives_all_frames_that_are_taken_in_time(small, settings, monkeypatch) -> None:
    taken, ready = [], threading.Event()

    def until_taken(frames, wait):
        for frame in frames:
            ready.clear()
            yield frame
            ready.wait(5)

    monkeypatch.setattr("mien.workflows.video.live.paced", until_taken)

    def take(watched) -> None:
        taken.append(watched.rows[0].frame)
        ready.set()

    live = replace(settings, batch=1, smoothing=SmoothingSettings(ahead_s=0))
    watch_video(WatchJob(str(small), live=True), live, on_watched=take)
    assert taken == list(range(24))


def test_an_error_of_the_live_source_reaches_the_one_who_asks() -> None:
    def source():
        yield Frame(0, 0.0, np.zeros((2, 2, 3), np.uint8))
        raise MienError("the camera was pulled out")

    with Newest(source()) as newest, pytest.raises(MienError, match="pulled out"):
        list(newest)
