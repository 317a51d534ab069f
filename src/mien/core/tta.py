"""Test-time augmentation: several views of the same face, whose logits are averaged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.arguments import is_whole
from mien.errors import MienError

Views = int | str
"""A number of views, of `N_VIEWS`, or `AUTO`."""

AUTO = "auto"
"""Few views of every face, and many of those that the few leave in doubt."""

Faces = NDArray[np.float32]
Logits = NDArray[np.float32]
Predict = Callable[[Faces], Logits]
Score = Callable[[NDArray[Any], int, Logits | None], Logits]

SHIFT_PX = 3
CROP = 7 / 8
"""Side of the five crops against the face's; they are enlarged to it again."""
CHUNK = 64
"""Faces whose views go through the network together: one face's ten cost less in one run than in ten."""
N_VIEWS = (1, 2, 5, 10, 12, 18)
"""1 the face; 2 with its mirror image; 5 also shifted by `SHIFT_PX` to four sides; 10 these with their mirror
images; 12 the face and five crops (centre and corners), with mirrored too; 18 nine shifts, mirrored too."""


@dataclass(frozen=True, slots=True)
class AutoViews:
    """What `AUTO` means for a model: ``few`` views of every face, ``many`` where confidence is ``below``.

    The confidence is that of the few views by ``temperature``, which stays when the model is calibrated
    again, so that the same faces are seen in many views.
    """

    few: int
    many: int
    below: float
    temperature: float


def checked_views(views: Views) -> Views:
    """``views`` itself.

    Raises:
        MienError: it is neither one of `N_VIEWS` nor `AUTO`.
    """
    if not (is_whole(views) and views in N_VIEWS) and views != AUTO:
        raise MienError(f"views must be one of {', '.join(map(str, N_VIEWS))} or {AUTO}, got {views}")
    return views if isinstance(views, str) else int(views)


def auto_logits(
    score: Score, faces: NDArray[Any], auto: AutoViews, probs: Callable[[Logits], NDArray[np.floating[Any]]]
) -> tuple[Logits, NDArray[np.bool_]]:
    """Logits (N, C) by few views, or by many where the few leave a face in doubt; those go together.

    Args:
        score: Logits (N, C) of faces by a number of views; its third argument holds the logits of the first
            view where one view of each face was scored already, else ``None``.
        faces: Anything that ``score`` takes, one row a face.
        auto: See there.
        probs: Probabilities (N, C) of logits by ``auto.few`` views, by ``auto.temperature``.

    Returns:
        The logits, and which faces (N,) were seen in many views.
    """
    logits = score(faces, auto.few, None)
    doubtful = np.asarray(probs(logits).max(axis=1) < auto.below)
    if doubtful.any():
        seen = logits[doubtful] if auto.few == 1 else None
        logits = logits.copy()
        logits[doubtful] = score(faces[doubtful], auto.many, seen)
    return logits, doubtful


def average_logits(predict: Predict, faces: Faces, n_views: int, seen: Logits | None = None) -> Logits:
    """Mean logits (N, C) over the views of normalised faces (N, 1, S, S).

    Args:
        predict: Logits (M, C) of images (M, 1, S, S).
        faces: The faces.
        n_views: One of `N_VIEWS`.
        seen: What ``predict`` gave for the faces themselves, the first view, which is then not asked again.

    Source: Krizhevsky et al., NIPS 2012, section 4.1 (shifted and mirrored crops, averaged).

    Raises:
        MienError: ``n_views`` is not one of `N_VIEWS`.
    """
    if n_views not in N_VIEWS:
        raise MienError(f"views must be one of {', '.join(map(str, N_VIEWS))}, got {n_views}")
    parts = [
        _mean_logits(predict, faces[part], n_views, None if seen is None else seen[part])
        for part in (slice(start, start + CHUNK) for start in range(0, max(len(faces), 1), CHUNK))
    ]
    return np.asarray(np.concatenate(parts), np.float32)


def _mean_logits(predict: Predict, faces: Faces, n_views: int, seen: Logits | None) -> Logits:
    if n_views == 1:
        return predict(faces) if seen is None else seen
    views = _views(faces, n_views)
    if seen is None:
        logits = predict(np.concatenate(views))
    else:
        logits = np.concatenate([seen, predict(np.concatenate(views[1:]))])
    return np.asarray(logits.reshape(n_views, -1, logits.shape[-1]).mean(axis=0))


def _views(faces: Faces, n_views: int) -> list[Faces]:
    if n_views == 12:
        kept = [faces, *crops(faces)]
    else:
        reach = {1: 0, 2: 0, 5: 1, 10: 1, 18: 2}[n_views]
        steps = sorted((abs(y) + abs(x), y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
        kept = [shift(faces, y * SHIFT_PX, x * SHIFT_PX) for far, y, x in steps if far <= reach]
    mirrored = [view[..., ::-1] for view in kept] if n_views not in (1, 5) else []
    return [*kept, *mirrored]


def crops(faces: Faces) -> list[Faces]:
    """The centre and the four corners of faces (N, 1, S, S), `CROP` of the side, enlarged to S, bilinear.

    Source: Krizhevsky et al., NIPS 2012, section 4.1.
    """
    size = faces.shape[-1]
    spare = size * (1 - CROP)
    starts = {"near": 0.0, "middle": spare / 2, "far": spare}
    enlarge = {name: _stretch(size, start) for name, start in starts.items()}
    places = [("middle", "middle"), ("near", "near"), ("near", "far"), ("far", "near"), ("far", "far")]
    return [np.asarray(enlarge[y] @ faces @ enlarge[x].T, np.float32) for y, x in places]


def _stretch(size: int, start: float) -> NDArray[np.float32]:
    """The matrix (S, S) that enlarges ``CROP`` of a row of pixels, from ``start``, to the whole row."""
    at = np.clip(start + (np.arange(size) + 0.5) * CROP - 0.5, 0, size - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size))), np.float32)


def shift(faces: Faces, down: int, right: int) -> Faces:
    """Faces moved by whole pixels; the border is repeated where nothing was."""
    if not (down or right):
        return faces
    size = faces.shape[-1]
    rows = np.clip(np.arange(size) - down, 0, size - 1)
    columns = np.clip(np.arange(size) - right, 0, size - 1)
    return np.ascontiguousarray(faces[..., rows[:, None], columns])
