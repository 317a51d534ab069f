"""Parts of faces: cut where they are, with everything that the source says of each face."""

from dataclasses import replace

import numpy as np
import pytest

from mien.core.preprocess import FER2013_POINTS
from mien.data.leaks import find_leak, learned
from mien.data.parts import PARTS, PartSettings, cut_part
from mien.errors import DataError, MienError


def marked(faces, points):
    """Faces with one bright 3 x 3 spot at each landmark."""
    images = np.full_like(faces.images, 20)
    for image, five in zip(images, points, strict=True):
        for x, y in five:
            image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 240
    return replace(faces, images=images)


def turned(n, seed=0):
    """The mean landmarks, turned, shrunk and shifted a little, (n, 5, 2)."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        turn, scale = rng.uniform(-0.4, 0.4), rng.uniform(0.7, 0.9)
        linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        out.append((FER2013_POINTS - 24) @ linear.T + 24 + rng.uniform(-2, 2, 2))
    return np.array(out, np.float32)


def finder(points, scores):
    """Landmarks that are known beforehand, given in batches as a network would."""
    left = iter(zip(points, scores, strict=True))

    def find(images):
        pairs = [next(left) for _ in images]
        return np.array([p for p, _ in pairs]), np.array([s for _, s in pairs], np.float32)

    return find


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_aligned_by_the_landmarks(make_faces, part):
    points = turned(6)
    faces = marked(make_faces(6), points)
    cut, n_unsure = cut_part(faces, PartSettings(part), finder(points, np.ones(6)))
    x1, y1, x2, y2 = PARTS[part]
    expected = (FER2013_POINTS - [x1, y1]) * [48 / (x2 - x1), 48 / (y2 - y1)]
    assert n_unsure == 0
    np.testing.assert_allclose(cut.landmarks, np.repeat(expected[None], 6, axis=0), atol=0.01)
    inside = ((expected > 3) & (expected < 45)).all(axis=1)
    for image in cut.images:
        for x, y in expected[inside]:
            assert image[int(y), int(x)] > 100, "the spot is where the landmark went"


def test_a_mouth_holds_the_mouth_and_no_eye():
    x1, y1, x2, y2 = PARTS["mouth"]
    inside = (([x1, y1] < FER2013_POINTS) & ([x2, y2] > FER2013_POINTS)).all(axis=1)
    assert inside.tolist() == [False, False, False, True, True]


def test_what_is_known_of_a_face_stays_with_its_part(make_faces):
    faces = make_faces(9, votes=True)
    cut, _ = cut_part(faces, PartSettings("eyes", size=32), finder(turned(9), np.linspace(0.6, 1, 9)))
    assert cut.images.shape == (9, 32, 32)
    assert cut.name == "made-up-eyes"
    for field in ("labels", "split", "rows", "votes"):
        np.testing.assert_array_equal(getattr(cut, field), getattr(faces, field))
    np.testing.assert_allclose(cut.landmark_score, np.linspace(0.6, 1, 9), rtol=1e-6)


@pytest.mark.parametrize("unsure", ["average", "whole", "drop"])
def test_a_face_without_reliable_landmarks_follows_the_rule(make_faces, unsure):
    points, scores = turned(4), np.array([1, 0.2, 1, 1])
    faces = make_faces(4)
    cut, n_unsure = cut_part(faces, PartSettings("lower", unsure=unsure), finder(points, scores))
    assert n_unsure == 1
    if unsure == "drop":
        assert cut.rows.tolist() == faces.rows[[0, 2, 3]].tolist()
        return
    assert np.isnan(cut.landmarks[1]).all()
    assert not np.isnan(cut.landmarks[[0, 2, 3]]).any()
    rows = faces.images[1] if unsure == "whole" else faces.images[1][26:48]
    assert abs(cut.images[1].mean() - rows.mean()) < 3
    if unsure == "whole":
        np.testing.assert_array_equal(cut.images[1], faces.images[1])


def test_colour_stays_colour(make_faces):
    faces = make_faces(3)
    faces = replace(faces, images=np.repeat(faces.images[..., None], 3, axis=3))
    cut, _ = cut_part(faces, PartSettings("face"), finder(turned(3), np.ones(3)))
    assert cut.images.shape == (3, 48, 48, 3)


def test_what_cannot_be_cut_is_refused(make_faces):
    with pytest.raises(DataError, match="did you mean 'mouth'"):
        PartSettings("moth")
    with pytest.raises(DataError, match="average, whole, drop"):
        PartSettings("face", unsure="guess")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"8\.\.1024"):
        PartSettings("face", size=4)
    with pytest.raises(DataError, match=r"0\.\.1"):
        PartSettings("face", min_score=2)
    flat = replace(make_faces(3), images=np.zeros((3, 48, 40), np.uint8))
    with pytest.raises(MienError, match="square"):
        cut_part(flat, PartSettings("face"), finder(turned(3), np.ones(3)))


@pytest.mark.parametrize(("name", "official"), [("fer2013", 1), ("fer2013-mouth", 1), ("fer2013-mine", 0)])
def test_copies_across_official_splits_are_told_apart_for_parts_too(make_faces, name, official):
    faces = make_faces(6)
    images = faces.images.copy()
    images[2] = images[0]  # a test face that training holds too
    faces = replace(faces, images=images, name=name)
    train, test = faces.select("train"), faces.select("test")
    assert find_leak(test, learned(train), train).official == official


def test_the_average_place_of_a_part_is_that_of_the_mean_face(make_faces):
    faces = make_faces(2)
    points = np.repeat(FER2013_POINTS[None], 2, axis=0).astype(np.float32)
    exact, _ = cut_part(faces, PartSettings("upper"), finder(points, np.ones(2)))
    average, _ = cut_part(faces, PartSettings("upper"), finder(points, np.zeros(2)))
    assert np.abs(exact.images.astype(int) - average.images).max() <= 2
