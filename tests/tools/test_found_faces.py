"""Copies of training faces as a detector crops them."""

from dataclasses import replace

import numpy as np

import mien
from mien.core.preprocess import face_crop
from mien.data.store import read_store, write_store


def test_copies_are_training_rows_that_show_their_face(module_at, noise_faces, astronaut, tmp_path):
    tool = module_at("tools/found_faces.py")
    (reading,) = mien.read(astronaut)
    face = face_crop(astronaut, reading.face)
    faces = noise_faces(8)
    images = faces.images.copy()
    images[:3] = face, face[:, ::-1], face // 2
    source, target = tmp_path / "faces.h5", tmp_path / "found.h5"
    write_store(replace(faces, images=images), source)
    tool.main(source, target)
    whole, train = read_store(target), faces.select("train")
    assert whole.take(np.arange(8)).content_hash() == read_store(source).content_hash()
    copies = whole.take(np.arange(8, len(whole)))
    assert copies.rows.tolist() == (train.rows[:3] + tool.COPIES).tolist()  # noise is no face
    assert copies.labels.tolist() == train.labels[:3].tolist()
    assert set(copies.split) == {0}
    for copy, shown in zip(copies.images, images[:3], strict=True):
        assert not np.array_equal(copy, shown)
        assert np.corrcoef(copy.ravel(), shown.ravel())[0, 1] > 0.8
