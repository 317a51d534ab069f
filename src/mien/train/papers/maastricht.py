"""Guirado and Rathi, "Deep Learning for Emotion Classification", Maastricht University, 2021: Table 2.

Built as in the authors' code (github.com/caioguirado/CV-Assignment-2). There the classifiers take gray faces
of 48 px copied to three channels, raw in 0-255; the landmark network takes gray faces of 128 px.
"""

from torch import Tensor, nn

from mien.train.papers.face_net import FaceNet
from mien.train.pooling import SlidingMaxPool


class Cnn(FaceNet):
    """Twice conv k x k without padding, ReLU, 4x4 max pooling with stride 1; linear layers with ReLU between.

    The two convolutions have 10 and 20 channels. Table 2 prints 10 for both and leaves out the pooling's
    stride; its 34 x 34 x 20 inputs of the first linear layer agree with the code.
    """

    kernel: int = 5
    hidden: tuple[int, ...]

    def __init__(self, n_classes: int, *, channels: int = 3, size: int = 48) -> None:
        super().__init__(channels, size, smallest=2 * self.kernel + 5)
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 10), (10, 20)):
            layers += [nn.Conv2d(inputs, outputs, self.kernel), nn.ReLU(), SlidingMaxPool()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        layers, width = [], self.flat()
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.head = nn.Sequential(*layers, nn.Linear(width, n_classes))


class Cnn1(Cnn):
    """Linear 120, 250."""

    hidden = (120, 250)


class Cnn2(Cnn):
    """Linear 250, 120, 120, 120."""

    hidden = (250, 120, 120, 120)


class Cnn3(Cnn):
    """Linear 250, 120, 120, 120, 50, 50; the paper lists one more 120: `Cnn3AsPrinted`."""

    hidden = (250, 120, 120, 120, 50, 50)


class Cnn3AsPrinted(Cnn):
    """Linear 250, 120, 120, 120, 120, 50, 50."""

    hidden = (250, 120, 120, 120, 120, 50, 50)


class Cnn4(Cnn):
    """`Cnn1` with 3x3 convolutions."""

    kernel = 3
    hidden = (120, 250)


def separable(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3x3 convolution of each channel, a 1x1 across them, batch normalisation."""
    return [
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2)


class Residual(nn.Module):
    """Layers beside a shortcut."""

    def __init__(self, layers: list[nn.Module], shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)  # type: ignore[no-any-return]


def halving(inputs: int, outputs: int, activate: bool = True) -> Residual:
    """Two separable convolutions and 3x3 max pooling with stride 2, beside a strided 1x1 convolution.

    `activate` puts a LeakyReLU before the first; the shortcut never sees it.
    """
    layers: list[nn.Module] = [leaky()] if activate else []
    layers += [*separable(inputs, inputs), leaky(), *separable(inputs, outputs)]
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2), nn.BatchNorm2d(outputs))
    return Residual([*layers, nn.MaxPool2d(3, stride=2, padding=1)], shortcut)


class LandmarkXception(FaceNet):
    """A small Xception; ``n_classes`` counts its outputs: 136 for 68 points (x, y).

    Conv 32, conv 64; halving blocks to 128 and 256 channels; six residual blocks of three separable
    convolutions; a halving block to 512; separable 512 and 1024; mean; dropout 0.3; linear. LeakyReLU 0.2
    throughout. The paper's "36 convolutional layers in 14 modules" describes Chollet's original, not this.
    """

    def __init__(self, n_classes: int, *, channels: int = 1, size: int = 128) -> None:
        super().__init__(channels, size, smallest=1)
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), leaky()]
        layers += [halving(64, 128, activate=False), halving(128, 256)]
        for _ in range(6):
            layers.append(Residual([layer for _ in range(3) for layer in (leaky(), *separable(256, 256))]))
        layers.append(halving(256, 512))
        layers += [*separable(512, 512), leaky(), *separable(512, 1024), leaky()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(1024, n_classes))
