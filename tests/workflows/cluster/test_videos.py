"""Videos on a Ray cluster: the files of one machine, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs PyAV")
pytest.importorskip("pyarrow", reason="Ray Data needs pyarrow")

from mien.errors import MienError
from mien.workflows.cluster.videos import watch_on_ray
from mien.workflows.rows.formats import csv_rows
from mien.workflows.video.many import ManyJob
from mien.workflows.video.watcher import WatchSettings

N_VIDEOS = 4


@pytest.fixture
def videos(tmp_path, clips) -> Path:
    """A folder of videos, one of them broken."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    clips.write_clip(folder / "1.mp4", clips.still(6.0, fps=10))
    for name in ("2.mp4", "below/3.mp4"):
        (folder / name).write_bytes((folder / "1.mp4").read_bytes())
    (folder / "below" / "bad.mp4").write_bytes(b"no video")
    return folder


def start(videos: Path, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "mien", "watch", str(videos), "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_rows(out: Path, n: int, process: subprocess.Popen) -> None:
    """Until so many videos were begun."""
    while process.poll() is None and len(list(out.rglob("*.mp4.csv"))) < n:
        time.sleep(0.02)


def check_as_on_one_machine(videos: Path, out: Path) -> None:
    alone = out.with_name("alone")
    assert "index.csv tells of all: once a video is repaired, " in start(videos, alone).communicate()[1]
    for rows in alone.rglob("*.mp4.csv"):
        assert (out / rows.relative_to(alone)).read_bytes() == rows.read_bytes()
    index = {row["video"]: row for row in csv_rows(out / "index.csv")}
    wanted = {row["video"]: row for row in csv_rows(alone / "index.csv")}
    for row in (*index.values(), *wanted.values()):
        row["rows"] = Path(row["rows"]).name
    assert index == wanted
    assert len(list(csv_rows(out / "index.csv"))) == N_VIDEOS
    assert not list(out.rglob("*.state"))


def test_videos_that_the_index_could_not_tell_apart_are_refused(tmp_path) -> None:
    for name in (b"b\xfe.mp4", b"b\xff.mp4"):
        (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(MienError, match=r"2 files are called .*; rename them"):
        list(watch_on_ray(ManyJob([str(tmp_path)], tmp_path / "out"), WatchSettings()))


def test_a_killed_worker_and_a_killed_driver_leave_the_files_of_one_machine(
    cluster, videos, tmp_path
) -> None:
    psutil = pytest.importorskip("psutil", reason="needs psutil")
    out = tmp_path / "out"
    process = start(videos, out, "--ray", cluster)
    killed = []
    while process.poll() is None and not killed:
        for worker in psutil.process_iter(["cmdline"]):
            if any("ray::_watch" in part for part in worker.info["cmdline"] or ()) and list(
                out.glob("*.csv")
            ):
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)
                break
        time.sleep(0.05)
    while process.poll() is None and len(list(out.rglob("*.mp4.csv"))) < 2:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert killed
    assert "is not finished; add --resume" in start(videos, out, "--ray", cluster).communicate()[1]
    resumed = start(videos, out, "--ray", cluster, "--resume")
    told = resumed.communicate()[1]
    assert resumed.returncode == 1, told  # one is no video
    assert "not to the end" in told
    check_as_on_one_machine(videos, out)
