"""Sliding maxima, against torch's own pooling."""

import pytest
import torch
from torch.nn import functional as F

from mien.train.pooling import SlidingMaxPool


@pytest.fixture
def maps() -> torch.Tensor:
    """Non-negative bfloat16 maps (2, 5, 12, 11) whose positive values all differ within a map."""
    rng = torch.Generator().manual_seed(0)
    values = torch.stack([torch.randperm(132, generator=rng) for _ in range(10)]).view(2, 5, 12, 11)
    return (values.float() - 20).relu().bfloat16().contiguous(memory_format=torch.channels_last)


def test_values_and_gradients_are_those_of_torch(maps: torch.Tensor) -> None:
    ours, theirs = maps.clone().requires_grad_(), maps.float().requires_grad_()
    got, wanted = SlidingMaxPool()(ours), F.max_pool2d(theirs, 4, stride=1)
    assert got.dtype is torch.bfloat16
    assert torch.equal(got.float(), wanted)
    weights = torch.randint(1, 4, got.shape).float()
    (got * weights.bfloat16()).sum().backward()
    (wanted * weights).sum().backward()
    positive = maps > 0  # where all is zero torch chooses another zero, and ReLU stops the gradient
    assert torch.equal(ours.grad.float()[positive], theirs.grad[positive])


def test_other_types_go_through_torch(maps: torch.Tensor) -> None:
    floats = maps.float() - 1
    assert torch.equal(SlidingMaxPool()(floats), F.max_pool2d(floats, 4, stride=1))
