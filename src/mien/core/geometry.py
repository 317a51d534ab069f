"""Boxes, similarity transforms and resampling.

Convention: coordinates are continuous. The pixel in row r and column c covers [c, c + 1) x [r, r + 1), and
its centre is (c + 0.5, r + 0.5); an image W wide spans x from 0 to W. So a point is scaled by plain
multiplication, with no half-pixel terms. Points annotated by pixel index gain 0.5 when they come in.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mien.errors import MienError

Boxes = NDArray[np.float32]
"""float32 (N, 4): x1, y1, x2, y2 with (x2, y2) outside, in pixels."""

MAX_REGION_PIXELS = 200_000_000
SUPERSAMPLING = 4  # a target pixel averages at least 4 x 4 samples before the source itself is reduced


def box_areas(boxes: Boxes) -> NDArray[np.float32]:
    """Areas of (N, 4) boxes in square pixels; 0 for a box turned inside out."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return areas


def overlap(a: Boxes, b: Boxes, over: str = "union") -> NDArray[np.float32]:
    """Shared area of every pair of boxes, as a fraction.

    Args:
        a: Boxes (N, 4).
        b: Boxes (M, 4).
        over: ``"union"`` divides by the area that the two cover together (IoU), ``"min"`` by the smaller box.

    Returns:
        float32 (N, M), 0-1; 0 where a box has no area.
    """
    width = np.minimum(a[:, 2:3], b[:, 2]) - np.maximum(a[:, :1], b[:, 0])
    height = np.minimum(a[:, 3:], b[:, 3]) - np.maximum(a[:, 1:2], b[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area_a, area_b = box_areas(a)[:, None], box_areas(b)[None]
    whole = np.minimum(area_a, area_b) if over == "min" else area_a + area_b - shared
    fraction: NDArray[np.float32] = shared / np.maximum(whole, np.finfo(np.float32).tiny)
    return fraction


def non_max_suppression(
    boxes: Boxes, scores: NDArray[np.float32], limit: float, over: str = "union"
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: Boxes (N, 4).
        scores: Scores (N,); equal scores rank in the order given.
        limit: A box that overlaps a kept one by more than this is dropped.
        over: As in ``overlap``.

    Returns:
        Indices of the boxes kept, best first.
    """
    order = np.argsort(-scores, kind="stable")
    clash = overlap(boxes[order], boxes[order], over) > limit
    alive = np.ones(len(order), dtype=bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return order[alive]


def similarity(src: ArrayLike, dst: ArrayLike) -> NDArray[np.float64]:
    """Rotation, uniform scale and shift that bring ``src`` nearest to ``dst`` by least squares; no mirror.

    Args:
        src: Points (K, 2), K >= 2, not all in one place; or N such lists (N, K, 2).
        dst: Their wanted places (K, 2), or (N, K, 2).

    Returns:
        float64 (2, 3): ``matrix @ (x, y, 1)`` is the new place of (x, y). Of N lists (N, 2, 3).

    Raises:
        MienError: the shapes differ, or fewer than two distinct or finite points were given.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991. In the plane his solution is complex regression: dst = a * src + b with complex a and b.
    """
    p, q = np.asarray(src, np.float64), np.asarray(dst, np.float64)
    if p.shape[-2:] != q.shape[-2:] or min(p.ndim, q.ndim) < 2 or p.shape[-1] != 2:
        raise MienError(
            f"a similarity needs two point lists of one shape (K, 2), got {p.shape} and {q.shape}"
        )
    z, w = p[..., 0] + 1j * p[..., 1], q[..., 0] + 1j * q[..., 1]
    middle = z.mean(axis=-1)
    around = z - middle[..., None]
    spread = (around.real**2 + around.imag**2).sum(axis=-1)
    if not ((spread > 1e-12).all() and np.isfinite(spread).all() and np.isfinite(w).all()):
        raise MienError("a similarity needs at least two distinct, finite points")
    a = (around.conj() * w).sum(axis=-1) / spread
    b = w.mean(axis=-1) - a * middle
    matrix = np.empty((*a.shape, 2, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = a.real
    matrix[..., 1, 0], matrix[..., 0, 1] = a.imag, -a.imag
    matrix[..., 0, 2], matrix[..., 1, 2] = b.real, b.imag
    return matrix


def transform(points: ArrayLike, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (..., 2) sent through an affine ``matrix`` (2, 3)."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine map (2, 3) that undoes ``matrix``; MienError where there is none."""
    (a, b, x), (c, d, y) = matrix.tolist()  # by hand: for so few numbers LAPACK takes many times as long
    area = a * d - b * c
    if not (math.isfinite(area + x + y) and abs(area) >= 1e-12):
        raise MienError("an affine matrix must be finite and invertible, got a singular one")
    turned = abs(c) > abs(a)  # elimination from the larger number: 1 / k for a map that shrinks by k
    if turned:
        a, b, c, d, x, y = c, d, a, b, y, x
    below = d - c / a * b
    p, q = -(c / a) / below, 1 / below
    back = [[(1 - b * p) / a, -b * q / a], [p, q]]
    shift = [-(u * x + v * y) for u, v in back]
    if turned:
        back = [[v, u] for u, v in back]
    return np.array([[*row, s] for row, s in zip(back, shift, strict=True)])


def stretch(matrix: NDArray[np.float64]) -> float:
    """By how much an affine map (2, 3) lengthens what it lengthens most: its largest singular value."""
    (a, b, _), (c, d, _) = matrix.tolist()
    return (math.hypot(a + d, c - b) + math.hypot(a - d, c + b)) / 2


def warp(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size_wh: tuple[int, int]
) -> NDArray[np.uint8]:
    """Resample an image through an affine map, without aliasing.

    When the map shrinks by k, each target pixel is the mean of ceil(k) x ceil(k) bilinear samples of the area
    that it covers; beyond 4 x, the source is first reduced by a whole number. The edge repeats outside.
    Pillow rounds samples down: an interpolated gray is up to one level, half a level in the mean, too dark.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        matrix: float64 (2, 3) from image to target, continuous coordinates.
        size_wh: Target width and height in pixels.

    Returns:
        uint8 (height, width) or (height, width, 3).

    Raises:
        MienError: the matrix has no inverse, or the target covers an absurdly large area of the source.
    """
    width, height = size_wh
    back = invert(matrix)
    shrink = stretch(back)  # source pixels a target pixel, along the worse axis
    reduction = max(1, int(shrink / SUPERSAMPLING))
    region, origin = _region(image, back, size_wh, margin=3 * reduction)
    part = Image.fromarray(region)
    if reduction > 1:
        part = part.reduce(reduction)
    samples = max(1, math.ceil(shrink / reduction - 1e-6))
    # Target sample (u, v) of the finer grid -> target pixel -> source -> region -> reduced region.
    fine = np.hstack([back[:, :2] / samples, back[:, 2:] - origin[:, None]]) / reduction
    data = tuple(fine.ravel().tolist())
    finer = (width * samples, height * samples)
    out = part.transform(finer, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.array(out.reduce(samples) if samples > 1 else out)


def _region(
    image: NDArray[np.uint8], back: NDArray[np.float64], size_wh: tuple[int, int], margin: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of ``image`` that the target covers, its edge continued, and the part's top left corner."""
    width, height = size_wh
    corners = transform([(0, 0), (width, 0), (0, height), (width, height)], back)
    x1, y1 = (math.floor(v) - margin for v in corners.min(axis=0))
    x2, y2 = (math.ceil(v) + margin for v in corners.max(axis=0))
    if (x2 - x1) * (y2 - y1) > MAX_REGION_PIXELS:
        raise MienError(f"a warp may cover at most {MAX_REGION_PIXELS:,} pixels, got {x2 - x1} x {y2 - y1}")
    h, w = image.shape[:2]
    if x1 >= 0 and y1 >= 0 and x2 <= w and y2 <= h:
        region = image[y1:y2, x1:x2]
    else:
        rows, columns = np.clip(np.arange(y1, y2), 0, h - 1), np.clip(np.arange(x1, x2), 0, w - 1)
        region = image[rows[:, None], columns]
    return np.ascontiguousarray(region), np.array([x1, y1], np.float64)
