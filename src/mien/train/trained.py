"""A finished run's network, ready to score faces as the shipped runtime would."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.core.preprocess import resized, to_input
from mien.core.views import average_logits
from mien.errors import ModelError
from mien.train.checkpoints import load_tensors
from mien.train.loop import predict
from mien.train.recipe import NetSettings
from mien.train.zoo import build


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
        faces = to_input(resized(crops, self.input_size), self.mean, self.std)
        return average_logits(lambda x: predict(self.net, x, self.device), faces, views)


def load_trained(run: Path, device: torch.device) -> TrainedNet:
    """The network of a run folder.

    Raises:
        ModelError: the run is not finished, its weights are damaged, or do not fit their network.
    """
    path = run / "weights.safetensors"
    if not path.is_file():
        begun = (run / "recipe.json").is_file()
        what = "an unfinished run; give its `mien train` command again" if begun else "no run of `mien train`"
        raise ModelError(f"{run} holds {what}")
    tensors, note = load_tensors(path)
    net = build(NetSettings.model_validate(note["net"]), len(note["labels"]), note["n_votes"], fresh=False)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as e:
        raise ModelError(f"{path} does not fit network '{note['net']['name']}': {e}") from e
    net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = note["mean_std"]
    labels, channels = tuple(note["labels"]), note.get("channels", 1)
    return TrainedNet(net, labels, mean, std, note["input_size"], note["data"], device, channels)


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
            seen = pixels if pixels.shape[2:] == side else F.interpolate(pixels, side, mode="bilinear")
            logits = teacher.net((seen - teacher.mean) / teacher.std).float()
            probs.append(F.softmax(logits / temperature, dim=1))
        return torch.stack(probs).mean(0)

    return ask


def parameter_count(net: nn.Module) -> int:
    """Trainable numbers of the network that ran."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
