"""The figures of a report, as PNG files: confusion, learning curves, calibration, risk and coverage.

Each is drawn on its own ``Figure``, so nothing here reads or changes the state of ``pyplot``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.metrics import Labels, Probs, ReliabilityBin, RiskCoverage, accuracy_interval
from mien.core.scores import COVERAGES, Scores
from mien.errors import MienError
from mien.workflows import figure_style as style


def _cells(ax: Any, shade: Any, texts: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """One matrix: cells shaded 0-1, each with its text, rows and columns named."""
    ax.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            tint = "white" if shade[i][j] > 0.55 else style.INK
            ax.text(j, i, text, ha="center", va="center", fontsize=style.SMALL, color=tint)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)


def confusion_figure(scores: Scores, path: str | os.PathLike[str]) -> Path:
    """The confusion matrix in counts and, beside it, in percent of each true class.

    Counts are shaded by their square root, or one common class would leave the others white.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: the file cannot be written.
    """
    counts = np.array(scores.confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.55 * len(counts)
    figure = style.new_figure(2 * side, side + 0.5)
    left, right = figure.subplots(1, 2)
    style.style_axes(left, "images", "read as", "true class")
    style.style_axes(right, "percent of the true class", "read as", "")
    _cells(
        left,
        np.sqrt(counts / counts.max()),
        [[f"{v:,}" if v else "·" for v in r] for r in counts],
        scores.label_names,
    )
    _cells(right, share, [[f"{100 * v:.0f}" if v else "·" for v in r] for r in share], scores.label_names)
    never = f" · never read: {', '.join(scores.never_predicted)}" if scores.never_predicted else ""
    figure.suptitle(
        f"{scores.n:,} images · accuracy {style.percent(scores.accuracy, scores.accuracy_interval)}"
        f" · balanced {style.percent(scores.balanced_accuracy, scores.balanced_accuracy_interval)}"
        f" · macro F1 {style.percent(scores.macro_f1, scores.macro_f1_interval)}{never}",
        fontsize=style.NORMAL,
        color=style.INK,
        wrap=True,
    )
    return style.save(figure, path)


TRAINING, VALIDATION = ("training", style.BLUE, "--"), ("validation", style.VERMILION, "-")
PANELS = (
    ("loss", "mean loss", 1, {"train_loss": TRAINING, "val_loss": VALIDATION}),
    ("accuracy", "percent right", 100, {"train_accuracy": TRAINING, "val_accuracy": VALIDATION}),
    ("learning rate", "learning rate", 1, {"lr": ("", style.INK, "-")}),
)
"""Of the learning curves: title, name and scale of the height, and for each key its label, hue and dashes."""


Panel = tuple[str, str, float, dict[str, tuple[str, str, str]]]


def _panels(drawn: set[str], loss: str) -> list[Panel]:
    """Those with a line to draw; what cannot share an axis has one each."""
    panels: list[Panel] = list(PANELS)
    if loss != "cross-entropy":
        kind, height, scale = "loss", "mean cross-entropy", 1
        if "val_failures" in drawn:  # of landmarks
            kind, height, scale = "error", "mean error, % of the outer eye distance", 100
        panels[:1] = [
            ("training loss", f"mean loss, {loss}", 1, {"train_loss": TRAINING}),
            (f"validation {kind}", height, scale, {"val_loss": VALIDATION}),
        ]
    return [panel for panel in panels if drawn & panel[3].keys()]


def curves_figure(
    history: Sequence[Mapping[str, float]], path: str | os.PathLike[str], loss: str = "cross-entropy"
) -> Path:
    """Loss, accuracy and learning rate over the epochs of a run.

    Args:
        history: One entry an epoch with ``epoch`` and any of ``train_loss``, ``val_loss``, ``lr`` and, as
            fractions, ``train_accuracy`` and ``val_accuracy``; a key that is nowhere leaves its line out, and
            a panel without lines is not drawn.
        path: The PNG to write.
        loss: What training minimised, as a recipe's ``loss.name``. Validation measures cross-entropy, or the
            error of points, and has an axis of its own where that is another quantity.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: ``history`` lacks epochs or anything to draw, or the file cannot be written.
    """
    drawn = {key for row in history for key, value in row.items() if value is not None}
    panels = _panels(drawn, loss)
    if not panels or any("epoch" not in row for row in history):
        raise MienError("history must hold epochs with a loss, an accuracy or lr; train for an epoch first")
    figure = style.new_figure(max(4.0 * len(panels), 5.6), 3.8)
    marker = "o" if len(history) <= 40 else ""
    for ax, (title, height, scale, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        style.style_axes(ax, title, "epoch", height)
        for key in [key for key in lines if key in drawn]:
            label, hue, dash = lines[key]
            rows = [row for row in history if row.get(key) is not None]
            x, y = [row["epoch"] for row in rows], [scale * row[key] for row in rows]
            ax.plot(x, y, dash, color=hue, marker=marker, markersize=3.5, linewidth=1.6, label=label)
            if key == "val_accuracy":
                best = max(range(len(y)), key=y.__getitem__)
                ax.axhline(y[best], color=style.MUTED, linewidth=0.8, linestyle=":")
                ax.set_title(
                    f"{title}: best {y[best]:.2f} % at epoch {x[best]:g}", fontsize=style.NORMAL, loc="left"
                )
        if "lr" not in lines:
            style.legend(ax)
    return style.save(figure, path)


def _reliability(top: Any, below: Any, bins: Sequence[ReliabilityBin], hue: str) -> None:
    """Accuracy against confidence with Wilson bars, and under it how many rows each bin holds."""
    middle, width = [(b.low + b.high) / 2 for b in bins], [0.94 * (b.high - b.low) for b in bins]
    accuracy = np.array([b.accuracy for b in bins])
    ends = np.array([accuracy_interval(round(b.accuracy * b.count), b.count) for b in bins])
    confidence = [b.confidence for b in bins]
    top.bar(middle, accuracy, width=width, color=hue, alpha=0.35, label="accuracy in the bin")
    top.errorbar(
        confidence,
        accuracy,
        yerr=np.abs(ends.T - accuracy),
        fmt="o",
        markersize=4,
        color=hue,
        elinewidth=1.2,
        capsize=2,
        label="at mean confidence, 95 %",
    )
    top.plot([0, 1], [0, 1], color=style.INK, linewidth=1, linestyle="--", label="calibrated")
    below.bar(middle, [b.count for b in bins], width=width, color=hue)


def calibration_figure(
    before: Scores, after: Scores, temperature: float, path: str | os.PathLike[str]
) -> Path:
    """Reliability before and after temperature scaling, with the histogram of confidences under each.

    Args:
        before: Scores of the probabilities at temperature 1.
        after: Scores of the same rows at ``temperature``.
        temperature: The fitted temperature.
        path: The PNG to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: the file cannot be written.
    """
    figure = style.new_figure(9, 5.6)
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    pairs = (("before", 1.0, before, style.VERMILION), ("after", temperature, after, style.BLUE))
    for column, (name, t, scores, hue) in enumerate(pairs):
        top, below = axes[:, column]
        title = f"{name} (T = {t:.3g}): ECE {style.percent(scores.ece)} · NLL {scores.nll:.3f}"
        style.style_axes(top, title, "", "" if column else "accuracy")
        style.style_axes(below, "", "confidence", "" if column else "images")
        _reliability(top, below, scores.reliability, hue)
        top.set(xlim=(0, 1), ylim=(0, 1))
        style.legend(top, loc="upper left")
    return style.save(figure, path)


def risk_coverage_figure(curves: Mapping[str, RiskCoverage], path: str | os.PathLike[str]) -> Path:
    """Accuracy of the answers kept when the least confident are withheld, a line for each model.

    Args:
        curves: Name in the legend to curve, at most five.
        path: The PNG to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: no curve or more than five, or the file cannot be written.
    """
    if not 1 <= len(curves) <= len(style.HUES):
        raise MienError(f"risk-coverage figure needs 1 to {len(style.HUES)} curves, got {len(curves)}")
    figure = style.new_figure(6.4, 4.4)
    ax = figure.subplots()
    style.style_axes(
        ax,
        "accuracy when the least sure answers are withheld",
        "images answered (percent)",
        "percent right",
    )
    for curve, hue in zip(curves.values(), style.HUES, strict=False):
        # The first few answers swing between 0 and 100 %: start where 1 % of the rows are kept.
        steady = curve.coverage >= min(0.01, curve.coverage[-1])
        x, y = 100 * curve.coverage[steady], 100 * curve.accuracy[steady]
        ax.plot(x, y, color=hue, linewidth=1.8, label="curve")
        for coverage in (*COVERAGES, 1.0):
            height = 100 * curve.accuracy_at(coverage)
            ax.plot(100 * coverage, height, "o", markersize=5, color=hue)
            if len(curves) == 1:
                ax.text(
                    100 * coverage + 1,
                    height,
                    f"{height:.1f}",
                    va="bottom",
                    fontsize=style.SMALL,
                    color=style.INK,
                )
    ax.set_xlim(0, 109)
    if len(curves) > 1:
        style.legend(ax, names=curves)
    return style.save(figure, path)


EXAMPLES = (3, 5)
"""Rows and columns of the faces on each side of the examples."""


def examples_figure(
    images: NDArray[np.uint8],
    labels: Labels,
    probs: Probs,
    label_names: Sequence[str],
    path: str | os.PathLike[str],
) -> Path:
    """Faces that were read right, and faces that were read wrong, drawn at random; the same ones every time.

    It shows people: keep it beside the data, and publish it only where their licence lets you.

    Args:
        images: uint8 (N, H, W) gray or (N, H, W, 3) RGB.
        labels: True class ids, shape (N,).
        probs: Class probabilities, shape (N, C).
        label_names: One name for each class.
        path: The PNG to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MienError: the file cannot be written.
    """
    rows, columns = EXAMPLES
    figure = style.new_figure(2 * columns * 1.3, rows * 1.6 + 0.6)
    rng, guess = np.random.default_rng(0), probs.argmax(axis=1)
    sides = (("read right", guess == labels, style.GREEN), ("read wrong", guess != labels, style.VERMILION))
    for side, (title, mask, hue) in zip(figure.subfigures(1, 2), sides, strict=True):
        found = np.flatnonzero(mask)
        side.suptitle(f"{title}: {len(found):,} of {len(labels):,}", fontsize=style.NORMAL, color=hue)
        shown = np.sort(rng.permutation(found)[: rows * columns])
        for ax, i in zip(side.subplots(rows, columns).flat, [*shown, *[None] * rows * columns], strict=False):
            ax.set_axis_off()
            if i is None:
                continue
            ax.imshow(images[i], cmap="gray", vmin=0, vmax=255)
            answer = f"{label_names[guess[i]]} {100 * probs[i].max():.0f} %"
            text = answer if guess[i] == labels[i] else f"is {label_names[labels[i]]}\nread {answer}"
            ax.set_title(text, fontsize=style.SMALL, color=style.INK, pad=2)
    return style.save(figure, path)
