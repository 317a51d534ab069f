"""The mean face in three dimensions, from the flat landmarks of many faces.

    python tools/mean_face.py landmarks.h5 [FILE]

Faces seen from different sides are, but for expression and identity, projections of one body. Its shape
follows from a factorisation of all points into three dimensions (Tomasi & Kanade, "Shape and motion from
image streams under orthography", IJCV 1992), made metric for projections of any scale. The result is made
symmetric; x points to the viewer's right, y down, z away from the viewer, and the outer eye corners are 1
apart.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.core.files import write_json
from mien.core.landmarks import MIRRORED, N_POINTS, OUTER_EYES
from mien.core.pose import MEAN_FACE_FILE
from mien.data.store import read_store

Floats = NDArray[np.float64]


def factorise(points: Floats) -> Floats:
    """The shape (68, 3) of flat points (N, 68, 2), up to rotation, scale and reflection."""
    centred = points - points.mean(axis=1, keepdims=True)
    centred /= np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    flat = centred.swapaxes(1, 2).reshape(-1, N_POINTS)  # rows: x of a face, y of a face, ...
    _, values, shape = np.linalg.svd(flat, full_matrices=False)
    shape = shape[:3]
    motion = (flat @ shape.T).reshape(-1, 2, 3)
    print(
        "share of what three dimensions explain:",
        round(float((values[:3] ** 2).sum() / (values**2).sum()), 4),
    )
    upgraded: Floats = (np.linalg.inv(metric(motion)) @ shape).T
    return upgraded


def metric(motion: Floats) -> Floats:
    """The upgrade A (3, 3) by which each face's two rows become equally long and orthogonal."""

    def products(a: Floats, b: Floats) -> Floats:
        """Coefficients of the six numbers of a symmetric matrix Q in a Q b."""
        return np.stack(
            [
                a[:, 0] * b[:, 0],
                a[:, 0] * b[:, 1] + a[:, 1] * b[:, 0],
                a[:, 0] * b[:, 2] + a[:, 2] * b[:, 0],
                a[:, 1] * b[:, 1],
                a[:, 1] * b[:, 2] + a[:, 2] * b[:, 1],
                a[:, 2] * b[:, 2],
            ],
            axis=1,
        )

    first, second = motion[:, 0], motion[:, 1]
    equal = products(first, first) - products(second, second)
    right_angle = products(first, second)
    long = (products(first, first) + products(second, second)).mean(axis=0, keepdims=True) * len(motion)
    system = np.concatenate([equal, right_angle, long])
    wanted = np.concatenate([np.zeros(2 * len(motion)), [2.0 * len(motion)]])
    q = np.linalg.lstsq(system, wanted, rcond=None)[0]
    symmetric = np.array([[q[0], q[1], q[2]], [q[1], q[3], q[4]], [q[2], q[4], q[5]]])
    values, vectors = np.linalg.eigh(symmetric)
    upgrade: Floats = vectors @ np.diag(np.sqrt(np.maximum(values, 1e-9)))
    return upgrade


def upright(shape: Floats) -> Floats:
    """The shape turned to the axes of the module, symmetric, and scaled."""
    shape = shape - shape.mean(axis=0)
    left, right = OUTER_EYES[N_POINTS]
    mirrored = list(MIRRORED[N_POINTS])
    across = (shape - shape[mirrored])[:N_POINTS]  # of the right half to the left one: all along x
    x = np.linalg.svd(across)[2][0]
    x *= np.sign((shape[right] - shape[left]) @ x)
    down = shape[8] - shape[[left, right]].mean(axis=0)  # from the eyes to the chin
    y = down - (down @ x) * x
    y /= np.linalg.norm(y)
    turned = shape @ np.stack([x, y, np.cross(x, y)], axis=1)
    if turned[30, 2] > turned[[left, right], 2].mean():
        turned[:, 2] *= -1  # the tip of the nose is nearer than the eyes
    flipped = turned[mirrored] * [-1, 1, 1]
    turned = (turned + flipped) / 2
    turned -= turned.mean(axis=0)
    symmetric: Floats = turned / np.linalg.norm(turned[right] - turned[left])
    return symmetric


def main(store: Path, to: Path) -> None:
    faces = read_store(store).select("train")
    assert faces.landmarks is not None
    shape = upright(factorise(faces.landmarks.astype(np.float64)))
    source = f"factorisation of the 68 landmarks of {len(faces):,} training faces of {faces.name}"
    write_json(to, {"source": source, "tool": "tools/mean_face.py", "points": np.round(shape, 4).tolist()})
    print("depth of nose tip, eyes, ears:", [round(float(shape[i, 2]), 3) for i in (30, 36, 0)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else MEAN_FACE_FILE)
