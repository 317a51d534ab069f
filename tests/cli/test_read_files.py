"""``mien read --out``: rows in files, lists, parts, and runs that were killed and go on."""

import csv
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from typer import Exit

from mien.cli.main import ClosedOutput

N = 60


@pytest.fixture
def many(tmp_path, astronaut) -> Path:
    """A folder of 60 links to an image of a face, one of two, one of none and one that is broken."""
    folder, links = tmp_path / "made", tmp_path / "many"
    folder.mkdir()
    face = Image.fromarray(astronaut[:256, 96:352]).resize((128, 128))
    two = Image.new("RGB", (256, 128))
    two.paste(face, (0, 0))
    two.paste(face, (128, 0))
    for name, image in (("one", face), ("two", two), ("none", Image.new("RGB", (90, 90), "gray"))):
        image.save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for i in range(N):
        below = links / str(i // 20)
        below.mkdir(parents=True, exist_ok=True)
        name = ("one", "two", "none", "one", "broken")[i % 5]
        (below / f"{i}.png").symlink_to(folder / f"{name}.png")
    return links


OPTIONS = ("--model", "tiny", "--min-face", "60")


def cells(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_format_holds_the_same_rows_in_the_order_of_the_images(mien, many) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    files = ("a.csv", "a.jsonl", "a.parquet")
    done = mien("read", "many", *OPTIONS, *(f"--out={name}" for name in files), "--errors", "e.csv")
    assert done.exit_code == 1
    assert "60 images, 48 faces; 12 without a face, 12 not readable" in done.stderr
    table = pq.read_table("a.parquet").to_pylist()
    assert table == [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table]
    assert text == cells("a.csv")
    assert list(dict.fromkeys(row["path"] for row in text)) == [f"many/{i // 20}/{i}.png" for i in range(N)]
    assert [row["path"] for row in cells("e.csv")] == [f"many/{i // 20}/{i}.png" for i in range(4, N, 5)]
    assert sorted(os.listdir()) == ["a.csv", "a.jsonl", "a.parquet", "e.csv", "made", "many"]


def test_two_processes_give_the_rows_of_one(mien, many) -> None:
    for jobs in "12":
        assert mien("read", "many", *OPTIONS, "-j", jobs, "--out", f"{jobs}.csv").exit_code == 1
    assert Path("1.csv").read_bytes() == Path("2.csv").read_bytes()


@pytest.mark.parametrize(("suffix", "jobs"), [(".csv", "1"), (".parquet", "2")])
def test_a_run_that_is_killed_again_and_again_has_every_image_once(
    suffix, jobs, mien, many, process, monkeypatch
) -> None:
    """Also where the last lines were lost half, and images came in between."""
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    whole, out = f"whole{suffix}", f"killed{suffix}"
    mien("read", "many", *OPTIONS, "--out", whole)
    arguments = ("read", "many", *OPTIONS, "-j", jobs, "--out", out, "--resume")
    lines = Path(out + ".rows" if suffix == ".parquet" else out)
    chance = random.Random(3)
    for _ in range(3):
        running = process(*arguments)
        seen = lines.stat().st_size if lines.exists() else 0
        while running.poll() is None and (lines.stat().st_size if lines.exists() else 0) <= seen:
            time.sleep(0.01)
        time.sleep(chance.random() / 2)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    if Path(out + ".state").exists():
        with lines.open("ab") as file:
            file.write(b"many/9,half a li")
    done = mien(*arguments)
    assert done.exit_code in (0, 1), done.output
    if suffix == ".parquet":
        assert pq.read_table(out).equals(pq.read_table(whole))
    else:
        assert Path(out).read_bytes() == Path(whole).read_bytes()
    assert not lines.with_name(out + ".state").exists()


@pytest.mark.parametrize(
    ("number", "background"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["terminated", "ctrl-c", "terminated in a shell's background"],
)
def test_a_signal_leaves_a_whole_parquet_file_and_a_run_that_goes_on(
    number, background, mien, many, process
) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    running = process("read", "many", *OPTIONS, "--rotated", "--out", "a.parquet", background=background)
    while running.poll() is None and not Path("a.parquet.state").exists():
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert b"continue with --resume" in err
    names = pq.read_table("a.parquet")["path"].to_pylist()
    assert len(set(names)) < N
    done = mien("read", "many", *OPTIONS, "--rotated", "--out", "a.parquet", "--resume")
    assert "60 images, " in done.stderr
    assert len(set(pq.read_table("a.parquet")["path"].to_pylist())) == N
    again = mien("read", "many", *OPTIONS, "--rotated", "--out", "a.parquet", "--resume")
    assert again.exit_code == 1
    assert again.stderr.startswith("a.parquet is complete already; delete it to start over\n")


def test_a_signal_ends_a_run_that_waits_for_more_of_a_list(mien, many, process) -> None:
    running = process("read", "--files-from", "-", *OPTIONS, "--out", "a.csv", stdin=subprocess.PIPE)
    running.stdin.write(b"many/0/0.png\n")
    running.stdin.flush()
    while running.poll() is None and not Path("a.csv.state").exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 130  # its standard input is open still
    assert b"continue with --resume" in running.communicate()[1]


@pytest.fixture
def killed(mien, monkeypatch):
    """``killed(n, *arguments)`` reads into files and dies after n images."""
    from mien.workflows import read_job

    class Killed(BaseException):
        pass

    def run(n: int, *arguments: str) -> None:
        take, taken = read_job.RowRun.take, []

        def die(self, result):
            take(self, result)
            self.files.save()
            taken.append(result.name)
            if len(taken) == n:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(read_job.RowRun, "take", die)
            with pytest.raises(Killed):
                mien("read", *arguments, "-j", "1")

    return run


def test_a_part_is_not_continued_as_another(mien, many, killed) -> None:
    run = ("many", *OPTIONS, "--out", "a.csv", "--shard")
    killed(5, *run, "1/2")
    done = mien("read", *run, "2/2", "--resume")
    assert (done.exit_code, "the stopped run had another shard;" in done.stderr) == (2, True)
    assert mien("read", *run, "1/2", "--resume").exit_code == 1


def test_a_run_is_not_continued_with_a_detector_of_another_text(mien, many, killed) -> None:
    text = Path("own.py").write_text
    text("from mien.core.detectors import Cropped as Own\n")
    run = ("many", *OPTIONS, "--out", "a.csv", "--detector", "own.py:Own")
    killed(5, *run)
    text("from mien.core.detectors import Cropped as Own  # edited\n")
    done = mien("read", *run, "--resume")
    assert (done.exit_code, "the stopped run had another settings;" in done.stderr) == (2, True)
    text("from mien.core.detectors import Cropped as Own\n")
    assert mien("read", *run, "--resume").exit_code == 1


def test_images_that_came_since_are_read_too_and_none_twice(mien, many, killed) -> None:
    killed(10, "many", *OPTIONS, "--out", "a.csv")
    (many / "0" / "00.png").symlink_to(many / "0" / "0.png")  # the first in order
    assert mien("read", "many", *OPTIONS, "--out", "a.csv", "--resume").exit_code == 1
    counts = Counter(row["path"] for row in cells("a.csv") if row["face"] in ("", "1"))
    assert len(counts) == N + 1
    assert set(counts.values()) == {1}


def test_only_a_stopped_run_is_not_continued_with_annotated_images(mien, many, killed) -> None:
    run = ("many/0", *OPTIONS, "--out", "a.csv", "--annotate", "marked", "--resume")
    killed(2, *run)
    refused = mien("read", *run)
    assert (refused.exit_code, "or delete a.csv.state and leave" in refused.stderr) == (2, True)
    Path("a.csv.state").unlink()
    Path("a.csv").unlink()
    mien("read", *run)
    n_marked = len(list(Path("marked").iterdir()))
    assert (len({row["path"] for row in cells("a.csv")}), n_marked >= 16) == (20, True)
    assert "a.csv is complete already" in mien("read", *run).stderr
    assert len(list(Path("marked").iterdir())) == n_marked
    not_drawn = mien("read", *run[:-2], "others", "--resume")
    assert (not_drawn.exit_code, "to draw its images, leave --out" in not_drawn.stderr) == (2, True)


def test_parts_hold_every_image_once(mien, many) -> None:
    for part in range(1, 4):
        mien("read", "many", *OPTIONS, "--shard", f"{part}/3", "--out", f"{part}.csv")
    names = [{row["path"] for row in cells(f"{part}.csv")} for part in range(1, 4)]
    assert sum(map(len, names)) == len(set.union(*names)) == N
    empty = mien("read", "many/0/0.png", *OPTIONS, "--shard", "1/999", "--out", "empty.csv")
    assert (empty.exit_code, cells("empty.csv")) == (0, [])


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_a_list_names_images_from_a_file_or_standard_input(end, mien, many) -> None:
    listed = end.join(["many/0/3.png", "many/1", "many/0/3.png", "gone.png", ""]).encode()
    Path("list").write_bytes(listed)
    expected = ["many/0/3.png", *(f"many/1/{i}.png" for i in range(20, 40)), "many/0/3.png", "gone.png"]
    for source, given in (("list", None), ("-", listed)):
        done = mien("read", "--files-from", source, *OPTIONS, "--json", input=given)
        assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == expected


@pytest.mark.parametrize("errors", ["e.csv", "e.jsonl", "e.parquet", None])
def test_what_could_not_be_read_is_read_again_once_it_is_repaired(errors, mien, many) -> None:
    if errors == "e.parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    run = (
        "read",
        "many/0",
        *OPTIONS,
        "--out",
        "a.jsonl",
        "--resume",
        *(["--errors", errors] if errors else []),
    )
    mien(*run)
    again = f"mien read --files-from {errors or 'a.jsonl'} --out again.jsonl"
    assert f"mien: 4 images could not be read; {again} reads them again" in mien(*run).stderr
    if errors in ("e.jsonl", None):
        with Path(errors or "a.jsonl").open("a") as file:
            file.write('{"path": "of another program"}\n{}\n')
    repaired = (many.parent / "made" / "one.png").read_bytes()
    (many.parent / "made" / "broken.png").write_bytes(repaired)
    done = mien(*again.split()[1:], *OPTIONS)
    rows = [json.loads(line) for line in Path("again.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [f"many/0/{i}.png" for i in (4, 9, 14, 19)]
    assert (done.exit_code, {row["error"] for row in rows}) == (0, {None})


@pytest.mark.parametrize("text", ["path,error\n", "many/0/3.png\n", "\ufeffmany/0/3.png\n"])
def test_a_list_is_one_of_errors_by_its_columns_alone(text, mien, many) -> None:
    Path("list.csv").write_text(text, encoding="utf-16" if text[0] == "\ufeff" else "utf-8")
    done = mien("read", "--files-from", "list.csv", *OPTIONS, "--json")
    expected = "" if text.startswith("path") else "many/0/3.png"
    assert (expected or "nothing to read: the list is empty") in done.output


def test_a_list_may_come_through_a_pipe(mien, many) -> None:
    names = [f"many/{i // 20}/{i}.png" for i in range(N)]
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text("\n".join(names)))
    writer.start()
    done = mien("read", "--files-from", "pipe", *OPTIONS, "--json")
    writer.join()
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == names


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_was_listed_is_read_while_the_list_is_waited_for(jobs, many, process) -> None:
    """Whoever lists it may wait for the answer before naming the next."""
    options = (*OPTIONS, "--json", "--limit", "4", "--jobs", jobs)
    running = process("read", "--files-from", "-", *options, stdin=subprocess.PIPE)
    guard = threading.Timer(60, running.kill)
    guard.start()
    for name in ("many/0/0.png", "gone.png", "many/0/1.png", "many/0/2.png"):
        running.stdin.write(f"{name}\n".encode())
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["path"] == name
    assert running.wait(60) == 1  # for what is gone; its standard input is open still
    guard.cancel()
    running.communicate()


def test_a_finished_run_with_landmarks_is_complete(mien, many) -> None:
    run = ("read", "many/0/0.png", *OPTIONS, "--landmarks", "--out", "a.csv", "--resume")
    mien(*run)
    assert "a.csv is complete already" in mien(*run).stderr
    other = mien("read", "many/0/0.png", *OPTIONS, "--out", "a.csv", "--resume")
    assert other.exit_code == 2


@pytest.mark.parametrize("out", ["a.csv", "a.parquet"])
def test_a_file_finished_without_some_of_the_images_is_not_complete(out, mien, many) -> None:
    mien("read", "many/0", *OPTIONS, "--out", out, "--limit", "3")
    assert mien("read", "many/0", *OPTIONS, "--out", out, "--resume", "--limit", "2").exit_code == 0
    for images in ("many/0", "many/1"):
        done = mien("read", images, *OPTIONS, "--out", out, "--resume")
        assert done.exit_code == 2
        assert f"{out} is complete without {images}/" in done.stderr
        assert "png, as after --limit; name another file" in done.stderr


def test_patterns_choose_and_what_they_leave_out_is_counted(mien, many) -> None:
    done = mien(
        "read", "many", *OPTIONS, "--csv", "--include", "*0.png", "--exclude", "1", "--exclude", "2/*"
    )
    names = [row["path"] for row in csv.DictReader(done.stdout.splitlines())]
    assert names == ["many/0/0.png", "many/0/10.png"]
    assert "that --include and --exclude leave out" in done.stderr


def test_a_refused_run_leaves_the_rows_of_an_earlier_one(mien, many, monkeypatch) -> None:
    mien("read", "many/0/0.png", *OPTIONS, "--out", "a.csv")
    before = Path("a.csv").read_bytes()
    Path("taken").touch()
    assert mien("read", "many/0", *OPTIONS, "--out", "a.csv", "--annotate", "taken").exit_code == 2
    monkeypatch.setattr("mien.cli.read.row_stream", ClosedOutput)
    closed = mien("read", "many/0", *OPTIONS, "--out", "a.csv", "--csv")
    assert "standard output is closed" in closed.stderr
    assert Path("a.csv").read_bytes() == before
    assert not Path("a.csv.state").exists()


def test_files_are_written_to_the_end_when_standard_output_is_read_no_longer(mien, many, process) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    running = process("read", "many/0", *OPTIONS, "--out", "a.csv", "--json", stdout=writer)
    os.close(writer)
    _, err = running.communicate()
    assert running.returncode == 1  # as without --json: some are broken
    assert err.startswith(b"mien: standard output was closed; the files are written to the end\n")
    assert len({row["path"] for row in cells("a.csv")}) == 20
    assert not Path("a.csv.state").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["many", "--out", "a.xls"], "rows go into a .csv, .jsonl or .parquet file"),
        (["many", "--out", "a.csv", "--errors", "./a.csv"], "two outputs have the same name"),
        (["many", "--resume"], "--resume needs the file that the stopped run wrote; name it with --out"),
        (
            ["many", "--include", "*.bmp"],
            "nothing is left to read: --include and --exclude leave out 60 images",
        ),
        (["many", "--exclude", "?"], "--include and --exclude leave out 3 folders"),
        (
            ["s3://b/x"],
            "'s3://b/x' is an address of a store, which --ray local reads (pip install \"mien[ray]\"",
        ),
        (["GS://b/*.jpg", "--out", "o.csv"], "'GS://b/*.jpg' is an address of a store, which --ray local"),
        (["https://example.org/a.jpg"], "is a web address; mien never downloads: save the image"),
        (["--files-from", os.devnull], "nothing to read: the list is empty"),
        (["--files-from", "gone"], "no such file or directory: gone"),
        (
            ["--files-from", "l.csv", "--out", "./l.csv"],
            "l.csv cannot be written: it is an input; name another",
        ),
        (["many", "l.csv", "--out", "l.csv"], "l.csv cannot be written: it is an input; name another"),
        (["-", "--files-from", "-"], "standard input cannot be both an image and a list"),
        (["many", "--shard", "3/2"], "--shard takes PART/PARTS"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, says, mien, many) -> None:
    Path("l.csv").write_text("many")
    done = mien("read", *arguments)
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("--files-from", "-", "--out"), ("-", "--errors")], ids=" ".join)
def test_the_file_that_standard_input_is_taken_from_is_no_output(arguments, process, tmp_path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("a.png\n")
    with path.open("rb") as stdin:
        running = process("read", *arguments, "l.csv", *OPTIONS, stdin=stdin)
        _, err = running.communicate()
    assert running.returncode == 2
    assert err == b"mien: l.csv cannot be written: it is an input; name another file\n"
    assert path.read_text() == "a.png\n"


@pytest.mark.parametrize(
    ("total", "ends"),
    [
        (1000, ["102/1,000  0.1 images/s  5:14:18 left", "104/1,000  0.1 images/s  4:18:51 left"]),
        (None, ["102  0.1 images/s", "104  0.1 images/s"]),
        (10, ["102/10  0.1 images/s", "104/10  0.1 images/s"]),  # more came since they were counted
    ],
)
def test_a_log_gets_a_line_every_half_minute_with_rate_and_time_left(
    total, ends, capsys, monkeypatch
) -> None:
    from mien.cli.read_screen import progress

    now = [0.0]
    monkeypatch.setattr("mien.cli.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    for clock in ("mien.cli.read_screen.monotonic", "rich.console.monotonic"):
        monkeypatch.setattr(clock, lambda: now[0])
    with progress(lambda: total, 100, hidden=False) as step:
        for now[0] in (10.0, 31.0, 40.0, 62.0):
            step()
    assert capsys.readouterr().err.splitlines() == [f"reading  {end}" for end in ends]


def test_errors_of_a_stopped_run_are_counted_though_none_is_listed(capsys) -> None:
    from mien.cli.read_screen import Tally
    from mien.workflows.find import PassedOver
    from mien.workflows.read_job import Counts

    tally = Tally(Counts(), PassedOver(), None)
    tally.go_on_from(Counts(n_images=4, n_failed=3))
    with pytest.raises(Exit):
        tally.report(summary=False)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "mien: 3 images could not be read; --errors FILE takes all of them"
