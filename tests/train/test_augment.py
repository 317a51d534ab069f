"""Augmentation against what numpy does to the same image."""

import math

import numpy as np
import pytest
import torch

from mien.train.augment import affine, augment, change_light, colour_jitter, erase, resample, turn_hue
from mien.train.recipe import AugmentSettings


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_change_is_asked_for_and_none_happens(image: torch.Tensor) -> None:
    out = augment(image, torch.zeros(3, dtype=torch.bool), 8, AugmentSettings(), rng())
    torch.testing.assert_close(out, image)


def test_flip_mirrors_just_the_faces_that_it_names(image: torch.Tensor) -> None:
    out = augment(image, torch.tensor([True, False, True]), 8, AugmentSettings(), rng())
    expected = np.stack([image[0].numpy()[..., ::-1], image[1].numpy(), image[2].numpy()[..., ::-1]])
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_quarter_turn_of_the_matrix_is_numpys_quarter_turn(image: torch.Tensor, quarter: int) -> None:
    angle = quarter * math.pi / 2
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    out = resample(image, matrix.expand(3, 2, 3), 8)
    np.testing.assert_allclose(out.numpy(), np.rot90(image.numpy(), quarter, axes=(2, 3)), atol=1e-5)


def test_shift_and_zoom_stay_within_their_limits() -> None:
    settings = AugmentSettings(rotation_deg=10, zoom=0.2, shift=0.1)
    matrices = affine(torch.zeros(4000, dtype=torch.bool), settings, rng()).numpy()
    scale = np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    angle = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert np.abs(matrices[:, :, 2]).max() <= 0.2
    assert 1 / 1.2 - 1e-6 <= scale.min() < 0.84
    assert 1.24 < scale.max() <= 1 / 0.8 + 1e-6
    assert 9.9 < np.abs(angle).max() <= 10 + 1e-4


def test_outside_the_image_it_is_mirrored() -> None:
    row = torch.arange(8.0).expand(1, 1, 8, 8)
    matrix = torch.tensor([[[1.0, 0, 2 * 2 / 8], [0, 1, 0]]])  # look two pixels to the right
    out = resample(row, matrix, 8)[0, 0, 0]
    assert out.tolist() == pytest.approx([2, 3, 4, 5, 6, 7, 7, 6])


def test_contrast_keeps_each_face_mean_and_scales_its_deviation(image: torch.Tensor) -> None:
    out = change_light(image, AugmentSettings(contrast=0.5), rng())
    torch.testing.assert_close(out.mean((1, 2, 3)), image.mean((1, 2, 3)))
    gain = out.std((1, 2, 3)) / image.std((1, 2, 3))
    assert ((gain > 0.5) & (gain < 1.5)).all()
    assert gain.std() > 0.01


def test_erasing_changes_one_rectangle_of_about_half_the_faces() -> None:
    black = torch.full((2000, 1, 20, 20), -1.0)
    changed = (erase(black, 0.5, rng()) != -1)[:, 0]
    touched = changed.flatten(1).any(1)
    assert 0.4 < touched.float().mean() < 0.55
    for mask in changed[touched][:50]:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == rows.sum() * columns.sum(), "the erased pixels are not one rectangle"
        assert max(rows.sum(), columns.sum()) <= 0.4 * 20 + 1


def test_the_same_generator_state_gives_the_same_batch(image: torch.Tensor) -> None:
    settings = AugmentSettings(rotation_deg=9, zoom=0.1, shift=0.1, brightness=0.2, contrast=0.2, erase=0.5)
    flip = torch.tensor([True, False, False])
    first, again = (augment(image, flip, 10, settings, rng(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(image, flip, 10, settings, rng(8)))
    assert first.shape == (3, 1, 10, 10)


def jittered(
    face: torch.Tensor, limits: tuple[float, float, float, float]
) -> tuple[torch.Tensor, list[float]]:
    """A face after `colour_jitter`, and the four changes that were drawn for it."""
    draws = 2 * torch.rand(4, 1, 1, 1, 1, generator=rng(5)) - 1
    changes = [float(draw) * limit for draw, limit in zip(draws, limits, strict=True)]
    return colour_jitter(face, limits, rng(5)), changes


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
def test_colour_jitter_is_that_of_torchvision(channels: int) -> None:
    tv = pytest.importorskip("torchvision.transforms.functional", reason="needs torchvision")
    face = torch.rand(1, channels, 9, 9, generator=rng(2))
    out, (brightness, contrast, saturation, hue) = jittered(face, (0.4, 0.4, 0.4, 0.1))
    expected = tv.adjust_contrast(tv.adjust_brightness(face, 1 + brightness), 1 + contrast)
    if channels == 3:
        expected = tv.adjust_hue(tv.adjust_saturation(expected, 1 + saturation), hue)
    torch.testing.assert_close(out, expected, atol=2e-4, rtol=0)


def test_a_third_of_the_hue_circle_moves_red_to_green_and_gray_stays() -> None:
    red_and_gray = torch.tensor([[[[1.0, 0.4]], [[0.0, 0.4]], [[0.0, 0.4]]]])
    out = turn_hue(red_and_gray, torch.full((1, 1, 1, 1), 1 / 3))
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[0, :, 0, 1], torch.full((3,), 0.4))
