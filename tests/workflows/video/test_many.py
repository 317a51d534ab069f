"""Many videos: a file of rows for each, an index, and a run that goes on."""

import inspect
import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

av = pytest.importorskip("av", reason="needs PyAV")

from mien.errors import MienError
from mien.workflows.find import PassedOver
from mien.workflows.rows.formats import csv_rows
from mien.workflows.video.many import Done, ManyJob, find_videos, name_of_rows, watch_many
from mien.workflows.video.participants import parse_id_from
from mien.workflows.video.watcher import WatchSettings


@pytest.fixture(scope="module")
def settings(tiny_home) -> WatchSettings:
    return WatchSettings(model=str(tiny_home / "models" / "tiny.onnx"), views=1)


@pytest.fixture
def videos(tmp_path, clips, monkeypatch) -> Path:
    """``in/2.mp4``, ``in/10.mp4``, ``in/below/2.mp4``, a broken one, and what is none."""
    monkeypatch.chdir(tmp_path)
    folder = Path("in")
    (folder / "below").mkdir(parents=True)
    clips.write_clip(folder / "2.mp4", clips.still(0.6, fps=10))
    (folder / "10.mp4").write_bytes((folder / "2.mp4").read_bytes())
    (folder / "below" / "2.mp4").write_bytes((folder / "2.mp4").read_bytes())
    (folder / "below" / "bad.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mp4").write_bytes(b"")
    return folder


ALL = ["in/2.mp4", "in/10.mp4", "in/below/2.mp4", "in/below/bad.mp4"]


def index(folder: str) -> list[dict]:
    return list(csv_rows(Path(folder) / "index.csv"))


def test_each_video_has_its_rows_and_its_line_in_the_index(videos, settings) -> None:
    done = list(watch_many(ManyJob(["in"], Path("out")), settings))
    assert [one.video for one in done] == ALL
    rows = index("out")
    assert [row["video"] for row in rows] == ALL
    named = ["out/2.mp4.csv", "out/10.mp4.csv", "out/below/2.mp4.csv"]
    assert [row["rows"] for row in rows] == [*named, None]  # there is no file of what is no video
    assert [(row["frames"], row["persons"]) for row in rows] == [(6, 1)] * 3 + [(0, 0)]
    assert [row["error"] is None for row in rows] == [True, True, True, False]
    assert len(list(csv_rows(Path("out/below/2.mp4.csv")))) == 6
    assert not list(Path("out").rglob("*.state"))


def test_what_is_named_twice_is_watched_once_below_the_common_folder(videos) -> None:
    found = find_videos(["in/below/2.mp4", "in/below", "in/2.mp4"])
    assert [str(below) for _, below in found] == ["below/2.mp4", "below/bad.mp4", "2.mp4"]
    Path("none").mkdir()
    with pytest.raises(MienError, match="'none' holds no video"):
        find_videos(["none"])


def test_rows_lie_below_the_folder_however_the_videos_are_named(videos) -> None:
    found = find_videos(["in/below/../2.mp4", "in/below/2.mp4"])
    assert [str(below) for _, below in found] == ["2.mp4", "below/2.mp4"]
    Path("elsewhere", "x").mkdir(parents=True)
    Path("elsewhere", "2.mp4").touch()
    Path("link").symlink_to("elsewhere/x")
    found = find_videos(["in/2.mp4", "link/../2.mp4"])
    assert [str(below) for _, below in found] == ["in/2.mp4", "elsewhere/2.mp4"]


def test_a_link_in_a_circle_is_a_line_of_the_index_and_stops_no_other_video(videos, settings) -> None:
    (videos / "8.mp4").symlink_to("8.mp4")
    done = list(watch_many(ManyJob(["in/8.mp4", "in/2.mp4"], Path("out")), settings))
    assert [one.error for one in done] == [
        "'in/8.mp4' cannot be opened as a video: too many levels of symbolic links",
        None,
    ]


@pytest.mark.parametrize(
    ("source", "name"),
    [("rtsp://user:hunter2@127.0.0.1:1/x", "'rtsp://user:***@127.0.0.1:1/x'"), ("0", "camera 0")],
)
def test_a_stream_or_a_camera_is_none_of_several_videos_and_no_password_is_told(source, name) -> None:
    with pytest.raises(MienError) as refused:
        find_videos([source, "b.mp4"])
    assert str(refused.value) == f"{name} cannot be one of several videos, which are files; watch it alone"


def test_videos_are_named_by_addresses_of_files_as_well(videos) -> None:
    assert find_videos([videos.absolute().as_uri()])[0][1] == Path("2.mp4")


def test_what_a_folder_holds_besides_videos_is_counted(videos, monkeypatch) -> None:
    (videos / "GOPR1.LRV").touch()
    (videos / "CLIP.M2TS").touch()
    (videos / "elsewhere").symlink_to(videos.resolve(), target_is_directory=True)
    (videos / "closed").mkdir()
    listed = os.scandir

    def scandir(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    passed_over = PassedOver(what="a video")
    found = find_videos(["in"], passed_over)
    assert "CLIP.M2TS" in {path.name for path, _ in found}
    assert str(passed_over) == (
        "2 files not named like a video (.lrv 1, .txt 1) and 1 link to a folder "
        "and 1 folder that cannot be listed ('in/closed')"
    )


def test_videos_may_lie_deeper_than_python_calls(videos) -> None:
    deep = videos.joinpath(*["d"] * 200)
    os.makedirs(deep)
    (deep / "deep.mp4").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert "deep.mp4" in {path.name for path, _ in find_videos(["in"])}
    finally:
        sys.setrecursionlimit(limit)


def test_a_pipe_is_a_line_of_the_index_and_holds_up_no_other_video(videos, settings) -> None:
    os.mkfifo("in/1.mp4")
    done = list(watch_many(ManyJob(["in/1.mp4", "in/2.mp4"], Path("out")), settings))
    assert [one.error for one in done] == [
        "'in/1.mp4' cannot be one of several videos, which are files; watch it alone",
        None,
    ]


def test_an_error_that_comes_with_a_stop_leaves_the_video_to_the_next_run(videos, settings) -> None:
    bad = ["in/below/bad.mp4", "in/2.mp4"]
    assert list(watch_many(ManyJob(bad, Path("out")), settings, stop=lambda: True)) == []
    again = watch_many(ManyJob(bad, Path("out"), resume=True), settings)
    assert [one.error is None for one in again] == [False, True]


class Killed(BaseException):
    """As if the machine died."""


def test_a_killed_run_goes_on_in_the_middle_and_takes_new_videos_in(videos, settings) -> None:
    list(watch_many(ManyJob(["in"], Path("whole")), settings))
    n_frames = 0

    def die(watched) -> None:
        nonlocal n_frames
        n_frames += 1
        if n_frames == 9:
            raise Killed

    with pytest.raises(Killed):
        list(watch_many(ManyJob(["in"], Path("out")), settings, on_watched=die))
    assert [row["video"] for row in index("out")] == ALL[:1]
    with pytest.raises(MienError, match="is not finished; add --resume"):
        list(watch_many(ManyJob(["in"], Path("out")), settings))
    assert [one.video for one in watch_many(ManyJob(["in"], Path("out"), resume=True), settings)] == ALL[1:]
    for name in ("2.mp4.csv", "10.mp4.csv", "below/2.mp4.csv"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    (videos / "3.mp4").write_bytes((videos / "2.mp4").read_bytes())
    again = list(watch_many(ManyJob(["in"], Path("out"), resume=True), settings))
    assert [one.video for one in again] == ["in/3.mp4"]
    assert len(index("out")) == 5


def test_a_video_whose_end_the_index_missed_is_told_in_it(videos, settings, monkeypatch) -> None:
    list(watch_many(ManyJob(["in/2.mp4"], Path("out")), settings))
    lines = Path("out/index.csv").read_text().splitlines(keepends=True)
    Path("out/index.csv").write_text(lines[0])
    (done,) = watch_many(ManyJob(["in/2.mp4"], Path("out"), resume=True), settings)
    assert (done.frames, done.persons) == (6, 1)


def test_a_video_by_another_spelling_of_its_path_is_not_watched_again(videos, settings) -> None:
    list(watch_many(ManyJob(["in"], Path("out")), settings))
    for source in (Path("in").absolute(), "./in/", "in/../in"):
        assert not list(watch_many(ManyJob([str(source)], Path("out"), resume=True), settings))
    assert [row["video"] for row in index("out")] == ALL


def test_a_later_run_never_replaces_the_rows_of_another_video(videos, settings) -> None:
    list(watch_many(ManyJob(["in/below"], Path("out")), settings))
    rows = Path("out/2.mp4.csv").read_bytes()
    with pytest.raises(MienError, match=r"out/2\.mp4\.csv holds the rows of in/below/2.mp4, .* --out"):
        list(watch_many(ManyJob(["in"], Path("out"), resume=True), settings))
    assert Path("out/2.mp4.csv").read_bytes() == rows
    assert [row["video"] for row in index("out")] == ALL[2:]
    (done,) = watch_many(ManyJob(["in/10.mp4", "in/below"], Path("out"), resume=True), settings)
    assert (done.video, done.rows) == ("in/10.mp4", "out/10.mp4.csv")


@pytest.mark.parametrize("resume", [True, False])
def test_an_index_of_something_else_is_refused_and_stays(resume, videos, settings) -> None:
    Path("out").mkdir()
    Path("out/index.csv").write_text("path,error\na.jpg,\n")
    with pytest.raises(MienError, match=r"out/index\.csv is not an index of videos; move it, or give --out"):
        list(watch_many(ManyJob(["in"], Path("out"), resume=resume), settings))
    assert Path("out/index.csv").read_text() == "path,error\na.jpg,\n"


def test_a_stop_ends_between_two_frames(videos, settings) -> None:
    asked = iter(range(99))
    assert len(list(watch_many(ManyJob(["in"], Path("out")), settings, stop=lambda: next(asked) > 8))) == 1
    assert Path("out/index.csv.state").exists()


def test_names_that_are_long_or_not_utf8_stop_no_run(videos, settings) -> None:
    long = ["\u6620" * 82 + end for end in (".mp4", "2.mp4", "3.mp4")]
    odd = os.fsdecode(b"caf\xe9.mp4")
    Path("odd").mkdir()
    for name in (*long[:2], odd):
        Path("odd", name).write_bytes((videos / "2.mp4").read_bytes())
    job = ManyJob(["odd"], Path("out"), (".events.csv", ".csv"), id_of=parse_id_from("stem"))
    assert [one.error for one in watch_many(job, settings)] == [None] * 3
    rows = index("out")
    assert {row["participant"] for row in rows} == {"caf\ufffd", long[0][:-4], long[1][:-4]}
    assert (
        len({row["rows"] for row in rows})
        == len({name for name in os.listdir("out") if name.endswith("s.csv")})
        == 3
    )
    assert name_of_rows("a.mp4", 11) == "a.mp4"
    assert len({name_of_rows(name, 11) for name in long}) == 3


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(MienError, match=r"rows come in the formats csv, jsonl, parquet, srt, .*, got 'xls'"):
        ManyJob(["in"], Path("out"), (".csv", ".xls"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "several videos need one folder for their rows: --out DIR"),
        (["--out", "out", "--annotate", "a.mp4"], "--annotate is for one video"),
        (["--out", "out", "--csv"], "--csv is for one video"),
        (["--out", "out", "--blind", "in/raters"], "would be watched too; give --blind a folder outside in"),
    ],
)
def test_the_command_says_what_many_videos_cannot_have(arguments, says, videos) -> None:
    from typer.testing import CliRunner

    from mien.cli.main import app

    done = CliRunner().invoke(app, ["watch", "in", *arguments], prog_name="mien")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr


def test_the_command_prints_a_line_a_video(videos, tiny_home, monkeypatch) -> None:
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    arguments = ["watch", "in", "--out", "out", "--format", "jsonl", "--model", "tiny", "--views", "1"]
    done = CliRunner().invoke(app, arguments, prog_name="mien")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "in/2.mp4: 6 frames, 0.6 s, 1 person"
    assert "4 videos, 1 not to the end; out/index.csv tells of all" in done.stderr
    assert Path("out/below/2.mp4.jsonl").is_file()
    again = CliRunner().invoke(app, [*arguments, "--resume"], prog_name="mien")
    assert again.exit_code == 1
    assert "0 videos, 0 not to the end, and 1 of an earlier run; out/index.csv tells" in again.stderr


def test_a_repaired_video_is_watched_again_when_its_line_is_removed_as_the_command_says(
    videos, tiny_home, monkeypatch
) -> None:
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    arguments = ["watch", "in", "--out", "out", "--model", "tiny", "--views", "1", "--resume"]
    failed = CliRunner().invoke(app, arguments, prog_name="mien")
    advice = "once a video is repaired, remove its line there, and --resume watches it again"
    assert failed.stderr.endswith(f"out/index.csv tells of all: {advice}\n")
    (videos / "below" / "bad.mp4").write_bytes((videos / "2.mp4").read_bytes())
    lines = Path("out/index.csv").read_text().splitlines(keepends=True)
    Path("out/index.csv").write_text("".join(line for line in lines if "bad.mp4" not in line))
    again = CliRunner().invoke(app, arguments, prog_name="mien")
    assert (again.exit_code, again.stdout) == (0, "in/below/bad.mp4: 6 frames, 0.6 s, 1 person\n")
    assert again.stderr.endswith("out/index.csv tells of all\n")
    assert [(row["video"], row["frames"]) for row in index("out")] == [(name, 6) for name in ALL]


def test_a_log_tells_how_far_the_videos_are_with_rate_and_time_left(videos, tiny_home, monkeypatch) -> None:
    from typer.testing import CliRunner

    from mien.cli import watch_many as command
    from mien.cli.main import app

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.setattr(command, "LINES_EVERY_S", 0.0)
    arguments = ["watch", "in", "--out", "out", "--model", "tiny", "--views", "1"]
    lines = CliRunner().invoke(app, arguments, prog_name="mien").stderr.splitlines()
    assert lines[1] == "1 of 4  in/2.mp4: at 0.0 s"  # nothing is known of the rate yet
    pattern = r"3 of 4  in/below/2\.mp4: at 0\.5 s  [\d.]+ videos/h  0:00:\d\d left"
    assert [line for line in lines if re.fullmatch(pattern, line)]


def test_one_video_of_one_frame_is_counted_as_one(videos, tiny_home, monkeypatch) -> None:
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    arguments = ["watch", "in", "--out", "out", "--model", "tiny", "--views", "1"]
    monkeypatch.setattr("mien.cli.watch_many._watched", lambda *_: [Done("in/2.mp4", None, 1, 1, 0.1)])
    monkeypatch.setattr(
        "mien.cli.watch_many.stop_on_ctrl_c", lambda: nullcontext(SimpleNamespace(wanted=True))
    )
    stopped = CliRunner().invoke(app, arguments, prog_name="mien")
    assert (stopped.exit_code, stopped.stdout) == (130, "in/2.mp4: 1 frame, 0.1 s, 1 person\n")
    assert "mien: stopped after 1 video; continue with --resume" in stopped.stderr


def test_a_folder_of_participants_has_their_ids_in_every_row_and_copies_for_raters(
    videos, tiny_home, monkeypatch
) -> None:
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    (videos / "below" / "bad.mp4").unlink()
    arguments = ["watch", "in", "--out", "out", "--model", "tiny", "--views", "1", "--blind", "raters"]
    done = CliRunner().invoke(
        app, [*arguments, "--format", "csv", "--format", "events.csv"], prog_name="mien"
    )
    assert done.exit_code == 0, done.output
    ids = ["2", "10", "2"]
    assert [row["participant"] for row in index("out")] == ids
    for below, who in zip(("2", "10", "below/2"), ids, strict=True):
        assert {row["participant"] for row in csv_rows(Path(f"out/{below}.mp4.csv"))} == {who}
        (event,) = csv_rows(Path(f"out/{below}.mp4.events.csv"))
        assert (event["participant"], event["start_s"], event["end_s"]) == (who, 0.0, 0.6)
    assert sorted(path.name for path in Path("raters").iterdir()) == ["001.mp4", "002.mp4", "003.mp4"]
    assert "out/blind-key.csv is the key" in done.stderr


@pytest.fixture
def listed(monkeypatch) -> list[str]:
    """The folders that were listed, as often as they were."""
    seen, scandir = [], os.scandir

    def counted(folder):
        seen.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    return seen


@pytest.mark.parametrize("more", [[], ["--blind", "raters"], ["--ray", "local"]], ids=" ".join)
def test_the_command_lists_a_folder_once(more, videos, tiny_home, listed, monkeypatch) -> None:
    from contextlib import nullcontext

    from typer.testing import CliRunner

    from mien.cli.main import app
    from mien.workflows.cluster import videos as cluster
    from mien.workflows.video.many import watch_one

    monkeypatch.setattr(cluster, "connected", lambda address: nullcontext())
    monkeypatch.setattr(
        cluster, "_in_tasks", lambda jobs, settings: (watch_one(one, settings) for one in jobs)
    )
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    arguments = ["watch", "in", "--out", "out", "--model", "tiny", "--views", "1", *more]
    done = CliRunner().invoke(app, arguments, prog_name="mien")
    assert (done.exit_code, done.stdout.count("6 frames")) == (1, 3), done.output
    assert "mien: passed over 1 file not named like a video (.txt 1)" in done.stderr
    assert listed.count("in") == listed.count("in/below") == 1
    there = [str(Path(name).absolute()) for name in ALL] if "--ray" in more else ALL
    assert [row["video"] for row in index("out")] == there


def test_names_that_are_one_as_text_are_videos_of_their_own_when_a_run_goes_on(videos, settings) -> None:
    folder = Path("odd")
    folder.mkdir()
    names = [os.fsdecode(name) for name in (b"b\xfe.mp4", b"b\xff.mp4")]
    for name in names:
        (folder / name).write_bytes((videos / "2.mp4").read_bytes())
    next(watch_many(ManyJob(["odd"], Path("out")), settings))
    again = list(watch_many(ManyJob(["odd"], Path("out"), resume=True), settings))
    assert [one.frames for one in again] == [6]
    assert sorted(path.name for path in Path("out").glob("b*")) == [f"{name}.csv" for name in names]
    assert len(index("out")) == 2
