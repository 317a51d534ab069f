"""Copies of training faces as a detector crops them."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import mien
from mien.core.preprocess import face_crop
from mien.data.store import read_store, write_store
from mien.train.soft_targets import SoftTargets, read_soft_targets, write_soft_targets


def test_copies_are_training_rows_that_show_their_face(module_at, noise_faces, astronaut, tmp_path):
    tool = module_at("tools/found_faces.py")
    (reading,) = mien.read(astronaut)
    face = face_crop(astronaut, reading.face)
    faces = noise_faces(8)
    images = faces.images.copy()
    images[:3] = face, face[:, ::-1], face // 2
    source, target = tmp_path / "faces.h5", tmp_path / "found.h5"
    write_store(replace(faces, images=images), source)
    train, names = faces.select("train"), faces.label_names
    probs = np.random.default_rng(0).dirichlet(np.ones(len(names)), len(train)).astype(np.float32)
    given, written = tmp_path / "targets.safetensors", tmp_path / "found-targets.safetensors"
    write_soft_targets(SoftTargets(train.rows, probs, names, "", {}), given)
    tool.main(source, target, given, written)
    whole = read_store(target)
    assert whole.take(np.arange(8)).content_hash() == read_store(source).content_hash()
    copies = whole.take(np.arange(8, len(whole)))
    assert copies.rows.tolist() == (train.rows[:3] + tool.COPIES).tolist()  # noise is no face
    assert copies.labels.tolist() == train.labels[:3].tolist()
    assert set(copies.split) == {0}
    for copy, shown in zip(copies.images, images[:3], strict=True):
        assert not np.array_equal(copy, shown)
        assert np.corrcoef(copy.ravel(), shown.ravel())[0, 1] > 0.8
    said = read_soft_targets(written).logits(whole.select("train"), whole.content_hash())
    np.testing.assert_allclose(np.exp(said[:-3]), probs, atol=1e-3)
    np.testing.assert_array_equal(said[-3:], said[:3])
