"""What the sheets show: confused pairs, mean faces, colours."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("matplotlib", reason="needs the train extra")

from mien.core.mtcnn import Mtcnn
from mien.core.preprocess import face_crop
from mien.workflows.explain.sheets import overlay, top_of_scale
from mien.workflows.explain.split_sheets import aligned_means, most_confused


def test_the_most_confused_pair_is_a_share_of_the_faces_of_both() -> None:
    confusion = np.array([[90, 10, 0], [10, 80, 10], [0, 4, 6]])
    assert most_confused(confusion, 5) == [(1, 2), (0, 1)]  # 14 of 110, 20 of 200; 0 and 2 never


def test_means_are_taken_over_faces_brought_to_the_same_five_points(astronaut) -> None:
    face = face_crop(astronaut, Mtcnn().find(astronaut)[0])
    shifted = np.roll(face, 3, axis=1)
    spots = np.zeros((2, 48, 48), np.float32)
    spots[0, 20:24, 20:24] = spots[1, 20:24, 23:27] = 1  # on the same place of the face
    mean, maps, n = aligned_means(np.stack([face, shifted]), {"m": spots})
    assert n == 2
    assert mean.shape == (48, 48)
    assert maps["m"].max() > 0.85  # side by side and not aligned, three of four columns would overlap less
    blank = aligned_means(np.full((1, 48, 48), 90, np.uint8), {"m": spots[:1]})
    assert blank[2] == 0


def test_what_speaks_against_a_class_has_the_colour_of_zero() -> None:
    values = np.linspace(-1, 1, 48 * 48).reshape(48, 48)
    colours = overlay(np.full((48, 48), 128, np.uint8), values)
    assert (colours[values < 0] == colours[0, 0]).all()
    assert not np.allclose(colours[-1, -1], colours[0, 0])
    assert top_of_scale(-np.ones((4, 4))) == 0


def test_a_map_lies_over_a_colour_face_as_over_its_gray_one() -> None:
    values = np.random.default_rng(0).normal(size=(48, 48))
    face = np.random.default_rng(1).integers(0, 255, (48, 48, 3), np.uint8)
    gray = np.asarray(Image.fromarray(face).convert("L"))
    assert overlay(face, values).shape == (48, 48, 3)
    np.testing.assert_allclose(overlay(face, values), overlay(gray, values), atol=0.002)
