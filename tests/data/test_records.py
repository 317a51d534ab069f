import hashlib
from dataclasses import replace

import numpy as np
import pytest

from mien.data.records import SPLITS
from mien.errors import DataError


def test_select_gives_the_faces_of_one_split_with_all_their_columns(make_faces):
    faces = make_faces(12, votes=True)
    val = faces.select("val")
    assert len(val) == 4
    np.testing.assert_array_equal(val.rows, faces.rows[1::3])
    np.testing.assert_array_equal(val.images, faces.images[1::3])
    np.testing.assert_array_equal(val.votes, faces.votes[1::3])
    np.testing.assert_array_equal(val.labels, faces.labels[1::3])
    assert set(val.split) == {SPLITS.index("val")}


def test_an_unknown_split_is_refused_with_the_known_ones(make_faces):
    with pytest.raises(DataError, match=r"no split named 'PublicTest' \(known: train, val, test\)"):
        make_faces().select("PublicTest")


def test_counts_add_up_by_split_and_label(make_faces):
    counts = make_faces(12).counts()
    assert counts.shape == (3, 7)
    assert counts.sum(axis=1).tolist() == [4, 4, 4]
    assert counts.sum(axis=0).tolist() == [2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": np.zeros((12, 48, 48), np.float32)}, "images must be uint8 with 3 dimension"),
        ({"images": np.zeros((12, 2304), np.uint8)}, r"images must be uint8 .* got uint8 \(12, 2304\)"),
        ({"labels": np.zeros(11, np.int64)}, r"labels must be int64 .* 12 rows, got int64 \(11,\)"),
        ({"labels": np.full(12, 7)}, r"labels must lie in 0\.\.6, got 7\.\.7"),
        ({"labels": np.full(12, -1)}, r"labels must lie in 0\.\.6, got -1\.\.-1"),
        ({"split": np.full(12, 3, np.uint8)}, r"split must lie in 0\.\.2, got 3\.\.3"),
        ({"rows": np.zeros(12, np.int64)}, "rows must be unique"),
        ({"votes": np.zeros((12, 10), np.uint8)}, "votes and vote_names must be given together"),
        (
            {"votes": np.zeros((12, 3), np.uint8), "vote_names": ("a", "b")},
            "votes have 3 columns for 2",
        ),
        ({"images": np.zeros((12, 48, 48, 4), np.uint8)}, r"images must have a last axis of 3, got \(12, 48"),
        ({"persons": np.zeros(12, np.int32)}, "persons and person_names must be given together"),
        (
            {"persons": np.full(12, -2, np.int32), "person_names": ("a",)},
            r"persons must lie in -1\.\.0, got -2\.\.-2",
        ),
        (
            {"sources": np.ones(12, np.uint8), "source_names": ("a",)},
            r"sources must lie in 0\.\.0, got 1\.\.1",
        ),
        ({"valence_arousal": np.zeros((12, 3), np.float32)}, "valence_arousal must have a last axis of 2"),
        ({"file_sha256": np.zeros((12, 64), np.uint8)}, "file_sha256 must have a last axis of 32"),
        ({"landmarks": np.zeros((12, 136), np.float32)}, "landmarks must be float32 with 3 dimension"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_malformed_column_is_refused(make_faces, change, text):
    with pytest.raises(DataError, match=text):
        replace(make_faces(12), **change)


def test_the_content_hash_is_the_documented_sha256(make_faces):
    faces = make_faces(5)
    parts = (faces.images.tobytes(), faces.labels.astype("<i8").tobytes(), faces.split.tobytes())
    assert faces.content_hash() == hashlib.sha256(b"(5, 48, 48)" + b"".join(parts)).hexdigest()


def test_valence_arousal_and_landmarks_count_into_the_content_hash_and_persons_do_not(make_faces):
    faces = make_faces(4)
    targets = np.zeros((4, 2), np.float32)
    plain, valued = faces.content_hash(), replace(faces, valence_arousal=targets)
    assert (
        len({plain, valued.content_hash(), replace(valued, valence_arousal=targets + 1).content_hash()}) == 3
    )
    assert replace(faces, landmarks=targets[None].repeat(4, 0)).content_hash() != plain
    persons = replace(faces, persons=np.zeros(4, np.int32), person_names=("a",))
    assert persons.content_hash() == plain


def test_faces_may_be_in_colour(make_faces):
    gray = make_faces(4)
    colour = replace(gray, images=np.repeat(gray.images[..., None], 3, axis=3))
    assert colour.select("val").images.shape == (1, 48, 48, 3)


@pytest.mark.parametrize("field", ["images", "labels", "split"])
def test_the_content_hash_changes_with_every_column_it_covers(make_faces, field):
    faces = make_faces(6)
    changed = getattr(faces, field).copy()
    changed[0] = 0 if changed.flat[0] else 1
    assert replace(faces, **{field: changed}).content_hash() != faces.content_hash()


def test_the_content_hash_does_not_depend_on_memory_layout(make_faces):
    faces = make_faces(6)
    assert replace(faces, images=np.asfortranarray(faces.images)).content_hash() == faces.content_hash()
