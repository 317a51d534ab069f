"""Agreement of several raters of the same images, and intervals of their pooled score."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.metrics import Interval, Metric, accuracy_interval, percentile_interval
from mien.errors import MienError

BLOCK = 2**22
"""Numbers that resampling holds at a time."""

FEW = 10
"""Images; from fewer it cannot be told how much answers to one image are alike."""

Answers = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]


def answer_counts(answers: NDArray[np.integer[Any]], n_classes: int) -> NDArray[np.int64]:
    """Number of people for each answer, shape (N, C), of answers (P, N) in 0..n_classes-1.

    Raises:
        MienError: another shape, or an answer out of range.
    """
    given = np.asarray(answers)
    if given.ndim != 2 or not given.size:
        raise MienError(f"answers must have shape (people, images) with at least one each, got {given.shape}")
    if given.min() < 0 or given.max() >= n_classes:
        raise MienError(f"answers must lie in 0..{n_classes - 1}, got {given.min()}..{given.max()}")
    counts: NDArray[np.int64] = (given[:, :, None] == np.arange(n_classes)).sum(axis=0)
    return counts


def fleiss_kappa(counts: NDArray[np.integer[Any]]) -> float | None:
    """Agreement of several raters beyond chance: 1 is perfect, 0 what chance gives.

    Args:
        counts: How many raters put each image into each class, shape (N, C); every row has the same sum,
            two or more. The raters need not be the same people for all images.

    Returns:
        The kappa; ``None`` where all answers are one class, of which chance alone agrees always.

    Raises:
        MienError: rows have different sums, or fewer than two raters.

    Source: Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76, 1971.
    """
    rows = np.asarray(counts, np.float64)
    raters = rows.sum(axis=1) if rows.ndim == 2 else np.zeros(0)
    if not raters.size or raters.min() < 2 or raters.min() != raters.max():
        raise MienError("kappa needs counts (N, C) of at least two raters, as many for each image")
    n = raters[0]
    agreed = ((rows**2).sum(axis=1) - n) / (n * (n - 1))
    chance = float(((rows.sum(axis=0) / rows.sum()) ** 2).sum())
    return None if chance == 1 else float((agreed.mean() - chance) / (1 - chance))


def intraclass_correlation(ratings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """ICC(2,1) of ratings (..., N, K), N targets by K raters: absolute agreement of single ratings.

    Convention: raters are a sample of all raters; NaN where nothing varies, or with fewer than two targets.

    Source: Shrout and Fleiss, "Intraclass correlations: uses in assessing rater reliability", Psychol.
    Bulletin 86, 1979; McGraw and Wong (1996) call it ICC(A,1).
    """
    given = np.asarray(ratings, np.float64)
    n, k = given.shape[-2:]
    if n < 2 or k < 2:
        return np.full(given.shape[:-2], np.nan)
    rows, columns = given.mean(-1), given.mean(-2)
    middle = rows.mean(-1, keepdims=True)
    between = k * ((rows - middle) ** 2).sum(-1)
    raters = n * ((columns - middle) ** 2).sum(-1)
    error = ((given - middle[..., None]) ** 2).sum((-1, -2)) - between - raters
    between, raters, error = between / (n - 1), raters / (k - 1), error / ((n - 1) * (k - 1))
    below = between + (k - 1) * error + k * (raters - error) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(below > 1e-12, (between - error) / below, np.nan))


def clustered_interval(
    metric: Metric, counts: NDArray[np.integer[Any]], rng: np.random.Generator
) -> Interval:
    """Percentile interval of ``metric`` over 1,000 resamples of the images, each with all its answers.

    Several people's answers to one image resemble each other: counted one by one, three people with 100
    images would look like 300 images. With one answer an image this is ``bootstrap_interval``.

    Args:
        metric: Maps confusion matrices (n, C, C) to values (n,), such as ``accuracy``.
        counts: The confusion matrix of each image, shape (N, C, C).
        rng: The source of the resamples.

    Raises:
        MienError: there is no image.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
    """
    n = len(counts)
    if not n:
        raise MienError("an interval needs at least one image")
    cells, even = counts.reshape(n, -1).astype(np.float64), np.full(n, 1 / n)
    sums = [rng.multinomial(n, even, size).astype(np.float64) @ cells for size in blocks(1000, n)]
    values = metric(np.rint(np.concatenate(sums)).astype(np.int64).reshape(-1, *counts.shape[1:]))
    return percentile_interval(values)


def pooled_interval(right: Answers, given: Answers) -> Interval:
    """Wilson's 95 % interval of the share of right answers, where several people answered each image.

    Their answers count as so many independent ones as would give the share the variance that it has over the
    images. Where that variance is no guide, with fewer than `FEW` images or no answer unlike the others, each
    image counts as one answer.

    Args:
        right: How many answers to each image are right, shape (N,).
        given: How many there are, shape (N,); images without one do not count.

    Raises:
        MienError: there is no answer.

    Source: Rao and Scott, "A simple method for the analysis of clustered binary data", Biometrics 48, 1992.
    """
    n, n_images = float(given.sum()), int((given > 0).sum())
    share = float(right.sum()) / max(n, 1)
    n_effective: float = n_images
    if n > n_images >= FEW and 0 < share < 1:
        squares = float(((right - share * given) ** 2).sum())
        variance = n_images / (n_images - 1) * squares / n**2
        n_effective = min(n, share * (1 - share) / variance) if variance else n
    return accuracy_interval(share * n_effective, n_effective)


def mean_share_interval(shares: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Interval of the mean of independent shares, from the interval of each.

    Source: Zou and Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27, 2008.
    """
    mean, (low, high) = np.mean(shares), np.array(intervals).T
    below, above = (np.sqrt(((end - shares) ** 2).sum()) / len(shares) for end in (low, high))
    return max(0.0, float(mean - below)), min(1.0, float(mean + above))


def compare_readers(first: Answers, second: Answers) -> tuple[float, Interval]:
    """How much more often the first of two groups of readers is right over the same images, and the interval.

    Each image counts the same, however many answered it. Over fewer than `FEW` images the interval is no
    test.

    Args:
        first: For each image, how many answers of the first group are right, and all; shape (N, 2). Both
            groups answered every image.
        second: The same of the second group.

    Raises:
        MienError: there is no image.

    Source: Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17, 1998, method 10 without continuity correction; of intervals other
    than Wilson's, Zou and Donner as above.
    """
    ours, theirs = (group[:, 0] / group[:, 1] for group in (first, second))
    ends = [
        np.array(pooled_interval(shares * n, np.full(len(shares), n)))
        for shares, n in ((ours, first[:, 1].mean()), (theirs, second[:, 1].mean()))
    ]
    (low, high), (other_low, other_high) = (
        np.abs(pair - shares.mean()) for pair, shares in zip(ends, (ours, theirs), strict=True)
    )
    varies = ours.std() > 0 and theirs.std() > 0
    alike = float(np.corrcoef(ours, theirs)[0, 1]) if varies else 0.0
    gap = float(ours.mean() - theirs.mean())
    below = low**2 - 2 * alike * low * other_high + other_high**2
    above = high**2 - 2 * alike * high * other_low + other_low**2
    return gap, (gap - float(np.sqrt(max(below, 0))), gap + float(np.sqrt(max(above, 0))))


def blocks(n_resamples: int, n: int) -> Iterator[int]:
    """Sizes of parts of the resamples of ``n`` things, each of at most `BLOCK` numbers or one resample."""
    size = max(1, BLOCK // max(1, n))
    for start in range(0, n_resamples, size):
        yield min(size, n_resamples - start)
