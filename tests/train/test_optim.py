"""Learning rate, weight decay and averaged weights, against values worked by hand."""

import pytest
import torch
from torch import nn

from mien.train.losses import emotion_loss, votes_loss
from mien.train.optim import AveragedWeights, learning_rate, make_optimizer
from mien.train.recipe import LossSettings, OptimSettings


@pytest.mark.parametrize(
    ("schedule", "part", "expected"),
    [
        ("linear", 0.1, 0.2),
        ("linear", 0.2, 0.4),
        ("linear", 0.6, 0.2),
        ("linear", 1.0, 0.0),
        ("cosine", 0.6, 0.2),
        ("cosine", 1.0, 0.0),
        ("constant", 0.9, 0.4),
    ],
)
def test_rate_rises_then_follows_its_schedule(schedule: str, part: float, expected: float) -> None:
    settings = OptimSettings(lr=0.4, warmup=0.2, schedule=schedule)
    assert learning_rate(part, settings) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
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


def test_label_smoothing_is_cross_entropy_with_a_uniform_part() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = torch.log_softmax(logits, 1)[0]
    expected = -(0.9 * log_p[1] + 0.1 * log_p.mean())
    got = emotion_loss(logits, torch.tensor([1]), LossSettings(label_smoothing=0.1))
    assert float(got) == pytest.approx(float(expected), rel=1e-6)


def test_votes_loss_is_the_entropy_at_the_votes_and_skips_rows_without_votes() -> None:
    votes = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    at_votes = votes_loss(torch.zeros(2, 2), votes)
    assert float(at_votes) == pytest.approx(0.6931472, rel=1e-6)
    off = votes_loss(torch.tensor([[1.0, 0.0], [9.0, -9.0]]), votes)
    assert float(off) > float(at_votes)
    assert float(votes_loss(torch.zeros(1, 2), torch.zeros(1, 2))) == 0
