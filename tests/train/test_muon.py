"""Muon: orthogonal steps for the inner convolutions, SGD for everything else."""

import pytest
import torch
from torch import nn

from mien.train.muon import Muon, muon_groups, orthogonal
from mien.train.optim import make_optimizer
from mien.train.recipe import OptimSettings


@pytest.mark.parametrize("shape", [(8, 40), (40, 8)])
def test_the_singular_values_of_a_step_lie_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert float(values.max()) < 1.3
    assert float(values.min()) > 0.6


def test_directions_stay_and_only_their_lengths_change() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    out = orthogonal(matrix)
    assert float((out - torch.diag(out.diagonal())).abs().max()) < 0.02
    assert bool((out.diagonal() > 0.5).all())


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 2)
    )


def test_the_first_convolution_and_the_head_are_left_to_sgd() -> None:
    made = net()
    orthogonal_group, decayed, plain = muon_groups(made, 2.0, 5e-4)
    assert [p is made[1].weight for p in orthogonal_group["params"]] == [True]
    assert {id(p) for p in decayed["params"]} == {id(made[0].weight), id(made[4].weight)}
    assert len(plain["params"]) == 5
    assert decayed["rate"] == plain["rate"] == 2.0


def test_a_convolution_keeps_its_norm_and_turns_by_the_rate() -> None:
    made = net()
    optimizer = make_optimizer(made, OptimSettings(name="muon", lr=0.05))
    weight = made[1].weight
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        before = weight.detach().clone()
        optimizer.step()
        start = before * (6**0.5 / before.norm())
        assert float((weight - start).norm().detach()) == pytest.approx(0.05 * 6**0.5, rel=0.3)


def test_the_rest_moves_as_by_nesterov_sgd_of_torch() -> None:
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon([{"params": ours.parameters(), "weight_decay": 0.1}], lr=0.2, momentum=0.9)
    sgd = torch.optim.SGD(theirs.parameters(), 0.2, momentum=0.9, nesterov=True, weight_decay=0.1)
    for _ in range(4):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        muon.step()
        sgd.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
