"""The one-stage detector: photos whose faces are known at any roll, images without any, and its parts."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.core import one_stage
from mien.core.detection import DetectorSettings
from mien.core.detectors import make_detector
from mien.core.geometry import overlap, similarity, transform
from mien.core.one_stage import (
    REFINE_POINTS,
    REFINE_UNIT,
    OneStage,
    boxes_of,
    decoded,
    face_probability,
    frames,
    kept_best,
    levels,
    padded,
    tiles,
    window,
    window_matrix,
)
from mien.core.preprocess import FER2013_BOX, FER2013_POINTS
from mien.core.results import Box
from mien.errors import ModelError

WEIGHTS = Path(one_stage.__file__).parent / "weights"
ASTRONAUT_BOX = [176, 60, 270, 176]  # from chin to hairline and ear to ear, read off the image
EYES_NOSE_MOUTH = [(205, 110), (245, 107), (230, 125), (208, 145), (245, 143)]


def xyxy(box):
    return np.array([[box.x1, box.y1, box.x2, box.y2]], np.float32)


def turned(points, degrees, side):
    """Points of a square image of ``side`` pixels that was turned about its middle, counter-clockwise."""
    a = math.radians(degrees)
    linear = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    middle = np.full(2, side / 2)
    return (np.array(points, float) - middle) @ linear.T + middle


@pytest.fixture(scope="module")
def detector():
    return OneStage()


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 135, 180, 225, 270, -30])
def test_the_astronaut_is_found_once_at_any_roll(detector, astronaut, degrees):
    image = Image.fromarray(astronaut).rotate(degrees, Image.Resampling.BICUBIC)
    (face,) = detector.find(np.asarray(image))
    wanted = turned(EYES_NOSE_MOUTH, degrees, len(astronaut))
    assert np.linalg.norm(np.array(face.landmarks.points) - wanted, axis=1).max() < 10
    assert face.score > 0.8
    if not degrees:
        assert overlap(xyxy(face.box), np.float32([ASTRONAUT_BOX]))[0, 0] > 0.65


def test_faces_of_two_sizes_are_found_the_larger_first(detector, astronaut):
    small = np.asarray(Image.fromarray(astronaut).resize((205, 205)))  # of a face of 40 pixels
    image = np.pad(astronaut, ((0, 0), (0, 205), (0, 0)))
    image[300:505, 512:] = small
    for face, scale, corner in zip(detector.find(image), (1, 0.4), ((0, 0), (512, 300)), strict=True):
        wanted = np.array(EYES_NOSE_MOUTH) * scale + corner
        assert np.linalg.norm(np.array(face.landmarks.points) - wanted, axis=1).max() < 10 * scale


def test_where_a_face_was_finds_it_again_after_a_small_move(detector, astronaut):
    (face,) = detector.find(astronaut)
    moved = Box(face.box.x1 + 20, face.box.y1 - 15, face.box.x2 + 20, face.box.y2 - 15)
    (again,) = detector.find_near(astronaut, [moved])
    assert overlap(xyxy(again.box), xyxy(face.box))[0, 0] > 0.85
    assert detector.find_near(astronaut, [Box(350, 350, 450, 450)]) == ()
    assert detector.find_near(astronaut, []) == ()


def test_a_face_near_is_in_pixels_of_an_image_that_is_shrunk_to_be_searched(astronaut):
    large = np.asarray(Image.fromarray(astronaut).resize((1536, 1536)))
    detector = OneStage(DetectorSettings(max_side=512))
    (face,) = detector.find(large)
    (again,) = detector.find_near(large, [face.box])
    assert overlap(xyxy(again.box), xyxy(face.box))[0, 0] > 0.85
    assert overlap(xyxy(face.box), 3 * np.float32([ASTRONAUT_BOX]))[0, 0] > 0.6


def test_the_network_is_opened_once_for_the_threads_and_the_device(monkeypatch):
    opened = []
    monkeypatch.setattr(one_stage, "open_session", lambda packed, *how: opened.append(how) or how)
    monkeypatch.setattr(one_stage, "run", lambda session, images: session)
    detector = OneStage(DetectorSettings(threads=3, device="cuda"))
    one_stage.network_session.cache_clear()
    assert [detector.run_net(np.zeros((1, 32, 32), np.uint8)) for _ in range(2)] == [(3, "cuda")] * 2
    one_stage.network_session.cache_clear()
    assert opened == [(3, "cuda")]


def peak_of(score=2.0):
    """Cells (14, 4, 4) of one face, whose landmarks in pixels are `PEAK`."""
    cells = np.full((14, 4, 4), -9, np.float32)
    cells[4:] = np.arange(10).reshape(10, 1, 1) / 10
    cells[0, 1, 2] = score
    return cells


PEAK = [20, 12] + 3.2 * np.arange(10).reshape(5, 2)  # from the middle of the cell


def shrunk_face(astronaut, height, corners, size_wh=(640, 480)):
    """A gray scene with the astronaut at some corners (x, y), the face ``height`` pixels high."""
    side = round(len(astronaut) * height / 111)
    small = Image.fromarray(astronaut).resize((side, side), Image.Resampling.BILINEAR)
    scene = Image.new("RGB", size_wh, (127, 127, 127))
    for corner in corners:
        scene.paste(small, corner)
    return np.asarray(scene)


@pytest.mark.parametrize(("min_face", "height"), [(12, 15), (16, 16), (18, 20)])
def test_a_face_smaller_than_the_network_knows_is_found_where_it_is_asked_for(astronaut, min_face, height):
    scene = shrunk_face(astronaut, height, [(300, 200)])
    (face,) = make_detector("one-stage", DetectorSettings(min_face, None)).find(scene)
    wanted = np.float32([ASTRONAUT_BOX]) * (height / 111) + np.float32([300, 200, 300, 200])
    assert overlap(xyxy(face.box), wanted)[0, 0] > 0.5


def test_an_enlarged_image_is_scanned_in_tiles_and_each_face_found_once(astronaut, monkeypatch):
    corners = [(x, y) for x in range(5, 230, 61) for y in range(3, 150, 61)]
    scene = shrunk_face(astronaut, 18, corners, (320, 240))
    detector = make_detector("one-stage", DetectorSettings(12, None))
    whole = detector.find(scene)
    assert len(whole) == len(corners)
    sizes, run = [], OneStage.run_net
    watched = lambda self, gray: (sizes.append(gray.shape[1:]), run(self, gray))[1]  # noqa: E731
    monkeypatch.setattr(OneStage, "run_net", watched)
    monkeypatch.setattr(one_stage, "TILE", 384)
    found = detector.find(scene)
    assert len(sizes) >= 6
    assert max(height * width for height, width in sizes) <= 384 * 384
    assert len(found) == len(whole)
    best = overlap(*(np.concatenate([xyxy(face.box) for face in faces]) for faces in (found, whole)))
    assert best.max(axis=1).min() > 0.8


@pytest.mark.parametrize(("min_face", "most"), [(12, 2592 * 2592), (18, 1728 * 1728), (24, 3008 * 3008)])
def test_smaller_faces_take_no_more_memory_than_the_smallest_that_the_network_knows(
    min_face, most, monkeypatch
):
    seen = []

    def run(self, gray):
        seen.append(gray[0].size)
        return np.full((1, 14, gray.shape[1] // 8, gray.shape[2] // 8), -9, np.float32)

    monkeypatch.setattr(OneStage, "run_net", run)
    make_detector("one-stage", DetectorSettings(min_face, None)).find(np.zeros((3000, 3000, 3), np.uint8))
    assert max(seen) == most


@pytest.mark.parametrize("size_wh", [(1, 1), (1280, 40), (1281, 1279), (2000, 3100)])
def test_tiles_cover_a_level_to_its_edges_and_begin_on_the_deepest_grid(size_wh):
    shown = np.zeros(size_wh[::-1], bool)
    for x1, y1, x2, y2 in tiles(size_wh):
        assert (x1 % 32, y1 % 32) == (0, 0)
        inner = [v + one_stage.EDGE * (v > 0) for v in (x1, y1)]
        outer = [v - one_stage.EDGE * (v < side) for v, side in zip((x2, y2), size_wh, strict=True)]
        shown[inner[1] : outer[1], inner[0] : outer[0]] = True
    assert shown.all()


@pytest.mark.parametrize(
    ("min_face", "sizes"),
    [
        (24, [(200, 100), (86, 43), (37, 18)]),
        (40, [(120, 60), (51, 26)]),
    ],
)
def test_what_is_seen_in_an_image_at_each_size_is_told_in_its_pixels(monkeypatch, min_face, sizes):
    shown = []
    detector = OneStage(DetectorSettings(min_face))
    monkeypatch.setattr(detector, "threshold", 0.85)
    monkeypatch.setattr(detector, "run_net", lambda gray: shown.append(gray) or [peak_of()])
    monkeypatch.setattr(detector, "_settled", lambda image, work, found: found)
    found = detector.find(np.full((100, 200, 3), (200, 100, 50), np.uint8))
    for (scores, points), (width, height), gray in zip(found, sizes, shown, strict=True):
        assert scores == pytest.approx([1 / (1 + math.exp(-2))])
        assert points[0] == pytest.approx(PEAK * [200 / width, 100 / height], rel=1e-5)
        assert gray.shape == (1, -(-height // 32) * 32, -(-width // 32) * 32)
        assert np.abs(gray - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)).max() <= 1
    monkeypatch.setattr(detector, "threshold", 0.9)
    assert not any(len(scores) for scores, _ in detector.find(np.zeros((100, 200, 3), np.uint8)))


def test_what_is_seen_near_boxes_is_told_in_pixels_of_the_image_that_is_searched(monkeypatch):
    image = np.zeros((400, 31, 3), np.uint8)  # 15.5 pixels wide at half the size, so 16: the length tells
    image[20:60, 2:22], image[300:360, 0:30] = 100, 200
    boxes, shown = [Box(2, 20, 22, 60), Box(0, 300, 30, 360)], []
    detector = OneStage(DetectorSettings(max_side=200))
    monkeypatch.setattr(detector, "threshold", 0.85)
    monkeypatch.setattr(detector, "run_net", lambda gray: shown.extend(gray) or [peak_of(), peak_of()])
    monkeypatch.setattr(detector, "_settled", lambda image, work, found: found)
    found = detector.find_near(image, boxes)
    for (_, points), gray, level, middle, side in zip(
        found, shown, (100, 200), ([12, 40], [15, 330]), (40, 60), strict=True
    ):
        zoom = math.sqrt(24 * 56) / side  # of a pixel of the image, which is searched at half its size
        assert points[0] == pytest.approx((middle + (PEAK - 48) / zoom) / 2, rel=1e-4)
        assert gray.shape == (96, 96)
        assert abs(int(gray[48, 48]) - level) < 3
        assert (gray > level / 2).sum(axis=0).max() == pytest.approx(zoom * side, abs=2)
    monkeypatch.setattr(detector, "threshold", 0.9)
    assert not any(len(scores) for scores, _ in detector.find_near(image, boxes))


def test_a_peak_is_one_face_where_the_cell_says():
    cells = np.full((14, 4, 6), -9, np.float32)
    cells[4:] = np.arange(10).reshape(10, 1, 1) / 10
    cells[0, 1, 2], cells[0, 1, 3], cells[0, 3, 5] = 2.0, 1.5, -1.0
    scores, points = decoded(cells, 0.5)
    assert scores == pytest.approx([1 / (1 + math.exp(-2))])
    assert points[0] == pytest.approx(PEAK)
    assert len(decoded(cells, 0.2)[0]) == 2


def test_of_two_peaks_that_touch_the_lower_is_no_face():
    for row, column in np.ndindex(5, 5):
        cells = np.full((14, 5, 5), -9, np.float32)
        cells[4:] = np.arange(10).reshape(10, 1, 1) / 10
        cells[0, row, column] = 1
        cells[0, 2, 2] = 2
        touch = max(abs(row - 2), abs(column - 2)) < 2
        assert len(decoded(cells, 0.5)[0]) == (1 if touch else 2)


def test_points_in_one_place_or_not_numbers_are_no_face():
    cells = np.full((14, 4, 4), -9, np.float32)
    cells[0, 1, 1], cells[0, 1, 3], cells[0, 3, 2] = 5, 4, 3
    away = np.array([1, -1, 1, -1, 0, 0, -1, 1, -1, 1], np.float32) * 5 / 4  # 1 in the mean
    for at, pixels in (((1, 1), 0.9), ((1, 3), 1.1), ((3, 2), np.nan)):
        cells[4:, *at] = away * pixels / 32
    scores, points = decoded(cells, 0.5)
    assert scores == pytest.approx([1 / (1 + math.exp(-4))])
    assert points[0, 0] == pytest.approx([28 + 1.375, 12 - 1.375])


@pytest.mark.parametrize("degrees", [0, 25, 90, 160])
def test_a_box_is_that_of_the_ellipse_in_the_usual_box_which_turns_with_the_face(degrees):
    a, (x1, y1, x2, y2) = math.radians(degrees), FER2013_BOX
    turn = 1.5 * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    around = np.linspace(0, 2 * math.pi, 10_000)
    ellipse = np.stack([(x2 - x1) / 2 * np.cos(around), (y2 - y1) / 2 * np.sin(around)], axis=1)
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    rim = (ellipse + middle) @ turn.T + [30, 50]
    (box,) = boxes_of((FER2013_POINTS @ turn.T + [30, 50])[None])
    assert box == pytest.approx([*rim.min(axis=0), *rim.max(axis=0)], abs=1e-2)


def test_the_usual_face_stands_in_the_middle_of_a_frame_and_its_box_is_85_percent_as_high():
    (left, top), (right, bottom) = transform(
        FER2013_BOX.reshape(2, 2), similarity(FER2013_POINTS, REFINE_POINTS)
    )
    assert ((top + bottom) / 2, (left + right) / 2) == pytest.approx((24, 24))
    assert bottom - top == pytest.approx(0.85 * 48)


def test_levels_end_where_the_largest_face_fits():
    fine = np.indices((480, 640)).sum(axis=0, dtype=np.uint8) % 2 * 200
    made = list(levels(Image.fromarray(fine), 0.5))
    assert [level.size for level in made] == [(320, 240), (137, 103), (59, 44), (25, 19)]
    assert all(np.abs(np.asarray(level) - 100.0).max() < 10 for level in made), "every pixel counts"


def test_the_right_and_the_lower_edge_are_continued_to_multiples_of_32():
    gray = np.random.default_rng(0).integers(0, 256, (33, 96), np.uint8)
    out = padded(gray)
    assert out.shape == (64, 96)
    assert (out[:33] == gray).all()
    assert (out[33:] == gray[-1]).all()
    assert (padded(gray.T) == out.T).all()


@pytest.mark.parametrize("sides", [(100, 120), (120, 100)])
def test_the_window_around_a_box_shows_it_in_the_middle_at_a_usual_size(sides):
    width, height = sides
    matrix = window_matrix(Box(100, 100, 100 + width, 100 + height), 0.5)
    (x1, y1), (x2, y2) = transform([(50, 50), (50 + width / 2, 50 + height / 2)], matrix)
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((48, 48))
    usual = math.sqrt(24 * 56)  # midway between the smallest and the largest face of a level
    assert (x2 - x1, y2 - y1) == pytest.approx((usual * width / 120, usual * height / 120))


def test_the_scores_of_three_looks_are_judged_by_a_logistic_regression():
    scores = np.array([[0.5, 0.9, 1.0, 0.0], [0.5, 0.3, 0.0, 1.0], [0.5, 0.6, 1.0, 0.0]], np.float32)
    surest = math.log(0.9999 / 0.0001)
    by_hand = 0.86 * math.log(9) + 0.31 * math.log(3 / 7) + 0.43 * math.log(3 / 2)
    powers = [0, by_hand, 0.98 * surest, -0.98 * surest]
    wanted = [1 / (1 + math.exp(-power - 0.6)) for power in powers]
    assert face_probability(*scores) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("shift", "scale", "kept"),
    [(20, 1, [1]), (26, 1, [1, 0]), (10, 0.3, [1])],
    ids=["half", "a third", "inside"],
)
def test_of_faces_that_share_a_place_the_best_is_kept(shift, scale, kept):
    points = np.stack([FER2013_POINTS * scale + [shift, 10 * (scale < 1)], FER2013_POINTS])
    assert kept_best(boxes_of(points), np.float32([0.7, 0.8])).tolist() == kept


def test_the_window_around_a_face_of_thousands_of_pixels_is_that_of_a_smaller_image(astronaut):
    small = Image.fromarray(astronaut[40:200, 140:300]).convert("L")
    large = small.resize((5760, 5760), Image.Resampling.BILINEAR)
    shown = window(large, window_matrix(Box(0, 0, 5760, 5760), 1.0))
    expected = window(small, window_matrix(Box(0, 0, 160, 160), 1.0))
    assert np.abs(shown.astype(int) - expected).mean() < 1


def test_a_frame_shows_where_its_map_leads_to_without_aliasing():
    y, x = np.indices((240, 320)) + 0.5
    places = [(20, 10, 9), (30, 100, 1), (160, 40, 2), (100, 90, 4.2), (150, 110, 0.25)]
    contrasts = [0, 100, 0, 0, 100 * 0.75**2]  # of single pixels: averaged, as they are, and interpolated
    backs = [np.array([[k, 0, left], [0, k, top]]) for left, top, k in places]
    ramps = (Image.fromarray(np.uint8(values)) for values in (x / 2, y / 2, (x + y) % 2 * 200))
    across, down, checks = (frames([work], backs).astype(float) for work in ramps)
    for i, ((left, top, k), contrast) in enumerate(zip(places, contrasts, strict=True)):
        y, x = (np.indices((48, 48)) + 0.5) * k + np.array([top, left]).reshape(2, 1, 1)
        inside = (x < 320 - k) & (y < 240 - k)
        assert np.abs(across[i] - x / 2)[inside].max() < 1.5
        assert np.abs(down[i] - y / 2)[inside].max() < 1.5
        assert (across[i][(x > 320 + k) | (y > 240 + k)] == 127).all()
        assert np.abs(checks[i] - 100)[inside].max() == pytest.approx(contrast, abs=5)


class Look:
    """Answers by the gray in the middle of each face how far off the face lies, in pixels, and a score."""

    def __init__(self, answers):
        self.answers, self.shown = answers, []

    def __call__(self, faces):
        self.shown.append([int(face[24, 24]) for face in faces])
        shifts, scores = zip(*(self.answers[gray] for gray in self.shown[-1]), strict=True)
        per_pixel = 0.85 * 48 / 52.5  # of the image, where the faces are as high as the usual one
        points = REFINE_POINTS + np.array(shifts)[:, None] * per_pixel
        return points.astype(np.float32), np.array(scores, np.float32)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_refinement_network_places_landmarks_in_units_from_their_usual_places(mirrored, monkeypatch):
    shown = []
    offsets = np.arange(10).reshape(5, 2) / 10

    def run(session, images):
        shown.extend(images)
        odds = [3, 1 / 3][: len(images)]
        return np.array([[math.log(one), *offsets.ravel()] for one in odds], np.float32)

    monkeypatch.setattr(one_stage, "run", run)
    face = np.random.default_rng(0).integers(0, 256, (1, 48, 48), np.uint8)
    detector, placed = OneStage(), REFINE_POINTS + REFINE_UNIT * offsets
    points, scores = (detector.refine_mirrored if mirrored else detector.refine)(face)
    assert len(shown) == (2 if mirrored else 1)
    assert (shown[0] == face).all()
    if mirrored:
        assert (shown[1] == face[:, :, ::-1]).all()
        right_eye, left_eye, nose, right_corner, left_corner = placed * [-1, 1] + [48, 0]
        placed = (placed + np.array([left_eye, right_eye, nose, left_corner, right_corner])) / 2
    assert points[0] == pytest.approx(placed, rel=1e-5)
    assert scores == pytest.approx([0.5 if mirrored else 0.75])


def test_the_best_candidates_are_looked_at_twice_and_each_face_is_told_once(monkeypatch):
    candidates = [  # in pixels of half the size: where the middle is, by which score, and the gray there
        (60, 240, 0.15, 20),  # one too many
        (60, 60, 0.9, 40),
        (160, 60, 0.85, 80),  # doubted at the first look,
        (260, 60, 0.2, 120),  # and this, of which 0.74 is the answer in the end, at the second
        (64, 62, 0.8, 40),  # in the place of a better one
        (160, 160, 0.6, 200),  # moves by the first look
        (60, 160, 0.7, 160),  # moves by the second to the best one
    ]
    first = {
        40: ((0, 0), 0.9),
        80: ((0, 0), 0.09),
        120: ((0, 0), 0.9),
        160: ((0, 0), 0.9),
        200: ((90, 0), 0.11),
    }
    second = {40: ((0, 0), 0.95), 120: ((0, 0), 0.9), 160: ((0, -100), 0.7), 240: ((0, 4), 0.9)}
    image = np.zeros((600, 800, 3), np.uint8)
    cells = np.full((14, 40, 52), -9, np.float32)
    usual = FER2013_POINTS - (FER2013_BOX[:2] + FER2013_BOX[2:]) / 2
    for row, (x, y, score, gray) in enumerate([*candidates, (250, 160, 0, 240)]):
        image[2 * y - 30 : 2 * y + 30, 2 * x - 30 : 2 * x + 30] = gray
        if score:
            cells[0, 3 * row, 5] = math.log(score / (1 - score))
            cells[4:, 3 * row, 5] = ((usual + np.array([x - 44, y - 24 * row - 4])) / 32).ravel()
    detector = OneStage(DetectorSettings(24, 400))
    monkeypatch.setattr(detector, "sure", 0.75)
    monkeypatch.setattr(detector, "most", 6)
    answers = iter([cells])
    monkeypatch.setattr(detector, "run_net", lambda gray: [next(answers, np.full((14, 1, 1), -9.0))])
    detector.refine, detector.refine_mirrored = first, second = Look(first), Look(second)
    faces = sorted(detector.find(image), key=lambda face: face.box.y1)
    assert first.shown == [[40, 80, 160, 200, 120]], "best first, each place once"
    assert second.shown == [[40, 160, 240, 120]]
    looks = [(0.9, 0.9, 0.95), (0.6, 0.11, 0.9)]
    for face, place, scores in zip(faces, [(60, 60), (250, 164)], looks, strict=True):
        odds = [math.log(score / (1 - score)) for score in scores]
        power = 0.86 * odds[0] + 0.31 * odds[1] + 0.43 * odds[2] + 0.6
        assert face.score == pytest.approx(1 / (1 + math.exp(-power)), rel=1e-4)
        assert np.array(face.landmarks.points) == pytest.approx(2 * (usual + place), abs=0.05)
        assert face.box.center == pytest.approx(2 * np.array(place), abs=0.05)
        assert (face.box.width, face.box.height) == pytest.approx((2 * 39.3, 2 * 52.5), abs=0.05)


def test_a_small_place_that_is_no_face_does_not_hide_the_face_around_it(monkeypatch):
    usual = FER2013_POINTS - (FER2013_BOX[:2] + FER2013_BOX[2:]) / 2
    image = np.zeros((400, 400, 3), np.uint8)
    image[190:206], image[206:220] = 80, 40
    points = np.float32([0.3 * usual + [200, 212], usual + 200])
    detector, looks = OneStage(), {40: ((0, 0), 0.3), 80: ((0, 0), 0.9)}
    monkeypatch.setattr(detector, "candidates", lambda gray: [(np.float32([0.6, 0.5]), points)])
    detector.refine = detector.refine_mirrored = Look(looks)
    (face,) = detector.find(image)
    assert np.array(face.landmarks.points) == pytest.approx(points[1], abs=0.05)


@pytest.mark.parametrize(("last", "n_faces"), [(0.91, 1), (0.89, 0)])
def test_what_the_last_look_doubts_is_no_face_however_sure_the_others_are(last, n_faces, monkeypatch):
    usual = FER2013_POINTS - (FER2013_BOX[:2] + FER2013_BOX[2:]) / 2
    detector, image = OneStage(), np.full((400, 400, 3), 80, np.uint8)
    monkeypatch.setattr(detector, "candidates", lambda gray: [(np.float32([0.999]), usual[None] + 200)])
    detector.refine, detector.refine_mirrored = Look({80: ((0, 0), 0.999)}), Look({80: ((0, 0), last)})
    assert len(detector.find(image)) == n_faces


def test_the_weights_are_what_their_card_says_and_small():
    card = json.loads((WEIGHTS / "one-stage.json").read_text())
    files = {name: (WEIGHTS / name).read_bytes() for name in (one_stage.WEIGHTS, one_stage.REFINE_WEIGHTS)}
    assert card["sha256"] == {name: hashlib.sha256(packed).hexdigest() for name, packed in files.items()}
    assert sum(map(len, files.values())) <= 1_500_000
    assert card["licence"]
    assert card["limits"]
    assert card["data"]


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    for path in WEIGHTS.glob("one-stage*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / one_stage.WEIGHTS).write_bytes(b"broken")
    monkeypatch.setattr(one_stage, "SHIPPED", tmp_path)
    one_stage.network_session.cache_clear()
    with pytest.raises(ModelError, match="sha256"):
        OneStage().find(np.zeros((64, 64, 3), np.uint8))
