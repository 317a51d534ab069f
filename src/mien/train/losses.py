"""What training minimises. A target is a row of shares that sum to 1, so that mixed faces have one too."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.train.recipe import DistilSettings, LossSettings


def emotion_loss(
    logits: Tensor, targets: Tensor, settings: LossSettings, class_weights: Tensor | None = None
) -> Tensor:
    """Mean loss of a batch, where a face weighs as much as its emotion.

    Args:
        logits: (N, C).
        targets: (N, C), rows sum to 1: one-hot labels, mixed labels, or shares of raters.
        settings: Which loss.
        class_weights: (C,); the mean is divided by the sum of the faces' weights, as torch does.
    """
    weights = targets @ class_weights if class_weights is not None else targets.sum(1)
    smoothing = settings.label_smoothing
    smooth = targets * (1 - smoothing) + smoothing / targets.shape[1] if smoothing else targets
    return (LOSSES[settings.name](logits, smooth, settings) * weights).sum() / weights.sum()


def cross_entropy(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy (N,)."""
    return -(targets * F.log_softmax(logits, dim=1)).sum(1)


def focal(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy whose terms fade as (1 - p)^gamma. Source: Lin et al., ICCV 2017, equation 4."""
    log_probs = F.log_softmax(logits, dim=1)
    missing = (1 - log_probs.exp()).clamp(min=1e-7)  # at 0 a root has no finite slope
    return -(targets * missing**settings.focal_gamma * log_probs).sum(1)


def l2_svm(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Squared hinge of one-against-rest machines, summed over classes. Source: Tang 2013, equation 10."""
    for_it, against = F.relu(1 - logits).square(), F.relu(1 + logits).square()
    return (targets * for_it + (1 - targets) * against).sum(1)


def soft_votes(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """KL divergence from the raters' shares: zero where the network gives just these."""
    return cross_entropy(logits, targets, settings) + torch.xlogy(targets, targets).sum(1)


LOSSES: dict[str, Callable[[Tensor, Tensor, LossSettings], Tensor]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "l2-svm": l2_svm,
    "soft-votes": soft_votes,
}
"""Loss (N,) of logits (N, C) against targets (N, C)."""


def votes_loss(logits: Tensor, votes: Tensor) -> Tensor:
    """Cross-entropy against the share of raters for each answer, mean over rows that have votes.

    Source: Barsoum et al. 2016, section 3.4 ("cross-entropy loss").

    Args:
        logits: (N, V).
        votes: (N, V); a row sums to 1, or to 0 where no one voted.
    """
    voted = votes.sum(1)
    per_row = -(votes * torch.log_softmax(logits, dim=1)).sum(1)
    return per_row.sum() / voted.sum().clamp(min=1)


def distillation_loss(logits: Tensor, softened: Tensor, settings: DistilSettings) -> Tensor:
    """T^2 times the mean KL divergence of the student's softened probabilities from the teacher's.

    Chang et al. 2016 print ``sum y (log y - f)`` with raw scores f, which is unbounded below and changes when
    a constant is added to all scores; f must be the log-softmax, as here.

    Args:
        logits: The student's, (N, C).
        softened: The teacher's probabilities at the temperature, (N, C); see `soften`.
        settings: The temperature T.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    t = settings.temperature
    return F.kl_div(F.log_softmax(logits / t, dim=1), softened, reduction="batchmean") * t**2


def soften(logits: Tensor, settings: DistilSettings) -> Tensor:
    """Probabilities (N, C) of logits at the temperature."""
    return F.softmax(logits / settings.temperature, dim=1)


def valence_arousal_loss(logits: Tensor, coordinates: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of the expected valence and arousal; faces without the two are left out.

    Args:
        logits: (N, C).
        coordinates: (C, 2), where each emotion lies in the circumplex, -1 to 1.
        wanted: (N, 2), NaN where unknown.
    """
    known = ~wanted.isnan().any(1)
    error = logits.softmax(1) @ coordinates - torch.nan_to_num(wanted)
    return (error.square().sum(1) * known).sum() / known.sum().clamp(min=1)


WING_WIDTH, WING_CURVE = 0.04, 0.008


def wing(errors: Tensor) -> Tensor:
    """Steep near 0 and linear far from it, for each number, in sides of the face.

    Source: Feng et al., "Wing loss for robust facial landmark localisation", CVPR 2018, equation 5; their 10
    and 2 pixels of 256 are the width and the curve here.
    """
    size = errors.abs()
    near = WING_WIDTH * torch.log1p(size / WING_CURVE)
    gap = WING_WIDTH - WING_WIDTH * math.log1p(WING_WIDTH / WING_CURVE)
    return torch.where(size < WING_WIDTH, near, size - gap)


LANDMARK_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"wing": wing, "squared": torch.square}
"""Loss of each number of the points' errors (N, K, 2), in sides of the face."""


def log_prior(labels: Tensor, n_classes: int) -> Tensor:
    """Logarithm of each emotion's share of the faces (C,), as if each had at least one.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10.
    """
    counts = torch.bincount(labels, minlength=n_classes).clamp(min=1).float()
    return (counts / counts.sum()).log()


def balanced_weights(labels: Tensor, n_classes: int) -> Tensor:
    """n / (C * n_c) for each class (C,); a class without faces gets 0."""
    counts = torch.bincount(labels, minlength=n_classes).float()
    return torch.where(counts > 0, counts.sum() / (n_classes * counts.clamp(min=1)), 0.0)
