"""Each reader against small files in the real format."""

import csv
import io
import math
import os
import sys

import numpy as np
import pytest
from PIL import Image

from mien.core.emotions import AFFECTNET11, CKPLUS, JAFFE, RAFDB
from mien.data.affectnet import COLUMNS, list_affectnet
from mien.data.ckplus import list_ckplus
from mien.data.csv_list import list_paths
from mien.data.folders import list_folders
from mien.data.jaffe import list_jaffe
from mien.data.listing import Problem
from mien.data.rafdb import list_rafdb
from mien.errors import DataError

SAD, ANGRY = AFFECTNET11.index("sad"), AFFECTNET11.index("angry")


def save(path, value=0, size_wh=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size_wh, value).save(path)


def told(listing):
    """What the entries say, without the folder of the file."""
    entries = list(listing.entries())
    assert len(entries) == len(list(listing.entries()))  # given again each time
    return [(e.path.name, e.label, e.split, e.problem.reason if e.problem else "") for e in entries]


# AffectNet

POINTS = ";".join(f"{i}.25" for i in range(136))


def affectnet_row(name, expression="2", valence="-0.5", arousal="0.25", points=POINTS):
    return [name, "10", "20", "30", "40", points, expression, valence, arousal]


def write_lists(folder, training, validation=(), header=True):
    for name, rows in (("training.csv", training), ("validation.csv", validation)):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows] if header else rows)


def test_affectnet_lists_give_label_box_affect_and_landmarks(tmp_path):
    save(tmp_path / "Manually_Annotated_Images" / "689" / "a.jpg")
    write_lists(tmp_path, [affectnet_row("689/a.jpg")], [affectnet_row("7/b.jpg", "6", "-2", "-2")])
    listing = list_affectnet(tmp_path)
    first, second = listing.entries()
    assert first.path == tmp_path / "Manually_Annotated_Images" / "689" / "a.jpg"
    assert (first.label, first.split, first.box) == (SAD, "train", (10, 20, 40, 60))
    assert (first.valence, first.arousal) == (-0.5, 0.25)
    assert first.landmarks.shape == (68, 2)
    assert first.landmarks[1].tolist() == [2.75, 3.75]  # pixel 2.25, 3.25, half a pixel to its centre
    assert (second.label, second.split) == (ANGRY, "val")
    assert math.isnan(second.valence)
    assert math.isnan(second.arousal)
    assert (listing.label_names, listing.n_landmarks, listing.valence_arousal) == (AFFECTNET11, 68, True)


def test_the_eleven_labels_of_affectnet_have_the_order_of_its_codes():
    codes = "neutral happy sad surprise fear disgust angry contempt none uncertain not-a-face"
    assert codes.split() == list(AFFECTNET11)


def test_affectnet_lists_without_a_header_and_with_images_at_the_top_are_read(tmp_path):
    save(tmp_path / "1" / "a.jpg")
    write_lists(tmp_path, [affectnet_row("1/a.jpg")], header=False)
    (entry,) = list_affectnet(tmp_path).entries()
    assert (entry.path, entry.label) == (tmp_path / "1" / "a.jpg", SAD)


def test_affectnet_images_are_found_though_the_first_of_the_list_is_missing(tmp_path):
    folder = tmp_path / "Manually_Annotated"
    save(folder / "1" / "b.jpg")
    write_lists(tmp_path, [affectnet_row("1/a.jpg"), affectnet_row("1/b.jpg")], [affectnet_row("2/c.jpg")])
    paths = [entry.path for entry in list_affectnet(tmp_path).entries()]
    assert paths == [folder / "1" / "a.jpg", folder / "1" / "b.jpg", folder / "2" / "c.jpg"]


def test_affectnet_rows_that_do_not_fit_are_told(tmp_path):
    rows = [
        affectnet_row("a.jpg", "11"),
        affectnet_row("b.jpg", ""),
        affectnet_row("c.jpg", points="1;2;3"),
        affectnet_row("d.jpg", valence="NULL"),
        affectnet_row("e.jpg", arousal="3"),
        ["f.jpg"],
    ]
    write_lists(tmp_path, rows)
    assert told(list_affectnet(tmp_path)) == [
        ("a.jpg", None, "train", "label out of range"),
        ("b.jpg", None, "train", "no label"),
        ("c.jpg", None, "train", "malformed row"),
        ("d.jpg", None, "train", "malformed row"),
        ("e.jpg", None, "train", "malformed row"),
        ("f.jpg", None, "train", "no label"),
    ]


def write_arrays(folder, stem, **values):
    (folder / "annotations").mkdir(exist_ok=True)
    for kind, value in values.items():
        np.save(folder / "annotations" / f"{stem}_{kind}.npy", value)


def test_affectnet_arrays_are_read_as_text_or_numbers_and_never_as_pickles(tmp_path):
    train = tmp_path / "train_set"
    for stem in ("10", "9", "3", "4", "5"):
        save(train / "images" / f"{stem}.jpg")
    save(tmp_path / "val_set" / "images" / "0.jpg")
    points = np.arange(136, dtype=np.float64)
    write_arrays(train, "9", exp=np.array("6"), val=np.array("-0.5"), aro=np.array("-2"), lnd=points)
    write_arrays(train, "10", exp=np.array([2]), val=np.array([0.5]), aro=np.array([1.0]), lnd=points)
    write_arrays(train, "4", exp=np.array(["8", "x"], object), val=points, aro=points, lnd=points)
    write_arrays(train, "5", exp=np.array("12"), val=points, aro=points, lnd=points)
    write_arrays(tmp_path / "val_set", "0", exp="0", val="0", aro="0", lnd=points.reshape(68, 2))
    listing = list_affectnet(tmp_path)
    assert listing.total == 6
    assert told(listing) == [
        ("3.jpg", None, "train", "no label"),
        ("4.jpg", None, "train", "malformed row"),
        ("5.jpg", None, "train", "label out of range"),
        ("9.jpg", ANGRY, "train", ""),
        ("10.jpg", SAD, "train", ""),
        ("0.jpg", 0, "val", ""),
    ]
    nine = list(listing.entries())[3]
    assert (nine.valence, nine.box) == (-0.5, None)
    assert math.isnan(nine.arousal)
    assert nine.landmarks[-1].tolist() == [134.5, 135.5]


def packed(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(2))


def huge(path):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
        )


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.touch(),
        lambda path: path.write_bytes(b"PK\x03\x04"),
        packed,
        huge,
    ],
    ids=["empty", "half an archive", "an archive", "more than the memory"],
)
def test_an_affectnet_array_that_is_none_is_a_malformed_row(tmp_path, write):
    train = tmp_path / "train_set"
    save(train / "images" / "1.jpg")
    write_arrays(train, "1", val="0", aro="0", lnd=np.zeros(136))
    write(train / "annotations" / "1_exp.npy")
    assert told(list_affectnet(tmp_path)) == [("1.jpg", None, "train", "malformed row")]


# RAF-DB


def test_rafdb_takes_split_and_label_from_its_list(tmp_path):
    (tmp_path / "EmoLabel").mkdir()
    lines = ["train_00001.jpg 5", "test_0001.jpg 1", "train_00002.jpg 8", "train_00003.jpg", "x_1.jpg 1"]
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    save(tmp_path / "Image" / "aligned" / "train_00001_aligned.jpg")
    listing = list_rafdb(tmp_path)
    assert told(listing) == [
        ("train_00001_aligned.jpg", RAFDB.index("sad"), "train", ""),
        ("test_0001.jpg", RAFDB.index("surprise"), "test", ""),
        ("train_00002.jpg", None, "train", "label out of range"),
        ("train_00003.jpg", None, "train", "no label"),
        ("x_1.jpg", 0, "train", "unknown split"),
    ]
    assert RAFDB == ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


def test_rafdb_also_takes_a_list_of_aligned_names(tmp_path):
    (tmp_path / "list_patition_label.txt").write_text("test_0001_aligned.jpg 4\n")
    save(tmp_path / "aligned" / "test_0001_aligned.jpg")
    (entry,) = list_rafdb(tmp_path).entries()
    assert entry.path.is_file()
    assert RAFDB[entry.label] == "happy"


@pytest.mark.parametrize("in_folders", [False, True], ids=["list", "folders"])
def test_the_compound_set_of_rafdb_is_not_taken_for_the_basic_one(tmp_path, in_folders):
    codes = range(1, 12)
    if in_folders:
        for code in codes:
            save(tmp_path / "train" / str(code) / "a.jpg")
    else:
        rows = [f"train_{code:05}.jpg {code}\n" for code in codes]
        (tmp_path / "list_patition_label.txt").write_text("".join(rows))
    with pytest.raises(DataError, match="has labels of the compound set of RAF-DB: expected 1 to 7 of the"):
        list_rafdb(tmp_path)


def test_rafdb_is_found_through_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "list_patition_label.txt").write_text("test_0001.jpg 4\n")
    save(tmp_path / "disk" / "aligned" / "test_0001_aligned.jpg")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "RAF").symlink_to(tmp_path / "disk")
    (entry,) = list_rafdb(tmp_path / "here").entries()
    assert entry.path.is_file()


def test_rafdb_passes_over_what_a_mac_puts_beside(tmp_path):
    for folder in (tmp_path / "__MACOSX" / "basic", tmp_path / "basic"):
        (folder / "Image" / "aligned").mkdir(parents=True)
        (folder / "list_patition_label.txt").write_text("test_0001.jpg 4\n")
    save(tmp_path / "basic" / "Image" / "aligned" / "test_0001_aligned.jpg")
    (entry,) = list_rafdb(tmp_path).entries()
    assert entry.path.is_file()


# CK+ and JAFFE


@pytest.fixture
def ckplus(tmp_path):
    """S005 shows disgust in 4 frames; a second sequence has no label, a third an impossible one."""
    for person, take, n, label in (
        *(("S005", "001", 4, "   3.0000000e+00\n"), ("S005", "002", 2, None)),
        ("S010", "001", 1, "9.0"),
    ):
        for i in range(1, n + 1):
            save(tmp_path / "cohn-kanade-images" / person / take / f"{person}_{take}_{i:08}.png", i)
        folder = tmp_path / "Emotion" / person / take
        folder.mkdir(parents=True)
        if label:
            (folder / f"{person}_{take}_{n:08}_emotion.txt").write_text(label)
    return tmp_path


def test_ckplus_labels_the_last_frame_and_names_the_person(ckplus):
    assert told(list_ckplus(ckplus)) == [
        ("S005_001_00000004.png", CKPLUS.index("disgust"), "train", ""),
        ("S005_002_00000002.png", None, "train", "no label"),
        ("S010_001_00000001.png", None, "train", "label out of range"),
    ]
    assert [entry.person for entry in list_ckplus(ckplus).entries()] == ["S005", "S005", "S010"]
    assert CKPLUS == ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_ckplus_takes_a_person_whose_folder_is_not_in_utf_8(ckplus):
    (ckplus / "cohn-kanade-images" / "S010").rename(ckplus / "cohn-kanade-images" / os.fsdecode(b"S\xe91"))
    assert [entry.person for entry in list_ckplus(ckplus).entries()] == ["S005", "S005", "S\ufffd1"]


def test_ckplus_gives_as_many_peak_frames_as_asked(ckplus):
    names = [name for name, label, *_ in told(list_ckplus(ckplus, peaks=3)) if label is not None]
    assert names == [f"S005_001_0000000{i}.png" for i in (2, 3, 4)]
    with pytest.raises(DataError, match="at least 1 peak frame, got 0"):
        list_ckplus(ckplus, peaks=0)


def test_names_in_capitals_are_known(tmp_path, ckplus):
    save(tmp_path / "jaffe" / "KA.AN1.39.TIFF")
    assert len(told(list_jaffe(tmp_path / "jaffe"))) == 1
    before = len(told(list_ckplus(ckplus)))
    for file in list(ckplus.rglob("*.png")):
        file.rename(file.with_suffix(".PNG"))
    assert len(told(list_ckplus(ckplus))) == before


def refuse(monkeypatch, name, *functions):
    """As for a user who may not read what is called ``name``; root may read everything."""

    def refused(real):
        def function(path=".", *rest):
            if not isinstance(path, int) and os.path.basename(os.fspath(path)) == name:
                raise PermissionError(13, "Permission denied", path)
            return real(path, *rest)

        return function

    for module, function in functions:
        monkeypatch.setattr(module, function, refused(getattr(module, function)))


@pytest.mark.parametrize(
    ("reader", "file", "folder"),
    [
        (list_ckplus, "cohn-kanade-images/S005/001/S005_001_00000001.png", "001"),
        (list_ckplus, "cohn-kanade-images/S010/001/S010_001_00000001.png", "S010"),
        (list_jaffe, "S1/KA.AN1.39.tiff", "S1"),
        (list_affectnet, "val_set/images/1.jpg", "images"),
    ],
    ids=["a sequence", "a person", "jaffe", "affectnet"],
)
def test_a_folder_that_cannot_be_listed_stops_every_reader(tmp_path, monkeypatch, reader, file, folder):
    (tmp_path / "Emotion").mkdir()
    save(tmp_path / file)
    save(tmp_path / "KA.SU3.38.tiff")
    refuse(monkeypatch, folder, (os, "listdir"), (os, "scandir"))
    with pytest.raises(DataError, match=rf"{folder} cannot be listed \(permission denied\); check its perm"):
        reader(tmp_path)


def test_a_label_of_ckplus_that_cannot_be_read_is_told(ckplus, monkeypatch):
    refuse(monkeypatch, "S005_001_00000004_emotion.txt", (io, "open"))
    assert told(list_ckplus(ckplus))[0] == ("S005_001_00000004.png", None, "train", "unreadable file")


def test_jaffe_takes_person_and_emotion_from_the_name(tmp_path):
    names = ("KA.AN1.39.tiff", "KA.SU3.38.tiff", "YM.NE2.50.tiff", "YM.XX2.51.tiff")
    for name in names:
        save(tmp_path / name)
    (tmp_path / "README").write_text("x")
    listing = list_jaffe(tmp_path)
    assert [JAFFE[label] if label is not None else reason for _, label, _, reason in told(listing)] == [
        "angry",
        "surprise",
        "neutral",
        "label out of range",
    ]
    assert [entry.person for entry in listing.entries()] == ["KA", "KA", "YM", "YM"]


def test_rafdb_bears_names_that_no_system_takes(tmp_path):
    (tmp_path / "list_patition_label.txt").write_text(f"train_{'9' * 5000}.jpg 5\n")
    (entry,) = list_rafdb(tmp_path).entries()
    assert entry.label == 4


# folders and CSV


def test_any_class_folders_give_their_names_as_labels(tmp_path):
    for name in ("Anger/a.png", "boredom/deep/b.jpg", ".hidden/c.png", "Anger/notes.txt"):
        save(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("x")
    listing = list_folders(tmp_path)
    assert listing.label_names == ("angry", "boredom")
    assert told(listing) == [
        ("a.png", 0, "train", ""),
        ("notes.txt", None, "train", "not an image"),
        ("b.jpg", 1, "train", ""),
    ]


def test_split_folders_above_the_class_folders_give_the_split(tmp_path):
    for name in ("Training/happy/a.png", "valid/sad/b.png", "test/happy/c.png", "other/fear/d.png"):
        save(tmp_path / name)
    listing = list_folders(tmp_path)
    assert listing.label_names == ("happy", "sad")
    assert sorted(told(listing)) == [
        ("a.png", 0, "train", ""),
        ("b.png", 1, "val", ""),
        ("c.png", 0, "test", ""),
        ("d.png", None, "train", "unknown split"),
    ]


def test_a_csv_gives_all_its_columns(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "\ufeffpath,label,split,person,x1,y1,x2,y2,valence,arousal,comment\n"
        "a.png,Happiness,PublicTest,Zoë,1,2,3.5,4,0.5,-2,fine\n"
        "/b.png,boredom,train,,,,,,,,\n"
    )
    listing = list_paths(tmp_path / "mine.csv")
    assert (listing.name, listing.label_names, listing.total) == ("mine", ("boredom", "happy"), 2)
    assert listing.notes == ("columns that are not read: 'comment'",)
    assert listing.persons
    a, b = listing.entries()
    assert (a.path, a.label, a.split, a.person) == (tmp_path / "a.png", 1, "val", "Zoë")
    assert (a.box, a.valence) == ((1, 2, 3.5, 4), 0.5)
    assert math.isnan(a.arousal)
    assert (str(b.path), b.label, b.split, b.person, b.box) == ("/b.png", 0, "train", "", None)


@pytest.mark.parametrize("names", ["x1,y1,x2,y2", "xmin,ymin,xmax,ymax", "left,top,right,bottom"])
def test_a_csv_gives_boxes_in_pixels_and_tells_those_in_shares_of_the_image(tmp_path, names):
    rows = ("a.png,happy,4,4,30,30", "b.png,happy,0.1,0.1,0.5,1.0", "c.png,happy,-3,-3,1,2")
    (tmp_path / "mine.csv").write_text("\n".join([f"path,label,{names}", *rows]))
    listing = list_paths(tmp_path / "mine.csv")
    a, b, c = listing.entries()
    assert (listing.notes, a.box, c.box) == ((), (4, 4, 30, 30), (-3, -3, 1, 2))
    assert b.problem == Problem(
        "malformed row", "expected a box in pixels, got shares of the image up to 0.5, 1"
    )


def test_columns_of_a_csv_that_are_not_read_are_named(tmp_path):
    (tmp_path / "mine.csv").write_text(",path,label,bbox_x,bbox_y,w,h\n0,a.png,happy,4,4,30,30\n")
    listing = list_paths(tmp_path / "mine.csv")
    assert listing.notes == ("columns that are not read: 'bbox_x', 'bbox_y', 'w', 'h'",)
    assert [entry.box for entry in listing.entries()] == [None]


def test_labels_of_a_csv_that_differ_in_case_or_unicode_form_are_one(tmp_path):
    rows = ("a.png,Tr\u00e4ne", "b.png,boredom", "c.png,TRA\u0308NE", "d.png,Boredom")
    (tmp_path / "mine.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    listing = list_paths(tmp_path / "mine.csv")
    assert listing.label_names == ("Tr\u00e4ne", "boredom")
    assert [label for _, label, *_ in told(listing)] == [0, 1, 0, 1]


def test_other_names_of_the_splits_are_understood_and_an_unknown_one_is_told_what_to_write(tmp_path):
    names = ("Training", "dev", "development", "privatetest", "2")
    rows = [f"{i}.png,happy,{name}" for i, name in enumerate(names)]
    (tmp_path / "mine.csv").write_text("\n".join(["path,label,split", *rows]))
    *known, unknown = list_paths(tmp_path / "mine.csv").entries()
    assert [entry.split for entry in known] == ["train", "val", "val", "test"]
    assert unknown.problem == Problem("unknown split", "2; write train, val or test")


def test_csv_rows_that_do_not_fit_are_told(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "path,label,split,x1,y1,x2,y2,valence\n"
        "a.png,,train\n"
        "b.png,happy,sunday\n"
        "c.png,happy,train,1,2,3\n"
        "d.png,happy,train,,,,,7\n"
        "e.png,10,train,,,,,0,surplus\n"
        "f.png,9,train\n"
        "g.png,9,\n"
        "h.png,9\n"
    )
    listing = list_paths(tmp_path / "mine.csv")
    assert listing.label_names == ("happy", "9", "10")
    assert told(listing) == [
        ("a.png", None, "train", "no label"),
        ("b.png", None, "train", "unknown split"),
        ("c.png", None, "train", "malformed row"),
        ("d.png", None, "train", "malformed row"),
        ("e.png", 2, "train", ""),
        ("f.png", 1, "train", ""),
        ("g.png", None, "train", "unknown split"),
        ("h.png", None, "train", "unknown split"),
    ]


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (list_affectnet, r"is not AffectNet: expected training\.csv and validation\.csv, or train_set/"),
        (list_rafdb, r"is not RAF-DB: expected list_patition_label\.txt in it"),
        (list_ckplus, r"is not CK\+: expected cohn-kanade-images/ and Emotion/ in it"),
        (list_jaffe, r"is not JAFFE: expected files such as KA\.AN1\.39\.tiff"),
        (list_folders, "holds no class folders with images"),
        (lambda path: list_paths(path / "x.csv"), r"x\.csv cannot be read: no such file"),
    ],
    ids=["affectnet", "rafdb", "ckplus", "jaffe", "folders", "csv"],
)
def test_a_folder_of_something_else_is_refused(tmp_path, reader, text):
    with pytest.raises(DataError, match=text):
        reader(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"paths,label\n", r"line 1: needs the columns path, label; missing: path; is 'paths' meant"),
        (b"emotion,pixels\n0,1\n", "holds pixels, not paths; import it: mien data import fer2013"),
        (b"path,label\na.png,\n", "has no row with a label"),
        (b"path,label\n\x81\xff,happy\n", "is not a text table"),
    ],
    ids=["columns", "pixels", "no labels", "bytes"],
)
def test_a_csv_of_something_else_is_refused(tmp_path, content, text):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=text):
        list_paths(tmp_path / "x.csv")
