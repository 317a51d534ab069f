"""From logits to calibrated probabilities: correction for the training prior, then one temperature.

Source of the temperature: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError

Labels = NDArray[np.integer[Any]]
Logits = NDArray[np.floating[Any]]

TEMPERATURES = (0.05, 20.0)
"""The range in which a temperature is sought; a fit at its end means that the logits carry no optimum."""

log = logging.getLogger(__name__)


def softmax(logits: Logits, temperature: float = 1.0) -> Logits:
    """Probabilities of ``logits / temperature`` over the last axis, without overflow.

    Args:
        logits: Scores, shape (..., C); ``-inf`` rules a class out.
        temperature: Above 1 softens, below 1 sharpens; the most probable class stays the same.

    Returns:
        Shape (..., C): float32 for half and single precision, else float64.

    Raises:
        MienError: ``temperature`` is not a positive number, or a row holds NaN, ``+inf`` or only ``-inf``.
    """
    if not 0 < temperature < np.inf:
        raise MienError(f"temperature must be a positive number, got {temperature}")
    scores = np.asarray(logits)
    scores = scores.astype(np.result_type(scores, np.float32), copy=False)  # half precision would overflow
    top = scores.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        raise MienError("logits must be finite, got NaN or infinity; look at the network or its input")
    powers = np.exp((scores - top) / scores.dtype.type(temperature))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def correct_prior(logits: Logits, prior: Sequence[float], power: float) -> Logits:
    """Logits that favour common classes less: ``logits - power * log(prior)``.

    Every reading and every score takes its logits through here, before the temperature.

    Args:
        logits: Shape (..., C).
        prior: Share of each class in the training data, C positive numbers; unused where ``power`` is 0.
        power: 0 leaves the logits as they are; 1 answers as if all classes had been as common.

    Raises:
        MienError: not one positive share for each class.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 4.2.
    """
    if not power:
        return logits
    shares = np.asarray(prior, np.float64)
    if shares.shape != logits.shape[-1:] or not (shares > 0).all():
        raise MienError(f"prior must hold {logits.shape[-1]} positive shares, one a class, got {list(prior)}")
    return np.asarray(logits - (power * np.log(shares)).astype(logits.dtype))


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """The temperature with the least negative log-likelihood on held-out rows.

    The likelihood is convex in 1/T, so its slope has one zero, which bisection finds to the last bits;
    the same rows always give the same number. Fit it on validation rows, never on those that are reported.

    Args:
        logits: Scores before the softmax, shape (N, C); logarithms of averaged probabilities serve as well.
        labels: True class ids, shape (N,), in 0..C-1.

    Returns:
        T for :func:`softmax`, within ``TEMPERATURES``. Its end is returned, with a logged warning, where no
        optimum lies inside, as for answers no better than chance (T grows). Where every row is right, T would
        fall for ever, and say that the next error is impossible: 1 is returned, also with a warning.

    Raises:
        MienError: ``logits`` are not finite, the two lengths differ, or a label is out of range.
    """
    from mien.core.metrics import checked_labels  # reading images needs only the softmax, and starts sooner

    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2:
        raise MienError(f"logits must have shape (N, C), got {scores.shape}")
    if not np.isfinite(scores).all():
        raise MienError(
            "logits must be finite, got NaN or infinity; clip probabilities before their logarithm"
        )
    ids = checked_labels(labels, scores.shape[1])
    if len(ids) != len(scores):
        raise MienError(f"logits and labels must have equal length, got {len(scores)} and {len(ids)}")
    if (scores.argmax(axis=1) == ids).all():
        log.warning("all %d rows are right, so no temperature fits best; using 1", len(ids))
        return 1.0
    truth = scores[np.arange(len(ids)), ids].mean()

    def slope(inverse: float) -> float:
        """Derivative of the mean negative log-likelihood by 1/T; it never falls as 1/T grows."""
        return float((softmax(scores, 1 / inverse) * scores).sum(axis=1).mean() - truth)

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) >= 0 or slope(high) <= 0:
        edge = TEMPERATURES[1] if slope(low) >= 0 else TEMPERATURES[0]
        log.warning("no best temperature within %g..%g for %d rows; using %g", *TEMPERATURES, len(ids), edge)
        return edge
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 2 / (low + high)
