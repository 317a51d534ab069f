"""A MobileNet that was pretrained on face recognition, as a start for emotions.

Sources: Howard et al., "MobileNets", arXiv:1704.04861, 2017; weights of Savchenko, "Efficient facial
representations for age, gender and identity recognition in organizing photo albums using multi-output
ConvNet", PeerJ Computer Science, 2019. `tools/convert_hse_face.py` makes them a file.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.train.face_heads import FaceHeads

STEM = 32
BLOCKS = (
    ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)) + 5 * ((512, 1),) + ((1024, 2), (1024, 1))
)
"""Channels and stride of each pair of a depthwise and a pointwise convolution."""
DEPTHS = (2, 4, 10, 12)
"""The last pair before each halving of the map from the 128 channels on, and the last of all."""


class ConvNorm(nn.Sequential):
    """A convolution without bias, its normalisation, and a ReLU that ends at 6.

    A halving one pads an even side behind it alone, as TensorFlow does, where the weights come from.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.halve = stride == 2
        padding = 0 if self.halve else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """One map, halved where the layer halves."""
        if self.halve:
            height, width = x.shape[2:]
            x = F.pad(x, (width % 2, 1, height % 2, 1))
        return F.relu6(self.norm(self.conv(x)))


class MobileNetBackbone(nn.Module):
    """The mean of the map at four depths, side by side: (N, 1920).

    Args:
        channels: Input channels; faces are float32 in 0-1, gray or RGB. The published weights were
            learned at 224 px; any side from 32 px on is taken.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.stem = ConvNorm(channels, STEM, 3, 2)
        pairs: list[nn.Module] = []
        inputs = STEM
        for width, stride in BLOCKS:
            depthwise = ConvNorm(inputs, inputs, 3, stride, groups=inputs)
            pairs.append(nn.Sequential(depthwise, ConvNorm(inputs, width, 1)))
            inputs = width
        self.pairs = nn.ModuleList(pairs)
        self.n_features = sum(BLOCKS[depth][0] for depth in DEPTHS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        means = []
        for depth, pair in enumerate(self.pairs):
            x = pair(x)
            if depth in DEPTHS:
                means.append(x.mean((2, 3)))
        return torch.cat(means, dim=1)


class FaceMobileNet(FaceHeads):
    """Emotions from four depths of a `MobileNetBackbone`, whose weights come from ``net.init_from``.

    Args:
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
        channels: Input channels, 1 for gray.
        dropout: Probability of dropping a feature before the heads.
    """

    def __init__(self, n_classes: int, n_votes: int = 0, channels: int = 1, dropout: float = 0.2) -> None:
        super().__init__(MobileNetBackbone(channels), n_classes, n_votes, dropout)
