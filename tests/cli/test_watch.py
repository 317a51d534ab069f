"""The command ``mien watch`` as a person meets it."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs PyAV")

from mien.cli.watch import parse_time
from mien.cli.watch_screen import half_blocks, person_line, terminal_view
from mien.core.results import Box, Face, Quality, Reading
from mien.core.timeline import Person, TimelineRow
from mien.errors import MienError
from mien.workflows.video.watcher import Watched


@pytest.fixture(scope="module")
def clip(clips, tmp_path_factory) -> Path:
    """Half a second of one person at 10 frames a second."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    clips.write_clip(path, clips.still(0.5, fps=10))
    return path


def test_rows_go_to_files_and_a_summary_to_people(mien, clip, tmp_path) -> None:
    done = mien("watch", str(clip), "--model", "tiny", "--views", "1", "-o", "a.csv", "--plot", "a.png")
    assert done.exit_code == 0, done.output
    assert "5 frames, 0.5 s; 0 frames without a face" in done.stdout
    assert "happy" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 6
    assert (tmp_path / "a.png").exists()


def test_a_finished_run_gives_its_summary_and_its_plot_again(mien, clip) -> None:
    run = ("watch", str(clip), "--model", "tiny", "--views", "1", "--resume", "-o")
    mien(*run, "a.csv")
    done = mien(*run, "a.csv", "--plot", "a.png")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "5 frames, 0.5 s; 0 frames without a face")
    assert done.stderr == "a.csv is complete already; delete it to start over\n"
    assert Path("a.png").exists()
    mien(*run, "a.srt")
    doubt = "a.srt is complete already, but nothing tells whether it is of this source; delete it to start"
    assert doubt in mien(*run, "a.srt").stderr
    assert "need rows, and these files hold events alone" in mien(*run, "a.srt", "--plot", "b.png").stderr


def test_json_lines_are_all_that_goes_to_standard_output(mien, clip) -> None:
    done = mien("watch", str(clip), "--model", "tiny", "--views", "1", "--json", "--every", "2frames")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["frame"], row["track"], row["label"]) for row in rows] == [
        (n, 1, "happy") for n in (0, 2, 4)
    ]


def test_the_participant_is_the_first_column_of_what_is_printed(mien, clip) -> None:
    common = [
        "watch",
        str(clip),
        "--model",
        "tiny",
        "--views",
        "1",
        "--every",
        "4frames",
        "--id-from",
        "cl(i)p",
    ]
    head, first, *_ = mien(*common, "--csv").stdout.splitlines()
    assert (head.split(",")[0], first.split(",")[0]) == ("participant", "i")
    assert json.loads(mien(*common, "--json").stdout.splitlines()[0])["participant"] == "i"


def test_the_participant_of_a_stream_is_searched_in_its_address_without_the_password(mien) -> None:
    done = mien("watch", "rtsp://user:hunter2@127.0.0.1:1/x", "--id-from", "P[0-9]")
    assert done.exit_code == 2
    assert "finds no participant in 'rtsp:/user:***@127.0.0.1:1/x'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.mp4"], "cannot be opened as a video: no such file or directory"),
        (["clip", "--every", "often"], "every takes a time or a number of frames"),
        (["clip", "--from", "soon"], "a time is given as 90, 1:30 or 1:02:03.5"),
        (["clip", "--from", "5", "--to", "2"], "the end must lie after the start"),
        (
            ["clip", "--out", "rows.xls"],
            "rows go into a .csv, .jsonl, .parquet, .srt, .eaf, .events.csv or .boris.xlsx file",
        ),
        (["clip", "--blind", "raters"], "--blind is for several videos, or a folder of them"),
        (["clip", "--id-from", "P("], "--id-from takes 'stem' or a regular expression"),
        (["clip", "--id-from", "P[0-9]+"], "--id-from 'P[0-9]+' finds no participant in"),
        (["clip", "--resume"], "--resume needs the file"),
        (["clip", "--csv", "--json"], "choose one"),
        (["clip", "--plot", "plot.svg"], "a plot is a .png"),
    ],
    ids=["missing", "step", "time", "order", "suffix", "blind", "pattern", "no ID", "resume", "both", "plot"],
)
def test_a_mistake_is_one_line_and_exit_2(mien, clip, arguments, says) -> None:
    done = mien("watch", *[str(clip) if one == "clip" else one for one in arguments])
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["--plot", "--out"])
def test_no_output_overwrites_the_video(mien, clip, tmp_path, option) -> None:
    name = "video.png" if option == "--plot" else "video.csv"
    before = clip.read_bytes()
    Path(name).write_bytes(before)
    done = mien("watch", name, option, str(tmp_path / name), "--model", "tiny")
    assert done.exit_code == 2
    assert "cannot be written: it is an input; name another file" in done.stderr
    assert Path(name).read_bytes() == before


def test_a_damaged_video_keeps_its_rows_and_ends_with_exit_2(mien, clip, tmp_path) -> None:
    from mien.workflows.video.frames import Video

    with Video(clip) as video:
        n_frames = sum(1 for _ in video.frames())
    with av.open(str(clip)) as source, av.open("cut.mp4", "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = Path("cut.mp4").read_bytes()
    Path("cut.mp4").write_bytes(data[: len(data) - 300])
    done = mien("watch", "cut.mp4", "--model", "tiny", "--views", "1", "-o", "a.csv")
    assert done.exit_code == 2
    assert done.stderr.startswith("mien: 'cut.mp4' is")
    assert 1 < len((tmp_path / "a.csv").read_text().splitlines()) <= n_frames + 1


@pytest.mark.parametrize(
    "command", [["watch", "clip", "--annotate", "b.mp4"], ["read", "face.png", "--annotate", "b"]]
)
def test_a_stopped_run_that_annotates_is_told_to_go_on_without(
    mien, clip, command, astronaut, monkeypatch
) -> None:
    from PIL import Image

    from mien.cli.stopping import Stop

    Image.fromarray(astronaut).save("face.png")
    monkeypatch.setattr(Stop, "__call__", lambda stop: setattr(stop, "wanted", True) or True)
    name, source, *more = [str(clip) if one == "clip" else one for one in command]
    run = (name, source, "--model", "tiny", "--views", "1", "--out", "a.csv")
    done = mien(*run, *more)
    assert done.exit_code == 130, done.output
    assert "; to continue, use the same command with --resume and without --annotate" in done.stderr
    assert "or delete a.csv.state and leave --resume out" in mien(*run, *more, "--resume").stderr


@pytest.mark.parametrize(
    ("number", "background"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)],
    ids=["ctrl-c", "terminated", "terminated in a shell's background"],
)
def test_a_stopped_run_leaves_whole_lines_and_says_how_to_go_on(
    process, clip, tmp_path, number, background
) -> None:
    run = ("watch", str(clip), "--model", "tiny", "--views", "1", "-o", "a.csv")
    running = process(*run, background=background)
    out = tmp_path / "a.csv"
    while running.poll() is None and not (out.exists() and out.with_name("a.csv.state").exists()):
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    if out.exists():  # else it was stopped before its first frame
        text = out.read_text()
        assert text.endswith("\n")
        assert len({line.count(",") for line in text.splitlines()}) == 1
    if running.returncode:  # else it was at its end already
        assert running.returncode == 130
        assert b"continue with --resume" in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("1:02:03.5", 3723.5), ("2.5s", 2.5), (None, None)]
)
def test_a_time_is_read_as_people_write_it(text, seconds) -> None:
    assert parse_time(text) == seconds


def test_no_time_is_refused() -> None:
    with pytest.raises(MienError, match="a time is given as"):
        parse_time("1h")


def person(label: str = "happy") -> Person:
    reading = Reading(Face(Box(4, 4, 12, 12), 0.9), ("happy", "sad"), (0.75, 0.25))
    return Person(1, reading, Quality(8.0, 0.5, None, 1.0, 0.3), label, (0.75, 0.25))


def test_two_pixels_become_one_character_in_their_colours() -> None:
    from PIL import Image

    image = Image.fromarray(np.uint8([[[1, 2, 3]], [[4, 5, 6]]]))
    assert half_blocks(image) == ["\x1b[38;2;1;2;3;48;2;4;5;6m▀\x1b[0m"]


def test_the_terminal_shows_image_box_and_bars_in_its_size() -> None:
    watched = Watched((TimelineRow(1.0, 25, person()),), np.zeros((90, 160, 3), np.uint8))
    lines = terminal_view(watched, 80, 24).split("\r\n")
    assert len(lines) <= 24
    assert max(line.count("▀") for line in lines) <= 80
    assert any("240;228;66" in line for line in lines)  # the box in the colour of happy
    assert "1 happy" in lines[-2]
    assert len(person_line(person("uncertain"), 40)) <= 40
    assert "no face" in terminal_view(Watched((TimelineRow(1.0, 25),), None), 80, 24)
