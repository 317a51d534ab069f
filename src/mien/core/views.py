"""Test-time augmentation: several views of the same face, whose logits are averaged."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError

Faces = NDArray[np.float32]
Predict = Callable[[Faces], NDArray[np.float32]]

SHIFT_PX = 3
CHUNK = 64
"""Faces whose views go through the network together: one face's ten cost less in one run than in ten."""
N_VIEWS = (1, 2, 10)
"""The face; with its mirror image; both at the centre and shifted by `SHIFT_PX` to four sides."""


def average_logits(predict: Predict, faces: Faces, n_views: int) -> NDArray[np.float32]:
    """Mean logits (N, C) over the views of normalised faces (N, 1, S, S).

    Source: Krizhevsky et al., NIPS 2012, section 4.1 (shifted and mirrored crops, averaged).

    Raises:
        MienError: ``n_views`` is not one of `N_VIEWS`.
    """
    if n_views not in N_VIEWS:
        raise MienError(f"views must be one of {', '.join(map(str, N_VIEWS))}, got {n_views}")
    parts = [
        predict(np.concatenate(_views(faces[start : start + CHUNK], n_views)))
        for start in range(0, max(len(faces), 1), CHUNK)
    ]
    stacked = [part.reshape(n_views, -1, part.shape[-1]).mean(axis=0) for part in parts]
    return np.asarray(np.concatenate(stacked), np.float32)


def _views(faces: Faces, n_views: int) -> list[Faces]:
    shifts = [(0, 0)]
    if n_views == 10:
        shifts += [(-SHIFT_PX, 0), (SHIFT_PX, 0), (0, -SHIFT_PX), (0, SHIFT_PX)]
    shifted = [shift(faces, down, right) for down, right in shifts]
    return shifted if n_views == 1 else [*shifted, *(view[..., ::-1] for view in shifted)]


def shift(faces: Faces, down: int, right: int) -> Faces:
    """Faces moved by whole pixels; the border is repeated where nothing was."""
    if not (down or right):
        return faces
    size = faces.shape[-1]
    rows = np.clip(np.arange(size) - down, 0, size - 1)
    columns = np.clip(np.arange(size) - right, 0, size - 1)
    return np.ascontiguousarray(faces[..., rows[:, None], columns])
