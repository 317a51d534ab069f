"""Ayerdi and Bucknell, "Emotion Recognition on AffectNet via CNNs", Stanford CS230, 2018: Table 2, Figure 4.

Built as in the authors' code (github.com/oadelso/emotion_recognition). There the input is RGB in 0-1 without
mean and standard deviation, 64 or 128 px, and the classes are AffectNet's eleven. Convolutions are 3x3 and
padded, with a bias although batch normalisation follows; pooling comes before ReLU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.train.papers.face_net import FaceNet


def conv_bn(inputs: int, outputs: int) -> nn.Sequential:
    """A padded 3x3 convolution with bias, and batch normalisation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))


def stage(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, batch normalisation, 2x2 max pooling, ReLU."""
    return nn.Sequential(*conv_bn(inputs, outputs), nn.MaxPool2d(2), nn.ReLU())


class FullPrecisionLinear(nn.Linear):
    """A linear layer in float32 also where the rest is in bfloat16.

    oneDNN's bfloat16 product of 32 rows of 49,152 numbers, the residual network's at 128 px, ends the process
    with a division by zero (torch 2.15, processors with AMX).
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # a tensor without numbers, of which autocast knows nothing
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def make_head(inputs: int, hidden: int, n_classes: int, dropout: float) -> nn.Sequential:
    """The two linear layers that end every network of the paper."""
    return nn.Sequential(
        nn.Flatten(),
        FullPrecisionLinear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, n_classes),
    )


class PooledSum(nn.Module):
    """The sum of convolved maps, each half the size of the one before, pooled to the size of the last."""

    def __init__(self, inputs: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv_bn(n, outputs) for n in inputs)

    def forward(self, *maps: Tensor) -> Tensor:
        total = self.convs[-1](maps[-1])
        for i, (conv, x) in enumerate(zip(self.convs[:-1], maps[:-1], strict=True)):
            total = total + F.max_pool2d(conv(x), 2 ** (len(maps) - 1 - i))
        return total  # type: ignore[no-any-return]


def pool_relu(x: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(x, 2))


class Base(FaceNet):
    """Three stages of 32, 64 and 128 channels; linear 128; dropout 0.8; linear.

    The paper prints 1,143,307 parameters at 64 px; the code has 1,144,075. At 128 px both say 4,289,803.
    """

    def __init__(self, n_classes: int, *, channels: int = 3, size: int = 64, dropout: float = 0.8) -> None:
        super().__init__(channels, size, smallest=8)
        self.body = nn.Sequential(stage(channels, 32), stage(32, 64), stage(64, 128))
        self.head = make_head((size // 8) ** 2 * 128, 128, n_classes, dropout)


class ResidualBody(nn.Module):
    """x1 = stage 32; x2 = stage 32m on x1; then the sum of 64m-channel convolutions of both, pooled, ReLU."""

    def __init__(self, channels: int, mult: int) -> None:
        super().__init__()
        self.first = stage(channels, 32)
        self.second = stage(32, 32 * mult)
        self.third = PooledSum((32, 32 * mult), 64 * mult)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.first(x)
        return pool_relu(self.third(x1, self.second(x1)))


class ResNet(FaceNet):
    """One residual block whose shortcut is a convolution of its own; linear 192; dropout 0.8; linear.

    Not He et al.'s: the sum has no identity path. Other ResNet files of the authors give no published row.
    """

    def __init__(
        self, n_classes: int, *, channels: int = 3, size: int = 64, mult: int = 3, dropout: float = 0.8
    ) -> None:
        super().__init__(channels, size, smallest=8)
        self.body = ResidualBody(channels, mult)
        self.head = make_head((size // 8) ** 2 * 64 * mult, 64 * mult, n_classes, dropout)


class DenseBody(nn.Module):
    """Four maps; the third and fourth are sums of convolutions of all before them, pooled, ReLU.

    With m = mult: x1 32 channels at full size, x2 32m at 1/2, x3 64m at 1/4, x4 96m at 1/8.
    """

    def __init__(self, channels: int, mult: int) -> None:
        super().__init__()
        widths = (32, 32 * mult, 64 * mult)
        self.first = nn.Sequential(*conv_bn(channels, 32), nn.ReLU())
        self.second = stage(32, 32 * mult)
        self.third = PooledSum(widths[:2], 64 * mult)
        self.fourth = PooledSum(widths, 96 * mult)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x1 = self.first(x)
        x2 = self.second(x1)
        x3 = pool_relu(self.third(x1, x2))
        return x1, x2, x3, pool_relu(self.fourth(x1, x2, x3))


class DenseNet(FaceNet):
    """`DenseBody`; linear 288; dropout 0.8; linear. Sums, so not a DenseNet in Huang et al.'s sense.

    The published 22,320,971 parameters need ``mult=3``; the last committed code has 1. Table 2 prints 288
    channels for Conv4, which cannot be added to the 192 of Conv3, and a full-size map for Conv5.
    """

    def __init__(
        self, n_classes: int, *, channels: int = 3, size: int = 128, mult: int = 3, dropout: float = 0.8
    ) -> None:
        super().__init__(channels, size, smallest=8)
        self.body = DenseBody(channels, mult)
        self.head = make_head((size // 8) ** 2 * 96 * mult, 96 * mult, n_classes, dropout)

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[-1])  # type: ignore[no-any-return]


class Inception(nn.Module):
    """1x1 to 64, 5x5 and 3x3 to 32 behind one shared 1x1, 1x1 to ``inputs``; concatenated; 3x3 to 128.

    Without normalisation or ReLU. The fourth branch's pooling has a 1x1 window, does nothing and is left out.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.direct = nn.Conv2d(inputs, 64, 1)
        self.shared = nn.Conv2d(inputs, 32, 1)
        self.five = nn.Conv2d(32, 32, 5, padding=2)
        self.three = nn.Conv2d(32, 32, 3, padding=1)
        self.same = nn.Conv2d(inputs, inputs, 1)
        self.join = nn.Conv2d(64 + 32 + 32 + inputs, 128, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.shared(x)
        branches = (self.direct(x), self.five(narrow), self.three(narrow), self.same(x))
        return self.join(torch.cat(branches, dim=1))  # type: ignore[no-any-return]


class Hybrid(FaceNet):
    """`DenseBody`, one more sum at 1/8 size, `Inception`; linear 192; dropout 0.8; linear.

    The net that ran has 8,889,579 parameters at 128 px. The printed 11,961,579 belong to a version that
    cannot run: Conv15 takes 256 channels where 320 come. Figure 4 draws a pooling after the Conv8 sum; code
    and Table 2 keep 16x16 maps there, as here. The last committed code cannot train: it folds two faces into
    one row.
    """

    def __init__(
        self, n_classes: int, *, channels: int = 3, size: int = 128, mult: int = 3, dropout: float = 0.8
    ) -> None:
        super().__init__(channels, size, smallest=8)
        width = 64 * mult
        self.body = DenseBody(channels, mult)
        self.newest = conv_bn(96 * mult, width)
        self.older = PooledSum((32, 32 * mult, width), width)
        self.inception = Inception(width)
        self.head = make_head((size // 8) ** 2 * 128, width, n_classes, dropout)

    def logits(self, x: Tensor) -> Tensor:
        x1, x2, x3, x4 = self.body(x)
        x = F.relu(self.newest(x4) + F.max_pool2d(self.older(x1, x2, x3), 2))
        return self.head(self.inception(x))  # type: ignore[no-any-return]
