"""Short clips, watched once for all tests of videos."""

from pathlib import Path

import pytest

from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.watcher import WatchSettings


@pytest.fixture(scope="session")
def settings(tiny_home) -> WatchSettings:
    """The model that answers every face alike."""
    return WatchSettings(model=str(tiny_home / "models" / "tiny.onnx"), views=1)


@pytest.fixture(scope="session")
def crossing(tmp_path_factory, clips) -> Path:
    """4 s at 12 frames a second: two people cross, one hides the other."""
    path = tmp_path_factory.mktemp("clips") / "crossing.mp4"
    clips.write_clip(path, clips.crossing(4, fps=12, period_s=8), tone=True)
    return path


@pytest.fixture(scope="session")
def watched(crossing, settings, tmp_path_factory) -> tuple[Path, object]:
    """The crossing watched into every kind of file."""
    folder = tmp_path_factory.mktemp("watched")
    files = tuple(folder / f"rows{suffix}" for suffix in (".csv", ".jsonl", ".parquet"))
    outcome = watch_video(WatchJob(str(crossing), files=files, annotate=folder / "marked.mp4"), settings)
    return folder, outcome


@pytest.fixture(scope="session")
def small(tmp_path_factory, clips) -> Path:
    """1.2 s at 20 frames a second: one person."""
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    clips.write_clip(path, clips.still(1.2, fps=20))
    return path


@pytest.fixture(scope="session")
def whole(small, settings, tmp_path_factory) -> tuple[Path, object]:
    """The small clip watched without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    files = tuple(
        folder / f"rows{suffix}" for suffix in (".csv", ".jsonl", ".parquet", ".srt", ".events.csv")
    )
    return folder, watch_video(WatchJob(str(small), files=files), settings)
