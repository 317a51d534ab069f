"""Muon: momentum whose update for each convolution is made orthogonal; plain SGD for everything else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

STEPS = 3
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, for the steepest rise of small singular values (Jordan 2024)."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum; in groups with ``orthogonal`` the step has singular values near 1.

    There a weight (outputs, ...) is seen as a matrix of ``outputs`` rows and keeps the norm sqrt(outputs), so
    the rate alone says how far a step turns it, and weight decay would have no effect.

    Source: Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024; the norm of the weights
    from "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.

    Args:
        groups: Groups of parameters with ``orthogonal`` and ``weight_decay``.
        lr: Learning rate of groups that name none.
        momentum: 0-1.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._change(weight, weight.grad, group)

    def _change(self, weight: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"] and not group["orthogonal"]:
            grad = grad.add(weight, alpha=group["weight_decay"])
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        average = state["momentum_buffer"].mul_(group["momentum"]).add_(grad)
        update = grad.add(average, alpha=group["momentum"])
        if group["orthogonal"]:
            weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-7))
            update = orthogonal(update.reshape(len(update), -1)).view_as(update)
        weight.add_(update, alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (M, N) with its singular values brought near 1 (0.7-1.2), in the type of ``matrix``."""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result


def muon_groups(net: nn.Module, sgd_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Convolutions but the first for the orthogonal step; the rest for SGD at ``sgd_rate`` times the rate."""
    learning = [p for p in net.parameters() if p.requires_grad]
    convolutions = [p for p in learning if p.ndim == 4][1:]
    inner = {id(p) for p in convolutions}
    rest = [p for p in learning if id(p) not in inner]
    return [
        {"params": convolutions, "orthogonal": True},
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay, "rate": sgd_rate},
        {"params": [p for p in rest if p.ndim <= 1], "rate": sgd_rate},
    ]
