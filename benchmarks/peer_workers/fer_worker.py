"""The package fer under `benchmarks/peers.py`, as it comes: Haar cascade and quantised network.

A face that is cut out already is given as its own rectangle, without the margin that fer adds around what its
detector finds.
"""

from importlib.metadata import version

import common
import numpy as np
from fer.fer import FER

job = common.read_job()
whole, cut = FER(), FER(offsets=(0, 0))


def photo(image: np.ndarray) -> int:
    return len(whole.detect_emotions(np.ascontiguousarray(image[..., ::-1])))


def face(crop: np.ndarray) -> str:
    bgr = np.repeat(crop[..., None], 3, axis=2)
    (found,) = cut.detect_emotions(bgr, [(0, 0, common.SIDE, common.SIDE)])
    return max(found["emotions"], key=found["emotions"].get)


names = ("fer", "tensorflow", "opencv-contrib-python")
common.run(job, photo, face, {name: version(name) for name in names})
