"""Pretrained networks of others with our own classifier head.

The backbones are torchvision's and timm's, or the network of a finished run of mien. Input is normalised as
for every other network, by the recipe's mean and deviation: the papers fed 0-1 or 0-255 without ImageNet's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC2701 - torch has no public name for all of them

from mien.errors import ModelError, RecipeError
from mien.train.papers.face_net import start_as_keras

RUN = "run:"
CHOICES: dict[str, tuple[object, ...]] = {
    "channels": (1, 3),
    "pool": ("avg", "flatten"),
    "batch_norm": ("frozen", "train"),
}


def backbone_run(backbone: str) -> Path | None:
    """The folder of the run that a backbone, ``run:FOLDER``, is; None for every other backbone."""
    return Path(backbone.removeprefix(RUN)) if backbone.startswith(RUN) else None


def _each(value: Any, n: int, key: str) -> list[Any]:
    """``value`` as a list of n; a single value counts for all."""
    values = list(value) if isinstance(value, list | tuple) else [value] * n
    if len(values) != n:
        raise RecipeError(f"net.options.{key} must be one value or a list of {n}, got {len(values)}")
    return values


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What `net.options` of a transferred network may say.

    Args:
        backbone: ``vgg16``, ``resnet50``, ``resnet50-caffe``, ``googlenet``; any name of timm; or
            ``run:FOLDER`` for the network of a finished run, which must stay where it is.
        size: Side in pixels to which faces are resized, bilinear; 0 is 224, or the size of the run's faces.
        channels: 3 copies gray faces to three channels; 1 sums the first kernel over its input channels,
            which gives the same features in less time.
        pool: ``avg`` is the mean of the last map, ``flatten`` all of it.
        head: Widths of the hidden linear layers.
        head_dropout: Probability of dropping a number before each linear layer, or one for all of them.
        head_norm: Whether features come to the head with the mean 0 and the deviation 1 that they have over
            training batches; without, a head learns little from features that differ little.
        head_relu: Whether each hidden layer ends in ReLU, or one answer for all of them.
        freeze: ``none``, ``all``, or how many of the backbone's layers that hold weights stay as they are,
            counted from its input; convolutions, normalisations and linear layers each count.
        batch_norm: Of the frozen part. ``frozen`` keeps its statistics, scales and shifts; ``train`` learns
            them as if nothing were frozen, as Khanzada et al. did.
        pretrained: ImageNet weights by the library's own download.

    Raises:
        RecipeError: a value is none of these, or a list has another length than the layers of the head.
    """

    backbone: str = "vgg16"
    size: int = 0
    channels: int = 3
    pool: str = "avg"
    head: Sequence[int] = ()
    head_dropout: float | Sequence[float] = 0.0
    head_norm: bool = False
    head_relu: bool | Sequence[bool] = True
    freeze: str | int = "none"
    batch_norm: str = "frozen"
    pretrained: bool = False

    def __post_init__(self) -> None:
        for key, known in CHOICES.items():
            if getattr(self, key) not in known:
                raise RecipeError(
                    f"net.options.{key} must be one of {', '.join(map(str, known))}, got {getattr(self, key)}"
                )
        if self.freeze not in ("none", "all") and (isinstance(self.freeze, str) or self.freeze < 0):
            raise RecipeError(
                f"net.options.freeze must be none, all or a number of layers, got {self.freeze}"
            )
        _each(self.head_dropout, len(self.head) + 1, "head_dropout")
        _each(self.head_relu, len(self.head), "head_relu")

    @property
    def frozen(self) -> bool:
        """Whether no layer of the backbone ever changes."""
        return self.freeze == "all" and self.batch_norm == "frozen"


HEAD_4096_1024 = (4096, 1024)
TRANSFERRED = {
    "transferred": Transfer(),
    "timm": Transfer(backbone="resnet18"),
    "vgg16-khanzada": Transfer(
        size=197, pool="flatten", head=HEAD_4096_1024, head_dropout=(0.5, 0.5, 0.0), freeze="all"
    ),
    "resnet50-khanzada": Transfer(
        backbone="resnet50-caffe",
        size=197,
        head=HEAD_4096_1024,
        head_dropout=0.5,
        freeze="all",
        batch_norm="train",
    ),
    "senet50-khanzada": Transfer(
        backbone="legacy_seresnet50",
        size=197,
        head=HEAD_4096_1024,
        head_dropout=0.5,
        freeze=97,  # Keras' layers 0-200 end behind conv4_5_1x1_reduce
        batch_norm="train",
    ),
    "chmura-vgg16": Transfer(
        size=48,
        head=(1024, 128, 512),
        head_dropout=(0.0, 0.0, 0.5, 0.0),
        head_relu=(True, True, False),
        freeze="all",
    ),
    "face-transfer": Transfer(
        backbone="dlib-face",
        size=150,
        channels=1,
        head=(512,),
        head_norm=True,
        head_dropout=(0.0, 0.5),
        freeze="all",
    ),
    "maastricht-googlenet": Transfer(backbone="googlenet", size=48),
}
"""Khanzada et al. 2020 (github.com/amilkh/cs230-fer), Chmura and Krukar 2020, Guirado and Rathi 2021."""


class Transferred(nn.Module):
    """A backbone, its features in one row, and a head of linear layers.

    `mien.train.zoo.make_transferred` builds one.

    Args:
        n_classes: Number of emotions.
        settings: What the recipe says.
        backbone: The network without its last layer.
        size: Side in pixels of the faces that it takes.

    Raises:
        RecipeError: the backbone has fewer layers than shall be frozen, or takes no faces of that size.
    """

    def __init__(self, n_classes: int, settings: Transfer, backbone: nn.Module, size: int) -> None:
        super().__init__()
        self.settings = settings
        self.backbone, self.size = backbone, size
        self.n_features = self._count_features()
        self.head = _make_head(self.n_features, n_classes, settings)
        layers = weighted_layers(self.backbone)
        depth = {"none": 0, "all": len(layers)}.get(str(settings.freeze), settings.freeze)
        if not isinstance(depth, int) or depth > len(layers):
            raise RecipeError(
                f"net.options.freeze must be at most {len(layers)}, the layers of '{settings.backbone}', "
                f"got {settings.freeze}"
            )
        self._fixed = tuple(
            m for m in layers[:depth] if settings.batch_norm == "frozen" or not isinstance(m, _BatchNorm)
        )
        for layer in self._fixed:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(False)
        self.frozen = not any(p.requires_grad for p in self.backbone.parameters())

    def train(self, mode: bool = True) -> "Transferred":
        """Switch to training, but for what is frozen: its statistics stay, and it drops nothing."""
        super().train(mode)
        for layer in self._fixed:
            if isinstance(layer, _BatchNorm):
                layer.eval()
        if self.frozen:
            self.backbone.eval()
        return self

    def features(self, x: Tensor) -> Tensor:
        """One row a face, (N, n_features), of float32 faces (N, 1 or ``channels``, H, W).

        Raises:
            ModelError: the faces have another number of channels.
        """
        channels = self.settings.channels
        if not backbone_run(self.settings.backbone):
            if x.shape[1] not in (1, channels):
                raise ModelError(
                    f"'{self.settings.backbone}' was built for faces of {channels} channel(s), "
                    f"got {tuple(x.shape)}; set net.options.channels={x.shape[1]}"
                )
            x = x.expand(-1, channels, -1, -1)
        side = (self.size, self.size)
        if x.shape[2:] != side:
            smaller = min(x.shape[2:]) > self.size  # without antialiasing, shrinking would skip pixels
            x = F.interpolate(x, side, mode="bilinear", antialias=smaller)
        x = self.backbone(x)
        if x.ndim == 4 and self.settings.pool == "avg":
            x = x.mean((2, 3))
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, n_classes) of faces, or of their features, shaped (N, n_features, 1, 1)."""
        if x.shape[1:] == (self.n_features, 1, 1):
            return self.head(x.flatten(1))  # type: ignore[no-any-return]
        return self.head(self.features(x))  # type: ignore[no-any-return]

    def _count_features(self) -> int:
        """By following the shapes alone, which costs no arithmetic."""
        training = self.backbone.training
        shapes = {name: t.to("meta") for name, t in self.backbone.state_dict().items()}
        channels = 1 if backbone_run(self.settings.backbone) else self.settings.channels
        face = torch.zeros(2, channels, self.size, self.size, device="meta")
        try:
            with torch.no_grad():
                features = functional_call(self.backbone.eval(), shapes, face)
        except RuntimeError as e:
            raise RecipeError(
                f"'{self.settings.backbone}' cannot take faces of {self.size} px "
                f"({str(e).splitlines()[0]}); set net.options.size"
            ) from e
        self.backbone.train(training)
        if features.ndim == 4 and self.settings.pool == "avg":
            return int(features.shape[1])
        return int(features[0].numel())


def weighted_layers(net: nn.Module) -> list[nn.Module]:
    """The modules that hold parameters themselves, in the order of their making: what ``freeze`` counts."""
    return [m for m in net.modules() if next(m.parameters(recurse=False), None) is not None]


def _make_head(inputs: int, n_classes: int, settings: Transfer) -> nn.Sequential:
    """Hidden layers start as in Keras, where those papers' heads ran; a single layer as in torch."""
    drops = _each(settings.head_dropout, len(settings.head) + 1, "head_dropout")
    relus = [*_each(settings.head_relu, len(settings.head), "head_relu"), False]
    layers: list[nn.Module] = [nn.BatchNorm1d(inputs, affine=False)] if settings.head_norm else []
    for drop, width, relu in zip(drops, [*settings.head, n_classes], relus, strict=True):
        layers += [nn.Dropout(drop)] if drop else []
        layers += [nn.Linear(inputs, width), *([nn.ReLU()] if relu else [])]
        inputs = width
    head = nn.Sequential(*layers)
    if settings.head:
        start_as_keras(head)
    return head
