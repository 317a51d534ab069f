"""Find 68 landmarks of faces that a detector found, by a small network that ships with mien."""

import functools
import json
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mien.core.geometry import invert, transform, warp
from mien.core.landmarks import FRAME_SCALE, FRAME_SIZE, N_POINTS
from mien.core.model_store import SHIPPED, read_checked
from mien.core.preprocess import crop_matrix, luma, to_input
from mien.core.results import Face
from mien.core.session import open_session, run

Pixels = NDArray[np.uint8]
NAME = "landmarks68"
WEIGHTS = f"{NAME}-net.onnx"


class LandmarkFinder:
    """Places 68 points on faces; loads nothing before the first face, and is safe to share between threads.

    Args:
        threads: CPU threads of the network.
        device: What the network runs on; see `mien.core.providers`.
    """

    def __init__(self, threads: int = 1, device: str = "cpu") -> None:
        self.threads, self.device = threads, device

    def find(self, image: Pixels, faces: Sequence[Face]) -> NDArray[np.float32]:
        """The points of faces of one image, (N, 68, 2), in pixels of the image, in the order of iBUG 300-W.

        Args:
            image: uint8 RGB (H, W, 3).
            faces: Of a detector; five landmarks place the points better than a box alone.

        Raises:
            ModelError: the network's file is damaged.
        """
        if not faces:
            return np.zeros((0, N_POINTS, 2), np.float32)
        matrices = [crop_matrix(face, FRAME_SIZE, FRAME_SCALE) for face in faces]
        crops = np.stack([luma(warp(image, matrix, (FRAME_SIZE, FRAME_SIZE))) for matrix in matrices])
        points = self.on_crops(crops)
        back = [transform(five, invert(matrix)) for five, matrix in zip(points, matrices, strict=True)]
        return np.array(back, np.float32)

    def on_crops(self, crops: Pixels) -> NDArray[np.float32]:
        """The points (N, 68, 2), in pixels, of gray crops (N, 80, 80) framed as `find` frames them."""
        session, mean, std = landmark_session(self.threads, self.device)
        points = run(session, to_input(crops, mean, std)).reshape(len(crops), N_POINTS, 2)
        return np.asarray((points + np.float32(0.5)) * np.float32(FRAME_SIZE), np.float32)


@functools.cache
def landmark_session(threads: int, device: str = "cpu") -> tuple[ort.InferenceSession, float, float]:
    """The network, opened on first use after its SHA-256 was compared with its card; mean and deviation."""
    card = json.loads((SHIPPED / f"{NAME}.json").read_text("utf-8"))
    weights = read_checked(SHIPPED / WEIGHTS, card["sha256"])
    return open_session(weights, threads, device), *card["mean_std"]
