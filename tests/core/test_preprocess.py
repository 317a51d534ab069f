"""From image to network input: the crop's place, size, direction and gray."""

import numpy as np
import pytest
from PIL import Image

from mien.core.geometry import transform
from mien.core.mtcnn import Mtcnn
from mien.core.preprocess import FER2013_POINTS, crop_matrix, face_crop, to_input
from mien.core.results import Box, Face, Landmarks

BOX = Box(10, 10, 60, 70)


def face_at(points):
    return Face(BOX, 1.0, Landmarks(*(tuple(p) for p in points)))


def test_landmarks_on_the_template_are_left_where_they_are():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    crop = face_crop(image, face_at(FER2013_POINTS))
    assert np.abs(crop.astype(int) - np.asarray(Image.fromarray(image).convert("L"))).max() <= 1


@pytest.mark.parametrize("size", [48, 64, 112])
@pytest.mark.parametrize("angle_deg", [0, 30, -90, 180])
def test_a_turned_face_of_any_size_comes_out_upright(angle_deg, size):
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    shown = 4.2 * FER2013_POINTS @ np.array([[c, s], [-s, c]]) + [300, 250]
    matrix = crop_matrix(face_at(shown), size)
    np.testing.assert_allclose(transform(shown, matrix), FER2013_POINTS * size / 48, atol=1e-9)


def test_a_scale_above_one_shows_the_face_larger_about_the_middle():
    face = face_at(FER2013_POINTS * 3)
    usual, larger = (transform(face.landmarks.points, crop_matrix(face, 48, scale)) for scale in (1.0, 1.2))
    np.testing.assert_allclose(larger - 24, 1.2 * (usual - 24), atol=1e-9)


def test_gray_is_the_luma_of_pillow():
    orange = np.full((90, 90, 3), (250, 120, 10), np.uint8)
    luma = round(0.299 * 250 + 0.587 * 120 + 0.114 * 10)
    assert (face_crop(orange, face_at(FER2013_POINTS * 1.5)) == luma).all()
    assert (face_crop(orange, face_at(FER2013_POINTS * 1.5), channels=3) == (250, 120, 10)).all()


def test_a_face_at_the_border_has_no_black_edge():
    white = np.full((60, 60, 3), 255, np.uint8)
    assert (face_crop(white, face_at(FER2013_POINTS - 20)) == 255).all()


def test_without_landmarks_the_box_gives_nearly_the_same_crop(astronaut):
    (face,) = Mtcnn().find(astronaut)
    corners = [(0, 0), (512, 0), (512, 512), (0, 512)]
    by_points, by_box = (crop_matrix(f, 48) for f in (face, Face(face.box, face.score)))
    assert np.linalg.norm(by_box[:, 0]) == pytest.approx(np.linalg.norm(by_points[:, 0]), rel=0.12)
    middle = [face.box.center]
    np.testing.assert_allclose(transform(middle, by_box), transform(middle, by_points), atol=4)
    assert transform(corners, by_box).shape == (4, 2)


def test_the_box_fallback_keeps_scale_and_size_rules():
    face = Face(BOX, 1.0)
    small, large = crop_matrix(face, 48), crop_matrix(face, 96)
    np.testing.assert_allclose(large, 2 * small)
    centre = [BOX.center]
    once, twice = (transform(centre, crop_matrix(face, 48, scale)) for scale in (1.0, 2.0))
    np.testing.assert_allclose(twice - 24, 2 * (once - 24), atol=1e-9)
    np.testing.assert_allclose(crop_matrix(face, 48, 2.0)[:, :2], 2 * small[:, :2])


def test_input_is_normalised_by_mean_and_deviation():
    crops = np.array([[[0, 255], [51, 102]]], np.uint8)
    out = to_input(crops, mean=0.5, std=0.25)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[[[-2, 2], [-1.2, -0.4]]]], rtol=1e-6)


@pytest.mark.weights
def test_crops_of_photos_are_framed_as_fer2013_frames_its_faces(mien_data):
    """The detector's landmark network measures both: 224 photos cropped by us, and real FER2013 faces."""
    detector, crops = Mtcnn(), []
    for path in sorted((mien_data / "photos").glob("*.jpg"))[::3]:
        image = np.asarray(Image.open(path).convert("RGB"))
        crops += [face_crop(image, face) for face in detector.find(image)[:1]]
    sheet = np.asarray(Image.open(mien_data / "fer2013" / "faces-00.png"))
    fer2013 = sheet.reshape(25, 48, 40, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)
    ours, theirs = (detector.landmarks_on_crop(faces)[0] for faces in (np.stack(crops), fer2013))
    sizes = [
        np.sqrt(((p - p.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))).mean() for p in (ours, theirs)
    ]
    assert sizes[0] / sizes[1] == pytest.approx(1, abs=0.02)
    assert np.abs(ours.mean(axis=(0, 1)) - theirs.mean(axis=(0, 1))).max() < 0.5
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 1.5
