"""dlib's face-recognition ResNet as pretrained weights for emotions, with a head on all its depths.

Source: King, "High Quality Face Recognition with Deep Metric Learning", blog.dlib.net, 2017; the network is
`anet_type` of dlib's example dnn_face_recognition_ex.cpp. `tools/convert_dlib_face.py` makes its weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.train.face_heads import FaceHeads

WIDTHS = (32, 64, 128, 256, 256)
"""Channels of the five stages; every stage but the first begins by halving the map."""
BLOCKS = (3, 4, 3, 3, 1)


class FaceBlock(nn.Module):
    """Two 3x3 convolutions, each with its normalisation, beside a shortcut without weights.

    The convolution that halves the map has no padding; zeros fill the rows, columns and channels that one of
    the two sides lacks, as in dlib's ``add_prev``.
    """

    def __init__(self, inputs: int, outputs: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        stride, padding = (2, 0) if halve else (1, 1)
        self.first = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding), nn.BatchNorm2d(outputs))
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        lacking = 3 - min(x.shape[2:]) if self.halve else 0
        if lacking > 0:  # a small face's last maps: no kernel would fit
            x = F.pad(x, (0, lacking, 0, lacking))
        y = self.second(F.relu(self.first(x)))
        if self.halve:
            x = F.avg_pool2d(x, 2)
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


class FaceBackbone(nn.Module):
    """The mean of the map at the end of each stage, side by side: (N, 736) for all five stages.

    Args:
        channels: Input channels; faces are float32 in 0-1, gray or RGB. The published weights were
            learned at 150 px; 104 px is the least that fills every kernel.
        blocks: Residual blocks of each stage; a stage with 0 and all after it are left out. Fewer than
            `BLOCKS` take the first blocks of the published weights.

    Raises:
        RecipeError: ``blocks`` asks for more than the network has.
    """

    def __init__(self, channels: int = 1, blocks: Sequence[int] = BLOCKS) -> None:
        super().__init__()
        if len(blocks) != len(BLOCKS) or any(not 0 <= n <= m for n, m in zip(blocks, BLOCKS, strict=True)):
            raise RecipeError(f"net.options.blocks must be at most {list(BLOCKS)}, got {list(blocks)}")
        self.stem = nn.Sequential(nn.Conv2d(channels, WIDTHS[0], 7, 2), nn.BatchNorm2d(WIDTHS[0]))
        stages: list[nn.Module] = []
        inputs = WIDTHS[0]
        for width, n_blocks in zip(WIDTHS, blocks, strict=True):
            if not n_blocks:
                break
            first = FaceBlock(inputs, width, halve=bool(stages))
            rest = [FaceBlock(width, width, halve=False) for _ in range(n_blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.n_features = sum(WIDTHS[: len(stages)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        means = []
        for stage in self.stages:
            x = stage(x)
            means.append(x.mean((2, 3)))
        return torch.cat(means, dim=1)


class FaceResNet(FaceHeads):
    """Emotions from all depths of a `FaceBackbone`, whose weights come from ``net.init_from``.

    Args:
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
        channels: Input channels, 1 for gray.
        blocks: See `FaceBackbone`.
        dropout: Probability of dropping a feature before the heads.
    """

    def __init__(
        self,
        n_classes: int,
        n_votes: int = 0,
        channels: int = 1,
        blocks: Sequence[int] = BLOCKS,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(FaceBackbone(channels, blocks), n_classes, n_votes, dropout)
