"""Optimisers, the learning rate over a run, and the averaged weights."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mien.train.recipe import OptimSettings


def make_optimizer(net: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """An optimiser whose weight decay touches weights of two or more dimensions, not biases and scales."""
    decayed = [p for p in net.parameters() if p.ndim > 1]
    free = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[settings.name](groups, settings)


OPTIMIZERS: dict[str, Callable[[list[dict[str, object]], OptimSettings], torch.optim.Optimizer]] = {
    "sgd": lambda groups, s: torch.optim.SGD(groups, s.lr, momentum=s.momentum, nesterov=s.momentum > 0),
    "adam": lambda groups, s: torch.optim.Adam(groups, s.lr),
    "adamw": lambda groups, s: torch.optim.AdamW(groups, s.lr),
}


def learning_rate(part: float, settings: OptimSettings) -> float:
    """Learning rate when ``part`` (0-1) of the run is done: a linear rise, then the schedule down to zero."""
    if part < settings.warmup:
        return settings.lr * part / settings.warmup
    rest = (part - settings.warmup) / max(1 - settings.warmup, 1e-9)
    return settings.lr * SCHEDULES[settings.schedule](rest)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda rest: 1.0,
    "linear": lambda rest: 1 - rest,
    "cosine": lambda rest: (1 + math.cos(math.pi * rest)) / 2,
}


class AveragedWeights:
    """An exponential moving average of a net's parameters and batch statistics.

    Early in the run the decay is (1 + t) / (10 + t), so that the first random weights are soon forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Move the average towards the net's weights after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        floats: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                floats[0].append(self.tensors[name])
                floats[1].append(tensor)
            else:
                self.tensors[name].copy_(tensor)
        torch._foreach_lerp_(floats[0], floats[1], 1 - decay)
