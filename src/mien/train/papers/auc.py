"""Boulis, Hemdan and Osama, "Emotion Classification Using Deep Neural Networks", and what it follows:
Khanzada, Bai and Celepcikay, "Facial Expression Recognition with Deep Learning", 2020, arXiv 2004.11823.

Built for gray faces of 48 px in 0-1. The first paper has no public code; the second's notebooks are at
github.com/amilkh/cs230-fer. Both used Keras: normalisation after ReLU, eps 1e-3, momentum 0.99 (0.01 here).
"""

from torch import nn

from mien.train.papers.face_net import FaceNet, start_as_keras


def keras_bn(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def conv(inputs: int, outputs: int, kernel: int = 3, batch_norm: bool = True) -> list[nn.Module]:
    """A convolution that keeps the size, ReLU, batch normalisation."""
    before, after = (kernel - 1) // 2, kernel // 2
    pad = [] if before == after else [nn.ZeroPad2d((before, after, before, after))]  # as Keras pads 4x4
    layers = [*pad, nn.Conv2d(inputs, outputs, kernel, padding=0 if pad else before), nn.ReLU()]
    return [*layers, keras_bn(outputs)] if batch_norm else layers


class AucBaseline(FaceNet):
    """Conv 32, conv 32, pool, conv 32, conv 32, pool; linear ``hidden``, ReLU; linear.

    The text of both papers gives no width, and no place to batch normalisation and the 50 % dropout. Here
    these follow each convolution and the first linear layer, as in the second paper's notebooks.

    Args:
        n_classes: Number of emotions.
        channels: Input channels.
        size: Side of the faces in pixels.
        hidden: Width of the first linear layer; 8192 gives the 37.8 M parameters that Khanzada et al. print.
        batch_norm: False leaves out batch normalisation, as in the baseline before their changes.
        dropout: 0.5 in the papers; 0 in the baseline before their changes.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int = 1,
        size: int = 48,
        hidden: int = 1024,
        batch_norm: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(channels, size, smallest=4)
        layers: list[nn.Module] = []
        for inputs in (channels, 32):
            layers += [*conv(inputs, 32, 3, batch_norm), *conv(32, 32, 3, batch_norm), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(self.flat(), hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_classes)
        )
        start_as_keras(self)


class FiveLayer(FaceNet):
    """Conv 5x5 32, pool, conv 4x4 32, pool, conv 5x5 64, pool; linear 1024, ReLU, dropout; linear.

    The notebooks pool 2x2 and drop 0.3 or 0.4; the paper prints 3x3 pooling with stride 2, see
    `FiveLayerAsPrinted`.
    """

    def __init__(self, n_classes: int, *, channels: int = 1, size: int = 48, dropout: float = 0.3) -> None:
        super().__init__(channels, size, smallest=8)
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in ((channels, 32, 5), (32, 32, 4), (32, 64, 5)):
            layers += [*conv(inputs, outputs, kernel), self.make_pool()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(self.flat(), 1024), nn.ReLU(), nn.Dropout(dropout), nn.Linear(1024, n_classes)
        )
        start_as_keras(self)

    def make_pool(self) -> nn.Module:
        return nn.MaxPool2d(2)


class FiveLayerAsPrinted(FiveLayer):
    """`FiveLayer` with the printed pooling.

    It runs over the far edges as Keras' "same" does; without that there would be 1.7 M parameters, not 2.4 M.
    """

    def make_pool(self) -> nn.Module:
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class KhanzadaBaseline(FaceNet):
    """Input normalisation; conv 32; conv 32, pool; conv 64, pool; conv 64, pool; linear 1024; linear.

    Dropout 0.2 after each convolution and ``dropout`` after the first linear layer, then normalisation. It is
    `baseline.ipynb`, neither the "Baseline" nor the "Five-layer" of the paper's table.
    """

    def __init__(self, n_classes: int, *, channels: int = 1, size: int = 48, dropout: float = 0.3) -> None:
        super().__init__(channels, size, smallest=8)
        layers: list[nn.Module] = [keras_bn(channels), *conv(channels, 32), nn.Dropout(0.2)]
        for inputs, outputs in ((32, 32), (32, 64), (64, 64)):
            layers += [*conv(inputs, outputs), nn.MaxPool2d(2), nn.Dropout(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(self.flat(), 1024),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.BatchNorm1d(1024, eps=1e-3, momentum=0.01),
            nn.Linear(1024, n_classes),
        )
        start_as_keras(self)
