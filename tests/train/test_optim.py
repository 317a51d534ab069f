"""Learning rate, weight decay and averaged weights, against values worked by hand."""

import pytest
import torch
from torch import nn

from mien.train.optim import OPTIMIZERS, AveragedWeights, Position, learning_rate, make_optimizer
from mien.train.recipe import OptimSettings


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("linear", 9, 0.2),
        ("linear", 19, 0.4),
        ("linear", 20, 0.4),
        ("linear", 60, 0.2),
        ("linear", 99, 0.005),
        ("cosine", 60, 0.2),
        ("constant", 89, 0.4),
    ],
)
def test_rate_rises_then_follows_its_schedule(schedule: str, step: int, expected: float) -> None:
    settings = OptimSettings(lr=0.4, warmup=0.2, schedule=schedule)
    at = Position(step, steps=100, per_epoch=10)
    assert learning_rate(at, settings) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_no_step_is_lost_to_a_rate_of_zero(schedule: str, warmup: float, steps: int) -> None:
    settings = OptimSettings(lr=0.4, warmup=warmup, schedule=schedule)
    rates = [learning_rate(Position(step, steps, steps), settings) for step in range(steps)]
    assert min(rates) > 0.001
    assert rates[0] == 0.4 or steps > 1


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        ({"schedule": "step", "gamma": 0.1, "every": 2}, 19, 1.0),
        ({"schedule": "step", "gamma": 0.1, "every": 2}, 20, 0.1),
        ({"schedule": "step", "gamma": 0.1, "every": 2}, 40, 0.01),
        ({"schedule": "decay", "gamma": 0.95}, 9, 1.0),
        ({"schedule": "decay", "gamma": 0.95}, 35, 0.95**3),
        ({"schedule": "inverse-time", "time_decay": 0.5}, 0, 1.0),
        ({"schedule": "inverse-time", "time_decay": 0.5}, 6, 0.25),
    ],
)
def test_rate_falls_by_the_epoch_or_by_the_step(
    settings: dict[str, object], step: int, expected: float
) -> None:
    at = Position(step, steps=100, per_epoch=10)
    assert learning_rate(at, OptimSettings(lr=1.0, **settings)) == pytest.approx(expected)


def test_one_cycle_is_that_of_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.2)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=50, cycle_momentum=False)
    settings = OptimSettings(lr=0.2, schedule="one-cycle")
    for step in range(50):
        ours = learning_rate(Position(step, 50, 10), settings)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        if step < 49:
            oracle.step()


def test_plateau_is_that_of_torch() -> None:
    accuracies = [0.1, 0.3, 0.3, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5]
    settings = OptimSettings(lr=0.8, schedule="plateau", gamma=0.5, patience=2, min_lr=0.15)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.8)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=1, threshold=0, min_lr=0.15
    )
    for n, accuracy in enumerate(accuracies, start=1):
        oracle.step(accuracy)
        ours = learning_rate(Position(10 * n, 1000, 10, accuracies[:n]), settings)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"]), n


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_makes_a_bowl_shallower(name: str) -> None:
    net = nn.Linear(3, 1)
    optimizer = make_optimizer(net, OptimSettings(name=name, lr=0.02))
    begun = net.weight.detach().square().sum()
    for _ in range(20):
        optimizer.zero_grad()
        net.weight.square().sum().backward()
        optimizer.step()
    assert net.weight.detach().square().sum() < begun


def test_frozen_weights_reach_no_optimiser() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    groups = make_optimizer(net, OptimSettings()).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in net[1].parameters()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_touches_weights_and_spares_biases_and_scales(name: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    optimizer = make_optimizer(net, OptimSettings(name=name, weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    got = {key: decay[id(p)] for key, p in net.named_parameters()}
    assert {key for key, value in got.items() if value == 0.1} == {"0.weight", "3.weight"}
    assert {key for key, value in got.items() if value == 0} == {"0.bias", "1.weight", "1.bias", "3.bias"}


def test_average_follows_its_recurrence_and_keeps_counters() -> None:
    net = nn.BatchNorm1d(1)
    average = AveragedWeights(net, decay=0.5)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, 8.0]):
        with torch.no_grad():
            net.weight.fill_(value)
            net.num_batches_tracked += 1
        average.update(net, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert float(average.tensors["weight"]) == pytest.approx(expected)
    assert int(average.tensors["num_batches_tracked"]) == 3
