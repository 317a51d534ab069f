"""Boxes, similarity and resampling, against values worked by hand, scikit-image and plain loops."""

import numpy as np
import pytest

from mien.core.geometry import invert, non_max_suppression, overlap, similarity, stretch, transform, warp
from mien.errors import MienError


def boxes(*rows):
    return np.array(rows, np.float32)


def rotation(angle_deg, zoom, shift=(0.0, 0.0)):
    c, s = zoom * np.cos(np.radians(angle_deg)), zoom * np.sin(np.radians(angle_deg))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def test_overlap_agrees_with_areas_worked_by_hand():
    a, b = boxes([0, 0, 2, 2]), boxes([1, 1, 3, 4], [0, 0, 2, 2], [5, 5, 6, 6])
    np.testing.assert_allclose(overlap(a, b), [[1 / 9, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(overlap(a, b, over="min"), [[1 / 4, 1, 0]], rtol=1e-6)


def test_a_box_without_area_overlaps_nothing():
    flat = boxes([1, 1, 1, 3], [3, 3, 1, 1])
    assert (overlap(flat, boxes([0, 0, 4, 4])) == 0).all()


def test_suppression_keeps_both_ends_of_a_chain():
    chain = boxes([0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10])
    assert non_max_suppression(chain, np.float32([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]


def test_equal_scores_keep_the_box_given_first():
    pairs = boxes(*([20 * (i // 2), 0, 20 * (i // 2) + 10, 10] for i in range(100)))
    scores = np.tile(np.float32([0.5, 0.5, 0.7, 0.7]), 25)
    first_of_each = np.arange(0, 100, 2)
    assert non_max_suppression(pairs, scores, 0.5).tolist() == [*first_of_each[1::2], *first_of_each[::2]]


@pytest.mark.parametrize("over", ["union", "min"])
def test_suppression_agrees_with_a_plain_loop(over):
    rng = np.random.default_rng(0)
    corner, scores = rng.uniform(0, 50, (200, 2)), rng.random(200).astype(np.float32)
    all_boxes = np.hstack([corner, corner + rng.uniform(5, 30, (200, 2))]).astype(np.float32)
    kept = []
    for i in sorted(range(200), key=lambda i: -scores[i]):
        if all(overlap(all_boxes[[i]], all_boxes[[j]], over)[0, 0] <= 0.3 for j in kept):
            kept.append(i)
    assert non_max_suppression(all_boxes, scores, 0.3, over).tolist() == kept


def test_no_boxes_leave_no_boxes():
    assert non_max_suppression(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5).size == 0


def test_a_known_similarity_is_recovered():
    points, truth = np.random.default_rng(1).normal(size=(5, 2)), rotation(33, 1.7, (4, -9))
    np.testing.assert_allclose(similarity(points, transform(points, truth)), truth, atol=1e-12)


def test_the_fit_is_the_one_of_scikit_image():
    sk = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(2)
    for _ in range(20):
        src, dst = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
        theirs = sk.SimilarityTransform.from_estimate(src, dst)
        ours = similarity(src, dst)
        np.testing.assert_allclose(ours, theirs.params[:2], atol=1e-9)


def test_many_similarities_are_those_of_one_each():
    rng = np.random.default_rng(6)
    one, many = rng.normal(size=(5, 2)), rng.normal(size=(7, 5, 2))
    np.testing.assert_allclose(similarity(one, many), [similarity(one, five) for five in many])
    np.testing.assert_allclose(similarity(many, one), [similarity(five, one) for five in many])
    assert similarity(many[:0], one).shape == (0, 2, 3)
    with pytest.raises(MienError, match="two distinct, finite points"):
        similarity([*many, np.ones((5, 2))], one)


def test_a_mirrored_shape_is_not_mirrored_back():
    src = np.array([[0, 0], [4, 0], [1, 3.0]])
    matrix = similarity(src, src * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("src", "dst", "text"),
    [
        ([[1, 1], [1, 1]], [[0, 0], [1, 1]], "two distinct, finite points"),
        ([[1, 1], [np.nan, 1]], [[0, 0], [1, 1]], "two distinct, finite points"),
        ([[1, 1], [2, 1]], [[0, 0], [np.inf, 1]], "two distinct, finite points"),
        ([[1, 1], [2, 1]], [[0, 0]], r"got \(2, 2\) and \(1, 2\)"),
    ],
)
def test_points_that_fix_no_similarity_are_refused(src, dst, text):
    with pytest.raises(MienError, match=text):
        similarity(src, dst)


def test_inverse_undoes_the_map():
    matrix, points = rotation(70, 0.3, (5, 6)), np.random.default_rng(3).normal(size=(7, 2))
    np.testing.assert_allclose(transform(transform(points, matrix), invert(matrix)), points, atol=1e-12)


@pytest.mark.parametrize("matrix", np.random.default_rng(8).normal(size=(5, 2, 3)))
def test_inverse_and_stretch_are_those_of_linear_algebra(matrix):
    whole = np.vstack([matrix, [0, 0, 1]])
    np.testing.assert_allclose(invert(matrix), np.linalg.inv(whole)[:2], rtol=1e-10)
    assert stretch(matrix) == pytest.approx(np.linalg.norm(matrix[:, :2], ord=2), rel=1e-12)


@pytest.fixture
def noise():
    return np.random.default_rng(4).integers(0, 256, (40, 60, 3), np.uint8)


def test_the_identity_changes_no_pixel(noise):
    assert (warp(noise, np.eye(2, 3), (60, 40)) == noise).all()


def test_a_shift_by_whole_pixels_copies_pixels_and_repeats_the_edge(noise):
    out = warp(noise, np.array([[1, 0, 5], [0, 1, -3.0]]), (60, 40))
    rows, columns = np.clip(np.arange(40) + 3, 0, 39), np.clip(np.arange(60) - 5, 0, 59)
    assert (out == noise[rows[:, None], columns]).all()


def test_a_quarter_turn_is_that_of_numpy(noise):
    counter_clockwise = np.array([[0, 1, 0], [-1, 0, 60.0]])
    assert (warp(noise, counter_clockwise, (40, 60)) == np.rot90(noise)).all()


@pytest.mark.parametrize("k", [2, 3, 10])
def test_shrinking_by_a_whole_number_averages_whole_blocks(k):
    image = np.random.default_rng(5).integers(0, 256, (30 * k, 20 * k), np.uint8)
    means = image.reshape(30, k, 20, k).mean(axis=(1, 3))
    out = warp(image, np.eye(2, 3) / k, (20, 30))
    assert np.abs(out - means).max() <= (0.56 if k < 8 else 1.01)  # reduced twice, rounded twice


def test_pixel_centres_lie_at_halves():
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (20, 1))  # 10 x at pixel x, whose centre is x + .5
    out = warp(ramp, np.eye(2, 3) * 2, (40, 40))[20, 8:32]
    centres = (np.arange(8, 32) + 0.5) / 2
    error = out - 10 * (centres - 0.5)  # Pillow rounds down
    assert error.max() <= 0
    assert error.min() > -1


@pytest.mark.parametrize("zoom", [0.05, 0.13, 0.4, 0.9, 1.0, 2.6])
def test_a_blob_goes_where_its_centre_is_sent(zoom):
    side = round(60 / zoom) + 40
    y, x = np.mgrid[:side, :side] + 0.5
    spot = np.array([side * 0.45, side * 0.55])
    blob = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (4 / zoom) ** 2))
    matrix = rotation(25, zoom)
    matrix[:, 2] = np.array([31.3, 27.8]) - matrix[:, :2] @ spot
    out = warp(blob.round().astype(np.uint8), matrix, (60, 60)).astype(float)
    y, x = np.mgrid[:60, :60] + 0.5
    centre = np.array([(out * x).sum(), (out * y).sum()]) / out.sum()
    np.testing.assert_allclose(centre, [31.3, 27.8], atol=0.03)


@pytest.mark.parametrize("zoom", [0.03, 0.1, 0.21])
def test_a_fine_pattern_shrinks_to_gray_and_not_to_stripes(zoom):
    stripes = np.tile(np.array([0, 255], np.uint8), (1200, 600))
    out = warp(stripes, rotation(17, zoom, (0, 0)), (20, 20))
    assert np.abs(out[8:, 4:12].astype(int) - 127).max() <= 16


def test_gray_and_colour_give_the_same(noise):
    matrix = rotation(10, 0.37, (3, 4))
    colour = warp(noise, matrix, (24, 24))
    assert colour.shape == (24, 24, 3)
    assert all((warp(noise[..., i], matrix, (24, 24)) == colour[..., i]).all() for i in range(3))


def test_a_target_wholly_outside_shows_the_nearest_corner(noise):
    out = warp(noise, np.array([[1, 0, 500], [0, 1, 500.0]]), (8, 8))
    assert (out == noise[0, 0]).all()


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.zeros((2, 3)), "got a singular one"),
        (np.full((2, 3), np.nan), "got a singular one"),
        (np.eye(2, 3) * 1e-4, "may cover at most 200,000,000 pixels"),
    ],
)
def test_a_warp_that_makes_no_sense_is_refused(noise, matrix, text):
    with pytest.raises(MienError, match=text):
        warp(noise, matrix, (10, 10))
