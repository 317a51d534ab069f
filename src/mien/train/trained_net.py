"""A trained network, from a run or a release, that scores faces as the shipped runtime does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.core.cards import ModelCard
from mien.core.model_store import find_model
from mien.core.preprocess import network_crops, to_input
from mien.core.session import open_network, run
from mien.core.tta import average_logits
from mien.errors import ModelError
from mien.train.inference import predict
from mien.train.initialise import is_released
from mien.train.losses import LANDMARK_LOSSES
from mien.train.zoo import load_net


@dataclass(frozen=True)
class TrainedNet:
    """A network in evaluation mode, its labels, and how its input is normalised."""

    net: nn.Module
    labels: tuple[str, ...]
    mean: float
    std: float
    input_size: int
    data: dict[str, str]
    device: torch.device
    channels: int = 1

    def logits(self, crops: NDArray[np.uint8], views: int = 1) -> NDArray[np.float32]:
        """Logits (N, C), averaged over the views, of crops (N, S, S), or (N, S, S, 3), of any side."""
        return average_logits(lambda x: predict(self.net, x, self.device), self.inputs(crops), views)

    def inputs(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's input, float32 (N, channels, S, S), of such crops."""
        return to_input(network_crops(crops, self.input_size, self.channels), self.mean, self.std)


def load_trained(run: Path, device: torch.device, *, landmarks: bool = False) -> TrainedNet:
    """The network of a run folder.

    Args:
        run: The folder.
        device: Where it shall run.
        landmarks: Whether it may be one that gives landmarks in the place of emotions.

    Raises:
        ModelError: the run is not finished, its weights are damaged, or do not fit their network; or it
            gives landmarks.
    """
    net, note = load_net(run)
    if note.get("loss") in LANDMARK_LOSSES and not landmarks:
        raise ModelError(f"{run} was trained on landmarks, not emotions; give a run trained on emotions")
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = note["mean_std"]
    labels, channels = tuple(note["labels"]), note.get("channels", 1)
    return TrainedNet(net, labels, mean, std, note["input_size"], note["data"], device, channels)


@dataclass(frozen=True)
class ReleasedNet:
    """The network of a released model and its card; its answers are as it gives them, no prior removed."""

    session: Any
    card: ModelCard

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def logits(self, crops: NDArray[np.uint8], views: int = 1) -> NDArray[np.float32]:
        """See `TrainedNet.logits`."""
        crops = network_crops(crops, self.card.input_size, self.card.channels)
        faces = to_input(crops, self.card.mean, self.card.std)
        return average_logits(lambda x: run(self.session, x), faces, views)


def load_teacher(name: str, device: torch.device) -> TrainedNet | ReleasedNet:
    """The network of a run folder, or of a released model by name or ``.onnx`` file, which runs on the CPU.

    Raises:
        ModelError: there is no such run or model, or it is damaged.
    """
    if not is_released(name):
        return load_trained(Path(name), device)
    path, card = find_model(name)
    return ReleasedNet(open_network(path, card, threads=torch.get_num_threads()), card)


def teachers_of_batches(
    teachers: list[TrainedNet], mean_std: tuple[float, float], temperature: float
) -> Callable[[Tensor], Tensor]:
    """From normalised faces (N, channels, S, S) to the teachers' mean softened probabilities (N, C)."""
    mean, std = mean_std

    @torch.no_grad()
    def ask(faces: Tensor) -> Tensor:
        pixels = faces * std + mean
        probs = []
        for teacher in teachers:
            side = (teacher.input_size, teacher.input_size)
            seen = pixels
            if pixels.shape[2:] != side:
                smaller = side[0] < pixels.shape[2]
                seen = F.interpolate(pixels, side, mode="bilinear", antialias=smaller)
            logits = teacher.net((seen - teacher.mean) / teacher.std).float()
            probs.append(F.softmax(logits / temperature, dim=1))
        return torch.stack(probs).mean(0)

    return ask


def parameter_count(net: nn.Module) -> int:
    """Trainable numbers of the network that ran."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
