"""Class folders as downloads hold them."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from mien.core.emotions import AFFECTNET11, RAFDB
from mien.data import class_folders
from mien.data.affectnet import list_affectnet
from mien.data.fer2013 import read_fer2013
from mien.data.folders import list_folders
from mien.data.rafdb import list_rafdb
from mien.errors import DataError


def save(folder, *names, side=8):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, side), i).save(path, "PNG")


def told(listing):
    return sorted(
        (e.path.name, "" if e.label is None else listing.label_names[e.label], e.split)
        for e in listing.entries()
        if e.problem is None
    )


def left_out(listing):
    return sorted((e.path.name, e.problem.reason) for e in listing.entries() if e.problem)


TWO = [("a.png", "happy", "train"), ("b.png", "sad", "val")]


@pytest.mark.parametrize("wrap", ["", "archive", "archive/images", "a/b/c/d"])
@pytest.mark.parametrize("inner", ["", "images"])
def test_folders_around_splits_and_classes_are_entered(tmp_path, wrap, inner):
    save(tmp_path / wrap, f"TRAIN/{inner}/happy/a.png", f"Validation/{inner}/sad/b.png")
    (tmp_path / "__MACOSX" / "train" / "happy").mkdir(parents=True)
    (tmp_path / wrap / ".DS_Store").write_bytes(b"x")
    listing = list_folders(tmp_path)
    assert told(listing) == TWO
    deeper = len(Path(wrap).parts)
    beside = [f"the classes lie {deeper} folders deeper; what lies beside is not looked at"]
    assert listing.notes == tuple(beside if wrap else [])


@pytest.mark.parametrize("wrap", ["", "archive/images"])
@pytest.mark.parametrize(("one", "other"), [("happy", "sad"), ("boredom", "joy")])
def test_split_folders_in_every_class_give_the_split(tmp_path, wrap, one, other):
    save(tmp_path / wrap, f"{one}/Train/a.png", f"{one}/testing/b.png", f"{other}/validation/c.png")
    save(tmp_path / wrap, f"{other}/old/d.png", f"{other}/e.png")
    listing = list_folders(tmp_path)
    assert told(listing) == [("a.png", one, "train"), ("b.png", one, "test"), ("c.png", other, "val")]
    assert left_out(listing) == [("d.png", "unknown split"), ("e.png", "unknown split")]


def test_split_folders_in_some_classes_are_no_splits_and_that_is_said(tmp_path):
    save(tmp_path, "happy/train/a.png", "happy/test/b.png", "sad/c.png")
    listing = list_folders(tmp_path)
    assert {split for _, _, split in told(listing)} == {"train"}
    assert listing.notes == ("happy holds split folders and sad none, so they count for nothing",)


def test_a_wrapped_tree_of_labels_that_mien_does_not_know_is_entered(tmp_path):
    save(tmp_path, "archive/images/boredom/a.png", "archive/images/joy/b.png")
    assert list_folders(tmp_path).label_names == ("boredom", "joy")


def test_of_a_folder_of_images_alone_the_only_label_is_doubted(tmp_path):
    save(tmp_path, "images/a.png", "images/b.png")
    listing = list_folders(tmp_path)
    assert listing.label_names == ("images",)
    assert listing.notes[0].startswith("the only label is 'images'; expected one folder a label")


@pytest.mark.parametrize("wrap", ["", "archive"])
@pytest.mark.parametrize(("one", "other"), [("happy", "sad"), ("boredom", "joy")])
@pytest.mark.parametrize("names", [("Train_Aligned_Faces", "Val_Aligned_Faces"), ("faces-train", "valid2")])
def test_folders_with_the_word_for_a_split_give_it_where_all_have_one(tmp_path, wrap, one, other, names):
    save(tmp_path / wrap, f"{names[0]}/{one}/a.png", f"{names[0]}/{other}/b.png", f"{names[1]}/{one}/c.png")
    listing = list_folders(tmp_path)
    assert told(listing) == [("a.png", one, "train"), ("b.png", other, "train"), ("c.png", one, "val")]
    assert listing.notes[-1] == f"{names[0]} is read as train, {names[1]} is read as val"


def test_names_of_classes_that_hold_the_word_for_a_split_are_labels(tmp_path):
    save(tmp_path, "test anxiety/a.png", "boredom/b.png")
    save(tmp_path / "same", "train fever/c.png", "train sickness/d.png")
    assert list_folders(tmp_path).label_names == ("boredom", "same", "test anxiety")
    assert list_folders(tmp_path / "same").label_names == ("train fever", "train sickness")


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    save(tmp_path, "one/train/happy/a.png", "two/happy/b.png")
    with pytest.raises(DataError, match=r"several folders of classes \(one, two\); give one"):
        list_folders(tmp_path)


def test_whatever_is_no_image_of_a_class_is_listed_with_its_reason(tmp_path):
    save(
        tmp_path, "train/happy/a.png", "train/happy/noname", "train/loose.png", "top.png", "extra/happy/c.png"
    )
    (tmp_path / "train" / "happy" / "notes.txt").write_text("x")
    (tmp_path / "train" / "happy" / "._a.png").write_text("x")
    os.symlink("nowhere.png", tmp_path / "train" / "happy" / "broken.png")
    os.symlink("loop", tmp_path / "train" / "happy" / "loop")
    os.symlink("..", tmp_path / "train" / "happy" / "up")
    listing = list_folders(tmp_path)
    assert ("a.png", "happy", "train") in told(listing)
    assert ("noname", "happy", "train") in told(listing)
    assert {
        ("broken.png", "missing file"),
        ("c.png", "unknown split"),
        ("loop", "missing file"),
        ("loose.png", "no label"),
        ("notes.txt", "not an image"),
        ("top.png", "no label"),
        ("up", "link in a circle"),
    } <= set(left_out(listing))


def test_folders_of_many_links_are_entered_once(tmp_path):
    """Two links a level to the next double the work at each of 40 levels."""
    levels = [tmp_path / "levels" / str(i) for i in range(40)]
    for here, below in pairwise(levels):
        here.mkdir(parents=True)
        for name in ("a", "b"):
            os.symlink(below, here / name)
    save(levels[-1], "x.png")
    save(tmp_path / "in" / "train", "happy/a.png")
    os.symlink(levels[0], tmp_path / "in" / "train" / "happy" / "farm")
    listing = list_folders(tmp_path / "in")
    assert told(listing) == [("a.png", "happy", "train"), ("x.png", "happy", "train")]
    assert {reason for _, reason in left_out(listing)} == {"link to a folder that is read"}
    assert len(left_out(listing)) == 39
    assert told(list_folders(levels[0])) == [("x.png", "a", "train"), ("x.png", "b", "train")]


def test_a_tree_that_is_deeper_than_python_s_stack_is_read(tmp_path):
    save(tmp_path, "train/happy/a.png")
    folders = [tmp_path / "train" / "happy"]
    try:
        for _ in range(1100):
            folders.append(folders[-1] / "d")
            folders[-1].mkdir()
        save(folders[-1], "b.png")
        assert told(list_folders(tmp_path)) == [("a.png", "happy", "train"), ("b.png", "happy", "train")]
    finally:  # removing a tree is recursive
        (folders[-1] / "b.png").unlink(missing_ok=True)
        for folder in reversed(folders[1:]):
            folder.rmdir()


def test_a_split_that_is_a_link_is_followed(tmp_path):
    save(tmp_path / "elsewhere", "happy/a.png")
    (tmp_path / "mine").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "mine" / "train")
    assert told(list_folders(tmp_path / "mine")) == [("a.png", "happy", "train")]


def test_a_folder_that_cannot_be_listed_stops_the_import(tmp_path, monkeypatch):
    save(tmp_path, "train/happy/a.png", "val/happy/b.png")
    real = class_folders.Path.iterdir

    def listed(path):
        if path.name == "val":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(class_folders.Path, "iterdir", listed)
    with pytest.raises(DataError, match=r"val cannot be listed \(permission denied\); check its permissions"):
        list_folders(tmp_path)


def test_names_of_classes_that_differ_in_case_or_unicode_form_are_one_label(tmp_path):
    save(
        tmp_path,
        "test/Tr\u00e4ne/a.png",
        "test/Boredom/b.png",
        "train/tra\u0308ne/c.png",
        "train/boredom/d.png",
    )
    listing = list_folders(tmp_path)
    assert listing.label_names == ("Boredom", "Tr\u00e4ne")
    assert told(listing) == [
        ("a.png", "Tr\u00e4ne", "test"),
        ("b.png", "Boredom", "test"),
        ("c.png", "Tr\u00e4ne", "train"),
        ("d.png", "Boredom", "train"),
    ]


def test_numbers_as_labels_are_doubted(tmp_path):
    save(tmp_path, "train/1/a.png", "train/2/b.png")
    assert "mien data import rafdb or affectnet knows theirs" in list_folders(tmp_path).notes[0]


@pytest.mark.parametrize("wrap", ["", "DATASET"])
def test_rafdb_in_folders_from_1_to_7(tmp_path, wrap):
    save(tmp_path / wrap, *(f"train/{i}/{i}.png" for i in range(1, 9)), "test/4/t.png")
    listing = list_rafdb(tmp_path)
    assert told(listing) == sorted(
        [*((f"{i}.png", RAFDB[i - 1], "train") for i in range(1, 8)), ("t.png", RAFDB[3], "test")]
    )
    assert left_out(listing) == [("8.png", "label out of range")]


def test_affectnet_in_folders_by_number_or_name(tmp_path):
    save(tmp_path, "Train/0/a.png", "Train/007/b.png", "val/Anger/c.png", "val/Uncertain/d.png")
    listing = list_affectnet(tmp_path)
    assert listing.label_names == AFFECTNET11
    assert told(listing) == [
        ("a.png", "neutral", "train"),
        ("b.png", "contempt", "train"),
        ("c.png", "angry", "val"),
        ("d.png", "uncertain", "val"),
    ]


def test_wrapped_folders_of_fer2013_are_read_and_other_files_counted(tmp_path):
    save(tmp_path / "archive", "train/happy/a.png", "test/sad/b.png", side=48)
    (tmp_path / "archive" / "test" / "sad" / "list.txt").write_text("x")
    skipped = []
    faces = read_fer2013(tmp_path, expect_official=False, skipped=skipped)
    assert faces.split.tolist() == [2, 0]
    assert [problem.reason for _, problem in skipped] == ["not an image"]
