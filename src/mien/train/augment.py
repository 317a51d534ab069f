"""Augmentation of a whole batch at once, on the device that trains.

One affine resampling does mirror, rotation, zoom, shift and resize together; light and erasing follow.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.core.landmarks import MIRRORED
from mien.train.chance import chosen
from mien.train.corruptions import corrupt
from mien.train.recipe import AugmentSettings


def augment(
    faces: Tensor,
    flip: Tensor,
    size: int,
    settings: AugmentSettings,
    rng: torch.Generator,
    matrices: Tensor | None = None,
) -> Tensor:
    """Change each face of a batch at random.

    Args:
        faces: float32 (N, C, H, W), 0-1.
        flip: bool (N,); True mirrors the face.
        size: Side of the result in pixels.
        settings: How much may change. Rotation, zoom and shift are uniform in their range.
        rng: The only source of randomness, on the device of ``faces``.
        matrices: Of `affine`, for a caller that needs them too; drawn here otherwise.

    Returns:
        float32 (N, C, size, size).
    """
    if matrices is not None:
        resampled = resample(faces, matrices, size)
    elif settings.rotation_deg or settings.zoom or settings.shift or faces.shape[2:] != (size, size):
        resampled = resample(faces, affine(flip, settings, rng), size)
    else:
        resampled = torch.where(flip.view(-1, 1, 1, 1), faces.flip(3), faces)
    lit = colour_jitter(change_light(resampled, settings, rng), settings.jitter, rng)
    spoilt = corrupt(lit, settings, rng)
    return erase(spoilt, settings.erase, rng) if settings.erase else spoilt


def affine(flip: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """Random matrices (N, 2, 3) from output to input coordinates, where the image spans -1..1."""
    n = len(flip)

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(n, generator=rng, device=flip.device) - 1) * limit

    angle = uniform(math.radians(settings.rotation_deg))
    scale = 1 / (1 + uniform(settings.zoom))
    mirror = torch.where(flip, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    x = torch.stack([cos * mirror, -sin, uniform(2 * settings.shift)], dim=1)
    y = torch.stack([sin * mirror, cos, uniform(2 * settings.shift)], dim=1)
    return torch.stack([x, y], dim=1)


def move_points(points: Tensor, flip: Tensor, matrices: Tensor) -> Tensor:
    """Where landmarks (N, K, 2), in sides with the middle at 0, go when faces are resampled by `affine`.

    The points of a mirrored face change their names too: its left eye is the right one of the image.
    """
    swapped = points[:, list(MIRRORED[points.shape[1]])]
    named = torch.where(flip.view(-1, 1, 1), swapped, points)
    back = torch.linalg.inv(matrices[:, :, :2])
    moved: Tensor = (named - matrices[:, None, :, 2] / 2) @ back.transpose(1, 2)
    return moved


def resample(faces: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Bilinear resampling of (N, C, H, W) through (N, 2, 3); outside the image it is mirrored."""
    centres = (torch.arange(size, device=faces.device) * 2 + 1) / size - 1
    m = torch.view_as_complex(matrices.transpose(1, 2).contiguous())[..., None, None]  # x + iy is a point
    points = m[:, 0] * centres + (m[:, 1] * centres[:, None] + m[:, 2])  # F.affine_grid takes 4 times as long
    grid = torch.view_as_real(points)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def change_light(faces: Tensor, settings: AugmentSettings, rng: torch.Generator) -> Tensor:
    """Scale each face's contrast about its mean, and shift its brightness."""
    if not (settings.brightness or settings.contrast):
        return faces
    draws = 2 * torch.rand(2, len(faces), 1, 1, 1, generator=rng, device=faces.device) - 1
    mean = faces.mean((1, 2, 3), keepdim=True)
    gain = 1 + settings.contrast * draws[0]
    return torch.addcmul(mean * (1 - gain) + settings.brightness * draws[1], faces, gain)


def colour_jitter(faces: Tensor, limits: tuple[float, float, float, float], rng: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation (each by a factor in 1 +- limit) and hue (turns) of each face.

    As torchvision's ``ColorJitter``, but always in this order. Gray faces have no saturation and no hue.
    """
    if not any(limits):
        return faces
    draws = 2 * torch.rand(4, len(faces), 1, 1, 1, generator=rng, device=faces.device) - 1
    brightness, contrast, saturation, hue = (draw * limit for draw, limit in zip(draws, limits, strict=True))
    faces = (faces * (1 + brightness)).clamp(0, 1)
    mean = luma(faces).mean((1, 2, 3), keepdim=True)
    faces = torch.lerp(mean.expand_as(faces), faces, 1 + contrast).clamp(0, 1)
    if faces.shape[1] == 1:
        return faces
    faces = torch.lerp(luma(faces).expand_as(faces), faces, 1 + saturation).clamp(0, 1)
    return turn_hue(faces, hue) if limits[3] else faces


def luma(faces: Tensor) -> Tensor:
    """ITU-R 601 luma (N, 1, H, W) of gray or RGB faces."""
    if faces.shape[1] == 1:
        return faces
    return (faces * faces.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def turn_hue(faces: Tensor, turns: Tensor) -> Tensor:
    """RGB faces (N, 3, H, W), 0-1, with the hue of HSV turned by ``turns`` (N, 1, 1, 1), 1 being a circle."""
    value, low = faces.amax(1, keepdim=True), faces.amin(1, keepdim=True)
    chroma = value - low
    r, g, b = faces[:, :1], faces[:, 1:2], faces[:, 2:]
    safe = torch.where(chroma > 0, chroma, 1)
    sector = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    sector = sector + 6 * turns
    peaks = faces.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)
    k = (peaks + sector) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def erase(faces: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Put noise in one rectangle of some faces; its sides are 10-40 % of the face's.

    Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
    """
    n, _, height, width = faces.shape
    which = chosen(n, probability, rng)
    tall, wide, y, x = torch.rand(4, len(which), 1, 1, 1, generator=rng, device=faces.device)
    rows = torch.arange(height, device=faces.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=faces.device).view(1, 1, 1, -1)
    inside_h = (rows - y * height).abs() < (0.05 + 0.15 * tall) * height
    inside_w = (columns - x * width).abs() < (0.05 + 0.15 * wide) * width
    some = faces[which]
    noise = torch.rand(some.shape, generator=rng, device=faces.device)
    return faces.index_copy(0, which, torch.where(inside_h & inside_w, noise, some))
