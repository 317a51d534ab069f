"""Scenes that a detector learns from: what is said of a face holds for its pixels."""

import math
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from face_scenes import LEARNED, SIDE, Cutout, Scenes, add_face, cutout, lay

from mien.core.preprocess import FER2013_POINTS

POINTS = FER2013_POINTS * 2 + 32  # of a face of 91 pixels in a cut-out of 160
ALL = np.full((64, 64), 255, np.uint8)


def dotted(is_sure=True):
    """A gray cut-out with a dot at each landmark: white eyes, a nose less bright, and a mouth."""
    image = np.full((160, 160), 60, np.uint8)
    for (x, y), gray in zip(POINTS, (255, 255, 190, 120, 120), strict=True):
        image[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = gray
    return cutout(image, POINTS, is_sure)


def plain(gray, n=64):
    """A face of one gray, its left half brighter by 20."""
    image = np.full((n, n), gray, np.uint8)
    image[:, : n // 2] += 20
    return cutout(image, FER2013_POINTS * (n / 48))


def empty_target():
    return np.zeros((16, 20, 20), np.float32)


@pytest.fixture
def scenes():
    return Scenes([[dotted()]], [np.zeros((200, 300), np.uint8)], seed=1)


@pytest.mark.parametrize("quarters", range(4))
def test_a_cut_out_knows_the_box_of_its_face_at_any_roll(quarters):
    points, box = POINTS, np.array([[40, 27], [118.6, 132]])  # as FER2013_BOX, times 2 and 32 further
    for _ in range(quarters):
        points, box = (at[:, ::-1] * [-1, 1] + [160, 0] for at in (points, box))
    face = cutout(np.zeros((160, 160), np.uint8), points)
    assert face.side == pytest.approx(math.sqrt(78.6 * 105))
    assert face.centre == pytest.approx(box.mean(axis=0))
    assert (face.points == points).all()


@pytest.mark.parametrize(
    ("n", "sides"), [(160, [160, 80, 40, 20]), (48, [48, 24, 12]), (320, [320, 160, 80, 40])]
)
def test_a_level_is_the_mean_of_four_pixels_of_the_one_before(n, sides):
    image = np.random.default_rng(0).integers(0, 256, (n, n), np.uint8)
    levels = cutout(image, FER2013_POINTS * (n / 48)).levels
    assert [level.shape for level in levels] == [(side, side) for side in sides]
    for fine, coarse in pairwise(levels):
        means = fine.reshape(len(coarse), 2, len(coarse), 2).mean(axis=(1, 3))
        assert np.abs(coarse - means).max() <= 0.5


def test_a_mirrored_cut_out_is_that_of_the_mirror_image():
    image = np.random.default_rng(0).integers(0, 256, (160, 160), np.uint8)
    points = POINTS * 0.5 + [10, 70]
    left_eye, right_eye, nose, left_corner, right_corner = points * [-1, 1] + [160, 0]
    seen = np.array([right_eye, left_eye, nose, right_corner, left_corner])
    got, wanted = cutout(image, points).mirrored(), cutout(image[:, ::-1], seen)
    assert got.points == pytest.approx(seen)
    assert got.side == wanted.side
    assert got.centre == pytest.approx(
        wanted.centre, abs=1
    )  # the usual box is 0.35 off the usual face's middle
    assert all((a == b).all() for a, b in zip(got.levels, wanted.levels, strict=True))
    assert cutout(image, points, is_sure=False).mirrored().points is None


def test_a_cut_out_is_blended_over_a_scene_as_far_as_its_mask_shows_it():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (2, 64, 64), np.uint8)
    before = rng.integers(0, 256, (SIDE, SIDE), np.uint8)
    for dx, dy in ((30, 12), (-20, 110), (120, -7), (200, 0), (0, -64)):
        scene, expected = before.copy(), before.astype(float)
        lay(scene, cutout(image, POINTS * 0.4), np.array([[1.0, 0, dx], [0, 1, dy]]), mask)
        for y in range(max(0, dy), min(SIDE, dy + 64)):
            for x in range(max(0, dx), min(SIDE, dx + 64)):
                share = mask[y - dy, x - dx] / 255
                expected[y, x] = share * image[y - dy, x - dx] + (1 - share) * before[y, x]
        assert np.abs(scene - expected).max() <= 0.51


def test_between_its_pixels_a_cut_out_is_interpolated_to_its_rim():
    image, scene = np.full((64, 64), 100, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    image[20, 30] = 200
    lay(scene, cutout(image, POINTS * 0.4), np.array([[1, 0, 10.75], [0, 1, 40.25]]), ALL)
    rows, columns = np.nonzero(scene)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (11, 74, 40, 103)
    around = scene[60:62, 40:42] - 100.0
    assert around == pytest.approx(100 * np.outer([0.75, 0.25], [0.25, 0.75]), abs=1)


@pytest.mark.parametrize("degrees", [0, 90, 200])
@pytest.mark.parametrize(
    ("scale", "level"), [(3, 0), (1, 0), (0.6, 0), (0.5, 1), (0.3, 1), (0.25, 2), (0.1, 2), (0.05, 2)]
)
def test_a_face_made_smaller_is_taken_from_the_level_of_about_its_size(scale, level, degrees):
    levels = tuple(np.full((n, n), gray, np.uint8) for n, gray in ((128, 50), (64, 100), (32, 150)))
    a, b = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    matrix = np.array([[a, -b, 80 - 64 * (a - b)], [b, a, 80 - 64 * (a + b)]])
    scene = np.zeros((SIDE, SIDE), np.uint8)
    lay(scene, Cutout(levels, np.full(2, 64.0), 64, None), matrix, ALL)
    assert scene[80, 80] == levels[level][0, 0]


def test_landmarks_lie_where_the_face_was_laid(scenes, monkeypatch):
    monkeypatch.setattr(scenes, "hide", lambda scene, place: None)
    monkeypatch.setattr(scenes, "mask", lambda face: ALL)
    for _ in range(20):
        scene = np.zeros((SIDE, SIDE), np.uint8)
        points = scenes.lay_face(scene, (80, 70, 60))
        grays = np.array([scene[int(y), int(x)] for x, y in points])
        assert np.abs(grays - [255, 255, 190, 120, 120]).max() < 40
        (right, down), (x, y) = points[1] - points[0], points[3:].mean(0) - points[:2].mean(0)
        assert right * y - down * x > 0, "the left eye is left of the right one, seen with the mouth below"


def test_landmarks_that_are_unsure_are_not_said(scenes):
    unsure = dotted(is_sure=False)
    scenes.faces = [[unsure]]
    assert unsure.points is None
    assert all(scenes.lay_face(np.zeros((SIDE, SIDE), np.uint8), (80, 70, 60)) is None for _ in range(10))


def test_no_more_of_a_face_is_laid_than_its_mask_shows(scenes, monkeypatch):
    monkeypatch.setattr(scenes, "hide", lambda scene, place: None)
    monkeypatch.setattr(scenes, "mask", lambda face: ALL * 0)
    scene = np.zeros((SIDE, SIDE), np.uint8)
    assert scenes.lay_face(scene, (80, 70, 60)) is not None
    assert not scene.any()


def test_each_group_is_drawn_equally_often_and_half_of_the_faces_mirrored(monkeypatch):
    scenes = Scenes([[plain(50)], [plain(100), plain(150)]], [], seed=1)
    hidden, drawn = [], []
    monkeypatch.setattr(scenes, "hide", lambda scene, place: hidden.append(place))
    monkeypatch.setattr(scenes, "mask", lambda face: ALL)
    monkeypatch.setattr(scenes, "to_scene", lambda face, place: np.eye(2, 3))
    for _ in range(300):
        scene = np.zeros((SIDE, SIDE), np.uint8)
        scenes.lay_face(scene, (32, 32, 60))
        drawn.append((min(scene[32, 8], scene[32, 56]), scene[32, 8] < scene[32, 56]))
    grays, mirrored = np.array(drawn).T
    assert [np.mean(grays == gray) for gray in (50, 100, 150)] == pytest.approx([0.5, 0.25, 0.25], abs=0.07)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.07)
    assert 0.06 < len(hidden) / 300 < 0.2
    assert set(hidden) == {(32, 32, 60)}


def test_a_face_is_laid_by_its_box_at_any_roll_but_for_the_share_that_is_upright():
    face, turns = dotted(), {}
    for upright in (0.0, 1.0):
        scenes = Scenes([], [], upright=upright)
        turns[upright] = []
        for _ in range(300):
            (a, b, x), (c, d, y) = scenes.to_scene(face, (70, 40, 30))
            assert np.hypot(a, c) == pytest.approx(30 / math.sqrt(78.6 * 105))
            assert (d, -b) == pytest.approx((a, c)), "no mirror image"
            assert (a * 79.3 + b * 79.5 + x, c * 79.3 + d * 79.5 + y) == pytest.approx((70, 40))
            turns[upright].append(math.atan2(c, a))
    assert np.std(turns[1.0]) == pytest.approx(0.25, rel=0.15)
    quarters = np.histogram(turns[0.0], bins=4, range=(-math.pi, math.pi))[0] / 300
    assert quarters == pytest.approx([0.25] * 4, abs=0.07)


def test_what_hides_a_face_covers_some_of_it_but_not_more_than_half(scenes):
    scenes.backgrounds, covered = [np.full((99, 99), 200, np.uint8)], []
    for _ in range(100):
        scene = np.zeros((SIDE, SIDE), np.uint8)
        scenes.hide(scene, (80, 70, 60))
        covered.append((scene[40:100, 50:110] > 100).mean())
    assert 0.1 < np.mean(covered) < 0.4
    assert max(covered) < 0.6


def test_a_mask_is_all_or_a_square_or_an_ellipse_around_the_face_of_any_edge(scenes):
    face = Cutout((np.zeros((128, 128), np.uint8),), np.array([72.0, 56.0]), 48.0, None)
    kinds, reach = [], {"square": [], "ellipse": []}
    for _ in range(400):
        mask = scenes.mask(face)
        assert mask.shape == (64, 64)
        assert mask[20:37, 28:45].min() > 120, "the middle of the face is shown"
        if set(np.unique(mask)) == {0, 255}:  # and no soft edge
            rows, columns = np.nonzero(mask)
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            filled = (mask > 0).sum() / np.prod(box[2:] - box[:2])
            kinds.append("all" if (box == [1, 1, 63, 63]).all() else "square" if filled == 1 else "ellipse")
            if kinds[-1] != "all":
                reach[kinds[-1]].append(np.abs(box - [36, 28, 36, 28]) / 12)  # in halves of the face's side
            if kinds[-1] == "ellipse":
                assert filled == pytest.approx(math.pi / 4, abs=0.03)
    assert len(kinds) / 400 == pytest.approx(0.4, abs=0.07)
    shares = [kinds.count(kind) / len(kinds) for kind in ("all", "square", "ellipse")]
    assert shares == pytest.approx([0.4, 0.3, 0.3], abs=0.1)
    assert np.min(reach["square"], axis=0) == pytest.approx([1] * 4, abs=0.15)
    assert np.max(reach["square"], axis=0) == pytest.approx([2.2] * 4, abs=0.15)
    assert np.min(reach["ellipse"], axis=0) == pytest.approx([1, 1.1, 1, 1.1], abs=0.15)
    assert np.max(reach["ellipse"], axis=0) == pytest.approx([1.6, 1.9, 1.6, 1.6], abs=0.15)


def test_scenes_are_taken_in_another_light_contrast_sharpness_noise_and_compression(scenes):
    before = np.repeat([0, 128, 255], [53, 54, 53]).astype(np.uint8) * np.ones((SIDE, 1), np.uint8)
    tones, noisy, packed, soft = [], 0, 0, 0
    for _ in range(200):
        scene = scenes.photographed(before)
        assert scene.shape == before.shape
        assert scene.dtype == np.uint8
        tones.append([scene[:, part].mean() for part in (slice(0, 45), slice(60, 100), slice(115, SIDE))])
        if (scene != scene[0]).any():
            noisy += 1
        elif (np.diff(scene[0].astype(int)) < 0).any():
            packed += 1  # a JPEG swings beside an edge
        else:
            soft += len(np.unique(scene[0])) > 3
    dark, middle, bright = np.transpose(tones)
    assert (dark <= middle).all()
    assert (middle <= bright).all()
    whole = (dark > 20) & (bright < 235)  # neither end is cut off: black and white moved alike
    assert np.std((dark + bright)[whole] / 2) == pytest.approx(0.1 * 255, rel=0.3), "light"
    contrasts = (bright - dark)[whole] / 255
    assert (contrasts.min(), np.median(contrasts)) == pytest.approx((0.35, 0.5), abs=0.1)
    assert np.std((middle - (dark + bright) / 2)[whole]) > 5, "exposure"
    assert [n / 200 for n in (noisy, packed, soft)] == pytest.approx([0.3, 0.12, 0.15], abs=0.06)


def test_a_piece_without_a_face_is_a_square_from_anywhere_in_any_image_of_any_size():
    ramp = np.tile(np.arange(240, dtype=np.uint8), (120, 1))
    scenes = Scenes([], [ramp, np.full((50, 90), 250, np.uint8)], seed=1)
    made = [scenes.nothing(24) for _ in range(400)]
    assert all(piece.shape == (24, 24) for piece in made)
    cut = [piece.astype(float) for piece in made if piece.max() < 245]
    assert len(cut) / 400 == pytest.approx(0.5, abs=0.07)
    assert min(piece.min() for piece in cut) < 10
    assert max(piece.max() for piece in cut) > 230
    down, right = np.transpose([[np.diff(piece, axis=axis).mean() for axis in (0, 1)] for piece in cut])
    size = np.hypot(down, right)
    assert (size.min(), size.max()) == pytest.approx((1, 4), abs=0.3)
    assert (right > 0.5).mean() == pytest.approx(1 - 0.3 * 3 / 4, abs=0.07), "the others are turned"


def test_most_scenes_lie_over_an_image_and_some_over_soft_grays(scenes):
    made = [scenes.background() for _ in range(200)]
    assert all(scene.shape == (SIDE, SIDE) for scene in made)
    assert np.mean([not scene.any() for scene in made]) == pytest.approx(0.85, abs=0.07)


def test_pieces_without_a_face_are_laid_anywhere_as_far_as_the_masks_of_faces_show_them(monkeypatch):
    scenes, covered = Scenes([], [np.full((99, 99), 200, np.uint8)], seed=1), np.zeros((SIDE, SIDE))
    for mask in (ALL, ALL * 0):
        monkeypatch.setattr(scenes, "mask", lambda face, mask=mask: mask)
        for _ in range(150):
            scene = np.zeros((SIDE, SIDE), np.uint8)
            scenes.lay_nothing(scene)
            covered += (scene > 0) / 150
            assert mask.any() or not scene.any()
    quarters = covered.reshape(2, 80, 2, 80).mean(axis=(1, 3))
    assert quarters == pytest.approx(np.full((2, 2), quarters.mean()), rel=0.3)
    assert 0.03 < quarters.mean() < 0.15


def test_sides_of_faces_are_drawn_by_their_logarithm(scenes):
    sides = np.log([scenes.side() for _ in range(1000)])
    low, high = math.log(9), math.log(110)
    assert low <= sides.min() <= sides.max() <= high
    assert np.histogram(sides, bins=4, range=(low, high))[0] / 1000 == pytest.approx([0.25] * 4, abs=0.05)


def test_a_target_tells_the_faces_of_its_scene_which_lie_apart(scenes, monkeypatch):
    lay_face, laid, pieces, seen = scenes.lay_face, [], [], []
    monkeypatch.setattr(scenes, "lay_face", lambda *at: laid.append((at[1], lay_face(*at))) or laid[-1][1])
    monkeypatch.setattr(scenes, "lay_nothing", pieces.append)
    monkeypatch.setattr(scenes, "photographed", lambda scene: ("photograph", scene))
    for _ in range(150):
        laid.clear()
        (photograph, scene), target = scenes.make()
        assert photograph == "photograph"
        assert scene.shape == (SIDE, SIDE)
        expected = empty_target()
        for place, points in laid:
            add_face(expected, place, points)
        assert (target == expected).all()
        for (x, y, side), (a, b, other) in combinations([place for place, _ in laid], 2):
            assert max(abs(x - a), abs(y - b)) >= 0.55 * (side + other)
        seen.append(np.array([place for place, _ in laid]).reshape(-1, 3))
    numbers = np.bincount([len(places) for places in seen])
    assert len(numbers) > 4, "up to five faces"
    assert numbers[0] / 150 == pytest.approx(0.12, abs=0.08)
    x, y, side = np.concatenate(seen).T
    for at in (x, y):
        assert (at >= -0.1 * side).all()
        assert (at <= SIDE + 0.1 * side).all()
        assert (at < 0).any()
        assert (at > SIDE).any()
    assert len(pieces) / 150 == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("place", [(61.0, 90.0, 40.0), (8.5, 151.5, 17.0), (150.0, 31.0, 60.0)])
def test_each_cell_around_a_face_says_where_it_is_and_each_other_how_far(place):
    target, points, (x, y, side) = empty_target(), POINTS * 0.4 + [3, 5], place
    add_face(target, place, points)
    for row, column in np.ndindex(20, 20):
        here = np.array([column * 8 + 4, row * 8 + 4])
        apart = math.hypot(*(here - [x, y])) / side
        is_own = (column, row) == (x // 8, y // 8)
        score, *places, box, marks = target[:, row, column]
        assert score == pytest.approx(1 if is_own else math.exp(-(apart**2) / (2 * 0.12**2)), abs=1e-6)
        is_near = is_own or apart < 0.22
        assert (box, marks) == (is_near, is_near)
        lengths = np.concatenate([[x, y] - here, (points - here).ravel()]) / 32
        wanted = [*lengths[:2], math.log(side / 32), *lengths[2:]]
        assert places == pytest.approx(wanted if is_near else [0] * 13, abs=1e-5)
    unsure = empty_target()
    add_face(unsure, place, None)
    assert (unsure[[0, 1, 2, 3, 14]] == target[[0, 1, 2, 3, 14]]).all()
    assert not unsure[15].any()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param((61.0, 90.0, LEARNED[0] - 1), id="too small"),
        pytest.param((61.0, 90.0, LEARNED[1] + 1), id="too large"),
        pytest.param((-3.0, 90.0, 40.0), id="left"),
        pytest.param((163.0, 90.0, 40.0), id="right"),
        pytest.param((61.0, -3.0, 40.0), id="above"),
        pytest.param((61.0, 163.0, 40.0), id="below"),
    ],
)
def test_a_face_that_is_not_learned_is_neither_right_nor_wrong(place):
    target, (x, y, side) = empty_target(), place
    add_face(target, place, POINTS)
    for row, column in np.ndindex(20, 20):
        apart = math.hypot(column * 8 + 4 - x, row * 8 + 4 - y)
        assert target[0, row, column] == (-1 if apart < side / 2 else 0)
    assert not target[1:].any()


def test_of_two_faces_the_nearer_tells_a_cell_how_far_it_is():
    both, one, other = empty_target(), empty_target(), empty_target()
    for place, alone in (((60.0, 60.0, 60.0), one), ((84.0, 62.0, 20.0), other)):
        add_face(both, place, None)
        add_face(alone, place, None)
    assert (both[0] == np.maximum(one[0], other[0])).all()


def test_beside_a_face_that_is_not_learned_only_the_centre_of_another_counts():
    target, alone, aside = empty_target(), empty_target(), empty_target()
    for made in (target, aside):
        add_face(made, (80.0, 80.0, 100.0), None)
    for made in (target, alone):
        add_face(made, (60.0, 62.0, 40.0), None)
    expected = np.where((aside[0] < 0) & (alone[0] < 1), -1, alone[0])
    assert (target[0] == expected).all()
    assert (target[14] == alone[14]).all()
