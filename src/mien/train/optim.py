"""Optimisers, the learning rate over a run, and the averaged weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mien.train.muon import Muon, muon_groups
from mien.train.recipe import OptimSettings


def make_optimizer(net: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """An optimiser whose weight decay touches weights of two or more dimensions, not biases and scales."""
    if settings.name == "muon":
        groups = muon_groups(net, settings.sgd_lr / settings.lr, settings.weight_decay)
        return Muon(groups, settings.lr, settings.momentum)
    learning = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[settings.name](groups, settings)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimSettings], torch.optim.Optimizer]] = {
    "sgd": lambda groups, s: torch.optim.SGD(groups, s.lr, momentum=s.momentum, nesterov=s.momentum > 0),
    "adam": lambda groups, s: torch.optim.Adam(groups, s.lr, fused=True),
    "adamw": lambda groups, s: torch.optim.AdamW(groups, s.lr, fused=True),
    "adamax": lambda groups, s: torch.optim.Adamax(groups, s.lr),
    "rmsprop": lambda groups, s: torch.optim.RMSprop(groups, s.lr, momentum=s.momentum),
    "adagrad": lambda groups, s: torch.optim.Adagrad(groups, s.lr),
}


@dataclass(frozen=True)
class Position:
    """How far a run is: ``step`` of ``steps``, counted from 0, and the validation scores so far."""

    step: int
    steps: int
    per_epoch: int
    scores: Sequence[float] = ()

    @property
    def epoch(self) -> int:
        return self.step // self.per_epoch


def learning_rate(at: Position, settings: OptimSettings) -> float:
    """The learning rate of a step: a linear rise over ``warmup``, then the schedule.

    The rise counts the step that is to be made, the fall those that are made: no step has the rate 0.
    """
    risen, part = (at.step + 1) / at.steps, at.step / at.steps
    if risen < settings.warmup:
        return settings.lr * risen / settings.warmup
    rest = max(part - settings.warmup, 0) / max(1 - settings.warmup, 1e-9)
    return settings.lr * SCHEDULES[settings.schedule](rest, at, settings)


def one_cycle(rest: float, at: Position, settings: OptimSettings) -> float:
    """From 1/25 up to 1 in 30 % of the run, then down to 1/250,000, both along a cosine.

    Source: Smith and Topin, "Super-Convergence", 2018; the figures are torch's `OneCycleLR` defaults.
    """
    top = 0.3 * at.steps - 1
    if at.step <= top:
        low, done = 1 / 25, at.step / top
    else:
        low, done = 1 / 25e4, 1 - (at.step - top) / (at.steps - 1 - top)
    return low + (1 - low) * (1 - math.cos(math.pi * done)) / 2


def plateau(rest: float, at: Position, settings: OptimSettings) -> float:
    """``gamma`` once more each time that ``patience`` validations brought no better validation score."""
    best, waited, factor = -math.inf, 0, 1.0
    for score in at.scores:
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited >= settings.patience:
            factor, waited = factor * settings.gamma, 0
    return max(factor, settings.min_lr / settings.lr)


SCHEDULES: dict[str, Callable[[float, Position, OptimSettings], float]] = {
    "constant": lambda rest, at, s: 1.0,
    "linear": lambda rest, at, s: 1 - rest,
    "cosine": lambda rest, at, s: (1 + math.cos(math.pi * rest)) / 2,
    "one-cycle": one_cycle,
    "step": lambda rest, at, s: s.gamma ** (at.epoch // s.every),
    "decay": lambda rest, at, s: s.gamma**at.epoch,
    "inverse-time": lambda rest, at, s: 1 / (1 + s.time_decay * at.step),
    "plateau": plateau,
}
"""Factor of the peak rate, by the part (0-1) of the time after warm-up that is gone, and the position."""


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
