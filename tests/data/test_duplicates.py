import csv

import numpy as np
import pytest

from mien.core.emotions import FER2013
from mien.data.duplicates import NearDuplicates, find_near_duplicates, same_images
from mien.data.records import FaceSet


def _smooth(rng, n):
    """Images with structure over some pixels, as faces have."""
    coarse = rng.normal(size=(n, 8, 8))
    fine = np.kron(coarse, np.ones((7, 7)))[:, :52, :52]
    blurred = sum(fine[:, dy : dy + 48, dx : dx + 48] for dy in range(5) for dx in range(5))
    low, high = blurred.min(axis=(1, 2), keepdims=True), blurred.max(axis=(1, 2), keepdims=True)
    return np.round(255 * (blurred - low) / (high - low)).astype(np.uint8)


def _faces(train, others, split=2):
    n = len(train) + len(others)
    return FaceSet(
        images=np.concatenate([train, others]),
        labels=np.zeros(n, np.int64),
        split=np.array([0] * len(train) + [split] * len(others), np.uint8),
        rows=100 + np.arange(n),
        label_names=FER2013,
        name="made-up",
    )


def _brute_force(train, image):
    """The definition, one window at a time, with numpy's own correlation."""

    def halved(image):
        rows = image.astype(float)[0::2] + image.astype(float)[1::2]
        return (rows[:, 0::2] + rows[:, 1::2]) / 4

    best = (-2.0, -1)
    for i, face in enumerate(train):
        inner = halved(face)[2:22, 2:22]
        for window in (inner, inner[:, ::-1]):
            for dy in range(5):
                for dx in range(5):
                    other = halved(image)[dy : dy + 20, dx : dx + 20]
                    best = max(best, (np.corrcoef(window.ravel(), other.ravel())[0, 1], -i))
    return best[0], -best[1]


@pytest.mark.parametrize("floor", [0.3, 0.5])
def test_the_search_finds_what_the_definition_says(floor):
    rng = np.random.default_rng(1)
    train, others = _smooth(rng, 12), _smooth(rng, 8)
    near = find_near_duplicates(_faces(train, others), floor=floor)
    expected = {}
    for row, image in enumerate(others, start=112):
        score, match = _brute_force(train, image)
        if score >= floor:
            expected[row] = (match + 100, score)
    assert expected
    assert near.rows.tolist() == list(expected)
    assert near.nearest.tolist() == [match for match, _ in expected.values()]
    np.testing.assert_allclose(near.ncc, [score for _, score in expected.values()], atol=1e-5)


CHANGES = {
    "the same": lambda face: face,
    "shifted by 4 pixels": lambda face: np.roll(face, (4, -4), axis=(0, 1)),
    "mirrored": lambda face: face[:, ::-1],
    "darker with less contrast": lambda face: (face // 2 + 10).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_although(change):
    train = _smooth(np.random.default_rng(2), 30)
    near = find_near_duplicates(_faces(train, CHANGES[change](train[7])[None]))
    assert near.nearest.tolist() == [107]
    assert near.ncc[0] > 0.99
    assert near.exact.tolist() == [change == "the same"]


def test_a_copy_is_found_although_the_leading_directions_say_little_about_it():
    noise = np.random.default_rng(8).integers(0, 256, (200, 48, 48), np.uint8)
    near = find_near_duplicates(_faces(noise, CHANGES["shifted by 4 pixels"](noise[7])[None]))
    assert near.nearest.tolist() == [107]
    np.testing.assert_allclose(near.ncc, 1, atol=1e-5)


@pytest.mark.parametrize("side", [48, 24, 16, 12, 8])
def test_a_copy_is_found_and_other_images_are_none_whatever_their_size(side):
    images = _smooth(np.random.default_rng(3), 60)
    images[50] = images[7] // 2 + 10
    small = images.reshape(60, side, 48 // side, side, 48 // side).mean(axis=(2, 4)).astype(np.uint8)
    near = find_near_duplicates(_faces(small[:40], small[40:]))
    assert (near.rows.tolist(), near.nearest.tolist()) == ([150], [107])


def test_validation_faces_are_searched_too_and_training_faces_are_not():
    train = _smooth(np.random.default_rng(4), 5)
    train[1] = train[0]
    near = find_near_duplicates(_faces(train, train[:1], split=1))
    assert (near.rows.tolist(), near.nearest.tolist()) == ([105], [100])


def test_blank_images_match_only_blank_images_of_the_same_gray():
    train = _smooth(np.random.default_rng(5), 5)
    train[3] = 0
    others = np.stack([np.full((48, 48), gray, np.uint8) for gray in (0, 9)])
    near = find_near_duplicates(_faces(train, others), floor=-1.0)
    assert near.ncc[near.rows == 105].tolist() == [1]
    assert near.nearest[near.rows == 105].tolist() == [103]
    assert near.exact.tolist() == [True, False]
    assert near.ncc[near.rows == 106].tolist() == [0]


@pytest.mark.parametrize(("n_train", "n_others"), [(0, 3), (3, 0)])
def test_nothing_to_compare_finds_nothing(n_train, n_others):
    images = _smooth(np.random.default_rng(6), 3)
    assert len(find_near_duplicates(_faces(images[:n_train], images[:n_others]))) == 0


def test_progress_ends_at_the_number_of_searched_faces():
    images, seen = _smooth(np.random.default_rng(7), 50), []
    find_near_duplicates(_faces(images[:5], images[5:]), progress=lambda *step: seen.append(step))
    assert seen[-1] == (45, 45)


def test_clean_leaves_out_what_reaches_the_threshold():
    rows = np.array([3, 5, 9])
    near = NearDuplicates(rows, rows, np.array([0.94, 0.95, 1], np.float32), np.array([0, 0, 1], bool), 0.9)
    assert near.clean(np.array([3, 4, 5, 9])).tolist() == [True, True, False, False]
    assert near.clean(np.array([3, 4, 5, 9]), above=0.93).tolist() == [False, True, False, False]


def test_pairs_of_one_image_are_given_while_they_are_found_and_never_held_together():
    image = _smooth(np.random.default_rng(8), 1)
    faces = _faces(np.concatenate([image - (image > i) for i in range(60)]), image[:0])
    searched = [0]
    pairs = same_images(faces, progress=lambda done, total: searched.append(done))
    when = {int(max(pair)): searched[-1] for pair in pairs if int(min(pair)) == 0}
    assert sorted(when) == list(range(1, 60))
    assert [when[i] for i in (19, 20, 59)] == [0, 20, 40]


@pytest.fixture(scope="session")
def published(mien_data):
    """Row to (nearest training row, correlation to 4 places, pixel-identical), of every face from 0.90."""
    with (mien_data / "fer2013" / "near_duplicates.csv").open(newline="") as file:
        return {
            int(row["fer2013_csv_row"]): (
                int(row["nearest_training_row"]),
                float(row["ncc_40x40_shift_mirror"]),
                row["exact_pixel_duplicate"] == "1",
            )
            for row in csv.DictReader(file)
        }


def test_the_real_near_duplicates_are_those_that_were_published(real_faces, real_rows, published):
    # every 32nd face outside training, against all of training; faces without a FER+ name are not published
    named = np.array([bool(row["ferplus_image_name"]) for row in real_rows[0]])
    searched = (real_faces.split == 0) | (named & (real_faces.rows % 32 == 0))
    near = find_near_duplicates(real_faces.take(searched))
    expected = {row: found for row, found in published.items() if row % 32 == 0}
    assert len(expected) > 40
    assert near.rows.tolist() == sorted(expected)
    for i, row in enumerate(near.rows.tolist()):
        nearest, ncc, exact = expected[row]
        assert (near.nearest[i], near.exact[i]) == (nearest, exact)
        assert abs(near.ncc[i] - ncc) < 1e-4


def test_3035_real_test_faces_are_clean(real_faces, published):
    rows = np.array(sorted(published))
    nearest, ncc, exact = (np.array(column) for column in zip(*(published[row] for row in rows), strict=True))
    near = NearDuplicates(rows, nearest, ncc.astype(np.float32), exact, 0.9)
    assert near.clean(real_faces.select("test").rows).sum() == 3035
