"""Hidden parts of the face: where they lie, and what is measured of a model that reads one of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from mien import MienError
from mien.core.preprocess import FER2013_POINTS


@pytest.fixture(scope="module")
def bench(module_at):
    return module_at("benchmarks/hidden_parts.py")


class MouthReader:
    """Says sad by how bright the mouth's middle is, neutral otherwise."""

    labels = ("sad", "neutral")
    card = SimpleNamespace(mean=0.5)

    def probs(self, faces):
        sad = 0.1 + 0.8 * faces[:, 38, 24] / 255.0
        return np.stack([sad, 1 - sad], axis=1)


def aligned(n):
    return np.repeat(np.float32(FER2013_POINTS)[None], n, axis=0)


def test_a_part_is_hidden_where_the_landmarks_are(bench):
    faces = np.full((2, 48, 48), 200, np.uint8)
    moved = aligned(2)
    moved[1] += [5, -3]
    hidden = bench.hide(faces, moved, (17, 22, 31, 32), 7)
    assert (hidden[0] == 7).sum() == 14 * 10
    assert np.array_equal(np.roll(hidden[0], (-3, 5), axis=(0, 1)), hidden[1])
    assert (faces == 200).all()


def test_the_part_that_the_model_reads_is_the_one_that_costs(bench):
    rows = {
        row["hidden"]: row
        for row in bench.measure(
            MouthReader(), np.full((20, 48, 48), 255, np.uint8), aligned(20), ("sad", "neutral")
        )
    }
    assert rows["nothing"]["named_right"] == 1
    expected = np.log(0.9 / 0.1) - np.log((0.1 + 0.8 * 128 / 255) / (0.9 - 0.8 * 128 / 255))
    assert rows["mouth"]["fall"] == pytest.approx((expected,) * 3)
    assert rows["lower half"]["fall"] == rows["mouth"]["fall"]
    for part in ("eyes and brows", "nose", "upper half", "forehead"):
        assert rows[part]["fall"] == (0, 0, 0)


def test_the_map_is_hot_where_the_model_reads_alone(bench):
    found = bench.mean_map(
        MouthReader(), np.full((3, 48, 48), 255, np.uint8), aligned(3), ("sad", "neutral"), 12
    )
    assert found.shape == (48, 48)
    assert found[38, 24] == found.max() > 1
    assert found[10, 10] == 0


def test_the_outline_stands_upright_on_the_grid(bench):
    points = bench.outline()
    assert points.shape == (68, 2)
    assert points[8, 1] > points[57, 1] > points[33, 1] > points[41, 1] > points[19, 1]
    assert points[0, 0] < points[36, 0] < points[45, 0] < points[16, 0]


def test_an_unknown_emotion_is_told(bench):
    rows = SimpleNamespace(name="mine", label_names=("sad",))
    with pytest.raises(MienError, match="mine has no label 'bored'; known: sad"):
        bench.faces_of(rows, "bored", None)
