from dataclasses import replace

import numpy as np
import pytest

from mien.core.emotions import FER2013
from mien.data.leaks import find_leak, is_official, learned
from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError, OutputError
from mien.workflows.datasets.join_split import SplitSettings, join_data, split_data


@pytest.fixture
def faces():
    """60 faces of 12 persons; each fifth face is a copy of the one before, mirrored and a little darker."""
    images = np.random.default_rng(0).integers(0, 250, (60, 12, 12), np.uint8).repeat(4, 1).repeat(4, 2)
    images[4::5] = images[3::5, :, ::-1] // 2
    return FaceSet(
        images=images,
        labels=np.arange(60) % 7,
        split=np.zeros(60, np.uint8),
        rows=np.arange(60),
        label_names=FER2013,
        name="mine",
        persons=(np.arange(60) % 12).astype(np.int32),
        person_names=tuple("abcdefghijkl"),
    )


@pytest.fixture
def store(tmp_path, faces):
    write_store(faces, tmp_path / "a.h5", source_sha256="abc")
    return tmp_path / "a.h5"


def test_a_split_by_person_shows_nobody_on_two_sides(tmp_path, store, faces):
    info = split_data(store, tmp_path / "b.h5", SplitSettings("person", (0.5, 0.25, 0.25)))
    split = read_store(tmp_path / "b.h5").split
    assert all(len(set(split[faces.persons == person])) == 1 for person in range(12))
    assert [sum(row) for row in info.counts] == [30, 15, 15]
    assert info.source_sha256 == "abc"


@pytest.mark.parametrize("together", [True, False])
def test_copies_stay_on_one_side_where_that_is_asked(tmp_path, store, together):
    settings = SplitSettings(parts=(0.4, 0.3, 0.3), keep_copies_together=together)
    seen = []
    split_data(store, tmp_path / "b.h5", settings, lambda *at: seen.append(at))
    split = read_store(tmp_path / "b.h5").split
    assert (split[3::5] == split[4::5]).all() == together
    assert seen[-1:] == ([(60, 60)] if together else [])


def test_faces_of_one_file_are_copies_that_leak_no_more_once_kept_together(tmp_path, faces):
    photos = np.zeros((60, 32), np.uint8)
    photos[:40, 0] = 1 + np.arange(40) // 2  # two faces a photo; of the last 20 faces the file is unknown
    write_store(replace(faces, file_sha256=photos), tmp_path / "a.h5")
    settings = SplitSettings(parts=(0.4, 0.3, 0.3), keep_copies_together=True)
    counts = split_data(tmp_path / "a.h5", tmp_path / "b.h5", settings).counts
    divided = read_store(tmp_path / "b.h5")
    train, test = divided.select("train"), divided.select("test")
    assert not find_leak(test, learned(train), train)
    assert all(sum(row) >= 16 for row in counts), "unknown files are no common file"


def test_a_publisher_s_splits_are_no_longer_its_own(tmp_path, faces):
    """Copies across the splits of FER2013 are its publisher's; across those of a user they are leaks."""
    write_store(replace(faces, name="fer2013"), tmp_path / "fer2013.h5")
    once = split_data(tmp_path / "fer2013.h5", tmp_path / "b.h5", SplitSettings())
    twice = split_data(tmp_path / "b.h5", tmp_path / "c.h5", SplitSettings())
    assert once.name == twice.name == "fer2013-split"
    assert is_official("fer2013")
    assert not is_official(once.name)


def test_a_test_set_that_is_kept_stays_and_the_training_faces_are_divided(tmp_path, faces):
    split = np.repeat([0, 1, 2], [40, 5, 15]).astype(np.uint8)
    write_store(replace(faces, split=split), tmp_path / "a.h5")
    settings = SplitSettings("person", (0.75, 0.25, 0), keep_test=True)
    split_data(tmp_path / "a.h5", tmp_path / "b.h5", settings)
    divided = read_store(tmp_path / "b.h5")
    np.testing.assert_array_equal(divided.images, faces.images)
    assert (divided.split[40:] == split[40:]).all()
    assert 5 <= (divided.split[:40] == 1).sum() <= 15
    assert (divided.split[:40] < 2).all()
    train, val = (set(faces.persons[:40][divided.split[:40] == part]) for part in (0, 1))
    assert not train & val


def test_a_test_set_that_cannot_be_kept_is_told(tmp_path, store, faces):
    with pytest.raises(DataError, match="mine has no test faces to keep; leave --keep-test out"):
        split_data(store, tmp_path / "b.h5", SplitSettings(keep_test=True))
    write_store(replace(faces, split=(np.arange(60) % 2 * 2).astype(np.uint8)), tmp_path / "tested.h5")
    with pytest.raises(DataError, match=r"such as --parts 0.9,0.1,0; got a share of 0.2 for test"):
        split_data(
            tmp_path / "tested.h5", tmp_path / "b.h5", SplitSettings("label", (0.7, 0.1, 0.2), 0, False, True)
        )
    assert not (tmp_path / "b.h5").exists()


def test_the_same_seed_gives_the_same_file(tmp_path, store):
    for name, seed in (("b.h5", 3), ("c.h5", 3), ("d.h5", 4)):
        split_data(store, tmp_path / name, SplitSettings(seed=seed))
    b, c, d = ((tmp_path / name).read_bytes() for name in ("b.h5", "c.h5", "d.h5"))
    assert b == c != d


def test_a_split_that_cannot_be_is_refused(tmp_path, store, faces):
    write_store(replace(faces, persons=None, person_names=None), tmp_path / "no one.h5")
    with pytest.raises(DataError, match="mine names no persons; divide it by label"):
        split_data(tmp_path / "no one.h5", tmp_path / "b.h5", SplitSettings("person"))
    with pytest.raises(DataError, match="by label or person, got 'age'"):
        split_data(store, tmp_path / "b.h5", SplitSettings("age"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="exists and is not a data set of mien"):
        split_data(store, tmp_path / "notes.txt", SplitSettings())


def test_joining_stores_the_map_and_counts_what_is_dropped(tmp_path, store, faces):
    odd = replace(faces.take(np.arange(4)), name="odd", label_names=(*FER2013[:2], "bored", *FER2013[3:]))
    write_store(odd, tmp_path / "odd.h5")
    info, dropped = join_data([store, tmp_path / "odd.h5"], tmp_path / "both.h5", "fer2013")
    assert (info.name, info.shape[0], dropped) == ("mine+odd", 63, 1)
    assert info.label_map["odd"]["bored"] is None
    with pytest.raises(DataError, match="labels differ"):
        join_data([store, tmp_path / "odd.h5"], tmp_path / "none.h5")
    with pytest.raises(DataError, match="at least two data sets, got 1"):
        join_data([store], tmp_path / "none.h5")
    (tmp_path / "again.h5").symlink_to(store)
    with pytest.raises(DataError, match=r"again\.h5 is there twice; name each data set once"):
        join_data([store, tmp_path / "odd.h5", tmp_path / "again.h5"], tmp_path / "none.h5")
    assert not (tmp_path / "none.h5").exists()


def test_a_data_set_is_not_written_over_what_it_is_made_of(tmp_path, store):
    held = store.read_bytes()
    with pytest.raises(OutputError, match="it is an input; name another file"):
        split_data(store, store, SplitSettings())
    with pytest.raises(OutputError, match="it is an input; name another file"):
        join_data([store, store], store)
    assert store.read_bytes() == held
