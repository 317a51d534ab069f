"""Every reader of mien's own files gives what it reads or one line, whatever is in them."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mien.core.own_files import Maybe, check_shape, read_json, reading
from mien.errors import DataError, MienError, MissingExtraError, ModelError

pytest.importorskip("psutil", reason="needs psutil")
pytest.importorskip("optuna", reason="needs optuna")


def test_a_short_campaign_of_damaged_files_raises_nothing_foreign(module_at: Callable[[str], Any]) -> None:
    """`python benchmarks/hostile_files.py` tries thousands."""
    tally = module_at("benchmarks/hostile_files.py").campaign(240, seed=3)
    assert tally.n_tried == 240
    assert tally.n_opened > 40
    assert tally.n_refused > 100
    assert (tally.signals, tally.foreign) == ([], [])


def test_an_accuracy_that_is_text_is_damage(module_at: Callable[[str], Any], tmp_path: Path) -> None:
    tiny = module_at("tests/fixtures_model.py").write_tiny_model(tmp_path)
    (tmp_path / "made").mkdir()
    search = module_at("tests/workflows/own_files.py").samples(tmp_path / "made", tiny)["search folder"]
    search.read()
    with closing(sqlite3.connect(search.path)) as database:
        database.execute("update trial_values set value = 'most'")
        database.commit()
    with pytest.raises(MienError, match="is not a search or is damaged"):
        search.read()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is damaged: Expecting property name"),
        ("[" * 100_000, "is damaged: it is nested deeper than 20 levels; make it again"),
        ("[" * 30 + "]" * 30, "is damaged: it is nested deeper than 20 levels"),
        ('{"a": ' + "9" * 5000 + "}", "is damaged: Exceeds the limit"),
    ],
    ids=["cut", "very deep", "deep", "long number"],
)
def test_json_that_cannot_be_read_is_one_line_that_names_the_file(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        read_json(path, advice="make it again")
    assert str(raised.value).startswith(f"{path} {told}")
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a\.json cannot be read: no such file or directory"):
        read_json(tmp_path / "a.json", advice="train again", error=ModelError)
    (tmp_path / "a.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"a\.json is damaged: 'utf-8' codec can't decode"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("net"), "x.db is damaged: it lacks 'net'"),
        (MemoryError(), "x.db is damaged: it asks for more memory than there is"),
        (ValueError("a\nb"), "x.db is damaged: a"),
        (DataError("labels must lie in 0..6"), "x.db is damaged: labels must lie in 0..6"),
        (IndexError(), "x.db is damaged: IndexError"),
    ],
    ids=["key", "memory", "lines", "of ours, without the name", "no text"],
)
def test_whatever_goes_wrong_becomes_one_line(error: Exception, told: str) -> None:
    with pytest.raises(DataError) as raised, reading("x.db"):
        raise error
    assert str(raised.value) == told


def test_errors_that_say_more_pass() -> None:
    with pytest.raises(MissingExtraError), reading("x.db"):
        raise MissingExtraError("it", "h5py", "data")
    with pytest.raises(DataError, match=r"^x\.db has format 2$"), reading("x.db"):
        raise DataError("x.db has format 2")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "it must be an object, got []"),
        ({}, "'n'"),
        ({"n": "1"}, 'n must be a whole number, got "1"'),
        ({"n": True}, "n must be a whole number, got true"),
        ({"n": 1, "p": [1, 2, 3]}, "p must have 2 parts, got 3"),
        ({"n": 1, "p": [1, "x"]}, 'p.1 must be a whole number or a number, got "x"'),
        ({"n": 1, "h": [{"e": 1}, {}]}, "'h.1.e'"),
    ],
)
def test_json_of_another_shape_is_told_with_the_place(value: Any, told: str) -> None:
    shape = {"n": int, "p": Maybe([(int, float)] * 2), "h": Maybe([{"e": int}])}
    with pytest.raises((ValueError, KeyError)) as raised:
        check_shape(value, shape)
    assert str(raised.value) == told


def test_json_of_the_shape_passes_with_keys_that_it_does_not_name() -> None:
    shape = {"n": int, "p": Maybe([(int, float)] * 2)}
    for value in ({"n": 1}, {"n": 1, "p": None, "more": []}, {"n": 1, "p": [1, 0.5]}):
        check_shape(json.loads(json.dumps(value)), shape)
