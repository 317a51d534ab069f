"""Corruptions: which faces they change, and how."""

import pytest
import torch

from mien.train.corruptions import corrupt, hide_side, low_resolution, mask_background
from mien.train.recipe import AugmentSettings

KINDS = ("low_resolution", "noise", "mask", "hide")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int = 40, side: int = 24) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=rng(5)) * 0.5 + 0.25


def test_nothing_is_asked_for_and_nothing_happens() -> None:
    assert torch.equal(corrupt(faces(), AugmentSettings(), rng()), faces())


@pytest.mark.parametrize("kind", KINDS)
def test_about_the_given_part_of_the_faces_changes(kind: str) -> None:
    out = corrupt(faces(400), AugmentSettings(**{kind: 0.25}), rng())
    changed = (out != faces(400)).flatten(1).any(1)
    assert 0.17 < float(changed.float().mean()) < 0.33


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_faces(kind: str) -> None:
    settings = AugmentSettings(**{kind: 0.5})
    assert torch.equal(corrupt(faces(), settings, rng(3)), corrupt(faces(), settings, rng(3)))


def test_low_resolution_takes_detail_and_keeps_the_mean() -> None:
    out = low_resolution(faces(), rng())
    assert float(out.var()) < 0.6 * float(faces().var())
    assert float(out.mean()) == pytest.approx(float(faces().mean()), abs=0.01)


def test_the_masked_corners_are_plain_and_the_centre_is_untouched() -> None:
    out, given = mask_background(faces(), rng()), faces()
    corners = torch.stack([out[:, 0, 0, 0], out[:, 0, 0, -1], out[:, 0, -1, 0], out[:, 0, -1, -1]])
    assert bool((corners == corners[0]).all())
    assert 0.3 < float((corners[0] == 0).float().mean()) < 0.7
    assert torch.equal(out[:, :, 8:16, 8:16], given[:, :, 8:16, 8:16])


def test_hidden_is_a_quarter_to_a_half_from_one_side() -> None:
    out, given = hide_side(faces(200), rng()), faces(200)
    hidden = out != given
    parts = hidden.flatten(1).float().mean(1)
    assert bool(((parts > 0.2) & (parts < 0.55)).all())
    sides = [
        hidden[:, 0, -1].all(1),
        hidden[:, 0, 0].all(1),
        hidden[:, 0, :, 0].all(1),
        hidden[:, 0, :, -1].all(1),
    ]
    assert all(30 < int(side.sum()) < 75 for side in sides)
    assert int(sum(side.int() for side in sides).sum()) == 200
