"""A watched video from file to files: rows, ids, cuts, the annotated copy."""

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs PyAV")

from mien.errors import MienError
from mien.workflows.rows.formats import csv_rows, json_rows
from mien.workflows.video.frames import Frame
from mien.workflows.video.job import WatchJob, watch_video
from mien.workflows.video.pick import Pick
from mien.workflows.video.watcher import Watcher, WatchSettings


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
