"""Chang, Dupont and Zhang, "Facial Expression Recognition", Stanford CS231n, 2016. There is no public code.

The input is gray, 48 px, mean-centred and normalised.
"""

from torch import nn

from mien.train.papers.face_net import FaceNet


class Baseline(FaceNet):
    """Conv 5x5, ReLU, pool; linear, ReLU; linear.

    Args:
        n_classes: Number of emotions.
        channels: Input channels.
        size: Side of the faces in pixels.
        filters: Not published; the course's three-layer assignment, which the paper names, has 32.
        hidden: Not published; the assignment has 100.
    """

    def __init__(
        self, n_classes: int, *, channels: int = 1, size: int = 48, filters: int = 32, hidden: int = 100
    ) -> None:
        super().__init__(channels, size, smallest=2)
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Linear(self.flat(), hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


class Final(FaceNet):
    """Conv 3x3, batch normalisation, ReLU, pool, four times: 32, 64, 96, 128 channels; linear 200; linear.

    Args:
        n_classes: Number of emotions.
        channels: Input channels.
        size: Side of the faces in pixels.
        batch_norm: The layer list omits it, the conclusion retains it.
        same_pad: Padding is not given; the course's networks keep the size. False pads nothing.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int = 1,
        size: int = 48,
        batch_norm: bool = True,
        same_pad: bool = True,
    ) -> None:
        super().__init__(channels, size, smallest=16 if same_pad else 46)
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in (32, 64, 96, 128):
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=int(same_pad)))
            layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            inputs = outputs
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(nn.Linear(self.flat(), 200), nn.ReLU(), nn.Linear(200, n_classes))


class FinalAsPrinted(Final):
    """`Final` by the printed layer list: without batch normalisation."""

    def __init__(self, n_classes: int, *, channels: int = 1, size: int = 48, same_pad: bool = True) -> None:
        super().__init__(n_classes, channels=channels, size=size, batch_norm=False, same_pad=same_pad)
