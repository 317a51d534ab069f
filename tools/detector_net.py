"""A network that finds faces of any roll in one pass: scores, boxes and five landmarks on a grid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.core.one_stage import FRAME
from mien.train.nets import BasicBlock, conv_bn

N_OUTPUTS = 14
"""Of a cell: score (logit), x and y of the face's centre, logarithm of its side, x and y of five landmarks.

Lengths are in units of `mien.core.one_stage.UNIT` pixels, places from the middle of the cell.
"""

N_REFINED = 11
"""Of a face: score (logit), and x and y of five landmarks from `REFINE_POINTS` on, in `REFINE_UNIT`."""


class DetectorNet(nn.Module):
    """Features at an eighth, a sixteenth and a thirty-second of the side, joined again at an eighth.

    Faces of about 18 to 58 pixels are found; larger ones in the image made smaller.

    Args:
        widths: Channels at a quarter, an eighth, a sixteenth and a thirty-second.
        blocks: Residual blocks at an eighth, a sixteenth and a thirty-second.
    """

    def __init__(self, widths: Sequence[int] = (24, 56, 80, 112), blocks: Sequence[int] = (1, 2, 1)) -> None:
        super().__init__()
        first, fine, middle, coarse = widths
        stem = nn.Conv2d(1, first, 6, stride=4, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(first), nn.ReLU())
        self.quarter = nn.Sequential(conv_bn(first, first), nn.ReLU())
        self.fine = _stage(first, fine, blocks[0])
        self.middle = _stage(fine, middle, blocks[1])
        self.coarse = _stage(middle, coarse, blocks[2])
        self.to_middle = nn.Conv2d(coarse, middle, 1)
        self.joined = nn.Sequential(conv_bn(middle, middle), nn.ReLU())
        self.to_fine = nn.Conv2d(middle, fine, 1)
        self.head = nn.Sequential(conv_bn(fine, fine), nn.ReLU())
        self.out = nn.Conv2d(fine, N_OUTPUTS, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Gray images (N, 1, H, W), 0-255, sides multiples of 32, to cells (N, 14, H / 8, W / 8)."""
        fine = self.fine(self.quarter(self.stem((images - 127.5) / 64)))
        middle = self.middle(fine)
        below = self.to_middle(self.coarse(middle))
        middle = self.joined(middle + F.interpolate(below, scale_factor=2.0, mode="nearest"))
        fine = fine + F.interpolate(self.to_fine(middle), scale_factor=2.0, mode="nearest")
        cells: Tensor = self.out(self.head(fine))
        return cells


class RefineNet(nn.Module):
    """A second look at each face that `DetectorNet` found: is it one, and where exactly are its landmarks.

    Args:
        widths: Channels at a half, a quarter, an eighth and a sixteenth of the side.
        hidden: Units between the last map and the answers.
    """

    def __init__(self, widths: Sequence[int] = (24, 48, 80, 128), hidden: int = 128) -> None:
        super().__init__()
        half, quarter, eighth, last = widths
        self.stem = nn.Sequential(conv_bn(1, half, 2), nn.ReLU())
        self.quarter = _stage(half, quarter, 1)
        self.eighth = _stage(quarter, eighth, 1)
        self.last = _stage(eighth, last, 0)
        self.hidden = nn.Linear(last * (FRAME // 16) ** 2, hidden)
        self.out = nn.Linear(hidden, N_REFINED)

    def forward(self, frames: Tensor) -> Tensor:
        """Gray faces (N, 1, 48, 48), 0-255, framed by `REFINE_POINTS`, to answers (N, 11)."""
        maps = self.last(self.eighth(self.quarter(self.stem((frames - 127.5) / 64))))
        answers: Tensor = self.out(F.relu(self.hidden(maps.flatten(1))))
        return answers


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    rest = (BasicBlock(outputs, outputs, 1) for _ in range(blocks))
    return nn.Sequential(conv_bn(inputs, outputs, 2), nn.ReLU(), *rest)


def detector_loss(cells: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of the scores, a mean over the faces, and that of the places, over the cells that learn them.

    Args:
        cells: What the network answers, (N, 14, h, w).
        target: The same numbers with two more planes, (N, 16, h, w): the score as a height of 0-1 around each
            centre (1 at it, below 0 where the loss leaves a cell out), 1 where a face's box is learned, and
            1 where its landmarks are too.

    The scores' loss is that of "Objects as Points" (Zhou et al., 2019).
    """
    height, box, marks = target[:, 0], target[:, 14:15], target[:, 15:16]
    logit = cells[:, 0].float()
    p = logit.sigmoid()
    centre = height == 1
    found = (1 - p).pow(2) * F.logsigmoid(logit) * centre
    empty = (1 - height).pow(4) * p.pow(2) * F.logsigmoid(-logit) * (height >= 0)  # 0 at a centre
    faces = centre.sum().clamp(min=1)
    ratio = torch.exp(target[:, 3:4])
    scale = torch.cat([ratio, ratio, torch.ones_like(ratio), ratio.expand(-1, 10, -1, -1)], dim=1)
    answered, wanted = cells[:, 1:] / scale, target[:, 1:14] / scale
    gaps = F.smooth_l1_loss(answered, wanted, reduction="none", beta=0.05)
    learned = torch.cat([box.expand(-1, 3, -1, -1), marks.expand(-1, 10, -1, -1)], dim=1)
    places = (gaps * learned).sum() / learned[:, 0].sum().clamp(min=1)
    return -(found.sum() + empty.sum()) / faces, places
