import numpy as np
import pytest
from PIL import Image

from mien.data.folders import FolderLayout, read_folders
from mien.errors import DataError

LAYOUT = FolderLayout("mine", ("happy", "sad"), 8)


def _save(path, value=0, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_folders_give_the_split_and_names_of_emotions_the_label(tmp_path):
    _save(tmp_path / "train" / "happy" / "b.png", 2)
    _save(tmp_path / "train" / "happy" / "a.png", 1)
    _save(tmp_path / "Validation" / "sadness" / "a.jpg", 3)
    _save(tmp_path / "test" / "Sad" / "a.png", 4)
    faces = read_folders(tmp_path, LAYOUT)
    found = sorted(
        zip(faces.images[:, 0, 0].tolist(), faces.split.tolist(), faces.labels.tolist(), strict=True)
    )
    assert found == [(1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 2, 1)]
    assert faces.rows.tolist() == [0, 1, 2, 3]
    assert (faces.name, faces.label_names) == ("mine", ("happy", "sad"))


def test_the_order_is_that_of_the_sorted_paths(tmp_path):
    for value in (3, 1, 2):
        _save(tmp_path / "train" / "happy" / f"{value}.png", value)
    assert read_folders(tmp_path, LAYOUT).images[:, 0, 0].tolist() == [1, 2, 3]


def test_colour_images_become_gray(tmp_path):
    _save(tmp_path / "train" / "sad" / "a.png", (255, 0, 0), mode="RGB")
    assert read_folders(tmp_path, LAYOUT).images[0, 0, 0] == round(255 * 0.299)


def test_files_that_are_no_images_and_hidden_files_are_passed_over(tmp_path):
    _save(tmp_path / "train" / "sad" / "a.png")
    (tmp_path / "train" / "sad" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / "sad" / "._a.png").write_bytes(b"x")
    (tmp_path / "notes").mkdir()
    assert len(read_folders(tmp_path, LAYOUT)) == 1


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "train/sad/a.png",
            b"not an image",
            r"sad/a\.png: cannot be read as an image; replace it",
        ),
        ("train/sad/a.png", b"", r"sad/a\.png: cannot be read as an image"),
        ("train/sly/a.png", b"", "sly: no emotion named 'sly'"),
        ("train/fear/a.png", b"", r"'fear' is not an emotion of this data set \(known: happy, sad\)"),
        ("images/sad/a.png", b"", "holds no folder train, val or test"),
    ],
    ids=["text", "empty", "no emotion", "other emotion", "no split"],
)
def test_what_does_not_fit_is_named(tmp_path, name, content, text):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=text):
        read_folders(tmp_path, LAYOUT)


def test_an_image_of_another_size_is_named(tmp_path):
    _save(tmp_path / "train" / "sad" / "a.png", size=(9, 8))
    with pytest.raises(DataError, match=r"a\.png: expected an image of 8x8 pixels, got 9x8"):
        read_folders(tmp_path, LAYOUT)


def test_a_truncated_image_is_named(tmp_path):
    path = tmp_path / "train" / "sad" / "a.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read as an image; replace it, or leave it out"):
        read_folders(tmp_path, LAYOUT)


def test_images_that_cannot_be_read_are_left_out_and_told_where_a_part_is_accepted(tmp_path):
    _save(tmp_path / "train" / "sad" / "b.png", 7)
    for name, content in (("a.png", b"text"), ("c.png", (tmp_path / "train/sad/b.png").read_bytes()[:45])):
        (tmp_path / "train" / "sad" / name).write_bytes(content)
    skipped = []
    faces = read_folders(tmp_path, LAYOUT, skipped=skipped, partial=True)
    assert (faces.images[:, 0, 0].tolist(), faces.rows.tolist()) == ([7], [1])
    assert [(path.name, problem.reason) for path, problem in skipped] == [
        ("a.png", "not an image"),
        ("c.png", "damaged"),
    ]
