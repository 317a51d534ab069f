"""Networks of our own: from float32 (N, channels, H, W), 16 px and more a side, to logits."""

from collections.abc import Sequence

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
            pool = nn.AvgPool2d(stride) if stride != 1 else nn.Identity()
            project = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(pool, project, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class SpaceToDepthResNet(nn.Module):
    """A residual net that folds 2x2 pixels into channels first, so that no convolution runs on the full map.

    Dense 3x3 convolutions on 24x24 maps keep a CPU's matrix units busy; the same work in depthwise
    convolutions or on 48x48 maps takes several times longer.

    Args:
        n_classes: Number of emotions.
        n_votes: Outputs of the auxiliary head (FER+ votes); 0 leaves it out.
        channels: Input channels, 1 for gray.
        widths: Channels of each stage; every stage after the first halves the map.
        blocks: Residual blocks of each stage; the first runs on the largest map and costs most.
        dropout: Probability of dropping a feature before the heads; or a list with, before that, for each
            stage the probability of dropping a whole map at its end.
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
        super().__init__()
        *by_stage, last = [0.0] * len(widths) + [dropout] if isinstance(dropout, float | int) else dropout
        if len(by_stage) != len(widths):
            raise RecipeError(f"net.options.dropout must be 1 or {len(widths) + 1} numbers, got {dropout}")
        stages: list[nn.Module] = []
        inputs = widths[0]
        self.drop_after: dict[int, float] = {}
        for i, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
            for j in range(n_blocks):
                stages.append(BasicBlock(inputs, width, stride=2 if i and not j else 1))
                inputs = width
            self.drop_after[len(stages) - 1] = by_stage[i]
        self.stem = conv_bn(4 * channels, widths[0])
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(last)
        self.head = nn.Linear(2 * inputs, n_classes)
        self.votes_head = nn.Linear(2 * inputs, n_votes) if n_votes else None

    def features(self, x: Tensor) -> Tensor:
        """Mean and maximum of the last map, shape (N, 2 * widths[-1])."""
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
