"""A watched video from file to files: rows, ids, resuming, the annotated copy, the timeline, the summary."""

import csv
import errno
import json
import os
import threading
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av", reason="needs PyAV")

from mien.core.draw import COLOURS
from mien.core.events import events_of
from mien.core.results import Box, Face
from mien.core.smoothing import SmoothingSettings
from mien.core.timeline import columns
from mien.errors import MienError, OutputError, VideoError
from mien.workflows.rows.formats import csv_rows, json_rows, parquet_rows
from mien.workflows.rows.row_file import RowFile
from mien.workflows.video.frames import Frame
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.live import Newest, paced
from mien.workflows.video.pick import Pick
from mien.workflows.video.plot import MORE_COLOURS, colours, draw, plot
from mien.workflows.video.summary import N_BINS, Summary
from mien.workflows.video.watcher import Watcher, WatchSettings

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def settings(tiny_home) -> WatchSettings:
    """The model that answers every face alike."""
    return WatchSettings(model=str(tiny_home / "models" / "tiny.onnx"), views=1)


@pytest.fixture(scope="module")
def crossing(tmp_path_factory, clips) -> Path:
    """4 s at 12 frames a second: two people cross, one hides the other."""
    path = tmp_path_factory.mktemp("clips") / "crossing.mp4"
    clips.write_clip(path, clips.crossing(4, fps=12, period_s=8), tone=True)
    return path


@pytest.fixture(scope="module")
def watched(crossing, settings, tmp_path_factory) -> tuple[Path, object]:
    """The crossing watched into every kind of file."""
    folder = tmp_path_factory.mktemp("watched")
    files = tuple(folder / f"rows{suffix}" for suffix in (".csv", ".jsonl", ".parquet"))
    outcome = watch_video(WatchJob(str(crossing), files=files, annotate=folder / "marked.mp4"), settings)
    return folder, outcome


@pytest.fixture(scope="module")
def small(tmp_path_factory, clips) -> Path:
    """1.2 s at 20 frames a second: one person."""
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    clips.write_clip(path, clips.still(1.2, fps=20))
    return path


@pytest.fixture(scope="module")
def whole(small, settings, tmp_path_factory) -> tuple[Path, object]:
    """The small clip watched without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    files = tuple(
        folder / f"rows{suffix}" for suffix in (".csv", ".jsonl", ".parquet", ".srt", ".events.csv")
    )
    return folder, watch_video(WatchJob(str(small), files=files), settings)


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("views", "temperatures", "chosen"),
    [
        (10, ("1", "2", "10"), 2),
        ("auto", ("1", "2", "10", "auto"), 2),
        (1, ("1", "2"), 1),
        (10, ("10",), 10),
        ("auto", ("auto",), "auto"),
    ],
)
def test_moving_images_take_the_views_of_the_card_but_no_more_than_two(
    tiny_with, views, temperatures: tuple[str, ...], chosen
) -> None:
    auto = {"few": 1, "many": 10, "below": 0.5}
    path = tiny_with(views=views, auto=auto, temperatures=dict.fromkeys(temperatures, 1.0) | {"1": 1.0})
    assert Watcher(WatchSettings(path)).classifier.views == chosen
    assert Watcher(WatchSettings(path, views=1)).classifier.views == 1


def test_every_frame_has_rows_at_its_time_and_two_people_stay_two(watched, crossing) -> None:
    rows = cells(watched[0] / "rows.csv")
    with av.open(str(crossing)) as container:
        times = {i: frame.time for i, frame in enumerate(container.decode(video=0))}
    assert {int(row["frame"]) for row in rows} == set(times) == set(range(48))
    assert all(abs(float(row["time_s"]) - times[int(row["frame"])]) < 1e-5 for row in rows)
    assert {row["track"] for row in rows} == {"1", "2"}
    assert len(rows) > 1.7 * 48


def test_tracks_follow_the_people_through_the_crossing(watched) -> None:
    rows = cells(watched[0] / "rows.csv")
    places = {
        track: [float(row["x1"]) for row in rows if row["track"] == track and pick(float(row["time_s"]))]
        for track in "12"
        for pick in (lambda t: t < 0.5 or t > 3.5,)
    }
    for xs in places.values():  # each crosses the image once, from one side to the other
        assert abs(xs[-1] - xs[0]) > 300
    assert (places["1"][0] - places["2"][0]) * (places["1"][-1] - places["2"][-1]) < 0


def test_the_three_kinds_of_file_hold_the_same_rows(watched) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    folder = watched[0]
    from_csv, from_json = list(csv_rows(folder / "rows.csv")), list(json_rows(folder / "rows.jsonl"))
    table = parquet.read_table(folder / "rows.parquet")
    assert from_csv == from_json == table.to_pylist()
    assert tuple(from_csv[0]) == tuple(table.column_names)
    assert not list(folder.glob("*.rows")) + list(folder.glob("*.state"))


def test_the_annotated_video_has_the_same_times_and_the_same_sound(watched, crossing) -> None:
    def content(path: Path) -> tuple[list[float], list[tuple[int, bytes]], str]:
        with av.open(str(path)) as container:
            times = [frame.time for frame in container.decode(video=0)]
            codec = container.streams.video[0].codec_context.name
        with av.open(str(path)) as container:
            sound = [(p.pts, bytes(p)) for p in container.demux(audio=0) if p.size]
        return times, sound, codec

    marked, source = content(watched[0] / "marked.mp4"), content(crossing)
    assert marked[0] == pytest.approx(source[0], abs=1e-6)
    assert marked[1] == source[1]
    assert marked[2] == "h264"


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


def test_the_path_of_a_video_is_a_job_and_other_things_are_told(small, settings) -> None:
    seen = []
    outcome = watch_video(small, settings, on_watched=seen.append, stop=lambda: len(seen) > 3)
    assert outcome.stopped
    assert seen
    with pytest.raises(MienError, match=r"watch_video takes a path or a mien.WatchJob, got list"):
        watch_video([0], settings)
    with pytest.raises(MienError, match=r"^settings must be a WatchSettings, got {'views': 1}$"):
        watch_video(small, {"views": 1})
    with pytest.raises(MienError, match=r"^pick must be a Pick, got 0.2$"):
        WatchJob(small, 0.2)


def test_a_job_takes_text_numbers_and_one_path_alone() -> None:
    job = WatchJob(0, files="rows.csv", annotate=None)
    assert (job.source, job.files) == ("0", (Path("rows.csv"),))
    job = WatchJob(Path("v.mp4"), files=["a.csv", Path("b.jsonl")], annotate="m.mp4")
    assert (job.source, job.files) == ("v.mp4", (Path("a.csv"), Path("b.jsonl")))
    assert job.annotate == Path("m.mp4")


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
    lines = cells(rows)
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


def test_a_cut_to_black_gives_rows_without_a_face_and_keeps_the_number(clips, settings, tmp_path) -> None:
    clip, out = tmp_path / "black.mp4", tmp_path / "rows.csv"
    moments = [
        (t, np.zeros_like(pixels) if 0.8 <= t < 1.6 else pixels) for t, pixels in clips.still(2.4, fps=10)
    ]
    clips.write_clip(clip, moments)
    outcome = watch_video(WatchJob(str(clip), files=(out,)), settings)
    rows = cells(out)
    assert [row["track"] for row in rows] == ["1"] * 8 + [""] * 8 + ["1"] * 8
    assert {cell for name, cell in rows[10].items() if name not in ("time_s", "frame")} == {""}
    assert (outcome.summary.n_frames, outcome.summary.n_faceless) == (24, 8)
    assert outcome.summary.persons[1].seconds == pytest.approx(1.6)


def test_a_person_keeps_the_number_however_far_frames_are_read_apart(clips, settings, tmp_path) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "rows.csv"
    clips.write_clip(clip, clips.still(24, fps=1))
    watch_video(WatchJob(str(clip), Pick(every_s=6), files=(out,)), settings)
    assert [(row["frame"], row["track"]) for row in cells(out)] == [(str(n), "1") for n in range(0, 24, 6)]
    watch_video(WatchJob(str(clip), Pick(every_frames=10), files=(out,)), settings)
    assert [(row["frame"], row["track"]) for row in cells(out)] == [(str(n), "1") for n in (0, 10, 20)]


def test_a_hard_cut_ends_a_track_and_a_flash_does_not(clips, settings, tmp_path) -> None:
    clip, out = tmp_path / "cut.mp4", tmp_path / "rows.csv"
    one = [pixels for _, pixels in clips.still(1.2, fps=10)]
    other = [np.ascontiguousarray(255 - pixels[::-1] // 3) for pixels in one]  # another place
    for pixels in other:
        pixels[20:188, 8:] = one[0][20:188, 8:]  # the face, where it was
    one[5] = np.uint8(np.minimum(one[5].astype(int) + 90, 255))
    clips.write_clip(clip, [(n / 10, pixels) for n, pixels in enumerate(one + other)])
    watch_video(WatchJob(str(clip), files=(out,)), settings)
    assert [row["track"] for row in cells(out)] == ["1"] * 12 + ["2"] * 12


def test_a_hard_cut_ends_an_event(clips, settings, tmp_path) -> None:
    clip, out = tmp_path / "cut.mp4", tmp_path / "cut.events.csv"
    one = [pixels for _, pixels in clips.still(0.8, fps=10)]
    other = [np.ascontiguousarray(255 - pixels[::-1] // 3) for pixels in one]
    for pixels in other:
        pixels[20:188, 8:] = one[0][20:188, 8:]
    clips.write_clip(clip, [(n / 10, pixels) for n, pixels in enumerate(one + other)])
    watch_video(WatchJob(str(clip), files=(out,), participant="P1"), settings)
    rows = [(row["participant"], row["track"], row["start_s"], row["end_s"]) for row in cells(out)]
    assert rows == [("P1", "1", "0.0", "0.8"), ("P1", "2", "0.8", "1.6")]
    assert {row["emotion"] for row in cells(out)} == {"happy"}


def test_a_truncated_video_keeps_its_rows_and_says_so(clips, settings, tmp_path) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "rows.csv"
    clips.write_clip(clip, clips.still(2, fps=10), options={"movflags": "faststart"})
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 2 // 3])
    outcome = watch_video(WatchJob(str(clip), files=(out,)), settings)
    assert "is cut off" in str(outcome.error)
    frames = [int(row["frame"]) for row in cells(out)]
    assert frames == list(range(len(frames)))
    assert frames


class Square:
    """Finds one bright square, and counts how often it searched."""

    def __init__(self) -> None:
        self.n_searches = 0

    def find(self, image):
        self.n_searches += 1
        return self.find_near(image, ())

    def find_near(self, image, boxes):
        ys, xs = np.nonzero(image[..., 0] > 128)
        if not len(xs):
            return ()
        return (Face(Box(float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)), 0.99),)


def squares(times: list[float]) -> list[Frame]:
    frames = []
    for i, t in enumerate(times):
        pixels = np.zeros((120, 200, 3), np.uint8)
        left = 10 + int(40 * t)
        pixels[30:80, left : left + 50] = 140 + np.arange(50)[None, :, None]
        frames.append(Frame(i, t, pixels))
    return frames


def test_the_whole_image_is_searched_a_few_times_a_second_only(settings) -> None:
    finder = Square()
    watcher = Watcher(settings, finder=finder)
    frames = squares([n / 25 for n in range(50)])
    rows = [row for ready in watcher.watch(frames) for w in ready for row in w.rows]
    rows += [row for w in watcher.finish() for row in w.rows]
    assert finder.n_searches == 10  # each 0.2 s of 2 s
    assert [(row.frame, row.person.track) for row in rows] == [(n, 1) for n in range(50)]


@pytest.mark.parametrize(("fps", "told"), [(3, [1] * 6 + [2] * 6), (25, [*range(1, 7)] + [7] * 6)])
def test_motion_between_frames_far_apart_is_no_cut_but_another_face_is(
    fps, told, settings, monkeypatch
) -> None:
    """Each of the first frames differs wholly; from the seventh on another face is at the place."""
    watcher, rng = Watcher(settings, finder=Square()), np.random.default_rng(2)
    monkeypatch.setattr(watcher.cuts, "is_cut", lambda image: image[0, 0, 1] > 0)
    frames = squares([0.0] * 12)
    for n, frame in enumerate(frames):
        frame.pixels[0, 0, 1] = n <= 6
        if n >= 6:
            frame.pixels[30:80, 10:60] = 140 + 8 * rng.integers(0, 9)
            frame.pixels[40:70:, 20:35, 1:] = 10
    rows = [
        row
        for ready in watcher.watch([replace(frame, time_s=n / fps) for n, frame in enumerate(frames)])
        for w in ready
        for row in w.rows
    ]
    rows += [row for w in watcher.finish() for row in w.rows]
    assert [row.person.track for row in rows] == told


def test_people_keep_their_numbers_where_frames_change_their_size(settings, clips) -> None:
    """As in the recording of a call with more and less bandwidth; also across a stop at the change."""
    first = Watcher(settings)
    frames = []
    for n, (time_s, pixels) in enumerate(clips.still(0.9, fps=10, faces=2, size_wh=(640, 240))):
        size_wh = (640, 240) if n // 3 % 2 else (960, 360)
        frames.append(Frame(n, time_s, np.asarray(Image.fromarray(pixels).resize(size_wh))))
    seen = [one for ready in first.watch(frames[:3]) for one in ready] + first.finish()
    later = Watcher(settings)
    later.restore(json.loads(json.dumps(first.to_dict())))
    seen += [one for ready in later.watch(frames[3:]) for one in ready] + later.finish()
    assert [[row.person.track for row in one.rows] for one in seen] == [[1, 2]] * 9


def test_frames_whose_clock_hardly_moves_do_not_gather_in_memory(settings, monkeypatch) -> None:
    monkeypatch.setattr("mien.workflows.video.watcher.MOST_HELD", 32)
    watcher, held = Watcher(settings, finder=Square()), 0
    for ready in watcher.watch(squares([n * 1e-6 for n in range(64)])):
        held += settings.batch - len(ready)
        assert held <= 32


@pytest.mark.parametrize("keep", [True, False])
def test_images_that_wait_for_a_long_look_ahead_are_bounded_in_bytes(keep, settings, monkeypatch) -> None:
    monkeypatch.setattr("mien.workflows.video.watcher.MOST_HELD_BYTES", 20 * 120 * 200 * 3)
    far = replace(settings, smoothing=SmoothingSettings(ahead_s=60.0))
    watcher, held = Watcher(far, finder=Square()), 0
    for ready in watcher.watch(squares([n / 25 for n in range(48)]), keep_pixels=keep):
        held += settings.batch - len(ready)
        assert held == (min(watcher.last_index + 1, 20) if keep else watcher.last_index + 1)
    assert len(watcher.finish()) == held


@pytest.mark.parametrize("batch", [2.5, 0, True])
def test_a_batch_is_a_whole_number_of_frames(batch) -> None:
    with pytest.raises(MienError, match="batch"):
        WatchSettings(batch=batch)


@pytest.mark.parametrize(
    "smoothing", [{"time_s": NAN}, {"time_s": -1}, {"time_s": INF}, {"ahead_s": INF}], ids=str
)
def test_a_smoothing_without_end_is_refused(smoothing) -> None:
    with pytest.raises(MienError, match=r"of smoothing must lie in 0\.\.60 s"):
        WatchSettings(smoothing=SmoothingSettings(**smoothing))


def test_batches_do_not_change_rows(settings) -> None:
    frames = squares([n / 10 for n in range(20)])
    answers = []
    for batch in (1, 3, 64):
        watcher = Watcher(replace(settings, batch=batch), finder=Square())
        rows = [row for ready in watcher.watch(frames) for w in ready for row in w.rows]
        rows += [row for w in watcher.finish() for row in w.rows]
        answers.append([row.cells(watcher.labels) for row in rows])
    assert answers[0] == answers[1] == answers[2]


def test_hidden_parts_are_told_where_landmarks_are_asked_for(small, settings, tmp_path) -> None:
    settings = replace(settings, landmarks=True)
    out, asked = tmp_path / "rows.csv", iter(range(99))
    watch_video(WatchJob(str(small), files=(out,)), settings, stop=lambda: next(asked) == 18)
    with pytest.raises(MienError, match="had another settings; resume it with the same"):
        watch_video(WatchJob(str(small), files=(out,), resume=True), replace(settings, landmarks=False))
    watch_video(WatchJob(str(small), files=(out,), resume=True), settings)
    rows = cells(out)
    assert len(rows) == 24
    assert all(0 <= float(row["quality_occluded"]) <= 1 for row in rows)


def test_readings_of_a_video_have_quality_landmarks_and_pose_also_after_a_state(small, settings) -> None:
    seen = []
    watch_video(small, replace(settings, landmarks=True), on_watched=seen.append)
    persons = [row.person for watched in seen for row in watched.rows if row.person]
    assert len(persons) == 24
    for person in persons:
        assert person.reading.quality == person.quality
        assert len(person.reading.landmarks68) == 68
        assert person.reading.pose is not None
    watcher, later = (Watcher(settings, finder=Square()) for _ in range(2))
    list(watcher.watch(squares([n / 10 for n in range(8)])))
    state = watcher.to_dict()
    placed = state["seen"][0]["faces"][0] | {"landmarks68": [[1.0, 2.0]] * 68}
    state["seen"] = [state["seen"][0] | {"faces": [placed]}]
    later.restore(json.loads(json.dumps(state)))
    reading = later.finish()[0].rows[0].person.reading
    assert reading.landmarks68 == ((1.0, 2.0),) * 68
    assert reading.quality is not None


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


def test_a_plot_shows_the_time_seen_in_the_colour_of_the_emotion(watched, tmp_path) -> None:
    summary = watched[1].summary
    image = np.asarray(draw(summary))
    assert (image == (240, 228, 66)).all(axis=2).sum() > 0.3 * 1250 * 150  # half of all is happy
    plot(summary, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 1000
    with pytest.raises(MienError, match=r"a plot is a \.png"):
        plot(summary, tmp_path / "timeline.txt")


def test_labels_of_a_plot_have_colours_of_their_own() -> None:
    named = dict(zip(labels := ("awe", "happy", "calm", "bored", "pride"), colours(labels), strict=True))
    assert named["happy"] == COLOURS["happy"]
    assert len(set(named.values())) == 5
    assert not {*MORE_COLOURS} & {*COLOURS.values()}
    assert len({*MORE_COLOURS}) == len(MORE_COLOURS)


def test_a_summary_has_shares_that_sum_to_one(watched) -> None:
    persons = watched[1].summary.to_dict()["persons"]
    assert [person["track"] for person in persons] == [1, 2]
    for person in persons:
        assert sum(person["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert person["expressiveness"] == pytest.approx(
            1 - 0.125, abs=1e-3
        )  # of the model that is always so
    assert json.dumps(persons)


def test_bins_merge_so_that_a_long_video_takes_no_more_memory() -> None:
    summary = Summary(("happy", "neutral"))
    row = dict.fromkeys(columns(summary.labels), None) | {"p_smooth_happy": 0.25, "p_smooth_neutral": 0.75}
    for n in range(5000):
        summary.add_cells(row | {"time_s": n * 1.0, "frame": n, "track": 1, "label": "neutral"})
    person = summary.persons[1]
    assert len(person.bins) <= N_BINS
    assert summary.bin_s * N_BINS >= 5000
    assert all(sums[0] / sums[-1] == pytest.approx(0.25) for sums in person.bins.values())
    assert (person.seconds, person.expressiveness) == pytest.approx((4999, 0.25))
    summary.finish()
    assert (person.seconds, summary.seconds) == pytest.approx((5000, 5000))


def test_the_summary_counts_each_frame_until_the_next_one_as_events_do() -> None:
    summary = Summary(("happy", "neutral"))
    row = dict.fromkeys(columns(summary.labels), 0.5) | {"uncertain": False}
    rows = [row | {"time_s": n, "frame": n, "track": 1 + n // 3, "label": "happy"} for n in range(6)]
    for cells in rows:
        summary.add_cells(cells)
    summary.finish()
    events = {event.track: event.end_s - event.start_s for event in events_of(rows)}
    assert {track: person.seconds for track, person in summary.persons.items()} == events == {1: 3, 2: 3}
    assert summary.seconds == 6
    alone = Summary(summary.labels)
    alone.add_cells(rows[0])
    alone.finish()
    (event,) = events_of(rows[:1])
    assert alone.persons[1].seconds == alone.seconds == event.end_s == 0.04
    assert alone.persons[1].shares == {"happy": 1.0}


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


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"files": (Path("rows.txt"),)}, r"rows go into a .csv, .jsonl, .parquet, .*.srt, .eaf.* file"),
        ({"files": (Path("nowhere/rows.csv"),)}, "there is no folder nowhere"),
        ({"resume": True}, "--resume needs the file"),
        (
            {"resume": True, "files": (Path("a.csv"),), "annotate": Path("a.mp4")},
            "leave --annotate out, or delete a.csv.state",
        ),
    ],
    ids=["suffix", "folder", "nothing to resume", "annotated"],
)
def test_a_job_that_cannot_be_is_refused_before_the_first_frame(job, says) -> None:
    with pytest.raises(MienError, match=says):
        WatchJob("clip.mp4", **job)


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


def test_an_annotated_video_never_overwrites_its_source(crossing, settings) -> None:
    with pytest.raises(MienError, match="is the input video"):
        watch_video(WatchJob(str(crossing), annotate=crossing), settings)


@pytest.mark.weights
def test_smoothed_labels_are_calm_and_no_less_right_than_raw_ones(clips, mien_data) -> None:
    watcher = Watcher()
    moments = list(clips.emotions(mien_data, 4, 1.0, np.random.default_rng(11), fps=10))
    frames = [Frame(i, time_s, pixels) for i, (time_s, pixels, _) in enumerate(moments)]
    rows = [row for ready in watcher.watch(frames) for w in ready for row in w.rows]
    rows += [row for w in watcher.finish() for row in w.rows]
    seen = [(moments[row.frame][2], row.person) for row in rows if row.person]
    labels = watcher.labels
    raw = [person.reading.emotion for _, person in seen]
    smooth = [labels[int(np.argmax(person.smooth_probs))] for _, person in seen]
    truth = [label for label, _ in seen]
    assert len(seen) > 30
    told = [person.label for _, person in seen]
    assert sum(a != b for a, b in pairwise(told)) <= 1.5 * 3
    right = [np.mean([a == b for a, b in zip(names, truth, strict=True)]) for names in (raw, smooth)]
    assert right[1] >= right[0]


def test_a_detector_that_searches_whole_images_alone_follows_as_well(settings) -> None:
    class SearchesOnly:
        """A detector without ``find_near``."""

        def __init__(self) -> None:
            self.n_searches = 0

        def find(self, image):
            self.n_searches += 1
            return Square().find(image)

    finder = SearchesOnly()
    watcher = Watcher(settings, finder=finder)
    rows = [
        row for ready in watcher.watch(squares([n / 25 for n in range(50)])) for w in ready for row in w.rows
    ]
    rows += [row for w in watcher.finish() for row in w.rows]
    assert finder.n_searches == 50
    assert [(row.frame, row.person.track) for row in rows] == [(n, 1) for n in range(50)]


def test_a_doubtful_face_is_taken_where_there_is_one_frame_alone(settings) -> None:
    class Doubtful:
        def find(self, image):
            return [Face(Box(10.0, 10.0, 60.0, 60.0), 0.99), Face(Box(120.0, 10.0, 170.0, 60.0), 0.8)]

    told = {}
    for n_frames in (1, 2):
        watcher = Watcher(settings, finder=Doubtful())
        assert list(watcher.watch(squares([n / 25 for n in range(n_frames)]))) == []
        told[n_frames] = [[row.person.track for row in watched.rows] for watched in watcher.finish()]
    assert told == {1: [[1, 2]], 2: [[1], [1, 2]]}


def test_a_detector_that_answers_nonsense_is_named(settings) -> None:
    class Nonsense:
        def find(self, image):
            return [(1, 2, 3, 4)]

    with pytest.raises(MienError, match=r"detector Nonsense must return mien\.Face objects, got tuple"):
        list(Watcher(replace(settings, batch=1), finder=Nonsense()).watch(squares([0.0])))


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
