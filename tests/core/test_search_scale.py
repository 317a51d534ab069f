"""The size at which an image is searched."""

import numpy as np
import pytest
from PIL import Image

from mien.core.detection import DetectorSettings
from mien.core.search_scale import shrunk


@pytest.mark.parametrize(("smallest", "size"), [(40, (3000, 20)), (80, (1500, 10)), (3000, (40, 1))])
def test_an_image_is_shrunk_as_far_as_its_smallest_face_allows(smallest, size):
    work = shrunk(np.zeros((20, 3000, 3), np.uint8), DetectorSettings(smallest, None))
    assert work.size == size


@pytest.mark.parametrize("shape", [(1900, 333), (333, 1900), (1283, 40), (5999, 210), (6001, 7)])
def test_an_image_is_shrunk_in_bands_as_pillow_shrinks_it_whole(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    small = shrunk(image, DetectorSettings())
    whole = Image.fromarray(image).resize(small.size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    off = np.abs(np.asarray(small).astype(int) - np.asarray(whole))
    # Rounded in another order; beyond four times the size Pillow averages blocks first, begun elsewhere.
    assert off.max() <= (1 if max(shape) < 4 * 1280 else 20)
    assert off.mean() < (0.5 if max(shape) < 4 * 1280 else 2)
