"""Rows in files: every format, what is resumed, what is refused."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mien.core import files
from mien.core.columns import kind_of
from mien.errors import DataError, MienError, MissingExtraError
from mien.workflows.find import Source
from mien.workflows.read import ImageResult
from mien.workflows.read_job import RowFiles, RowRun
from mien.workflows.rows.formats import FORMATS, format_of
from mien.workflows.rows.row_file import RowFile, drop_lines
from mien.workflows.rows.run_state import RunState
from mien.workflows.selection import NOT_YET, Selection, listed_paths, parse_shard

LABELS = ("happy", "sad")
COLUMNS = ("path", "face", "uncertain", "p_sad", "error")
ROWS = [('a, b\n"c".png', 1, True, 0.25, None), ("ü.png", None, None, None, "is damaged")]
PLAIN = sorted(end for end, one in FORMATS.items() if one.needs <= set(COLUMNS))


def written(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        return pq.read_table(path).to_pylist()
    return list(format_of(path).decode(path))


@pytest.mark.parametrize("end", PLAIN)
def test_every_format_gives_back_what_was_written(end: str, tmp_path: Path) -> None:
    file = RowFile(tmp_path / f"rows{end}", COLUMNS).begin()
    file.write(ROWS[:1])
    file.write(ROWS[1:])
    file.close()
    drop_lines(file.path, COLUMNS)
    assert written(file.path) == [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    assert [path.name for path in tmp_path.iterdir()] == [f"rows{end}"]


@pytest.mark.parametrize("end", PLAIN)
def test_a_name_that_ends_lines_stays_one_cell(end: str, tmp_path: Path) -> None:
    names = ["a\rb.png", "a\nb.png", "a\r\nb.png", 'a,"b.png\r']
    file = RowFile(tmp_path / f"rows{end}", COLUMNS).begin()
    file.write([(name, *ROWS[0][1:]) for name in names])
    file.close()
    assert [row[COLUMNS[0]] for row in written(file.path)] == names


@pytest.mark.parametrize("end", PLAIN)
def test_what_lies_behind_the_offset_is_dropped(end: str, tmp_path: Path) -> None:
    file = RowFile(tmp_path / f"rows{end}", COLUMNS).begin()
    file.write(ROWS[:1])
    file.sync()
    offset = file.n_bytes
    file.write([("lost.png", 1, True, 0.5, None)])
    file.close()
    again = RowFile(tmp_path / f"rows{end}", COLUMNS, offset).begin()
    again.write(ROWS[1:])
    again.close()
    assert written(again.path) == [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    with pytest.raises(DataError, match="lost rows since the run was stopped"):
        RowFile(tmp_path / f"rows{end}", COLUMNS, 10**6)


def test_a_stopped_parquet_file_is_whole_and_its_rows_stay(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.parquet", COLUMNS).begin()
    file.write(ROWS)
    file.close()
    assert len(written(file.path)) == 2
    assert file.lines.exists()


def test_a_large_parquet_file_has_groups_of_bounded_size(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    file = RowFile(tmp_path / "rows.parquet", COLUMNS).begin()
    for _ in range(10):
        file.write(ROWS * 1000)
    file.close()
    metadata = pq.ParquetFile(file.path).metadata
    assert (metadata.num_rows, metadata.num_row_groups) == (20_000, 3)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rows.txt", r"rows go into a \.csv, \.jsonl or \.parquet file, got 'rows.txt'"),
        ("gone/rows.csv", "there is no folder .*gone; make it first"),
    ],
)
def test_a_file_that_cannot_be_is_refused(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(MienError, match=says):
        RowFile(tmp_path / name, COLUMNS)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(
        MissingExtraError, match=r'a Parquet file needs pyarrow.*; run: pip install "mien\[parquet\]"'
    ):
        RowFile(tmp_path / "a.parquet", COLUMNS)


def test_a_column_holds_the_same_kind_in_every_table() -> None:
    kinds = {name: kind_of(name) for name in ("path", "face", "frame", "uncertain", "p_happy", "time_s")}
    assert list(kinds.values()) == [str, int, int, bool, float, float]


def test_a_run_goes_on_only_as_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "rows.csv"
    RunState(out, {"model": "a", "settings": (1, 2)}, resume=False).save({"offsets": {"rows": 3}})
    left = tmp_path / f"{files.PREFIX}of-a-killed-run"
    left.touch()
    monkeypatch.setattr(files, "_swept", set())  # as another process would
    with pytest.raises(MienError, match="is not finished; add --resume to continue, or delete"):
        RunState(out, {"model": "a"}, resume=False)
    assert not left.exists()
    with pytest.raises(MienError, match="the stopped run had another model; resume it with the same"):
        RunState(out, {"model": "b", "settings": (1, 2)}, resume=True)
    state = RunState(out, {"model": "a", "settings": (1, 2)}, resume=True)
    assert state.stored == {"offsets": {"rows": 3}}
    state.path.write_text("{}")
    with pytest.raises(DataError, match="is damaged: it is truncated or was changed; delete it"):
        RunState(out, {"model": "a"}, resume=True)


def test_every_path_lies_in_one_part_and_parts_are_alike() -> None:
    paths = [f"photos/{i}.jpg" for i in range(4000)]
    parts = Counter()
    for path in paths:
        (part,) = (i for i in (1, 2, 3, 4) if Selection(shard=(i, 4)).in_shard(path))
        parts[part] += 1
    assert all(900 < n < 1100 for n in parts.values())


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(MienError, match="--shard takes PART/PARTS, 1/4 to 4/4 for four parts"):
        parse_shard(text)


@pytest.mark.parametrize(
    ("path", "include", "exclude", "fits"),
    [
        ("a/b/X.JPG", ["*.jpg"], [], True),
        ("a/b/x.png", ["*.jpg"], [], False),
        ("a/b/x.jpg", ["b/*"], [], False),
        ("b/x.jpg", ["b/*"], [], True),
        ("a/thumb_1.jpg", ["*.jpg"], ["thumb_*"], False),
        ("raw/x.jpg", [], ["raw/*"], False),
        ("x.jpg", [], [], True),
    ],
)
def test_patterns_take_names_and_with_a_slash_paths(path, include, exclude, fits) -> None:
    assert Selection(include, exclude).fits(path) is fits


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.png\nb c.png\r\n\n\xff.png", ["a.png", "b c.png", "\udcff.png"]),
        (b"a\nb.png\0c.png\0", ["a\nb.png", "c.png"]),
        (b"", []),
        (b"x" * 70_000 + b"\nb.png\n", ["x" * 70_000, "b.png"]),
        ("ä.png\r\nb.png\r\n".encode("utf-8-sig"), ["ä.png", "b.png"]),
        ("ä.png\r\nb\U0001f600.png\r\n".encode("utf-16"), ["ä.png", "b\U0001f600.png"]),
        (b"\xfe\xff" + "a.png\n".encode("utf-16-be"), ["a.png"]),
        (("x" * 70_000 + "\nb.png").encode("utf-32"), ["x" * 70_000, "b.png"]),
    ],
    ids=["lines", "NUL", "empty", "longer than a block", "a mark", "UTF-16", "its other order", "UTF-32"],
)
def test_a_list_holds_lines_or_parts_that_end_with_nul(data: bytes, paths: list[str]) -> None:
    import io

    assert list(listed_paths(io.BytesIO(data))) == paths

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(min(3, size or 0) if len(data) < 100 else size)

    assert list(listed_paths(Slow(data))) == paths


def test_a_list_in_utf_16_without_its_mark_is_told() -> None:
    """Each letter would be a path that a NUL ends: a dot the folder, a slash the whole disk."""
    import io

    with pytest.raises(MienError, match="is UTF-16 without a byte order mark; save it as UTF-8"):
        list(listed_paths(io.BytesIO("./a.png\n".encode("utf-16-le"))))


@pytest.mark.parametrize("name", ["a-long-name.png", "a.png"])
def test_a_list_that_is_waited_for_says_so_and_ends_when_someone_says_stop(name) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{name}\n".encode())
    stops: list[bool] = []
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb"):
        paths = listed_paths(stream, lambda: bool(stops))
        assert next(filter(None, paths)) == name
        assert next(paths) == NOT_YET
        stops.append(True)
        assert list(paths) == []


def test_the_state_of_a_run_is_there_before_its_files_and_goes_where_they_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, state, kept = tmp_path / "rows.csv", tmp_path / "rows.csv.state", []

    def killed(file: RowFile) -> None:
        kept.append(state.read_bytes())
        raise Killed

    file = RowFile(out, ("a",))
    with monkeypatch.context() as broken:
        broken.setattr(RowFile, "begin", killed)
        with pytest.raises(Killed):
            RunState(out, {}, resume=False).begin([file], {"offsets": {}})
    assert not state.exists()
    state.write_bytes(kept[0])  # what lies there after a kill
    assert RunState(out, {}, resume=True).stored == {"offsets": {}}
    file.close()
    RowFile(out, ("a",), 0).begin().close()  # nothing was written before the kill, so it begins
    assert out.read_text() == "a\n"


@pytest.mark.skipif(os.name == "nt", reason="a lock would keep the rows from being read there")
@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_a_second_run_into_a_file_that_is_being_written_leaves_it_alone(end: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{end}"
    file = RowFile(path, COLUMNS).begin()
    file.write(ROWS[:1])
    for offset in (None, file.n_bytes):
        with pytest.raises(MienError, match=rf"rows\{end} is being written by another process; wait for it"):
            RowFile(path, COLUMNS, offset)
    file.write(ROWS[1:])
    file.close()
    assert [row["path"] for row in written(path)] == [row[0] for row in ROWS]
    RowFile(path, COLUMNS).begin().close()
    assert written(path) == []


@pytest.mark.skipif(os.name == "nt", reason="a lock would keep the rows from being read there")
def test_a_run_that_is_refused_leaves_all_files_of_an_earlier_one_as_they_were(tmp_path: Path) -> None:
    outputs = RowFiles((tmp_path / "a.csv", tmp_path / "b.csv"), tmp_path / "errors.csv")
    RowRun(RowFiles(outputs.files[:1]), LABELS, {}).begin().files.end(whole=True)
    before = outputs.files[0].read_bytes()
    RowRun(outputs, LABELS, {}).files.end(whole=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    other = RowFile(outputs.files[1], ("a",))
    with pytest.raises(MienError, match=r"b.csv is being written by another process"):
        RowRun(outputs, LABELS, {})
    other.close()
    assert outputs.files[0].read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.skipif(os.name == "nt", reason="a lock would keep the rows from being read there")
def test_who_writes_into_the_file_of_a_living_run_is_not_told_to_delete_its_state(tmp_path: Path) -> None:
    outputs = RowFiles((tmp_path / "a.csv",))
    run = RowRun(outputs, LABELS, {}).begin()
    for resume in (False, True):
        with pytest.raises(MienError, match=r"a.csv is being written by another process; wait for it"):
            RowRun(RowFiles(outputs.files, resume=resume), LABELS, {})
    run.files.end(whole=True)


def test_a_table_whose_name_ends_as_one_of_events_goes_on(tmp_path: Path) -> None:
    """Rows of images can be no events, so the longer end of the name means nothing."""
    outputs = RowFiles((tmp_path / "a.events.csv",), resume=True)
    run = RowRun(outputs, LABELS, {}).begin()
    run.take(ImageResult("x.jpg", error="is damaged"))
    run.files.save()
    run.files.end(whole=False)
    again = RowRun(outputs, LABELS, {}).begin()
    assert list(again.without_done([Source("x.jpg")])) == []
    again.files.end(whole=True)
    done = RowRun(outputs, LABELS, {})
    done.check_done([Source("x.jpg")])
    assert done.files.is_done
    assert done.earlier.n_failed == 1


def test_a_run_that_misses_one_of_its_files_goes_on_when_that_is_back(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    outputs = RowFiles((tmp_path / "a.parquet", tmp_path / "b.csv"), resume=True)
    run = RowRun(outputs, LABELS, {}).begin()
    run.take(ImageResult("x.jpg", error="is damaged"))
    run.files.save()
    run.files.end(whole=False)
    away = outputs.files[1].rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"b\.csv lost rows since the run was stopped"):
        RowRun(outputs, LABELS, {})
    away.rename(outputs.files[1])
    again = RowRun(outputs, LABELS, {}).begin()
    assert list(again.without_done([Source("x.jpg")])) == []
    again.files.end(whole=True)
    assert [[row["error"] for row in written(path)] for path in outputs.files] == [["is damaged"]] * 2


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("call", "n_before", "is_done"),
    [
        ("mien.workflows.rows.run_files.RowFile.close", 1, False),
        ("mien.workflows.rows.run_files.RunState.end", 0, False),
        ("mien.workflows.rows.run_files.drop_lines", 0, True),
    ],
    ids=["one of two files made", "both made", "the state is gone"],
)
def test_a_run_killed_at_its_end_goes_on_and_the_next_one_leaves_only_its_files(
    call: str, n_before: int, is_done: bool, tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    outputs = RowFiles((tmp_path / "a.parquet", tmp_path / "b.parquet"), resume=True)
    run = RowRun(outputs, LABELS, {}).begin()
    run.take(ImageResult("x.jpg", error="is damaged"))
    run.files.save()
    close, calls = RowFile.close, []

    def killed(*args: Any, **options: Any) -> None:
        calls.append(call)
        if len(calls) > n_before:
            raise Killed
        close(*args, **options)

    with monkeypatch.context() as broken:
        broken.setattr(call, killed)
        with pytest.raises(Killed):
            run.files.end(whole=True)
    run.files.end(whole=False)  # what the system closes after a kill
    again = RowRun(outputs, LABELS, {})
    assert again.files.is_done == is_done
    if not is_done:
        again.begin()
    assert is_done or list(again.without_done([Source("x.jpg")])) == []
    again.files.end(whole=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]
    assert [[row["error"] for row in written(path)] for path in outputs.files] == [["is damaged"]] * 2


@pytest.mark.parametrize("end", PLAIN)
def test_a_finished_file_with_other_columns_is_not_complete_already(end: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{end}"
    run = RowRun(RowFiles((path,)), LABELS, {}).begin()
    run.take(ImageResult("x.jpg", error="is damaged"))
    run.files.end(whole=True)
    before = path.read_bytes()
    assert RowRun(RowFiles((path,), resume=True), LABELS, {}).files.is_done
    with pytest.raises(MienError, match=rf"rows{end} has the columns of another run; name another file"):
        RowRun(RowFiles((path,), resume=True), (*LABELS, "angry"), {})
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [f"rows{end}"]


def test_a_run_is_not_complete_without_all_its_files(tmp_path: Path) -> None:
    path, errors = tmp_path / "a.csv", tmp_path / "errors.csv"
    RowRun(RowFiles((path,)), LABELS, {}).begin().files.end(whole=True)
    with pytest.raises(MienError, match=r"ended without .*errors.csv; start over without --resume"):
        RowRun(RowFiles((path,), errors, resume=True), LABELS, {})


def test_a_finished_run_without_images_is_complete(tmp_path: Path) -> None:
    files = (tmp_path / "a.jsonl", tmp_path / "b.csv")
    RowRun(RowFiles(files), LABELS, {}).begin().files.end(whole=True)
    assert RowRun(RowFiles(files, resume=True), LABELS, {}).files.is_done
