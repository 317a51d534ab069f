"""Runs that were killed, stopped or are finished: what is gone on with, kept and refused."""

import csv
import errno
import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs PyAV")

from mien.errors import MienError, OutputError, VideoError
from mien.workflows.rows.formats import parquet_rows
from mien.workflows.rows.row_file import RowFile
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.pick import Pick


class Killed(BaseException):
    """As if the machine died."""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".srt", ".events.csv"])
def test_rows_of_a_killed_and_resumed_run_equal_those_of_one_that_was_not(
    suffix, small, settings, whole, tmp_path
) -> None:
    out = tmp_path / f"rows{suffix}"

    def die(frame) -> None:
        if frame.rows[0].frame == 4:
            raise Killed

    with pytest.raises(Killed):
        watch_video(WatchJob(str(small), files=(out,)), settings, on_watched=die)
    grown = out if suffix in (".csv", ".jsonl") else tmp_path / f"rows{suffix}.rows"
    with grown.open("ab") as file:
        file.write(b"0.99,half a li")
    outcome = watch_video(WatchJob(str(small), files=(out,), resume=True), settings)
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        assert parquet.read_table(out).equals(parquet.read_table(whole[0] / "rows.parquet"))
    else:
        assert out.read_bytes() == (whole[0] / f"rows{suffix}").read_bytes()
    assert outcome.summary.to_dict() == whole[1].summary.to_dict()
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_stopped_run_leaves_valid_files_and_goes_on(small, settings, whole, tmp_path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    out, asked = tmp_path / "rows.parquet", iter(range(99))
    stopped = watch_video(WatchJob(str(small), files=(out,)), settings, stop=lambda: next(asked) == 18)
    assert stopped.stopped
    assert set(parquet.read_table(out)["frame"].to_pylist()) == set(range(18))
    with pytest.raises(MienError, match="is not finished; add --resume"):
        watch_video(WatchJob(str(small), files=(out,)), settings)
    watch_video(WatchJob(str(small), files=(out,), resume=True), settings)
    assert parquet.read_table(out).equals(parquet.read_table(whole[0] / "rows.parquet"))


def test_a_run_that_cannot_go_on_keeps_what_a_later_one_goes_on_with(
    small, settings, whole, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    files, asked, begin = (tmp_path / "rows.parquet", tmp_path / "rows.csv"), iter(range(99)), RowFile.begin
    watch_video(WatchJob(small, files=files), settings, stop=lambda: next(asked) == 18)

    def full(file: RowFile) -> RowFile:
        if file.path == files[1]:
            raise OutputError(file.path, os.strerror(errno.ENOSPC), errno.ENOSPC)
        return begin(file)

    job = WatchJob(small, files=files, resume=True)
    with monkeypatch.context() as broken:
        broken.setattr(RowFile, "begin", full)
        with pytest.raises(OutputError, match="cannot be written: no space left"):
            watch_video(job, settings)
    assert not watch_video(job, settings).stopped
    assert files[1].read_bytes() == (whole[0] / "rows.csv").read_bytes()
    assert list(parquet_rows(files[0])) == list(parquet_rows(whole[0] / "rows.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "rows.parquet"]


def test_a_finished_run_is_not_done_again(small, settings, tmp_path) -> None:
    out = tmp_path / "rows.csv"
    job = WatchJob(str(small), Pick(end_s=0.5), (out,))
    watch_video(job, settings)
    before = out.read_bytes()
    assert watch_video(WatchJob(str(small), Pick(end_s=0.5), (out,), resume=True), settings).is_old
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_summary_of_a_finished_run_is_that_of_its_rows(suffix, small, settings, whole) -> None:
    events, rows = whole[0] / "rows.events.csv", whole[0] / f"rows{suffix}"
    again = watch_video(WatchJob(str(small), files=(events, rows), resume=True), settings)
    assert again.is_old
    assert again.summary.to_dict() == whole[1].summary.to_dict()
    of_events = watch_video(WatchJob(str(small), files=(events,), resume=True), settings)
    assert (of_events.is_old, of_events.summary.n_frames) == (True, 0)
    assert (again.is_compared, of_events.is_compared) == (True, False)


def test_rows_of_another_video_or_of_other_frames_are_not_complete_already(
    small, crossing, settings, whole, clips, tmp_path
) -> None:
    rows, mirrored = whole[0] / "rows.csv", tmp_path / "mirrored.mp4"
    before = rows.read_bytes()
    clips.write_clip(mirrored, [(t, pixels[:, ::-1]) for t, pixels in clips.still(1.2, fps=20)])
    for source, pick in ((crossing, Pick()), (mirrored, Pick()), (small, Pick(start_s=0.2))):
        with pytest.raises(MienError, match=r"rows\.csv is complete, but of another video or other settings"):
            watch_video(WatchJob(str(source), pick, (rows,), resume=True), settings)
    assert rows.read_bytes() == before


def test_a_finished_run_is_compared_up_to_its_first_person(clips, settings, tmp_path) -> None:
    out, dark = tmp_path / "rows.csv", np.zeros((240, 320, 3), np.uint8)
    moments = list(clips.still(0.8, fps=10))
    for name, side in (("a", 1), ("b", -1)):
        late = [(t, dark if t < 0.4 else pixels[:, ::side]) for t, pixels in moments]
        clips.write_clip(tmp_path / f"{name}.mp4", late)
    watch_video(WatchJob(tmp_path / "a.mp4", files=(out,)), settings)
    assert watch_video(WatchJob(tmp_path / "a.mp4", files=(out,), resume=True), settings).is_old
    with pytest.raises(MienError, match="of another video"):
        watch_video(WatchJob(tmp_path / "b.mp4", files=(out,), resume=True), settings)


def test_rows_of_other_options_are_not_complete_already(small, settings, whole, tmp_path) -> None:
    rows, smoother = whole[0] / "rows.csv", tmp_path / "smoother.csv"
    with rows.open(newline="") as file:
        lines = list(csv.DictReader(file))
    lines[0]["p_smooth_happy"] = f"{float(lines[0]['p_smooth_happy']) - 0.05}"
    smoother.write_text("\n".join([",".join(lines[0]), *(",".join(line.values()) for line in lines), ""]))
    for file, pick in ((smoother, Pick()), (rows, Pick(every_frames=5)), (rows, Pick(end_s=0.9))):
        with pytest.raises(MienError, match="is complete, but of another video or other settings"):
            watch_video(WatchJob(small, pick, (file,), resume=True), settings)


@pytest.mark.parametrize("end", [".csv", ".events.csv"])
def test_a_finished_file_of_another_kind_of_run_is_not_complete_already(
    end, small, settings, tmp_path
) -> None:
    out = tmp_path / f"rows{end}"
    out.write_text("path,error\n")
    with pytest.raises(MienError, match=rf"rows{end} has the columns of another run"):
        watch_video(WatchJob(str(small), Pick(end_s=0.5), (out,), resume=True), settings)
    out.unlink()
    watch_video(WatchJob(str(small), Pick(end_s=0.5), (out,)), settings)
    assert watch_video(WatchJob(str(small), Pick(end_s=0.5), (out,), resume=True), settings).is_old


def test_a_run_is_not_continued_with_other_settings(small, settings, tmp_path) -> None:
    out = tmp_path / "rows.csv"
    watch_video(WatchJob(str(small), files=(out,)), settings, stop=lambda: True)
    with pytest.raises(MienError, match="the stopped run had another choice of frames"):
        watch_video(WatchJob(str(small), Pick(every_frames=2), (out,), resume=True), settings)


def test_a_run_is_not_continued_with_a_detector_of_another_text(small, settings, tmp_path) -> None:
    own = tmp_path / "own.py"
    own.write_text("from mien.core.detectors import Cropped as Own\n")
    settings = replace(settings, detector=f"{own}:Own")
    job = WatchJob(str(small), files=tmp_path / "rows.csv")
    asked = iter(range(99))
    watch_video(job, settings, stop=lambda: next(asked) == 9)
    own.write_text("from mien.core.detectors import Cropped as Own  # edited\n")
    with pytest.raises(MienError, match="had another settings; resume it with the same"):
        watch_video(replace(job, resume=True), settings)


def test_a_run_goes_on_whether_its_model_was_a_path_or_text(small, settings, tmp_path) -> None:
    job = WatchJob(str(small), files=tmp_path / "rows.csv")
    stops = iter([False, False, True])
    watch_video(job, replace(settings, model=Path(settings.model)), stop=lambda: next(stops))
    assert not watch_video(replace(job, resume=True), settings).stopped


def test_a_state_of_an_older_form_is_one_line_and_its_rows_stay(small, settings, tmp_path) -> None:
    out, state, asked = tmp_path / "rows.csv", tmp_path / "rows.csv.state", iter(range(99))
    watch_video(WatchJob(str(small), files=(out,)), settings, stop=lambda: next(asked) == 18)
    held = json.loads(state.read_text().partition("\n")[2])
    kept = out.read_bytes()
    for part, lacks, says in (
        (held["run"]["settings"], "landmarks", "had another settings; resume it with the same"),
        (held["state"]["watcher"]["tracker"], "last_s", "it lacks 'last_s'; delete it and start again"),
    ):
        value = part.pop(lacks)
        text = json.dumps(held)
        state.write_text(f"{sha256(text.encode()).hexdigest()}\n{text}")
        with pytest.raises(MienError, match=says):
            watch_video(WatchJob(str(small), files=(out,), resume=True), settings)
        assert out.read_bytes() == kept
        part[lacks] = value


def test_rows_of_before_stay_where_another_output_is_refused(small, settings, tmp_path) -> None:
    (tmp_path / "rows.csv").write_text("of before")
    with pytest.raises(MienError, match="is the input video; write to another file"):
        watch_video(WatchJob(str(small), files=(tmp_path / "rows.csv",), annotate=small), settings)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]
    with pytest.raises(MienError, match="two outputs have the same name"):
        WatchJob("x.mp4", files=(tmp_path / "a.csv", Path(os.path.relpath(tmp_path / "a.csv"))))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_of_before_stay_where_no_frame_comes(suffix, small, settings, tmp_path) -> None:
    rows, new = tmp_path / f"rows{suffix}", tmp_path / f"new{suffix}"
    rows.write_bytes(b"of before")
    for path in (rows, new):
        with pytest.raises(VideoError, match="has no frame from 100 s on"):
            watch_video(WatchJob(small, Pick(start_s=100), (path,)), settings)
    watch_video(WatchJob(small, files=(rows,)), settings, stop=lambda: True)
    assert rows.read_bytes() == b"of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [rows.name, f"{rows.name}.state"]
    watch_video(WatchJob(small, files=(rows,), resume=True), settings)
    assert rows.read_bytes() != b"of before"
    assert [path.name for path in tmp_path.iterdir()] == [rows.name]


def test_a_damaged_state_is_told_and_changes_no_rows(small, settings, tmp_path) -> None:
    out, asked = tmp_path / "rows.csv", iter(range(99))
    watch_video(WatchJob(str(small), files=(out,)), settings, stop=lambda: next(asked) == 9)
    state = tmp_path / "rows.csv.state"
    before, rows = state.read_bytes(), out.read_bytes()
    for damage in (before[: len(before) // 2], before.replace(b"0", b"1", 1), b"", b"\xff"):
        state.write_bytes(damage)
        with pytest.raises(MienError, match=r"rows\.csv\.state is damaged: .*; delete it and start again"):
            watch_video(WatchJob(str(small), files=(out,), resume=True), settings)
    assert out.read_bytes() == rows


def test_a_run_goes_on_whatever_the_case_of_the_suffix(small, settings, tmp_path) -> None:
    out, asked = tmp_path / "rows.CSV", iter(range(99))
    watch_video(WatchJob(str(small), files=(out,)), settings, stop=lambda: next(asked) == 9)
    assert not watch_video(WatchJob(str(small), files=(out,), resume=True), settings).stopped


def test_rows_are_on_the_disk_before_the_state_that_follows_them(
    small, settings, tmp_path, monkeypatch
) -> None:
    told, fsync, out = [], os.fsync, tmp_path / "rows.csv"

    def watched(descriptor: int) -> None:
        told.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr("mien.workflows.video.job.SAVE_EVERY_S", 0.0)
    watch_video(WatchJob(str(small), Pick(end_s=0.5), (out,)), settings)
    states = [name.startswith(".mien-") for name in told if name.startswith((".mien-", "rows.csv"))]
    assert states[0]  # before there are rows
    assert len(states) >= 3
    assert states[1:] == [
        *[False, True] * (len(states) // 2 - 1),
        False,
    ]  # the last rows, before the state goes


def test_a_run_killed_while_it_opens_its_files_goes_on_and_one_that_cannot_leaves_nothing(
    small, settings, tmp_path, monkeypatch
) -> None:
    out, state = tmp_path / "rows.csv", tmp_path / "rows.csv.state"
    kept = []

    def killed(file: RowFile) -> None:
        file.path.touch()
        kept.append(state.read_bytes())
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(RowFile, "begin", killed)
        with pytest.raises(MemoryError):
            watch_video(WatchJob(str(small), files=(out,)), settings)
    assert not state.exists()
    state.write_bytes(kept[0])  # what lies there after a kill
    resumed = watch_video(WatchJob(str(small), files=(out,), resume=True), settings)
    assert not resumed.is_old
    rows = out.read_bytes()
    out.unlink()
    watch_video(WatchJob(str(small), files=(out,)), settings)
    assert rows == out.read_bytes()
