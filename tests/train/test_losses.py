"""Losses, against torch's own, and against values worked by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from mien.train.losses import (
    balanced_weights,
    distillation_loss,
    emotion_loss,
    soften,
    valence_arousal_loss,
    votes_loss,
)
from mien.train.recipe import DistilSettings, LossSettings

LABELS = torch.tensor([0, 2, 1, 2])
ONE_HOT = F.one_hot(LABELS, 3).float()
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.3, 0.2, 0.1], [-1.0, 1.0, 4.0], [0.0, 0.0, 3.0]])


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.1])], ids=["plain", "weighted"])
def test_cross_entropy_is_that_of_torch(weights: torch.Tensor | None) -> None:
    got = emotion_loss(LOGITS, ONE_HOT, LossSettings(), weights)
    assert torch.allclose(got, F.cross_entropy(LOGITS, LABELS, weight=weights))


def test_label_smoothing_is_that_of_torch() -> None:
    got = emotion_loss(LOGITS, ONE_HOT, LossSettings(label_smoothing=0.1))
    assert torch.allclose(got, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1))


def test_mixed_faces_have_the_mixed_loss() -> None:
    other = torch.roll(ONE_HOT, 1, 0)
    mixed = emotion_loss(LOGITS, 0.3 * ONE_HOT + 0.7 * other, LossSettings())
    parts = [emotion_loss(LOGITS, t, LossSettings()) for t in (ONE_HOT, other)]
    assert torch.allclose(mixed, 0.3 * parts[0] + 0.7 * parts[1])


def test_focal_loss_is_cross_entropy_at_gamma_zero_and_known_at_two() -> None:
    zero = emotion_loss(LOGITS, ONE_HOT, LossSettings(name="focal", focal_gamma=0))
    assert torch.allclose(zero, F.cross_entropy(LOGITS, LABELS))
    even = emotion_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), LossSettings(name="focal"))
    assert float(even) == pytest.approx(0.25 * math.log(2))


def test_focal_loss_has_a_slope_where_a_face_is_sure() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0, 0.0]])
    emotion_loss(logits, target, LossSettings(name="focal", focal_gamma=0.5)).backward()
    assert torch.isfinite(logits.grad).all()


def test_l2_svm_is_the_sum_of_squared_hinges() -> None:
    logits, target = torch.tensor([[0.5, -2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    got = emotion_loss(logits, target, LossSettings(name="l2-svm"))
    assert float(got) == pytest.approx(0.5**2 + 0 + 1**2)


def test_soft_votes_are_zero_at_the_votes_and_torchs_divergence_elsewhere() -> None:
    votes = torch.tensor([[0.7, 0.3, 0.0]])
    settings = LossSettings(name="soft-votes")
    assert float(emotion_loss(votes.clamp(min=1e-9).log(), votes, settings)) == pytest.approx(0, abs=1e-6)
    wanted = F.kl_div(F.log_softmax(LOGITS[:1], 1), votes, reduction="batchmean")
    assert torch.allclose(emotion_loss(LOGITS[:1], votes, settings), wanted)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_zero_at_the_teacher_and_blind_to_a_shift(temperature: float) -> None:
    settings = DistilSettings(temperature=temperature)
    teacher = torch.flip(LOGITS, [0])
    softened = soften(teacher, settings)
    assert float(distillation_loss(teacher + 5, softened, settings)) == pytest.approx(0, abs=1e-6)
    here = distillation_loss(LOGITS, softened, settings)
    shifted = distillation_loss(LOGITS + torch.tensor([[7.0], [-3.0], [0.0], [100.0]]), softened, settings)
    assert torch.allclose(here, shifted, atol=1e-4)
    q, p = (F.softmax(x / temperature, 1).double() for x in (teacher, LOGITS))
    assert float(here) == pytest.approx(float(temperature**2 * (q * (q / p).log()).sum(1).mean()), rel=1e-5)


def test_the_printed_distillation_formula_changes_with_a_shift_and_ours_replaces_it() -> None:
    teacher = F.softmax(LOGITS, 1)
    printed = [(teacher * (teacher.log() - f)).sum(1).mean() for f in (LOGITS, LOGITS + 10)]
    assert float(printed[0] - printed[1]) == pytest.approx(10, rel=1e-4)


def test_balanced_weights_are_those_of_fer2013() -> None:
    counts = (3995, 436, 4097, 7215, 4830, 3171, 4965)
    labels = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
    published = [1.0266, 9.4066, 1.0010, 0.5684, 0.8491, 1.2934, 0.8260]
    assert balanced_weights(labels, 7).tolist() == pytest.approx(published, abs=5e-5)
    assert balanced_weights(torch.tensor([0, 0, 2]), 3).tolist() == pytest.approx([0.5, 0.0, 1.0])


def test_valence_and_arousal_are_expected_values_and_unknown_ones_are_left_out() -> None:
    places = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    wanted = torch.tensor([[0.5, 0.0], [math.nan, 0.3]])
    got = valence_arousal_loss(torch.zeros(2, 2), places, wanted)
    assert float(got) == pytest.approx(0.5**2 + 0.25**2)


def test_votes_loss_is_the_entropy_at_the_votes_and_skips_rows_without_votes() -> None:
    votes = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    at_votes = votes_loss(torch.zeros(2, 2), votes)
    assert float(at_votes) == pytest.approx(math.log(2), rel=1e-6)
    off = votes_loss(torch.tensor([[1.0, 0.0], [9.0, -9.0]]), votes)
    assert float(off) > float(at_votes)
    assert float(votes_loss(torch.zeros(1, 2), torch.zeros(1, 2))) == 0
