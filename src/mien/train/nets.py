"""Networks of our own: from float32 (N, channels, H, W) to logits."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution without bias, and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2015, fig. 5 left).

    The second scale starts at zero: the block begins as its shortcut (Goyal et al. 2017, section 5.1).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride)
        self.second = conv_bn(outputs, outputs)
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity()
            project = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(pool, project, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class SpaceToDepth(nn.Module):
    """What the networks below share: 2x2 pixels folded into channels, stages of blocks, and two heads.

    No convolution runs on the full map: dense 3x3 convolutions on 24x24 maps keep a CPU's matrix units busy;
    the same work in depthwise convolutions or on 48x48 maps takes several times longer.

    Args:
        stem: From (N, 4 * channels, H / 2, W / 2) to the input of the first stage.
        stages: The blocks of each stage.
        dropout: Probability of dropping a feature before the heads; or a list with, before that, for each
            stage the probability of dropping a whole map at its end.
        width: Channels of the last map.
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[Sequence[nn.Module]],
        dropout: float | Sequence[float],
        width: int,
        n_classes: int,
        n_votes: int,
    ) -> None:
        super().__init__()
        *by_stage, last = [0.0] * len(stages) + [dropout] if isinstance(dropout, float | int) else dropout
        if len(by_stage) != len(stages):
            raise RecipeError(f"net.options.dropout must be 1 or {len(stages) + 1} numbers, got {dropout}")
        ends = accumulate(len(blocks) for blocks in stages)
        self.drop_after = {end - 1: part for end, part in zip(ends, by_stage, strict=True)}
        self.stem = stem
        self.stages = nn.Sequential(*(block for blocks in stages for block in blocks))
        self.dropout = nn.Dropout(last)
        self.head = nn.Linear(2 * width, n_classes)
        self.votes_head = nn.Linear(2 * width, n_votes) if n_votes else None

    def features(self, x: Tensor) -> Tensor:
        """Mean and maximum of the last map, shape (N, 2 * widths[-1])."""
        if x.shape[2] % 2 or x.shape[3] % 2:
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
        x = F.relu(self.stem(F.pixel_unshuffle(x, 2)))
        for place, block in enumerate(self.stages):
            x = F.dropout2d(block(x), self.drop_after.get(place, 0.0), self.training)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, n_classes)."""
        return self.head(self.dropout(self.features(x)))  # type: ignore[no-any-return]

    def forward_with_votes(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Emotion logits (N, n_classes), and vote logits (N, n_votes) where the net has that head."""
        features = self.dropout(self.features(x))
        return self.head(features), self.votes_head(features) if self.votes_head else None


def _channels(widths: Sequence[int], counts: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Channels in and out of each layer, for each stage of so many layers."""
    for before, width, n in zip((widths[0], *widths[:-1]), widths, counts, strict=True):
        yield [(before, width), *[(width, width)] * (n - 1)]


class SpaceToDepthResNet(SpaceToDepth):
    """A residual net behind 2x2 pixels that became channels; faces of any side from 8 px.

    Args:
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
        channels: Input channels, 1 for gray.
        widths: Channels of each stage; every stage after the first halves the map.
        blocks: Residual blocks of each stage; the first runs on the largest map and costs most.
        dropout: See `SpaceToDepth`.
    """

    def __init__(
        self,
        n_classes: int,
        n_votes: int = 0,
        channels: int = 1,
        widths: tuple[int, ...] = (64, 128, 256),
        blocks: tuple[int, ...] = (1, 2, 2),
        dropout: float | Sequence[float] = 0.2,
    ) -> None:
        stages: list[list[nn.Module]] = []
        for stage, layers in enumerate(_channels(widths, blocks)):
            strides = [2 if stage else 1] + [1] * (len(layers) - 1)
            stages.append([BasicBlock(*layer, stride=n) for layer, n in zip(layers, strides, strict=True)])
        super().__init__(conv_bn(4 * channels, widths[0]), stages, dropout, widths[-1], n_classes, n_votes)


class SpaceToDepthVgg(SpaceToDepth):
    """Plain 3x3 convolutions behind 2x2 pixels that became channels, with 2x2 max pooling between stages.

    Args:
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
        channels: Input channels, 1 for gray.
        widths: Channels of each stage.
        convolutions: Of each stage; the stem is one more.
        dropout: See `SpaceToDepth`.
    """

    def __init__(
        self,
        n_classes: int,
        n_votes: int = 0,
        channels: int = 1,
        widths: tuple[int, ...] = (64, 128, 256),
        convolutions: tuple[int, ...] = (2, 3, 3),
        dropout: float | Sequence[float] = 0.2,
    ) -> None:
        stages: list[list[nn.Module]] = []
        for stage, layers in enumerate(_channels(widths, convolutions)):
            pool: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if stage else []
            stages.append([*pool, *(nn.Sequential(*conv_bn(*layer), nn.ReLU()) for layer in layers)])
        super().__init__(conv_bn(4 * channels, widths[0]), stages, dropout, widths[-1], n_classes, n_votes)
