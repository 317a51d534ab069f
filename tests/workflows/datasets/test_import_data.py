import csv
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mien.core.emotions import FERPLUS, RAFDB
from mien.data import ingest
from mien.data.ferplus import COLUMNS
from mien.data.image_loading import ImageSettings
from mien.data.leaks import is_official
from mien.data.store import clean_mask, read_info, read_store
from mien.errors import DataError, MissingExtraError, OutputError
from mien.workflows.datasets import import_data as import_workflow
from mien.workflows.datasets.audit import audit_data
from mien.workflows.datasets.import_data import LISTINGS, ImportSettings, find_source, import_data

PARTIAL = ImportSettings(partial=True)
USAGES = ("Training", "PublicTest", "PrivateTest")


@pytest.fixture
def images():
    images = np.random.default_rng(0).integers(0, 256, (9, 48, 48), np.uint8)
    images[5] = images[0]  # a test face that is a training face
    return images


@pytest.fixture
def source(tmp_path, images):
    """fer2013.csv and fer2013new.csv of nine made-up faces."""
    with (tmp_path / "fer2013.csv").open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for i, image in enumerate(images):
            file.write(f"{i % 7},{' '.join(map(str, image.reshape(-1).tolist()))},{USAGES[i % 3]}\n")
    with (tmp_path / "fer2013new.csv").open("w", newline="") as file:
        rows = [[USAGES[i % 3], "", *[i] * 10] for i in range(9)]
        csv.writer(file).writerows([["Usage", "Image name", *COLUMNS], *rows])
    return tmp_path / "fer2013.csv"


def test_an_import_writes_a_store_with_faces_votes_and_the_clean_mask(tmp_path, source, images):
    settings = ImportSettings(ferplus=tmp_path / "fer2013new.csv", partial=True, search=True)
    done = import_data("fer2013", source, tmp_path / "a.h5", settings)
    stored = read_store(tmp_path / "a.h5")
    np.testing.assert_array_equal(stored.images, images)
    assert stored.votes[:, 0].tolist() == list(range(9))
    assert stored.content_hash() == done.info.content_hash
    assert read_info(tmp_path / "a.h5").source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert clean_mask(tmp_path / "a.h5").tolist() == [True, False, True]
    assert done.notes == ()
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "fer2013.csv", "fer2013new.csv"]


def test_the_search_is_left_to_the_audit(tmp_path, source):
    import_data("fer2013", source, tmp_path / "a.h5", PARTIAL)
    assert clean_mask(tmp_path / "a.h5") is None
    before = read_info(tmp_path / "a.h5")
    audit_data(tmp_path / "a.h5")
    assert clean_mask(tmp_path / "a.h5").tolist() == [True, False, True]
    assert read_info(tmp_path / "a.h5") == before


def test_a_folder_that_holds_the_csv_is_as_good_as_the_csv(tmp_path, source):
    assert find_source(tmp_path) == source
    assert import_data("fer2013", tmp_path, tmp_path / "a.h5", PARTIAL).info.shape == (9, 48, 48)


def test_every_step_is_reported_to_its_end(tmp_path, source):
    last = {}
    import_data(
        "fer2013",
        source,
        tmp_path / "a.h5",
        ImportSettings(partial=True, search=True),
        lambda step, *part: last.__setitem__(step, part),
    )
    assert {step: done == total for step, (done, total) in last.items()} == {
        "reading faces": True,
        "comparing faces": True,
    }


def test_missing_votes_are_noted(tmp_path, source):
    done = import_data("fer2013", source, tmp_path / "a.h5", PARTIAL)
    assert done.notes == ("no FER+ votes; add them with --ferplus fer2013new.csv",)


def test_a_missing_validation_split_is_noted(tmp_path, source):
    text = source.read_text().replace("PublicTest", "PrivateTest")
    source.write_text(text)
    done = import_data("fer2013", source, tmp_path / "a.h5", PARTIAL)
    assert done.notes[0].startswith("no validation split: the file names do not tell PublicTest")


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"PK\x03\x04rest", "is a ZIP archive; unpack it"), (b"\x1f\x8brest", "is a gzip archive; unpack it")],
    ids=["zip", "gzip"],
)
def test_an_archive_must_be_unpacked(tmp_path, content, text):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(DataError, match=text):
        import_data("fer2013", tmp_path / "fer2013.csv", tmp_path / "a.h5")


def test_an_unknown_kind_is_refused_with_the_nearest_one(tmp_path, source):
    with pytest.raises(DataError, match=r"no data set named 'fer2031'; did you mean 'fer2013'\?"):
        import_data("fer2031", source, tmp_path / "a.h5")


def test_a_file_that_is_no_store_is_never_overwritten(source):
    before = source.read_bytes()
    with pytest.raises(DataError, match=r"fer2013\.csv exists and is not a data set of mien; choose another"):
        import_data("fer2013", source, source, PARTIAL)
    assert source.read_bytes() == before


def test_an_hdf5_file_of_something_else_is_never_overwritten(tmp_path, source):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["weights"] = [1]
    with pytest.raises(DataError, match=r"model\.h5 exists and is not a data set of mien; choose another"):
        import_data("fer2013", source, tmp_path / "model.h5", PARTIAL)


@pytest.mark.parametrize("damage", ["cut", "zeros", "format"])
def test_a_damaged_store_is_replaced_by_the_import_that_its_error_advises(tmp_path, source, damage):
    to = tmp_path / "a.h5"
    import_data("fer2013", source, to, PARTIAL)
    data = to.read_bytes()
    if damage == "format":
        with h5py.File(to, "r+") as file:
            file.attrs["format"] = 99
    else:
        to.write_bytes(data[:9000] if damage == "cut" else data[:100] + bytes(9000) + data[9100:])
    with pytest.raises(DataError, match="import it again"):
        read_info(to)
    import_data("fer2013", source, to, PARTIAL)
    assert len(read_store(to)) == 9


def test_an_older_store_is_replaced(tmp_path, source):
    for _ in range(2):
        import_data("fer2013", source, tmp_path / "a.h5", PARTIAL)
    assert len(read_store(tmp_path / "a.h5")) == 9


def test_what_cannot_be_kept_is_refused_before_the_work(tmp_path, source, monkeypatch):
    monkeypatch.setattr("mien.workflows.datasets.import_data.read_fer2013", None)
    with pytest.raises(OutputError, match=r"a\.h5 cannot be written: there is no folder .*none"):
        import_data("fer2013", source, tmp_path / "none" / "a.h5", PARTIAL)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match="needs h5py"):
        import_data("fer2013", source, tmp_path / "a.h5", PARTIAL)


def test_votes_cannot_be_joined_to_class_folders(tmp_path, source):
    folder = tmp_path / "folders"
    (folder / "train" / "happy").mkdir(parents=True)
    settings = ImportSettings(ferplus=tmp_path / "fer2013new.csv")
    with pytest.raises(DataError, match=r"FER\+ is joined by the rows of the CSV, which a folder lacks"):
        import_data("fer2013", folder, tmp_path / "a.h5", settings)


def test_a_failed_import_leaves_nothing(tmp_path, source):
    with pytest.raises(DataError, match="not the complete FER2013"):
        import_data("fer2013", source, tmp_path / "a.h5")
    assert sorted(os.listdir(tmp_path)) == ["fer2013.csv", "fer2013new.csv"]


def _save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (value, 0, 0)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Class folders of three happy, two bored and one broken image."""
    for i, name in enumerate(
        ("Happiness/a.png", "Happiness/b.png", "joy/c.png", "bored/d.png", "bored/e.png")
    ):
        _save(tmp_path / "photos" / name, 40 * i)
    (tmp_path / "photos" / "joy" / "f.png").write_bytes(b"x")
    return tmp_path / "photos"


def test_images_become_a_store_of_the_wanted_size_colour_and_labels(tmp_path, folders):
    settings = ImportSettings(
        images=ImageSettings(16, color=True), labels="fer2013", renames={"joy": "happy"}, search=True
    )
    last = {}
    report = lambda step, *part: last.__setitem__(step, part)  # noqa: E731
    done = import_data("folders", folders, tmp_path / "a.h5", settings, report)
    assert done.info.shape == (3, 16, 16, 3)
    assert done.info.name == "photos"
    assert dict(zip(done.info.label_names, done.info.counts[0], strict=True))["happy"] == 3
    assert done.info.label_map == {"photos": {"bored": None, "happy": "happy", "joy": "happy"}}
    assert done.skipped == {"label without counterpart": 2, "not an image": 1}
    assert done.skipped_list == tmp_path / "a.skipped.csv"
    assert last["reading images"] == (6, 6)
    assert clean_mask(tmp_path / "a.h5") is not None


def test_an_import_into_its_own_source_goes_on_and_does_not_read_what_it_wrote(folders, monkeypatch):
    to = folders / "a.h5"
    with monkeypatch.context() as patch:
        patch.setattr(
            ingest, "write_parts", None
        )  # the import ends before its parts are joined, as by a kill
        with pytest.raises(TypeError):
            import_data("folders", folders, to)
    monkeypatch.setattr(ingest, "write_store", None)  # no part is written again
    done = import_data("folders", folders, to)
    assert (done.info.shape[0], done.skipped) == (5, {"not an image": 1})
    assert {"a.h5", "a.skipped.csv"} == {path.name for path in folders.iterdir() if path.is_file()}


def test_fer2013_can_be_brought_to_a_size_colour_and_labels_too(tmp_path, source):
    settings = ImportSettings(partial=True, images=ImageSettings(24, color=True), labels="rafdb")
    done = import_data("fer2013", source, tmp_path / "a.h5", settings)
    assert (done.info.shape, done.info.label_names) == ((9, 24, 24, 3), RAFDB)
    assert done.skipped == {}


def test_fer2013_is_enlarged_in_parts_and_never_held_whole(tmp_path, source, monkeypatch):
    settings = ImportSettings(partial=True, images=ImageSettings(96))
    whole = import_data("fer2013", source, tmp_path / "whole.h5", settings)
    seen, resized = [], import_workflow.resized
    monkeypatch.setattr(import_workflow, "_PART_BYTES", 4 * 96 * 96)
    monkeypatch.setattr(
        import_workflow, "resized", lambda faces, to: seen.append(len(faces)) or resized(faces, to)
    )
    parts = import_data("fer2013", source, tmp_path / "parts.h5", settings)
    assert seen == [4, 4, 1]
    assert parts.info == whole.info


def test_what_fer2013_leaves_out_is_listed_and_an_older_list_goes(tmp_path, source):
    listed = tmp_path / "a.skipped.csv"
    listed.write_text("of an earlier import")
    assert import_data("fer2013", source, tmp_path / "a.h5", PARTIAL).skipped_list is None
    assert not listed.exists()
    faces = {"train/happy/a.png": 1, "train/sad/b.png": 2, "train/sad/notes.txt": None}
    for name, value in faces.items():
        path = tmp_path / "classes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (48, 48), value).save(path) if value else path.touch()
    done = import_data("fer2013", tmp_path / "classes", tmp_path / "a.h5", PARTIAL)
    assert (done.skipped, done.skipped_list) == ({"not an image": 1}, listed)
    with listed.open(newline="") as file:
        assert list(csv.reader(file))[1] == ["", str(path), "not an image", "by its name"]


def test_labels_without_counterpart_are_listed_with_their_rows(tmp_path):
    pixels = " ".join(["7"] * 2304)
    (tmp_path / "ckextended.csv").write_text(
        f"emotion,pixels,Usage\n3,{pixels},Training\n7,{pixels},Training\n"
    )
    settings = ImportSettings(labels="fer2013")
    done = import_data("ckextended", tmp_path / "ckextended.csv", tmp_path / "a.h5", settings)
    assert done.skipped == {"label without counterpart": 1}
    with done.skipped_list.open(newline="") as file:
        (row,) = list(csv.reader(file))[1:]
    assert row == ["1", str(tmp_path / "ckextended.csv"), "label without counterpart", "contempt"]


def test_the_list_of_what_is_left_out_never_replaces_the_source(tmp_path):
    source = tmp_path / "a.skipped.csv"
    source.write_text("path,label\nnone.png,happy\n")
    with pytest.raises(OutputError, match="it is an input; name another file"):
        import_data("csv", source, tmp_path / "a.h5")
    assert source.read_text().startswith("path,label")


def test_ferplus_is_imported_with_a_scheme(tmp_path, source):
    votes = [[USAGES[i % 3], "", i, 10 - i, *[0] * 8] for i in range(9)]
    with (tmp_path / "fer2013new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["Usage", "Image name", *COLUMNS], *votes])
    settings = ImportSettings(ferplus=tmp_path / "fer2013new.csv", partial=True)
    done = import_data("ferplus", source, tmp_path / "a.h5", settings)
    assert (done.info.name, done.info.label_names, done.notes) == ("ferplus", FERPLUS, ())
    assert read_store(tmp_path / "a.h5").rows.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]  # row 5 is a tie
    with pytest.raises(DataError, match=r"FER\+ needs its votes; give --ferplus fer2013new\.csv"):
        import_data("ferplus", source, tmp_path / "b.h5", PARTIAL)
    with pytest.raises(DataError, match="no FER\\+ scheme named 'most'"):
        import_data("ferplus", source, tmp_path / "b.h5", replace(settings, scheme="most"))


@pytest.mark.parametrize("name", ["fer2013", "ferplus-mouth"])
def test_the_name_of_a_folder_makes_no_publisher_s_splits(tmp_path, folders, name):
    done = import_data("folders", folders.rename(tmp_path / name), tmp_path / "a.h5")
    assert (done.info.name, is_official(done.info.name)) == (f"{name}-folders", False)


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        (
            "folders",
            {"ferplus": Path("none.csv")},
            "--ferplus belongs to fer2013 and ferplus, not to folders",
        ),
        ("csv", {"partial": True}, "--partial belongs to fer2013 and ferplus"),
        ("fer2013", {"scheme": "nonsense"}, "--scheme belongs to ferplus, not to fer2013; leave it out"),
        ("jaffe", {"peaks": 7}, "--peaks belongs to ckplus"),
        ("folders", {"root": Path("none")}, "--root belongs to csv"),
    ],
)
def test_an_option_of_another_kind_is_refused(tmp_path, folders, kind, given, text):
    with pytest.raises(DataError, match=text):
        import_data(kind, folders, tmp_path / "a.h5", ImportSettings(**given))


def test_a_map_needs_a_label_set(tmp_path, folders):
    with pytest.raises(DataError, match="--map names labels of a label set; say which one with --labels"):
        import_data("folders", folders, tmp_path / "a.h5", ImportSettings(renames={"joy": "happy"}))


@pytest.mark.parametrize("kind", LISTINGS)
def test_every_kind_of_images_refuses_a_folder_of_nothing(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        import_data(kind, tmp_path / "empty", tmp_path / "a.h5")
    assert os.listdir(tmp_path) == ["empty"]
