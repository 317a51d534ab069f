"""``mien read``, with MTCNN, a photo of a face, and a model that answers every face alike."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.core.model_store import DEFAULT_MODEL, SHIPPED

SOURCE = Path(__file__).resolve().parents[2] / "src"
BROKEN = "mien: 'photos/more/broken.png' is truncated or damaged"


def test_the_table_names_every_image_and_face(mien, photos) -> None:
    result = mien("read", "photos", "--model", "tiny")
    lines = result.stdout.splitlines()
    assert lines[1] == "photos/none.png  120 x 90: no face found"
    assert lines[2] == "photos/one.png  256 x 256"
    assert lines[3].split()[0] == "1"
    assert lines[3].split()[3:] == ["happy", "50%", "█▌", "neutral", "12%", "▍", "sad", "10%", "▎"]
    assert lines[4] == "photos/more/broken.png: could not be read"
    assert lines[5] == "photos/more/two.jpg  512 x 256"
    assert [line.split()[0] for line in lines[6:]] == ["1", "2"]
    assert max(map(len, lines)) <= 80


def test_a_bad_image_is_reported_at_the_end_with_exit_code_1(mien, photos) -> None:
    result = mien("read", "photos", "--model", "tiny")
    assert result.exit_code == 1
    summary, error = result.stderr.splitlines()
    assert summary == "4 images, 3 faces; 1 without a face, 1 not readable"
    assert error.startswith(BROKEN)


def test_good_images_give_exit_code_0_and_one_alone_no_summary(mien, photos) -> None:
    result = mien("read", "photos/one.png", "--model", "tiny")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_face_below_the_threshold_of_the_card_is_uncertain_in_every_output(mien, photos, tiny_with) -> None:
    """The model answers happy with 0.5; its card asks for 0.6."""
    doubtful = tiny_with(uncertain_below=0.6)
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    lines = mien("read", "photos/one.png", "--model", doubtful).stdout.splitlines()
    assert lines[0].endswith("(?: uncertain)")
    assert lines[2].split()[3:5] == ["happy?", "50%"]
    assert max(map(len, lines)) <= 80
    value = json.loads(mien("read", "photos/one.png", "--model", doubtful, "--json").stdout)
    assert (value["faces"][0]["confidence"], value["faces"][0]["uncertain"]) == (0.5, True)
    result = mien("read", "photos/one.png", "--model", doubtful, "--csv", "--out", "faces.parquet")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["emotion"], row["confidence"], row["uncertain"]) == ("happy", "0.5", "True")
    assert pq.read_table("faces.parquet").to_pylist()[0]["uncertain"] is True
    sure = json.loads(mien("read", "photos/one.png", "--model", "tiny", "--json").stdout)
    assert sure["faces"][0]["uncertain"] is False


def test_json_lines_hold_the_faces_of_each_image(mien, photos, tiny_probs) -> None:
    result = mien("read", "photos", "--model", "tiny", "--json")
    objects = {value["path"]: value for value in map(json.loads, result.stdout.splitlines())}
    one, two = objects["photos/one.png"], objects["photos/more/two.jpg"]
    assert (one["width"], one["height"], one["error"]) == (256, 256, None)
    assert one["faces"][0]["probabilities"] == pytest.approx(tiny_probs)
    assert one["faces"][0]["emotion"] == "happy"
    box = one["faces"][0]["box"]  # the face of the photo lies near (220, 115); 96 columns are cut off
    assert box["x1"] < 220 - 96 < box["x2"]
    assert box["y1"] < 115 < box["y2"]
    shifts = {face["box"]["x1"] // 256 for face in two["faces"]}
    assert shifts == {0, 1}
    assert objects["photos/none.png"]["faces"] == []
    assert BROKEN.removeprefix("mien: ") in objects["photos/more/broken.png"]["error"]
    assert result.exit_code == 1


def test_csv_has_one_row_a_face_and_one_for_an_image_without(mien, photos, tiny_probs) -> None:
    rows = list(csv.DictReader(io.StringIO(mien("read", "photos", "--model", "tiny", "--csv").stdout)))
    assert [(Path(row["path"]).name, row["face"]) for row in rows] == [
        ("none.png", ""),
        ("one.png", "1"),
        ("broken.png", ""),
        ("two.jpg", "1"),
        ("two.jpg", "2"),
    ]
    assert {label: float(rows[1][f"p_{label}"]) for label in tiny_probs} == pytest.approx(
        tiny_probs, abs=1e-6
    )
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, False]


def test_parquet_holds_what_the_csv_does(mien, photos, tmp_path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    result = mien("read", "photos", "--model", "tiny", "--csv", "--out", "faces.parquet")
    table = pq.read_table(tmp_path / "faces.parquet").to_pylist()
    text = [{key: "" if value is None else str(value) for key, value in row.items()} for row in table]
    assert text == list(csv.DictReader(io.StringIO(result.stdout)))


def test_parquet_alone_prints_a_summary_only(mien, photos) -> None:
    pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    result = mien("read", "photos", "--model", "tiny", "--out", "faces.parquet")
    assert result.stdout == ""
    assert result.stderr.startswith("4 images, 3 faces; ")


def test_no_image_waits_for_others_where_all_are_annotated(mien, photos, monkeypatch) -> None:
    from mien.core import bulk

    read_batch, sizes = bulk.read_batch, []

    def counted(reader, images, **options):
        given = list(images)
        sizes.append(len(given))
        return read_batch(reader, given, **options)

    monkeypatch.setattr(bulk, "read_batch", counted)
    mien("read", "photos", "--model", "tiny", "--csv")
    assert sizes == [4]
    mien("read", "photos", "--model", "tiny", "--csv", "--annotate", "out")
    assert sizes == [4, 1, 1, 1, 1]


def test_annotated_images_lie_beside_untouched_inputs(mien, photos) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.*")}
    written = ["more/two.jpg", "none.png", "one.png"]
    again = ["more/two-2.jpg", "none-2.png", "one-2.png"]
    for names in (
        written,
        written + again,
    ):  # the first run's are neither read nor overwritten
        result = mien("read", "photos", "--model", "tiny", "--annotate", "photos/out")
        assert "out" not in result.stdout
        found = sorted(str(path.relative_to("photos/out")) for path in Path("photos/out").rglob("*.*"))
        assert found == sorted(names)
    assert {path: path.read_bytes() for path in before} == before
    with Image.open("photos/out/one.png") as drawn, Image.open("photos/one.png") as source:
        assert drawn.size == source.size
        assert np.any(np.asarray(drawn) != np.asarray(source))


def test_an_image_comes_through_standard_input(mien, photos) -> None:
    result = mien("read", "-", "--model", "tiny", "--json", input=(photos / "one.png").read_bytes())
    value = json.loads(result.stdout)
    assert (value["path"], len(value["faces"])) == ("-", 1)


def test_options_change_what_is_found(mien, photos) -> None:
    def n_faces(*options: str) -> list[int]:
        lines = mien("read", "photos", "--model", "tiny", "--json", *options).stdout.splitlines()
        return [len(json.loads(line)["faces"]) for line in lines]

    assert n_faces() == [0, 1, 0, 2]
    assert n_faces("--limit", "2") == [0, 1]
    assert n_faces("--min-face", "250") == [0, 0, 0, 0]
    assert n_faces("--min-score", "1") == [0, 0, 0, 0]
    assert n_faces("--jobs", "2") == [0, 1, 0, 2]


def test_rotated_finds_a_face_lying_on_its_side(mien, photos) -> None:
    with Image.open(photos / "one.png") as upright:
        upright.rotate(90, expand=True).save("side.png")
    found = json.loads(mien("read", "side.png", "--model", "tiny", "--json", "--rotated").stdout)
    (face,) = found["faces"]
    left, right = face["landmarks"]["left_eye"], face["landmarks"]["right_eye"]
    assert abs(left[1] - right[1]) > abs(left[0] - right[0])  # the eyes lie one above the other


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["gone.png"], "mien: nothing to read: 'gone.png' does not exist; check the path\n"),
        (["gone.png", "away.png"], "does not exist; check the path (and 1 more)\n"),
        (["."], "mien: nothing to read: '.' holds no image (mien reads .avif, .bmp, "),
        (["a.png", "--json", "--csv"], "mien: --json and --csv both go to standard output; choose one\n"),
        (["a.png", "--model", "tny"], "mien: no model named 'tny'; did you mean 'tiny'?"),
        (["a.png", "--min-score", "7"], "mien: min_score must lie in 0..1, got 7.0\n"),
        (["--limit", "0", "a.png"], "Invalid value for '--limit'"),
        ([], "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_start_gives_exit_code_2(arguments: list[str], text: str, mien) -> None:
    if "a.png" in arguments:
        Path("a.png").write_bytes(b"")
    result = mien("read", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


def test_a_name_that_steers_the_terminal_is_shown_harmless(mien) -> None:
    name = "a\x1b[31m.png"
    Image.new("RGB", (60, 60)).save(name)
    result = mien("read", name, name + "x", "--model", "tiny")
    assert "a?[31m.png  60 x 60: no face found" in result.stdout
    assert "\x1b" not in result.output
    assert json.loads(mien("read", name, "--model", "tiny", "--json").stdout)["path"] == name


def test_a_suffix_that_steers_the_terminal_is_counted_harmless(mien) -> None:
    Image.new("RGB", (60, 60)).save("a.png")
    Path("b.x\x1b[31m\nmien: all is well").write_bytes(b"")
    result = mien("read", ".", "--model", "tiny")
    told = "mien: passed over 1 file not named like an image (.x?[31m?mien: all is well 1)\n"
    assert result.stderr == told


def test_many_bad_images_are_counted_not_all_listed(mien, tmp_path) -> None:
    Image.new("RGB", (60, 60)).save("good.png")
    for number in range(30):
        (tmp_path / f"bad{number}.png").write_bytes(b"")
    result = mien("read", ".", "--model", "tiny")
    errors = result.stderr.splitlines()[1:]
    assert len(errors) == 21
    assert "bad0.png' is empty" in errors[0]
    assert errors[-1] == "mien: and 10 more; --errors FILE takes all of them"
    run = ("read", ".", "--model", "tiny", "--out", "a.csv", "--errors", "e.csv")
    assert mien(*run).stderr.splitlines()[-1] == "mien: and 10 more; e.csv tells of all of them"
    assert mien(*run, "--resume").exit_code == 1  # as the finished run


def test_what_a_folder_holds_besides_images_is_counted(mien, photos) -> None:
    (photos / "notes.txt").write_text("a")
    (photos / "more" / "raw.CR2").write_text("a")
    (photos / "LICENCE").write_text("a")
    (photos / "link").symlink_to("more")
    for extra in ((), ("--json",), ("--csv",)):
        result = mien("read", "photos", "--model", "tiny", *extra)
        (line,) = (line for line in result.stderr.splitlines() if "passed over" in line)
        counts = "(no suffix 1, .txt 1, .cr2 1)"
        assert line == f"mien: passed over 3 files not named like an image {counts} and 1 link to a folder"
        assert result.exit_code == 1  # for the broken image; what is passed over changes nothing


def test_an_image_of_a_phone_is_not_passed_over(mien, monkeypatch) -> None:
    from mien.core import image_formats

    monkeypatch.setitem(sys.modules, "pi_heif", None)
    image_formats.decoder.cache_clear()
    Image.new("RGB", (60, 60)).save("one.jpg")
    Path("two.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    result = mien("read", ".", "--model", "tiny")
    image_formats.decoder.cache_clear()
    assert result.exit_code == 1
    assert (
        "mien: './two.HEIC' is HEIC, which needs pi-heif; run: pip install \"mien[heif]\"\n" in result.stderr
    )


def test_who_expects_faces_on_a_large_image_is_told_of_the_smallest_looked_for(mien) -> None:
    Image.new("RGB", (1281, 9)).save("large.png")
    Image.new("RGB", (1280, 9)).save("small.png")
    told = "mien: 1 image of more than 1280 pixels a side searched at that size for faces of 1/32 of it and"
    assert told in mien("read", "large.png", "small.png", "--model", "tiny").stderr
    assert told not in mien("read", "large.png", "--min-face", "40", "--model", "tiny").stderr
    assert mien("read", "small.png", "--model", "tiny").stderr == ""
    assert mien("read", "large.png", "--detector", "cropped", "--model", "tiny").stderr == ""


def test_landmarks_tell_of_large_images_and_find_small_faces_where_asked(mien, astronaut) -> None:
    canvas = Image.new("RGB", (2600, 400), "gray")
    canvas.paste(Image.fromarray(astronaut[:256, 96:352]).resize((120, 120)), (1200, 100))
    canvas.save("large.png")
    told = "mien: 1 image of more than 1280 pixels a side searched at that size for faces of 1/32 of it and"
    assert told in mien("landmarks", "large.png").stderr
    larger = mien("landmarks", "large.png", "--min-face", "40", "--json")
    assert (larger.stderr, len(json.loads(larger.stdout)["faces"])) == ("", 1)
    assert json.loads(mien("landmarks", "large.png", "--min-face", "1000", "--json").stdout)["faces"] == []
    assert mien("landmarks", "large.png", "--detector", "cropped").stderr == ""


def test_an_image_may_be_named_from_home_or_by_a_file_address(mien, photos, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("~/photos/one.png", f"file://{photos}/one.png", f"FILE://localhost{photos}/%6fne.png"):
        (value,) = map(json.loads, mien("read", name, "--model", "tiny", "--json").stdout.splitlines())
        assert value["path"] == str(photos / "one.png")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes streams")
@pytest.mark.parametrize(
    ("closed", "arguments", "code", "says"),
    [
        ("<&-", ["read", "one.png", "--model", "tiny", "--json"], 0, ""),
        (
            "<&-",
            ["read", "-", "--model", "tiny"],
            1,
            "mien: standard input is closed; pass the path",
        ),
        (
            ">&-",
            ["read", "one.png", "--model", "tiny"],
            2,
            "mien: standard output is closed; open it, or",
        ),
        (">&-", ["--help"], 2, "mien: standard output is closed; open it, or write the results to files"),
        ("2>&-", ["read", "one.png", "--model", "tiny", "--json"], 0, ""),
        ("2>&-", ["read", "gone.png", "--model", "tiny"], 2, ""),
        ("<&- >&- 2>&-", ["read", "one.png", "--model", "tiny"], 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_closed_stream_is_no_traceback_and_swallows_no_result(
    closed: str, arguments: list[str], code: int, says: str, photos, tiny_home
) -> None:
    environment = {**os.environ, "MIEN_HOME": str(tiny_home), "PYTHONPATH": str(SOURCE)}
    command = f'"$0" -W error -m mien {" ".join(arguments)} {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=photos, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == (1 if says else 0)
    assert bool(done.stdout) == (code == 0 or "-" in arguments)


def test_a_real_process_writes_json_and_nothing_else(process, photos) -> None:
    with process("read", "photos/one.png", "--model", "tiny", "--json") as running:
        out, err = running.communicate()
    assert (running.returncode, err) == (0, b"")
    assert json.loads(out)["faces"][0]["emotion"] == "happy"


@pytest.mark.weights
def test_rows_on_standard_output_are_those_of_a_file_in_any_locale(
    process, photos, tmp_path, monkeypatch
) -> None:
    (photos / "none.png").rename(tmp_path / "空é.png")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    with process("read", "空é.png", "--model", "tiny", "--csv", "--out", "faces.csv") as running:
        out, err = running.communicate()
    assert (running.returncode, err) == (0, b"")
    assert out.replace(os.linesep.encode(), b"\n") == (tmp_path / "faces.csv").read_bytes()
    assert out.decode().splitlines()[1].startswith("空é.png,")


def test_the_shipped_model_sees_the_astronaut_smile(mien, photos) -> None:
    if not (SHIPPED / f"{DEFAULT_MODEL}.onnx").is_file():
        pytest.skip(f"no model '{DEFAULT_MODEL}' is shipped")
    value = json.loads(mien("read", "photos/one.png", "--json").stdout)
    assert [face["emotion"] for face in value["faces"]] == ["happy"]


def test_a_device_that_is_not_there_is_one_line(mien, photos) -> None:
    result = mien("read", "photos/one.png", "--model", "tiny", "--device", "tpu")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("mien: no device named 'tpu'")


def test_a_detector_in_a_file_of_the_users_own_finds_the_faces(mien, photos) -> None:
    Path("own.py").write_text(
        "from mien import Box, Face\n"
        "class Corner:\n"
        "    def __init__(self, settings): self.side = settings.min_face\n"
        "    def find(self, image): return [Face(Box(0.0, 0.0, self.side, self.side), 0.5)]\n"
    )
    result = mien(
        "read",
        "photos/one.png",
        "--model",
        "tiny",
        "--json",
        "--detector",
        "own.py:Corner",
        "--min-face",
        "30",
    )
    (face,) = json.loads(result.stdout)["faces"]
    assert (face["box"]["x2"], face["detection_score"]) == (30, 0.5)
    failed = mien("read", "photos/one.png", "--detector", "own.py:Korner")
    assert failed.exit_code == 2
    assert "own.py has no class Korner; did you mean 'Corner'?" in failed.stderr
