"""`mien data crop` on small files: what is written, and what is said."""

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.main import app
from mien.core.images import open_image
from mien.core.mtcnn import Mtcnn
from mien.core.preprocess import face_crop
from mien.data.duplicates import NearDuplicates
from mien.data.records import FaceSet
from mien.data.store import read_near_duplicates, read_store, write_store
from mien.workflows.datasets.audit import audit_data


@pytest.fixture
def store(tmp_path, astronaut):
    """A real face, framed as FER2013 frames faces, and noise without any landmark."""
    pixels = open_image(astronaut)
    face = face_crop(pixels, Mtcnn().find(pixels)[0])
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    faces = FaceSet(
        images=np.stack([face, noise]),
        labels=np.array([0, 1]),
        split=np.array([0, 2], np.uint8),
        rows=np.array([3, 5]),
        label_names=("happy", "sad"),
        name="two",
    )
    near = NearDuplicates(
        rows=np.array([5]), nearest=np.array([3]), ncc=np.float32([0.97]), exact=np.array([False]), floor=0.9
    )
    write_store(faces, tmp_path / "two.h5", source_sha256="ab", near=near)
    return tmp_path / "two.h5"


def test_a_part_is_written_with_its_source_and_near_copies(store):
    out = store.with_name("mouth.h5")
    done = CliRunner().invoke(app, ["data", "crop", str(store), "--part", "mouth", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "1 of 2 faces (50.0%)" in done.output
    cut = read_store(out)
    assert (cut.name, cut.rows.tolist()) == ("two-mouth", [3, 5])
    assert read_near_duplicates(out).rows.tolist() == [5]
    mouth = cut.landmarks[0, 3:]
    assert (np.abs(mouth.mean(axis=0) - [24, 22]) < 8).all(), "the mouth is in the middle of its part"


def test_where_faces_are_left_out_the_audit_searches_near_copies_again(store):
    out = store.with_name("mouth.h5")
    words = ["data", "crop", str(store), "--part", "mouth", "--unsure", "drop", "--out", str(out)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (len(read_store(out)), read_near_duplicates(out)) == (1, None)
    assert audit_data(out).summary()["faces"] == {"train": 1, "val": 0, "test": 0}


def test_mistakes_are_one_line(store):
    for words, says in (
        (["--part", "moth"], "did you mean 'mouth'"),
        (["--part", "mouth", "--unsure", "guess"], "average, whole, drop"),
        (
            ["--part", "mouth", "--unsure", "drop", "--min-score", "1"],
            "has landmarks of confidence 1; ask for",
        ),
    ):
        out = store.with_name("x.h5")
        done = CliRunner().invoke(app, ["data", "crop", str(store), *words, "--out", str(out)])
        assert done.exit_code != 0
        assert says in str(done.output) + str(done.exception)
        assert not out.exists()


def test_the_source_is_never_written_over(store, monkeypatch):
    held = store.read_bytes()
    link = store.with_name("link.h5")
    link.symlink_to(store.name)
    for out in (store, link):
        done = CliRunner().invoke(app, ["data", "crop", str(store), "--part", "eyes", "--out", str(out)])
        assert (done.exit_code, "it is an input; name another file" in done.output) == (2, True), done.output
    assert store.read_bytes() == held
