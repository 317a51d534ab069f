from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.core.emotions import FER2013
from mien.data.fer2013 import OFFICIAL_COUNTS, check_official, read_fer2013
from mien.data.pixel_csv import USAGES
from mien.errors import DataError

ROWS = [(0, "Training"), (3, "Training"), (6, "PublicTest"), (1, "PrivateTest")]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (len(ROWS), 48, 48), np.uint8)


def _pixels(image):
    return " ".join(map(str, image.reshape(-1).tolist()))


def _archive_lines(images):
    rows = [f"{label},{_pixels(image)},{usage}" for (label, usage), image in zip(ROWS, images, strict=True)]
    return ["emotion,pixels,Usage", *rows]


def _kaggle_lines(images):
    rows = [f"{label},{usage},{_pixels(image)}" for (label, usage), image in zip(ROWS, images, strict=True)]
    return ["emotion, Usage, pixels", *rows]


FORMATS = {
    "fer2013.csv": lambda images: "\n".join(_archive_lines(images)) + "\n",
    "icml_face_data.csv": lambda images: "\n".join(_kaggle_lines(images)) + "\n",
    "windows line ends": lambda images: "\r\n".join(_archive_lines(images)) + "\r\n",
    "no last line end": lambda images: "\n".join(_archive_lines(images)),
    "byte order mark": lambda images: "\ufeff" + "\n".join(_archive_lines(images)),
    "quoted fields": lambda images: "\n".join(
        ",".join(f'"{field.strip()}"' for field in line.split(",")) for line in _archive_lines(images)
    ),
    "empty lines": lambda images: "\n\n".join(_archive_lines(images)) + "\n\n\n",
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_csv_gives_the_images_labels_and_splits_in_row_order(tmp_path, images, form):
    path = tmp_path / "any.csv"
    path.write_bytes(FORMATS[form](images).encode())
    faces = read_fer2013(path, expect_official=False)
    np.testing.assert_array_equal(faces.images, images)
    assert faces.labels.tolist() == [0, 3, 6, 1]
    assert faces.split.tolist() == [0, 0, 1, 2]
    assert faces.rows.tolist() == [0, 1, 2, 3]
    assert (faces.label_names, faces.name) == (FER2013, "fer2013")


GOOD = _pixels(np.zeros((48, 48), np.uint8))
MALFORMED = {
    "one pixel too few": (f"0,{GOOD[:-2]},Training", "expected 2304 pixels, got 2303"),
    "one pixel too many": (f"0,{GOOD} 0,Training", "expected 2304 pixels, got 2305"),
    "no pixels": ("0,,Training", "expected 2304 pixels, got 0"),
    "too bright": (f"0,{GOOD[:-1]}256,Training", "whole number from 0 to 255, got '256'"),
    "negative": (f"0,{GOOD[:-1]}-1,Training", "whole number from 0 to 255, got '-1'"),
    "fraction": (f"0,{GOOD[:-1]}0.5,Training", "whole number from 0 to 255, got '0.5'"),
    "no number": (f"0,{GOOD[:-1]}x,Training", "whole number from 0 to 255, got 'x'"),
    "binary": (f"0,{GOOD[:-1]}\x00\xff,Training", r"whole number from 0 to 255, got '\\x00\\xc3\\xbf'"),
    "unknown emotion": (f"7,{GOOD},Training", "emotion must be 0 to 6, got '7'"),
    "emotion by name": (f"happy,{GOOD},Training", "emotion must be 0 to 6, got 'happy'"),
    "unknown usage": (f"0,{GOOD},Test", "Usage must be Training, PublicTest, PrivateTest, got 'Test'"),
    "missing column": (f"0,{GOOD}", "expected 3 columns, got 2"),
    "line without end": (f"0,{'0 ' * 80_000},Training", "expected 3 columns, got 2"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_row_is_named_with_its_line(tmp_path, case):
    line, text = MALFORMED[case]
    path = tmp_path / "fer2013.csv"
    path.write_text(f"emotion,pixels,Usage\n0,{GOOD},Training\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"fer2013\.csv, line 4: .*{text}"):
        read_fer2013(path, expect_official=False)


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("emotion,pixel,Usage", "pixels; is 'pixel' meant"),
        ("mood,face,split", "emotion, pixels; the first line has 'mood', 'face', 'split'"),
        ("", "emotion, pixels; the first line has ''"),
    ],
)
def test_a_header_without_a_column_is_refused(tmp_path, header, missing):
    (tmp_path / "train.csv").write_text(f"{header}\n0,{GOOD}\n")
    with pytest.raises(DataError, match=rf"line 1: needs the columns .*; missing: {missing}"):
        read_fer2013(tmp_path / "train.csv")


def test_a_missing_path_and_an_empty_csv_are_refused(tmp_path):
    with pytest.raises(DataError, match="no file or folder at"):
        read_fer2013(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(DataError, match="holds no faces"):
        read_fer2013(tmp_path / "a.csv")


def test_a_part_of_the_data_set_is_refused_unless_asked_for(tmp_path, images):
    path = tmp_path / "fer2013.csv"
    path.write_text(FORMATS["fer2013.csv"](images))
    with pytest.raises(
        DataError,
        match=r"not the complete FER2013: expected 28,709 / 3,589 / 3,589 faces, got 2 / 1 / 1; .*--partial",
    ):
        read_fer2013(path)


def test_progress_ends_at_the_size_of_the_file(tmp_path, images):
    path = tmp_path / "fer2013.csv"
    path.write_text(FORMATS["fer2013.csv"](images))
    seen = []
    read_fer2013(path, expect_official=False, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_the_official_counts_are_those_of_the_papers():
    counts = np.array(OFFICIAL_COUNTS)
    assert counts.sum(axis=1).tolist() == [28709, 3589, 3589]
    assert counts.sum(axis=0).tolist() == [4953, 547, 5121, 8989, 6077, 4002, 6198]


def _write_folders(folder, images, name):
    for i, ((label, usage), image) in enumerate(zip(ROWS, images, strict=True)):
        file = folder / ("train" if usage == "Training" else "test") / FER2013[label] / name(usage, i)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)


def test_class_folders_take_the_split_from_the_file_names(tmp_path, images):
    _write_folders(tmp_path, images, lambda usage, i: f"{usage}_{i}.png")
    faces = read_fer2013(tmp_path, expect_official=False)
    found = {(int(f.labels[0]), USAGES[f.split[0]]): f.images[0] for f in (faces.take([i]) for i in range(4))}
    assert set(found) == set(ROWS)
    for row, image in zip(ROWS, images, strict=True):
        np.testing.assert_array_equal(found[row], image)


def test_class_folders_without_such_names_put_all_of_test_in_the_test_split(tmp_path, images):
    _write_folders(tmp_path, images, lambda usage, i: f"im{i}.png")
    faces = read_fer2013(tmp_path, expect_official=False)
    assert faces.counts().sum(axis=1).tolist() == [2, 0, 2]
    with pytest.raises(DataError, match="expected 28,709 / 7,178 faces, got 2 / 2"):
        read_fer2013(tmp_path)


def test_real_rows_survive_the_way_through_a_csv(tmp_path, real_rows):
    rows, images = real_rows
    chosen = range(0, len(rows), 60)
    lines = [f"{rows[i]['emotion']},{_pixels(images[i])},{rows[i]['Usage']}" for i in chosen]
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "\n".join(lines))
    faces = read_fer2013(tmp_path / "fer2013.csv", expect_official=False)
    np.testing.assert_array_equal(faces.images, images[::60])
    assert [USAGES[code] for code in faces.split] == [rows[i]["Usage"] for i in chosen]


def test_the_real_data_set_has_the_official_counts(real_faces):
    check_official(real_faces, "fer2013.csv")
    swapped = real_faces.labels.copy()
    swapped[0] = 1
    with pytest.raises(DataError, match="expected 3,995 'angry' faces in a split, got 3,994"):
        check_official(replace(real_faces, labels=swapped), "fer2013.csv")
    merged = replace(real_faces, split=np.where(real_faces.split == 1, 2, real_faces.split).astype(np.uint8))
    check_official(merged, "a folder whose names tell no split")
