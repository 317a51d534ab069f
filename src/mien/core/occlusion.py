"""Occlusion sensitivity: which parts of a face a prediction depends on, by covering them one by one.

Needs nothing of the network but its answers, so an ONNX file is enough.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError

Predict = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
"""From normalised faces (N, channels, S, S) to logits (N, C)."""

BATCH = 512
"""Covered faces that go through the network together."""


@dataclass(frozen=True, slots=True)
class Occluder:
    """A square that slides over a face.

    Args:
        patch: Its side in pixels; faces of 48 px are well covered by 4-8.
        stride: How far it moves at a time, in pixels.
        fill: What it is filled with, in normalised values; 0 is the mean gray of the training faces.
    """

    patch: int = 6
    stride: int = 3
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.patch:
            raise MienError(
                f"occlusion needs a patch of at least its stride and a stride of at least 1, got patch "
                f"{self.patch} and stride {self.stride}"
            )

    def starts(self, size: int) -> range:
        """Where patches begin along a side; the outer ones reach over the edge, so that all pixels count."""
        return range(self.stride - self.patch, size, self.stride)


def occlusion(
    predict: Predict,
    faces: NDArray[np.float32],
    classes: NDArray[np.integer[Any]],
    occluder: Occluder | None = None,
) -> NDArray[np.float32]:
    """How much the log-probability of a class falls when a pixel is covered, in nats.

    A pixel's value is the mean over the patches that cover it; below 0 the class gained by the covering.

    Args:
        predict: The network.
        faces: float32 (N, channels, S, S), normalised.
        classes: For each face, the class that is watched, (N,).
        occluder: What covers, and how; by default 6 x 6 pixels of the training faces' mean gray, every 3.

    Returns:
        float32 (N, S, S).

    Raises:
        MienError: a patch is larger than the face.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
    """
    occluder = occluder or Occluder()
    size = faces.shape[-1]
    if occluder.patch > size:
        raise MienError(f"an occlusion patch must fit into the face of {size} px, got {occluder.patch}")
    corners = [(y, x) for y in occluder.starts(size) for x in occluder.starts(size)]
    windows = [
        (slice(max(y, 0), y + occluder.patch), slice(max(x, 0), x + occluder.patch)) for y, x in corners
    ]
    covered_by = np.zeros((size, size), np.float32)
    for window in windows:
        covered_by[window] += 1
    maps = np.empty((len(faces), size, size), np.float32)
    for out, face, chosen in zip(maps, faces, classes, strict=True):
        drops = _drops(predict, face, int(chosen), windows, occluder.fill)
        out[:] = 0
        for window, drop in zip(windows, drops, strict=True):
            out[window] += drop
        out /= covered_by
    return maps


def _drops(
    predict: Predict, face: NDArray[np.float32], chosen: int, windows: list[tuple[slice, slice]], fill: float
) -> NDArray[np.float64]:
    """By how much each window lowers the log-probability."""
    whole = log_softmax(predict(face[None]))[0, chosen]
    found = []
    for start in range(0, len(windows), BATCH):
        part = windows[start : start + BATCH]
        covered = np.repeat(face[None], len(part), axis=0)
        for one, window in zip(covered, part, strict=True):
            one[:, *window] = fill
        found.append(log_softmax(predict(covered))[:, chosen])
    return np.asarray(whole - np.concatenate(found))


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Logarithms of the probabilities, over the last axis, in float64: exact also where one is nearly 1."""
    scores = np.asarray(logits, np.float64)
    scores = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True)))
