"""What the second network of the one-stage detector learns from: places of the first, true ones, a loss."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from face_scenes import BOX_SIDE, Scenes
from PIL import Image
from train_refiner import EASY, HARD, Examples, drawn, losses, size_of

from mien.core.one_stage import FRAME, REFINE_POINTS
from mien.core.preprocess import FER2013_POINTS

POINTS = FER2013_POINTS + 40
PLACE = (*(FER2013_POINTS.mean(axis=0) + 40), BOX_SIDE)


class Scripted:
    """A generator of random numbers that never keeps an easy mistake, and moves nothing."""

    def random(self):
        return 1.0

    def normal(self, mean, deviation, size=None):
        return mean if size is None else np.full(size, mean)


def made(monkeypatch, laid, seen, refined=None):
    """Frames, whether each is a face, and landmarks, of a scene where the first network sees faces."""
    examples = Examples(Scenes([[]], []), None, seed=0)
    monkeypatch.setattr(examples, "rng", Scripted())
    monkeypatch.setattr(examples.scenes, "make_empty", lambda: np.full((160, 160), 90, np.uint8))
    scores = np.full(len(seen), 0.5, np.float32)
    monkeypatch.setattr(examples.detector, "candidates", lambda gray: [(scores, np.float32(seen))])
    if refined is not None:
        monkeypatch.setattr(examples, "refiner", "there is one")
        monkeypatch.setattr(examples, "refined", lambda work, scores, places: refined)
    return list(examples.of_scene(Image.new("L", (160, 160)), laid))


def test_the_side_of_the_usual_face_is_told_by_its_landmarks_at_any_size():
    for scale in (0.5, 1, 3):
        assert size_of(scale * FER2013_POINTS + 9) == pytest.approx(scale * BOX_SIDE)


def test_a_place_on_a_face_is_learned_with_its_landmarks_and_so_are_places_close_to_it(monkeypatch):
    seen, closer = POINTS + 5, POINTS + 1
    chosen = made(monkeypatch, [(PLACE, POINTS)], [seen], (np.array([2.0]), np.array([closer])))
    assert [example.is_face for example in chosen] == [True] * 3
    for example, place in zip(chosen, (seen, POINTS, closer), strict=True):
        assert example.seen == pytest.approx(place)
        assert (example.points == POINTS).all()
    (only,) = made(monkeypatch, [(PLACE, None)], [seen])
    assert (only.is_face, only.points) == (True, None)


def test_a_place_beside_a_face_or_of_twice_its_size_is_not_learned(monkeypatch):
    middle = POINTS.mean(axis=0)
    for seen in (POINTS + 0.4 * PLACE[2], (POINTS - middle) * 2.1 + middle, (POINTS - middle) / 2.1 + middle):
        assert made(monkeypatch, [(PLACE, POINTS)], [seen]) == []


def test_a_mistake_is_learned_as_none_and_an_easy_one_seldom(monkeypatch):
    far = POINTS + 0.7 * PLACE[2]
    for logit, n in ((HARD + 0.1, 3), (EASY + 0.1, 2), (EASY - 0.1, 0)):
        chosen = made(monkeypatch, [(PLACE, POINTS)], [far], (np.array([logit]), np.array([far])))
        assert [example.is_face for example in chosen] == [False] * n


def test_the_loss_is_least_where_every_answer_is_right_and_unknown_landmarks_are_left_out():
    usual = torch.from_numpy(REFINE_POINTS / FRAME).float().flatten()
    points = torch.stack([usual, usual, torch.full((10,), float("nan"))])
    faces = torch.tensor([1.0, 1.0, 0.0])
    right = torch.zeros(3, 11)
    right[:, 0] = torch.tensor([4.6, 4.6, -4.6])  # log-odds of 0.99: labels are 1 % unsure
    score, places = losses(right, faces, points)
    assert places == pytest.approx(0, abs=1e-6)
    for answers in (right + torch.eye(11)[0], right - torch.eye(11)[0]):
        assert losses(answers, faces, points)[0] > score
    shifted = right.clone()
    shifted[2, 1:] = 9
    assert losses(shifted, faces, points)[1] == pytest.approx(0, abs=1e-6)


def test_a_mirrored_face_has_mirrored_landmarks():
    torch.manual_seed(0)
    image, grays = np.full((48, 48), 60, np.uint8), (160, 140, 120, 100, 80)
    points = np.float32([(8.5, 12.5), (38.5, 14.5), (23.5, 24.5), (14.5, 38.5), (32.5, 40.5)])
    for gray, (x, y) in zip(grays, points, strict=True):
        image[int(y), int(x)] = gray
    two = torch.from_numpy(np.stack([image, image])), torch.tensor([1.0, 0.0]), torch.from_numpy(points / 48)
    pixels, _, places = drawn((*two[:2], two[2].flatten().repeat(2, 1)))
    lefts = set()
    for frame, five in zip(pixels[:, 0], places.view(-1, 5, 2) * 48, strict=True):
        (left, right, nose, left_corner, right_corner) = (frame[int(y), int(x)].item() for x, y in five)
        assert min(left, right) > nose > max(left_corner, right_corner)
        assert five[0, 0] < five[1, 0], "the left eye is the viewer's"
        assert (left > right) == (left_corner > right_corner) == (abs(five[0, 0] - 8.5) < 0.1)
        lefts.add(round(five[0, 0].item(), 1))
    assert lefts == {8.5, 9.5}, "as it is and mirrored"
