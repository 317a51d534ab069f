"""The fit and the measures of hidden faces: against values worked by hand, on made gaps."""

import numpy as np
import pytest

from mien.core.quality import by_gap


@pytest.fixture(scope="module")
def bench(module_at):
    return module_at("benchmarks/occlusion.py")


def test_the_fit_finds_the_curve_that_the_faces_were_drawn_from(bench):
    rng = np.random.default_rng(0)
    gaps = np.exp(rng.normal(-2.5, 0.6, 20_000))
    hidden = rng.random(20_000) < by_gap(gaps, 4.0, 0.08)
    steepness, even = bench.fit(gaps, hidden)
    assert steepness == pytest.approx(4.0, abs=0.15)
    assert even == pytest.approx(0.08, rel=0.05)


def test_whole_and_hidden_faces_weigh_the_same(bench):
    hidden = np.array([True, True, True, False])
    assert bench.halves(hidden).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0.5])
    probs = np.array([0.75, 0.75, 0.75, 0.75])
    assert bench.calibration_error(probs, hidden) == pytest.approx(0.25)  # half of the weight is hidden


def test_the_area_is_that_of_pairs_and_a_tie_counts_half(bench):
    scores = np.array([0.1, 0.4, 0.4, 0.9])
    assert bench.area(scores, np.array([False, False, True, True])) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_an_interval_draws_faces_with_all_their_images(bench):
    rows = np.repeat([3, 5, 9], [1, 4, 2])
    sizes = set()

    def measure(images):
        sizes.add(tuple(np.bincount(rows[images], minlength=10)[[3, 5, 9]] % np.array([1, 4, 2])))
        return float(len(images))

    value, low, high = bench.interval(rows, measure)
    assert (value, sizes) == (7, {(0, 0, 0)})
    assert 3 <= low < 7 < high <= 12


@pytest.mark.parametrize("place", ["lower half", "eyes and forehead", "side", "quarter"])
@pytest.mark.parametrize("fill", ["noise", "gray", "another face"])
def test_a_rectangle_covers_its_part_and_nothing_else(bench, place, fill):
    rng = np.random.default_rng(1)
    points = rng.uniform(50, 110, (68, 2))
    points[27:31] = [(80, y) for y in (60, 65, 70, 75)]
    face, other = np.full((160, 160), 7, np.uint8), np.full((160, 160), 200, np.uint8)
    where = bench.rectangle(place, points, rng)
    covered = bench.cover(face, where, fill, other, rng)
    x1, y1, x2, y2 = np.clip(np.rint(where), 0, 160).astype(int)
    assert (covered[y1:y2, x1:x2] != 7).mean() > 0.95
    assert (x2 - x1) * (y2 - y1) > 60 * 60 / 5
    covered[y1:y2, x1:x2] = 7
    assert (covered == 7).all()
    assert (face == 7).all()
