"""Faces that a network has learned from are found by pixels and by files, and refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.data.leaks import (
    LEAKS,
    Leak,
    find_leak,
    learned,
    read_learned,
    refuse_leak,
    write_leaks,
    write_learned,
)
from mien.data.records import FaceSet
from mien.errors import DataError


def make(n: int, name: str = "own", seed: int = 0) -> FaceSet:
    rng = np.random.default_rng(seed)
    return FaceSet(
        images=rng.integers(0, 256, (n, 6, 6), dtype=np.uint8),
        labels=np.zeros(n, np.int64),
        split=np.repeat([0, 2], [n // 2, n - n // 2]).astype(np.uint8),
        rows=np.arange(n, dtype=np.int64),
        label_names=("happy",),
        name=name,
    )


def with_copies(faces: FaceSet, n: int) -> FaceSet:
    """The same faces, of which the last ``n`` repeat the first."""
    images = faces.images.copy()
    images[-n:] = images[:n]
    return replace(faces, images=images)


def leak_between_parts(faces: FaceSet):
    training = faces.select("train")
    return find_leak(faces.select("test"), learned(training), training)


def test_faces_that_all_differ_leak_nothing() -> None:
    assert not leak_between_parts(make(20))


def test_a_part_without_faces_leaks_nothing() -> None:
    faces = make(20).select("train")
    assert not find_leak(faces.select("test"), learned(faces), faces)


def test_copies_across_parts_are_counted_and_refused() -> None:
    leak = leak_between_parts(with_copies(make(20), 3))
    assert (leak.pixels, leak.files, leak.n) == (3, 0, 10)
    with pytest.raises(
        DataError, match=r"^x test: 3 of 10 faces are faces that the network learned from; choose"
    ):
        refuse_leak(leak, "x test", allowed=False)
    refuse_leak(leak, "x test", allowed=True)


def test_another_part_of_the_same_file_is_a_leak() -> None:
    files = np.random.default_rng(1).integers(0, 256, (20, 32), dtype=np.uint8)
    files[-2:] = files[:2]
    files[5] = files[15] = 0  # unknown files are not one file
    leak = leak_between_parts(replace(make(20), file_sha256=files))
    assert (leak.pixels, leak.files, bool(leak)) == (0, 2, True)
    assert "2 come from the same file" in str(leak)


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    faces = make(20)
    wide = replace(faces, images=faces.images.reshape(20, 4, 9))
    assert find_leak(wide, learned(faces), faces).pixels == 0


def test_copies_of_a_publishers_split_are_counted_but_not_refused() -> None:
    leak = leak_between_parts(with_copies(make(20, "fer2013"), 3))
    assert (leak.pixels, leak.official) == (3, 3)
    assert not leak


def test_a_network_that_saw_more_than_the_publishers_training_part_leaks() -> None:
    faces = with_copies(make(20, "fer2013"), 3)
    leak = find_leak(faces.select("test"), learned(faces), faces.select("train"))
    assert leak
    assert (leak.pixels, leak.official) == (10, 3)


def test_the_training_part_itself_leaks_even_from_a_publishers_split() -> None:
    training = make(20, "fer2013").select("train")
    assert find_leak(training, learned(training), training)


def test_a_run_keeps_that_its_start_is_not_known(tmp_path: Path) -> None:
    write_leaks({"val": Leak(0, 0, 0, 9), "test": Leak(0, 0, 0, 9)}, tmp_path)
    assert not (tmp_path / LEAKS).exists()
    write_leaks({"val": Leak(0, 0, 0, 9, start="other"), "test": Leak(0, 0, 0, 9)}, tmp_path)
    assert (tmp_path / LEAKS).is_file()


def test_marks_survive_their_file_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    known = learned(make(5))
    write_learned(known, tmp_path / "a.npz")
    again = read_learned(tmp_path / "a.npz")
    assert again.pixels.tolist() == known.pixels.tolist()
    assert len(again.files) == 0
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="is not a list of learned faces"):
        read_learned(tmp_path / "a.npz")
