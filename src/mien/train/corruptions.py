"""Corrupt some faces of a batch as photographs are and FER2013 is not.

Each function changes a face with the given probability and leaves the others as they are; shapes are
(N, C, H, W), values 0-1, and all randomness comes from ``rng``.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.train.chance import chosen, host_rng
from mien.train.recipe import AugmentSettings


def corrupt(faces: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """All corruptions of a recipe, one after another."""
    kinds = (
        (settings.low_resolution, low_resolution),
        (settings.noise, add_noise),
        (settings.mask, mask_background),
        (settings.hide, hide_side),
    )
    for salt, (probability, change) in enumerate(kinds, start=1):
        which = chosen(len(faces), probability, rng, salt)
        if len(which):
            faces = faces.index_copy(0, which, change(faces[which], rng))
    return faces


def _uniform(n: int, low: float, high: float, faces: Tensor, rng: torch.Generator) -> Tensor:
    """(n, 1, 1, 1) numbers between ``low`` and ``high``."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=rng, device=faces.device)


def low_resolution(faces: Tensor, rng: torch.Generator) -> Tensor:
    """Shrunk to 35-80 % of their side, the same for all of the batch, and enlarged again."""
    side = faces.shape[-1]
    part = host_rng(rng, 9).uniform(0.35, 0.8)
    small = F.interpolate(faces, max(8, round(part * side)), mode="bilinear", antialias=True)
    return F.interpolate(small, side, mode="bilinear")


def add_noise(faces: Tensor, rng: torch.Generator) -> Tensor:
    """Gaussian noise with a deviation of 0-0.1."""
    noise = torch.randn(faces.shape, generator=rng, device=faces.device)
    return faces + noise * _uniform(len(faces), 0, 0.1, faces, rng)


def mask_background(faces: Tensor, rng: torch.Generator) -> Tensor:
    """One gray value, black for half of them, outside an ellipse of 75-105 % of the side."""
    n, _, height, width = faces.shape
    y = torch.linspace(-1, 1, height, device=faces.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=faces.device).view(1, 1, 1, -1)
    tall, wide = (_uniform(n, 0.75, 1.05, faces, rng) for _ in range(2))
    down, right = (_uniform(n, -0.1, 0.1, faces, rng) for _ in range(2))
    outside = ((y - down) / tall) ** 2 + ((x - right) / wide) ** 2 > 1
    gray = _uniform(n, -1, 1, faces, rng).clamp(min=0)
    return torch.where(outside, gray, faces)


def hide_side(faces: Tensor, rng: torch.Generator) -> Tensor:
    """One gray value over 25-50 % of the face, from below, above, left or right: a mask, a hand, a border."""
    n, _, height, width = faces.shape
    y = torch.linspace(0, 1, height, device=faces.device).view(1, 1, -1, 1)
    x = torch.linspace(0, 1, width, device=faces.device).view(1, 1, 1, -1)
    side = torch.randint(4, (n, 1, 1, 1), generator=rng, device=faces.device)
    depth = torch.where(side < 2, torch.where(side == 0, 1 - y, y), torch.where(side == 2, x, 1 - x))
    hidden = depth < _uniform(n, 0.25, 0.5, faces, rng)
    return torch.where(hidden, _uniform(n, 0, 1, faces, rng), faces)
