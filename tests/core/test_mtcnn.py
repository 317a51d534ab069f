"""The face detector: on photos whose faces are known, on images without any, and stage by stage."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.core import mtcnn
from mien.core.detection import DetectorSettings
from mien.core.geometry import overlap
from mien.core.mtcnn import Mtcnn, proposals, square, turn_back, windows
from mien.core.results import Box
from mien.errors import ImageError, ModelError

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = Path(mtcnn.__file__).parent / "weights"

# From chin to hairline and ear to ear, read off the images.
ASTRONAUT_BOX = [176, 60, 270, 176]
HOPPER_BOX = [165, 110, 358, 345]


def xyxy(box):
    return np.array([[box.x1, box.y1, box.x2, box.y2]], np.float32)


def points(face):
    return np.array(face.landmarks.points)


@pytest.fixture(scope="module")
def detector():
    return Mtcnn()


@pytest.fixture(scope="module")
def hopper():
    cbook = pytest.importorskip("matplotlib.cbook")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


def test_the_astronaut_is_found_once_and_in_place(detector, astronaut):
    (face,) = detector.find(astronaut)
    assert overlap(xyxy(face.box), np.float32([ASTRONAUT_BOX]))[0, 0] > 0.75
    assert 0.99 < face.score <= 1


def test_grace_hopper_is_found_once_and_in_place(detector, hopper):
    (face,) = detector.find(hopper)
    assert overlap(xyxy(face.box), np.float32([HOPPER_BOX]))[0, 0] > 0.75


def test_landmarks_are_where_the_eyes_nose_and_mouth_are(detector, astronaut):
    (face,) = detector.find(astronaut)
    by_eye = [(205, 110), (245, 107), (230, 125), (208, 145), (245, 143)]
    assert np.linalg.norm(points(face) - by_eye, axis=1).max() < 10


def test_a_mirrored_image_has_the_mirrored_face(detector, astronaut):
    (face,), (mirrored,) = detector.find(astronaut), detector.find(np.ascontiguousarray(astronaut[:, ::-1]))
    back = points(mirrored)[[1, 0, 2, 4, 3]] * [-1, 1] + [512, 0]
    assert np.linalg.norm(points(face) - back, axis=1).max() < 4


def test_the_larger_face_comes_first(detector, astronaut):
    small = np.asarray(Image.fromarray(astronaut).resize((300, 300)))
    scene = np.zeros((512, 812, 3), np.uint8)
    scene[:300, :300], scene[:, 300:] = small, astronaut
    first, second = detector.find(scene)
    assert first.box.x1 > 300 > second.box.x2


def test_boxes_and_landmarks_grow_with_the_image(detector, astronaut):
    (face,) = detector.find(astronaut)
    (large,) = detector.find(np.asarray(Image.fromarray(astronaut).resize((1536, 1536))))
    assert overlap(xyxy(large.box), 3 * xyxy(face.box))[0, 0] > 0.85


def test_a_large_image_is_searched_at_bounded_size(monkeypatch, detector):
    seen = []
    monkeypatch.setattr(Mtcnn, "_cascade", lambda self, image: seen.append(image.size) or EMPTY)
    detector.find(np.zeros((4000, 6000, 3), np.uint8))
    Mtcnn(DetectorSettings(max_side=None)).find(np.zeros((200, 1500, 3), np.uint8))
    assert seen == [(1280, 853), (1500, 200)]


NONE = np.empty(0, np.float32)
EMPTY = np.empty((0, 4), np.float32), NONE, np.empty((0, 5, 2), np.float32), NONE


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_four_orientations_find_a_turned_face_where_it_is(detector, astronaut, turn):
    (upright,) = detector.find(astronaut)
    turned = np.ascontiguousarray(np.rot90(astronaut[:400], turn))
    (face,) = Mtcnn(DetectorSettings(rotated=True)).find(turned)
    back = turn_back(points(face), turn, (512, 400))
    assert np.linalg.norm(back - points(upright), axis=1).max() < 4


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_beside_a_lying_face_the_upright_ones_stay_as_they_were(detector, astronaut, turn):
    lying = np.rot90(astronaut, turn)
    scene = np.hstack([astronaut, astronaut[:, ::-1], lying])
    upright = [face for face in detector.find(scene) if face.box.x2 <= 1024]
    found = Mtcnn(DetectorSettings(rotated=True)).find(scene)
    assert [face for face in found if face.box.x2 <= 1024] == upright
    assert len(upright) == 2
    (other,) = (face for face in found if face.box.x1 >= 1024)
    (alone,) = detector.find(astronaut)
    back = turn_back(points(other) - [1024, 0], turn, (512, 512))
    assert np.linalg.norm(back - points(alone), axis=1).max() < 8


def test_a_face_seen_in_two_turns_is_taken_where_the_last_network_scores_it_highest():
    box, aside = np.float32([[0, 0, 10, 10]]), np.float32([[1, 1, 11, 11], [50, 50, 60, 60]])
    marks = np.arange(3, dtype=np.float32)[:, None, None] + np.zeros((5, 2), np.float32)
    upright = box, np.float32([0.8]), marks[:1], np.float32([0.9])
    turned = aside, np.float32([0.99, 0.85]), marks[1:], np.float32([0.95, 0.7])
    boxes, scores, _ = mtcnn.best_of_turns([upright, turned])
    assert boxes.tolist() == aside.tolist()
    assert scores.tolist() == np.float32([0.99, 0.85]).tolist()
    doubtful = aside, np.float32([0.99, 0.85]), marks[1:], np.float32([0.905, 0.7])
    assert mtcnn.best_of_turns([upright, doubtful])[0].tolist() == [box[0].tolist(), aside[1].tolist()]
    near = np.float32([[0, 0, 10, 10], [4, 0, 14, 10]]), np.float32([1, 1]), marks[:2], np.float32([1, 1])
    assert len(mtcnn.best_of_turns([near, upright])[0]) == 2  # of one turn, both stay


def test_a_face_is_kept_where_either_look_is_sure(monkeypatch):
    boxes = np.float32([[0, 0, 40, 40], [60, 0, 100, 40], [120, 0, 160, 40]])
    first, second = np.float32([0.9, 0.35, 0.79]), np.float32([0.1, 0.75, 0.85])  # best first
    monkeypatch.setattr(Mtcnn, "_refine", lambda *_: (boxes, first))
    monkeypatch.setattr(Mtcnn, "place", lambda *_: (np.zeros((3, 5, 2), np.float32), second))
    found = Mtcnn().find_near(np.zeros((60, 200, 3), np.uint8), [Box(0, 0, 40, 40)])
    assert [(face.box.x1, round(face.score, 4)) for face in found] == [(0, 0.9), (60, 0.85)]


def test_the_smallest_face_is_told_in_pixels_of_the_image(detector, astronaut):
    """The face has 87 x 111 pixels, so it fits a side of 60 well and one of 200 not."""
    scene = np.full((600, 8000, 3), 90, np.uint8)
    scene[50:562, 3000:3512] = astronaut
    assert detector.find(scene) == ()
    (face,) = Mtcnn(DetectorSettings(60, None)).find(scene)
    assert overlap(xyxy(face.box) - [[3000, 50] * 2], np.float32([ASTRONAUT_BOX]))[0, 0] > 0.7
    assert Mtcnn(DetectorSettings(200, None)).find(scene) == ()


def test_a_large_level_is_scanned_in_bands_to_the_same_answer(detector, monkeypatch):
    level = np.random.default_rng(0).integers(0, 256, (101, 60, 3), np.uint8)
    whole = detector.scan(level)
    seen = []
    run = Mtcnn.run_net
    monkeypatch.setattr(mtcnn, "BAND_PIXELS", 1200)
    watched = lambda self, net, x: (seen.append(x.shape[1]), run(self, net, x))[1]  # noqa: E731
    monkeypatch.setattr(Mtcnn, "run_net", watched)
    for part, expected in zip(detector.scan(level), whole, strict=True):
        np.testing.assert_array_equal(part, expected)
    assert len(seen) == 5
    assert max(seen) <= 30


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_turning_back_undoes_the_turn_of_numpy(turn):
    image = np.zeros((5, 9), np.uint8)
    image[1, 6] = 1
    ((row, column),) = np.argwhere(np.rot90(image, turn))
    assert turn_back(np.array([column + 0.5, row + 0.5]), turn, (9, 5)).tolist() == [6.5, 1.5]


def test_a_proposal_lies_where_its_window_was():
    scores = np.zeros((3, 4), np.float32)
    scores[1, 2], scores[2, 0] = 0.7, 0.9
    offsets = np.zeros((3, 4, 4), np.float32)
    offsets[1, 2] = [0, 0.25, 0.5, -0.25]
    boxes, best = proposals(offsets, scores, 0.6, most=10)
    assert boxes.tolist() == [[0, 4, 12, 16], [4, 5, 22, 11]]
    assert best.tolist() == [np.float32(0.9), np.float32(0.7)]
    assert len(proposals(offsets, scores, 0.6, most=1)[0]) == 1


def test_boxes_become_square_about_their_centres():
    assert square(np.float32([[0, 0, 10, 20], [0, 0, 6, 2]])).tolist() == [[-5, 0, 15, 20], [0, -2, 6, 4]]


def test_a_window_shows_the_pixels_under_it_and_gray_outside():
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    inside, outside = windows(Image.fromarray(image), np.float32([[3, 5, 27, 29], [-12, 50, 12, 74]]), 24)
    assert (inside == image[5:29, 3:27]).all()
    assert (outside[:10, 12:] == image[50:60, :12]).all()
    assert (outside[10:] == 127).all()
    assert (outside[:, :12] == 127).all()


def test_where_the_gray_border_would_be_large_each_window_has_its_own(monkeypatch):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (90, 120, 3), np.uint8))
    corners, sides = random.uniform(-40, 110, (200, 2)), random.uniform(1, 150, (200, 1))
    boxes = np.hstack([corners, corners + sides]).astype(np.float32)
    boxes[0] = [-400, -400, 80, 80]
    together = [windows(image, boxes, side) for side in (24, 48)]
    monkeypatch.setattr(mtcnn, "CANVAS_PIXELS", 0)
    monkeypatch.setattr(mtcnn.ImageOps, "expand", None)
    for side, expected in zip((24, 48), together, strict=True):
        apart = windows(image, boxes, side)
        assert np.abs(apart.astype(int) - expected).max() <= 1  # Pillow chooses the order of two roundings
        assert (apart != expected).mean() < 0.01


def test_a_cropped_face_needs_no_search(detector, astronaut):
    (face,) = detector.find(astronaut)
    corner, side = np.array([163, 58]), 120
    crop = Image.fromarray(astronaut[58:178, 163:283]).resize((48, 48), Image.Resampling.BILINEAR)
    crops = np.asarray(crop)[None]
    places, confidence = detector.landmarks_on_crop(crops)
    assert np.linalg.norm(places[0] * side / 48 + corner - points(face), axis=1).max() < 5
    assert confidence[0] > 0.9
    gray_places, _ = detector.landmarks_on_crop(np.asarray(crop.convert("L"))[None])
    assert np.abs(gray_places - places).max() < 2


def test_no_crops_have_no_landmarks(detector):
    places, confidence = detector.landmarks_on_crop(np.empty((0, 48, 48), np.uint8))
    assert places.shape == (0, 5, 2)
    assert confidence.shape == (0,)


def test_crops_of_another_size_are_refused(detector):
    with pytest.raises(ImageError, match=r"crops must be uint8 \(N, 48, 48\).*got uint8 \(2, 40, 40\)"):
        detector.landmarks_on_crop(np.zeros((2, 40, 40), np.uint8))


@pytest.mark.parametrize(
    ("net", "boxes", "score", "landmarks"),
    [
        ("pnet", [0.26524, 0.08484, -0.18658, -0.14234], 0.00611, None),
        ("rnet", [0.12272, 0.06773, -0.07852, 0.10553], 0.00305, None),
        (
            "onet",
            [0.14368, -0.01569, -0.08247, -0.02831],
            0.00139,
            [0.34085, 0.24839, 0.70979, 0.25342, 0.50558, 0.48665, 0.35664, 0.78066, 0.62269, 0.80308],
        ),
    ],
)
def test_the_networks_answer_what_the_published_weights_do(net, boxes, score, landmarks):
    """Golden values of the wheel's arrays in PyTorch, softmax and normalisation unfolded; ours are halves."""
    side = {"pnet": 12, "rnet": 24, "onet": 48}[net]
    i = np.arange(5 * side * side * 3)
    images = ((i * i // 7 + i * 31) % 256).astype(np.uint8).reshape(5, side, side, 3)
    outputs = Mtcnn().run_net(net, images)
    np.testing.assert_allclose(outputs[0][0].ravel(), boxes, atol=3e-4)
    np.testing.assert_allclose(outputs[1][0].ravel(), score, atol=3e-4)
    if landmarks:
        np.testing.assert_allclose(outputs[2][0].ravel(), landmarks, atol=3e-4)


def test_the_card_names_the_weights_and_they_stay_small():
    sums = json.loads((WEIGHTS / "mtcnn.json").read_text("utf-8"))["sha256"]
    files = {file.name: file.read_bytes() for file in WEIGHTS.glob("mtcnn-*.onnx")}
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert sum(map(len, files.values())) <= 1_050_000


def test_damaged_weights_are_refused(monkeypatch, tmp_path):
    (tmp_path / "weights").mkdir()
    for file in WEIGHTS.glob("mtcnn*"):
        (tmp_path / "weights" / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "weights" / "mtcnn-rnet.onnx").open("r+b") as file:
        file.seek(5000)
        file.write(b"\x00\x01\x02\x03")
    monkeypatch.setattr(mtcnn, "SHIPPED", tmp_path / "weights")
    with pytest.raises(ModelError, match=r"mtcnn-rnet.onnx is not the file its card describes"):
        mtcnn.net_session.__wrapped__("rnet", 1)


@pytest.mark.weights
def test_the_annotated_face_of_nearly_every_photo_is_found(detector, mien_data, module_at):
    bench = module_at("benchmarks/detection.py")
    found, errors = [], []
    for image, annotated in bench.read_photos(mien_data / "photos"):
        hits = [face for face in detector.find(image) if bench.is_found(face, annotated)]
        found.append(bool(hits))
        if hits:
            gap = np.linalg.norm(points(hits[0]) - bench.five_of_68(annotated), axis=1).mean()
            errors.append(gap / np.linalg.norm(annotated[45] - annotated[36]))
    assert len(found) == 224
    assert np.mean(found) >= 0.97
    assert np.median(errors) < 0.04
