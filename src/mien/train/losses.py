"""What training minimises."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.train.recipe import LossSettings


def emotion_loss(logits: Tensor, labels: Tensor, settings: LossSettings) -> Tensor:
    """Cross-entropy (Szegedy et al. 2016, section 7, with label smoothing), mean over the batch."""
    return F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)


def votes_loss(logits: Tensor, votes: Tensor) -> Tensor:
    """Cross-entropy against the share of raters for each answer, mean over rows that have votes.

    Source: Barsoum et al. 2016, section 3.4 ("cross-entropy loss").

    Args:
        logits: (N, V).
        votes: (N, V); a row sums to 1, or to 0 where nobody voted.
    """
    voted = votes.sum(1)
    per_row = -(votes * torch.log_softmax(logits, dim=1)).sum(1)
    return per_row.sum() / voted.sum().clamp(min=1)
