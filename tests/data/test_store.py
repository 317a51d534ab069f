import json
import os
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from mien import __version__
from mien.data import store
from mien.data.duplicates import NearDuplicates
from mien.data.records import COLUMNS, OPTIONAL
from mien.data.store import (
    clean_mask,
    read_info,
    read_near_duplicates,
    read_store,
    why_not_clean,
    write_parts,
    write_store,
)
from mien.errors import DataError, MissingExtraError


def _near(rows, ncc):
    rows, ncc = np.array(rows, np.int64), np.array(ncc, np.float32)
    return NearDuplicates(rows, np.zeros_like(rows), ncc, ncc == 1, 0.9)


def complete(faces):
    """In colour, with every optional column but votes."""
    n = len(faces)
    return replace(
        faces,
        images=np.repeat(faces.images[..., None], 3, axis=3),
        persons=np.arange(n, dtype=np.int32) % 3 - 1,
        person_names=("S005", "Zoë"),
        sources=np.zeros(n, np.uint8),
        source_names=("made-up",),
        valence_arousal=np.linspace(-1, 1, 2 * n, dtype=np.float32).reshape(n, 2),
        landmarks=np.full((n, 5, 2), np.nan, np.float32),
        landmark_score=np.linspace(0, 1, n, dtype=np.float32),
        file_sha256=np.arange(32 * n, dtype=np.uint8).reshape(n, 32),
        label_map={"made-up": {"anger": "angry", "bored": None}},
    )


@pytest.mark.parametrize("votes", [False, True], ids=["labels", "labels-and-votes"])
def test_what_is_written_is_read_back(tmp_path, make_faces, votes):
    faces = make_faces(votes=votes)
    write_store(faces, tmp_path / "a.h5", source_sha256="abc")
    back = read_store(tmp_path / "a.h5")
    for field in (*COLUMNS, *(("votes",) if votes else ())):
        np.testing.assert_array_equal(getattr(back, field), getattr(faces, field))
        assert getattr(back, field).dtype == getattr(faces, field).dtype
    assert (back.votes is None) == (not votes)
    assert (back.name, back.label_names, back.vote_names) == (faces.name, faces.label_names, faces.vote_names)
    info = read_info(tmp_path / "a.h5")
    assert (info.content_hash, info.source_sha256) == (faces.content_hash(), "abc")
    assert (info.name, info.label_names, info.created_by) == ("made-up", faces.label_names, __version__)


def test_every_optional_column_and_name_is_read_back(tmp_path, make_faces):
    full = complete(make_faces(6))
    write_store(full, tmp_path / "a.h5")
    back = read_store(tmp_path / "a.h5")
    assert set(back.columns()) == {*COLUMNS, *OPTIONAL} - {"votes"}
    for field, array in full.columns().items():
        np.testing.assert_array_equal(getattr(back, field), array)
        assert getattr(back, field).dtype == array.dtype
    for field in ("person_names", "source_names", "label_map"):
        assert getattr(back, field) == getattr(full, field)
    assert read_info(tmp_path / "a.h5").label_map == full.label_map


def test_no_text_of_a_store_has_a_length_that_damage_could_make_gigabytes(tmp_path, make_faces):
    write_store(complete(make_faces(6)), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        kinds = {name: file.attrs.get_id(name).dtype for name in file.attrs}
    texts = {name for name, kind in kinds.items() if h5py.check_string_dtype(kind)}
    assert texts >= {"name", "label_names", "label_map", "content_hash", "source_sha256", "created_by"}
    assert {name for name in texts if h5py.check_string_dtype(kinds[name]).length is None} == set()


@pytest.mark.parametrize("n", [0, 1, 100, 70_000])
def test_a_text_of_any_length_is_read_back(tmp_path, make_faces, n):
    faces = replace(make_faces(), name="ü" * n, label_map={"made-up": {"b" * n: None}})
    write_store(faces, tmp_path / "a.h5")
    back, info = read_store(tmp_path / "a.h5"), read_info(tmp_path / "a.h5")
    assert back.name == info.name == faces.name
    assert back.label_map == info.label_map == faces.label_map


def test_parts_give_the_same_file_as_the_whole(tmp_path, make_faces):
    full = complete(make_faces(7))
    write_store(full, tmp_path / "whole.h5")
    parts = (full.take(np.arange(a, b)) for a, b in ((0, 3), (3, 4), (4, 7)))
    assert write_parts(parts, 7, tmp_path / "parts.h5") == full.content_hash()
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_store_of_format_1_from_before_the_optional_columns_still_opens(tmp_path, make_faces):
    faces = make_faces()
    with h5py.File(tmp_path / "old.h5", "w") as file:  # as version 0.1 wrote it
        for field in COLUMNS:
            file[field] = getattr(faces, field)
        file.attrs.update(
            format=1,
            name="made-up",
            label_names=json.dumps(faces.label_names),
            vote_names="null",
            content_hash=faces.content_hash(),
            source_sha256="",
            created_by="0.1.0",
        )
    back = read_store(tmp_path / "old.h5")
    assert back.content_hash() == faces.content_hash()
    assert (back.persons, back.label_map, read_info(tmp_path / "old.h5").label_map) == (None, None, None)


def test_writing_leaves_one_file(tmp_path, make_faces):
    write_store(make_faces(), tmp_path / "a.h5")
    write_store(make_faces(seed=1), tmp_path / "a.h5")
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError("no space left")], ids=["ctrl-c", "disk-full"]
)
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path, make_faces, monkeypatch, error):
    old = make_faces()
    write_store(old, tmp_path / "a.h5")

    def fail(*_):
        raise error

    monkeypatch.setattr(store, "_write_array", fail)
    with pytest.raises((KeyboardInterrupt, DataError)) as raised:
        write_store(make_faces(seed=1), tmp_path / "a.h5")
    if isinstance(error, OSError):
        assert str(raised.value) == f"{tmp_path / 'a.h5'} cannot be written: no space left"
    assert os.listdir(tmp_path) == ["a.h5"]
    assert read_store(tmp_path / "a.h5").content_hash() == old.content_hash()


def test_a_store_in_a_missing_folder_cannot_be_written(tmp_path, make_faces):
    with pytest.raises(DataError, match=r"none/a\.h5 cannot be written"):
        write_store(make_faces(), tmp_path / "none" / "a.h5")


def test_a_missing_store_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match=r"no data set at .*; make one: mien data .* --out '.*/my a\.h5'$"):
        read_store(tmp_path / "my a.h5")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.h5").write_text("emotion,pixels,Usage\n")
    with pytest.raises(DataError, match=r"a\.h5 is not a data set or is damaged: .*; import it again"):
        read_store(tmp_path / "a.h5")


def test_an_hdf5_file_of_somebody_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(DataError, match="is an HDF5 file, but not a data set that mien wrote"):
        read_store(tmp_path / "a.h5")


def test_another_format_is_refused(tmp_path, make_faces):
    write_store(make_faces(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["format"] = 3
    with pytest.raises(DataError, match="has format 3, this version reads 1 and 2"):
        read_store(tmp_path / "a.h5")


@pytest.mark.parametrize("missing", list(COLUMNS))
def test_a_missing_column_is_refused(tmp_path, make_faces, missing):
    write_store(make_faces(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[missing]
    with pytest.raises(DataError, match=f"damaged: .*{missing}"):
        read_store(tmp_path / "a.h5")


def test_an_altered_image_is_noticed(tmp_path, make_faces):
    write_store(make_faces(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["images"][0, 0, 0] ^= 1
    with pytest.raises(DataError, match="altered or damaged: content and hash differ"):
        read_store(tmp_path / "a.h5")


@pytest.mark.parametrize("column", ["votes", "rows"])
def test_damage_that_no_hash_covers_is_noticed(tmp_path, make_faces, column):
    faces, path = make_faces(votes=True), tmp_path / "a.h5"
    write_store(faces, path)
    content = bytearray(path.read_bytes())
    where = content.index(getattr(faces, column).tobytes())
    content[where + 8] ^= 2
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a data set or is damaged"):
        read_store(path)


@pytest.mark.parametrize("label_map", ["1.5", "[1]", '{"a": 1}', '{"a": {"b": 1}}'])
def test_a_map_of_labels_that_is_none_is_damage(tmp_path, make_faces, label_map):
    path = tmp_path / "a.h5"
    write_store(make_faces(), path)
    with h5py.File(path, "a") as file:
        file.attrs["label_map"] = label_map
    for read in (read_store, read_info):
        with pytest.raises(DataError, match="is not a data set or is damaged"):
            read(path)


def test_content_of_other_files_is_never_read(tmp_path, make_faces):
    """A column in /dev/zero has no end, one in a pipe never begins."""
    write_store(make_faces(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        n = len(file["labels"])
        del file["labels"]
        file.create_dataset("labels", (n,), "i8", external=[("/dev/zero", 0, 8 * n)])
    with pytest.raises(DataError, match="'labels' lies in other files"):
        read_store(tmp_path / "a.h5")


def test_a_truncated_or_damaged_file_gives_the_same_faces_or_one_line(tmp_path, make_faces):
    faces, path = make_faces(votes=True), tmp_path / "a.h5"
    write_store(faces, path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    variants = [content[: len(content) * part // 20] for part in range(20)]
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        variants.append(bytes(damaged))
    texts = []
    for variant in variants:
        path.write_bytes(variant)
        try:
            assert read_store(path).content_hash() == faces.content_hash()
        except DataError as e:
            texts.append(str(e))
    assert len(texts) >= 50  # the others hit bytes that the format leaves unused
    assert not any("\n" in text for text in texts)


def test_without_h5py_the_install_line_is_given(tmp_path, make_faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (lambda: read_store(tmp_path / "a.h5"), lambda: write_store(make_faces(), tmp_path / "a.h5")):
        with pytest.raises(MissingExtraError, match=r'needs h5py; run: pip install "mien\[data\]"'):
            use()


def test_near_duplicates_are_kept_with_the_faces(tmp_path, make_faces):
    near = _near([2, 4, 10], [0.91, 1.0, 0.96])
    write_store(make_faces(), tmp_path / "a.h5", near=near)
    back = read_near_duplicates(tmp_path / "a.h5")
    for field in ("rows", "nearest", "ncc", "exact"):
        np.testing.assert_array_equal(getattr(back, field), getattr(near, field))
    assert back.floor == 0.9


def test_the_clean_mask_leaves_out_test_faces_from_095(tmp_path, make_faces):
    faces = make_faces(12)  # test faces are rows 4, 10, 16, 22; validation faces are rows 2, 8, 14, 20
    write_store(faces, tmp_path / "a.h5", near=_near([4, 10, 8, 22], [0.94, 0.95, 0.99, 1.0]))
    assert clean_mask(tmp_path / "a.h5").tolist() == [True, False, True, False]
    assert clean_mask(tmp_path / "a.h5", "val").tolist() == [True, False, True, True]
    assert clean_mask(tmp_path / "a.h5", "train") is None


def test_there_is_no_clean_mask_where_nobody_searched(tmp_path, make_faces):
    write_store(make_faces(), tmp_path / "a.h5")
    assert clean_mask(tmp_path / "a.h5") is None
    assert read_near_duplicates(tmp_path / "a.h5") is None


def test_faces_that_all_have_near_copies_are_not_taken_for_a_store_that_nobody_searched(tmp_path, make_faces):
    write_store(make_faces(12), tmp_path / "a.h5", near=_near([4, 10, 16, 22], [1.0] * 4))
    assert clean_mask(tmp_path / "a.h5") is None
    assert why_not_clean(tmp_path / "a.h5") == "every face has a near copy in training"
    write_store(make_faces(12), tmp_path / "b.h5")
    assert why_not_clean(tmp_path / "b.h5").startswith(f"run `mien data audit {tmp_path / 'b.h5'}`")


def test_there_is_no_clean_mask_where_no_training_faces_could_be_searched(tmp_path, make_faces):
    faces = make_faces(12)
    for name, near in (("searched", _near([], [])), ("new", None)):
        path = tmp_path / f"{name}.h5"
        write_store(replace(faces, split=np.maximum(faces.split, 1)), path, near=near)
        assert clean_mask(path) is None
        assert why_not_clean(path) == "no training faces to compare with"


def test_searched_and_none_found_is_not_the_same_as_not_searched(tmp_path, make_faces):
    write_store(make_faces(12), tmp_path / "a.h5", near=_near([], []))
    assert clean_mask(tmp_path / "a.h5").tolist() == [True] * 4


def test_a_store_that_claims_more_faces_than_it_holds_is_refused(tmp_path, make_faces):
    write_store(make_faces(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for field, shape in (("images", (48, 48)), ("split", ()), ("labels", ()), ("rows", ())):
            kind = file[field].dtype
            del file[field]
            file.create_dataset(field, (10**12, *shape), kind, chunks=(512, *shape))
    for read in (read_store, read_info):
        with pytest.raises(DataError, match=r"a\.h5 .* claims [\d,]+ bytes and holds fewer; import it again"):
            read(tmp_path / "a.h5")


def test_a_store_that_another_tool_compressed_is_read(tmp_path, make_faces):
    faces = make_faces()
    write_store(faces, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["images"]
        file.create_dataset("images", data=faces.images, compression="gzip")
    assert read_store(tmp_path / "a.h5").content_hash() == faces.content_hash()


def test_a_full_disk_ends_no_process(tmp_path):
    """In a process of its own, for it was a segmentation fault; a limit on files stands for the disk."""
    code = """
import resource, sys
import numpy as np
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError
n = 400
images = np.random.default_rng(0).integers(0, 255, (n, 48, 48), np.uint8)
faces = FaceSet(images, np.zeros(n, np.int64), np.zeros(n, np.uint8), np.arange(n), ("happy",), "made")
for limit in range(0, 900_000, 50_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_store(faces, sys.argv[1])
    except DataError as error:
        if "a.h5 cannot be written: file too large" not in str(error):
            raise
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "a.h5"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert os.listdir(tmp_path) == []
