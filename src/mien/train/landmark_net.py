"""A small landmark network for aligned gray faces: one heat map per point, read by its centre of mass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.train.nets import BasicBlock, conv_bn


class LandmarkNet(nn.Module):
    """Blocks on maps of a quarter of the side, deeper ones on an eighth, and both joined under the heat maps.

    The maps' softmax is a distribution over places, and its mean is the point (Sun et al., "Integral human
    pose regression", ECCV 2018): finer than the maps' grid, and learned from the points' error itself.

    Args:
        n_classes: Numbers that describe the points, two each.
        widths: Channels of the finer and of the coarser maps.
        blocks: Residual blocks before, below and after the coarser maps.
        channels: 1 for gray faces, 3 for RGB.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        widths: Sequence[int] = (48, 96),
        blocks: Sequence[int] = (2, 2, 1),
        channels: int = 1,
    ) -> None:
        super().__init__()
        if n_classes % 2 or len(widths) != 2 or len(blocks) != 3:
            raise RecipeError("landmark-net takes pairs of numbers, two widths and three counts of blocks")
        fine, coarse = widths
        before, below, after = blocks
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), conv_bn(16 * channels, fine), nn.ReLU())
        self.before = nn.Sequential(*(BasicBlock(fine, fine, 1) for _ in range(before)))
        self.down = nn.Sequential(nn.PixelUnshuffle(2), conv_bn(4 * fine, coarse), nn.ReLU())
        self.below = nn.Sequential(*(BasicBlock(coarse, coarse, 1) for _ in range(below)))
        self.up = nn.Conv2d(coarse, fine, 1)
        self.after = nn.Sequential(*(BasicBlock(fine, fine, 1) for _ in range(after)))
        self.maps = nn.Conv2d(fine, n_classes // 2, 1)

    def forward(self, faces: Tensor) -> Tensor:
        """Faces (N, channels, S, S), S a multiple of 8, to x and y of each point, -0.6 to 0.6: (N, 2 K)."""
        fine = self.before(self.stem(faces))
        coarse = self.up(self.below(self.down(fine)))
        joined = fine + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        maps = self.maps(self.after(joined)).float()
        height, width = maps.shape[2:]
        shares = maps.flatten(2).softmax(2).unflatten(2, (height, width))
        x = (shares.sum(2) * centres(width, maps)).sum(2)
        y = (shares.sum(3) * centres(height, maps)).sum(2)
        return torch.stack([x, y], dim=2).flatten(1)


REACH = 1.2
"""Sides of the face that a heat map spans: points of the jaw may lie outside the image."""


def centres(n: int, like: Tensor) -> Tensor:
    """Middles of ``n`` cells that span `REACH` sides about 0."""
    return REACH * ((torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n - 0.5)
