"""Faces outside training that have a near copy inside training.

FER2013 was collected by web search: the same photograph, cropped again, stands on both sides of its splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mien.core.progress import Progress, silent
from mien.data.records import SPLITS, FaceSet

SAME_IMAGE = 0.95
"""Correlation from which two faces count as one image: by eye, 14 of 14 random pairs at .95-.97 were."""

_LEAST = 48  # pixels of a side; from 16 as they are, most faces of FER2013 had a copy
_REACH = 2  # shifts in each direction, in pixels of the halved image
_RANK = (
    31  # principal directions in the bound; 16 leave 20 times the candidates, 128 take three times as long
)
_BLOCK = 512  # training windows at a time: the products of a block stay in the cache
_QUERIES = 20  # faces at a time
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601
_PAIRS = 50_000  # windows multiplied at a time: where most faces are alike, most pairs are candidates
_MARGIN = 1e-4  # float32 rounding in the bound


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Validation and test faces whose best match in training reaches ``floor``.

    Attributes:
        rows: int64 (M,), row of the face, as in ``FaceSet.rows``.
        nearest: int64 (M,), row of the training face most like it.
        ncc: float32 (M,), their normalised cross-correlation, -1..1.
        exact: bool (M,), whether some training face has the same pixels.
        floor: the lowest correlation that was kept.
    """

    rows: NDArray[np.int64]
    nearest: NDArray[np.int64]
    ncc: NDArray[np.float32]
    exact: NDArray[np.bool_]
    floor: float

    def __len__(self) -> int:
        return len(self.rows)

    def clean(self, rows: NDArray[np.int64], above: float = SAME_IMAGE) -> NDArray[np.bool_]:
        """Which of ``rows`` (N,), as in ``FaceSet.rows``, have no training face that reaches ``above``."""
        return ~np.isin(rows, self.rows[self.ncc >= above])


def find_near_duplicates(
    faces: FaceSet, *, floor: float = 0.90, progress: Progress = silent
) -> NearDuplicates:
    """Search the whole training split for the best match of every validation and test face.

    Convention: images are halved by 2x2 means (48 to 24 pixels); from 72 pixels, larger cells shrink them
    as far, and a side of fewer than 48 is enlarged to 48 first. The inner window (20x20) of the training face
    and of its mirror image is compared with the windows of the other face at all shifts of up to 2 such
    pixels, 4 of the original, by Pearson's correlation. A blank window correlates 0 with everything; two
    faces whose pixels are all the same count as 1. Copies that are rotated or zoomed again are not found.
    Different faces of few pixels look alike: shrunk to 24 pixels, 3 % of FER2013's faces without a copy have
    one, to 8 pixels 10 %.

    The search is complete: a projection on the leading principal directions of the training windows plus the
    product of the two residual norms bounds every correlation from above (Cauchy-Schwarz), and what the bound
    does not rule out is computed in full.

    Args:
        faces: Gray or colour.
        floor: The lowest correlation that is kept.
        progress: Called with the faces searched and their total.
    """
    train, others = faces.select("train"), faces.take(faces.split != SPLITS.index("train"))
    nearest = np.full(len(others), -1, np.int64)
    ncc = np.zeros(len(others), np.float32)
    if len(train):
        search = _Search(train.images, floor)
        for start in range(0, len(others), _QUERIES):
            part = slice(start, start + _QUERIES)
            nearest[part], ncc[part] = search.best(others.images[part])
            progress(min(start + _QUERIES, len(others)), len(others))
    first = {image.tobytes(): i for i, image in reversed(list(enumerate(train.images)))}
    copies = np.array([first.get(image.tobytes(), -1) for image in others.images], np.int64)
    exact = copies >= 0
    nearest[exact], ncc[exact] = copies[exact], 1
    found = nearest >= 0
    return NearDuplicates(others.rows[found], train.rows[nearest[found]], ncc[found], exact[found], floor)


def same_images(faces: FaceSet, *, progress: Progress = silent) -> Iterator[NDArray[np.int64]]:
    """Positions (2,) of each pair of faces, whatever their split, that show one image, while they are found.

    As ``find_near_duplicates`` compares them, but every face with every other; identical pixels are found by
    their hash, so blank faces pair too. Faces that are all alike make about n² pairs: do not keep them.
    """
    first: dict[bytes, int] = {}
    for i, image in enumerate(faces.images):
        if (same := first.setdefault(image.tobytes(), i)) != i:
            yield np.array([same, i], np.int64)
    search = _Search(faces.images, SAME_IMAGE)
    for start in range(0, len(faces), _QUERIES):
        face, match, _ = search.pairs(faces.images[start : start + _QUERIES])
        pairs = np.unique(np.stack([face + start, match], axis=1), axis=0)
        yield from pairs[pairs[:, 0] != pairs[:, 1]]
        progress(min(start + _QUERIES, len(faces)), len(faces))


class _Search:
    """The training windows and their mirror images, ready to be compared with the windows of other faces."""

    def __init__(self, train: NDArray[np.uint8], floor: float) -> None:
        half = _halved(train)
        inner = half[:, _REACH : half.shape[1] - _REACH, _REACH : half.shape[2] - _REACH]
        self.n_train, self.window, self.floor = len(train), inner.shape[1:], floor
        self.windows = _unit(np.concatenate([inner, inner[:, :, ::-1]]).reshape(2 * len(train), -1))
        self.basis = np.linalg.eigh(self.windows.T @ self.windows)[1][:, : -_RANK - 1 : -1]
        self.bounds = np.ascontiguousarray(self._bound(self.windows).T)

    def best(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Position (Q,) of the best match in training, -1 for none, and the correlation (Q,), 0 for none."""
        face, match, scores = self.pairs(images)
        # the last write to a face wins: its highest score, and of equal scores the first training face
        order = np.lexsort((-match, scores))
        nearest, ncc = np.full(len(images), -1, np.int64), np.zeros(len(images), np.float32)
        nearest[face[order]], ncc[face[order]] = match[order], np.minimum(scores[order], 1)
        return nearest, ncc

    def pairs(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Positions (P,) of faces and of the training faces that reach the floor, and their correlations."""
        shifted = sliding_window_view(_halved(images), self.window, axis=(1, 2))
        n_shifts = shifted.shape[1] * shifted.shape[2]
        windows = _unit(shifted.reshape(len(images) * n_shifts, -1))
        which, match = self._candidates(windows)
        blocks = (slice(start, start + _PAIRS) for start in range(0, len(which), _PAIRS))
        products = [np.einsum("ij,ij->i", windows[which[b]], self.windows[match[b]]) for b in blocks]
        scores = np.concatenate([np.empty(0, np.float32), *products])
        found = scores >= self.floor
        return which[found] // n_shifts, match[found] % self.n_train, scores[found]

    def _candidates(self, windows: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs (window, training window) that may reach the floor."""
        bound, limit = self._bound(windows), np.float32(self.floor - _MARGIN)
        pairs = []
        for start in range(0, self.bounds.shape[1], _BLOCK):
            products = bound @ self.bounds[:, start : start + _BLOCK]
            rows = np.flatnonzero(products.max(axis=1) >= limit)  # few: looking at all products takes longer
            which, match = np.nonzero(products[rows] >= limit)
            pairs.append((rows[which], match + start))
        which, match = (np.concatenate(column) for column in zip(*pairs, strict=True))
        return which, match

    def _bound(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Projection and residual norm; the product of two such rows is at least that of their windows."""
        low = windows @ self.basis
        rest = np.square(windows).sum(axis=1) - np.square(low).sum(axis=1)
        return np.concatenate([low, np.sqrt(np.maximum(rest, 0))[:, None]], axis=1)


def _halved(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means of 2x2 pixels, (N, H, W) to (N, H // 2, W // 2); from 72 pixels, larger cells; colour as luma."""
    images = _enlarged(images)
    cell = max(2, min(images.shape[1:3]) // 24)
    n, height, width = len(images), images.shape[1] // cell, images.shape[2] // cell
    cells = images[:, : height * cell, : width * cell].reshape(n, height, cell, width, cell, -1)
    halved: NDArray[np.float32] = cells.mean(axis=(2, 4), dtype=np.float32)
    return halved[..., 0] if images.ndim == 3 else halved @ _LUMA


def _enlarged(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels repeated up to 48 a side; as they are, windows of few pixels would correlate by chance."""
    sides = [max(side, _LEAST) for side in images.shape[1:3]]
    if tuple(sides) == images.shape[1:3]:
        return images
    rows, columns = (np.arange(n) * side // n for n, side in zip(sides, images.shape[1:3], strict=True))
    return images[:, rows[:, None], columns]


def _unit(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of mean 0 and norm 1, so that a product is a correlation; blank rows become 0."""
    windows = windows - windows.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.square(windows).sum(axis=1, keepdims=True))
    norms[norms < 1e-3] = np.inf
    unit: NDArray[np.float32] = windows / norms
    return unit
