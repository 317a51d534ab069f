"""Videos that another process decodes: the same frames, and a decoder that fails takes nothing with it."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs PyAV")

from mien.core import child
from mien.errors import MissingExtraError, VideoError, VideoTooLargeError
from mien.workflows.rows.formats import csv_rows
from mien.workflows.video import decoding
from mien.workflows.video.decode_worker import VideoLimits
from mien.workflows.video.decoding import CostlyVideoError, VideoProcess
from mien.workflows.video.frames import Video
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.many import ManyJob, watch_many
from mien.workflows.video.opening import Source
from mien.workflows.video.pick import Pick
from mien.workflows.video.watcher import WatchSettings

CRASHES = {"SIGSEGV": "os.kill(os.getpid(), signal.SIGSEGV)", "SIGABRT": "os.abort()"}


@pytest.fixture
def clip(tmp_path, clips) -> Path:
    clips.write_clip(tmp_path / "clip.mp4", clips.still(1.0, fps=10))
    return tmp_path / "clip.mp4"


@pytest.fixture
def settings(tiny_home) -> WatchSettings:
    return WatchSettings(model=str(tiny_home / "models" / "tiny.onnx"), views=1)


@pytest.mark.parametrize(
    ("pick", "after"),
    [(Pick(), -1), (Pick(every_frames=3), -1), (Pick(start_s=0.2, end_s=0.75), 4), (Pick(every_s=0.3), 2)],
    ids=str,
)
def test_frames_are_those_of_a_video_in_this_process(clip, pick, after):
    with Video(clip) as here, VideoProcess(clip) as there:
        assert there.info == here.info
        pairs = list(zip(here.frames(pick, after=after), there.frames(pick, after=after), strict=True))
    assert pairs
    for one, other in pairs:
        assert (one.index, one.time_s) == (other.index, other.time_s)
        np.testing.assert_array_equal(one.pixels, other.pixels)
    assert there.process.returncode is not None


def test_the_time_of_every_frame_is_told_those_left_out_included(clip):
    times: list[float] = []
    with VideoProcess(clip) as video:
        wanted = [frame.index for frame in video.frames(Pick(every_frames=4), on_time=times.append)]
    assert wanted == [0, 4, 8]
    assert times == pytest.approx(np.arange(10) / 10)


def test_a_path_object_in_the_import_path_leaves_the_decoder_alone(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    with VideoProcess(clip) as video:
        assert len(list(video.frames())) == 10


def test_errors_are_those_of_a_video_in_this_process(clip, tmp_path):
    (tmp_path / "none.mp4").write_bytes(b"no video")
    (tmp_path / "cut.avi").write_bytes(clip.read_bytes()[:-900])
    for source, pick in (
        (tmp_path / "none.mp4", Pick()),
        (tmp_path / "cut.avi", Pick()),
        (clip, Pick(start_s=60)),
    ):
        texts = []
        for kind in (Video, VideoProcess):
            with pytest.raises(VideoError) as caught, kind(source) as video:
                list(video.frames(pick))
            texts.append((type(caught.value), str(caught.value)))
        assert texts[0] == texts[1]
    with pytest.raises(VideoTooLargeError, match="more than the limit of 99"):
        VideoProcess(clip, VideoLimits(max_pixels=99))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize("how", CRASHES)
def test_a_decoder_that_crashes_is_an_error_behind_the_frames_before(clip, failing_decoder, how):
    failing_decoder(CRASHES[how])
    seen = []
    with (
        pytest.raises(VideoError, match=rf"bad.mp4' crashed its decoder after 0\.[34]0 s \({how}\)"),
        VideoProcess(clip.rename(clip.with_name("bad.mp4"))) as video,
    ):
        seen.extend(frame.index for frame in video.frames())
    assert seen == [0, 1, 2, 3]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_frame_that_computes_without_end_ends_its_process(clip, failing_decoder):
    failing_decoder("sum(1 for _ in iter(int, 1))")
    with (
        pytest.raises(CostlyVideoError, match=r"bad.mp4' takes more than 0\.5 s of CPU time for one frame"),
        VideoProcess(clip.rename(clip.with_name("bad.mp4")), VideoLimits(max_cpu_s=0.5)) as video,
    ):
        list(video.frames())


def test_a_decoder_that_says_nothing_for_long_is_ended(clip, failing_decoder, monkeypatch):
    for name, value in {"TICK_S": 0.05, "STUCK_S": 0.2, "STUCK": 0.05}.items():
        monkeypatch.setattr(child, name, value)
    failing_decoder("signal.pause()")
    with pytest.raises(CostlyVideoError), VideoProcess(clip.rename(clip.with_name("bad.mp4"))) as video:
        list(video.frames())


@pytest.mark.skipif(not hasattr(signal, "SIGTERM") or os.name == "nt", reason="Windows has no SIGTERM")
def test_a_decoder_takes_so_much_memory_writes_no_dump_and_leaves_sigterm_to_its_parent(clip):
    resource = pytest.importorskip("resource")
    with VideoProcess(clip, VideoLimits(max_pixels=10**6)) as video:
        os.kill(video.process.pid, signal.SIGTERM)
        os.kill(video.process.pid, signal.SIGINT)
        if hasattr(resource, "prlimit"):
            assert resource.prlimit(video.process.pid, resource.RLIMIT_AS)[0] < 2**31
            assert resource.prlimit(video.process.pid, resource.RLIMIT_CORE) == (0, 0)
        assert len(list(video.frames())) == 10


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_crash_in_one_of_many_videos_costs_that_one_its_later_rows_alone(
    clip, failing_decoder, settings, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("1.mp4", "bad.mp4", "z.mp4"):
        Path(name).write_bytes(clip.read_bytes())
    failing_decoder(CRASHES["SIGSEGV"])
    done = list(watch_many(ManyJob(["1.mp4", "bad.mp4", "z.mp4"], Path("out")), settings))
    assert [(one.video, one.frames) for one in done] == [("1.mp4", 10), ("bad.mp4", 4), ("z.mp4", 10)]
    assert [bool(one.error) for one in done] == [False, True, False]
    assert "crashed its decoder" in done[1].error
    assert len(list(csv_rows(Path("out/bad.mp4.csv")))) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_decoder_that_is_ended_from_outside_is_not_the_fault_of_the_video(clip, failing_decoder):
    failing_decoder("os.kill(os.getpid(), signal.SIGKILL)")
    with (
        pytest.raises(VideoError, match=r"its decoder was ended from outside after 0\.[34]0 s \(SIGKILL\)"),
        VideoProcess(clip.rename(clip.with_name("bad.mp4"))) as video,
    ):
        list(video.frames())


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs files of the process")
@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_path_that_leads_elsewhere_in_another_process_is_decoded_in_this_one(clip, settings, folder):
    assert Source("/dev/stdin").is_of_this_process
    assert decoding.can_be_apart(clip)
    if not Path(folder).is_dir():
        pytest.skip(f"needs {folder}")
    with clip.open("rb") as file:
        path = f"{folder}/{file.fileno()}"
        assert not decoding.can_be_apart(path)
        assert watch_video(WatchJob(path), settings).summary.n_frames == 10


def test_annotating_and_live_images_decode_in_this_process(clip, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "VideoProcess", None)
    watch_video(WatchJob(str(clip), annotate=tmp_path / "marked.mp4"), settings)
    watch_video(WatchJob(str(clip), live=True), settings)


def test_a_frozen_program_decodes_in_its_own_process(clip, monkeypatch):
    monkeypatch.setattr("sys.frozen", True, raising=False)
    with decoding.open_video(clip) as video:
        assert isinstance(video, Video)


def test_the_missing_extra_is_told_by_the_process_too(clip, tmp_path, monkeypatch):
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text("raise ImportError('no PyAV')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r'pip install "mien\[video\]"'):
        VideoProcess(clip)
