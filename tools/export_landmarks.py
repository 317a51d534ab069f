"""Ship the landmark network of a finished run: ONNX and card beside the other weights, with measured scores.

    python tools/export_landmarks.py RUN landmarks.h5 [FOLDER]

Scores are those of the ONNX file on the test faces of each source, standard and shrunk to 40 x 40 pixels.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mien import __version__
from mien.core.files import write_json
from mien.core.landmark_finder import NAME, WEIGHTS
from mien.core.landmarks import FRAME_SIZE, N_POINTS, error_scores, point_errors
from mien.core.model_store import SHIPPED
from mien.core.preprocess import to_input
from mien.core.session import open_session, run
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.train.export import export_onnx
from mien.train.trained_net import load_trained

LOW = 40


def shrunk(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Faces with the detail that ``size`` pixels a side can hold, at their own size."""
    side = images.shape[1]
    small = [Image.fromarray(one).resize((size, size), Image.Resampling.BOX) for one in images]
    return np.stack([np.asarray(one.resize((side, side), Image.Resampling.BILINEAR)) for one in small])


def measured(weights: Path, mean_std: tuple[float, float], faces: FaceSet) -> dict[str, Any]:
    """Mean error and share of failures on each source of the test faces."""
    session, test = open_session(weights), faces.select("test")
    assert test.sources is not None
    assert test.source_names is not None
    assert test.landmarks is not None
    scores: dict[str, Any] = {}
    for label, images in (("standard", test.images), (f"{LOW} px", shrunk(test.images, LOW))):
        outputs = run(session, to_input(images, *mean_std)).reshape(len(test), N_POINTS, 2)
        errors = point_errors((outputs + 0.5) * FRAME_SIZE, test.landmarks)
        for code, source in enumerate(test.source_names):
            some = errors[test.sources == code]
            if len(some):
                found = error_scores(some)
                low, high = found["error_interval"]
                scores.setdefault(source, {})[label] = {
                    "n": found["n"],
                    "error": round(found["error"], 5),
                    "error_interval": [round(low, 5), round(high, 5)],
                    "failures": round(found["failures"], 5),
                }
    return scores


def main(run_folder: Path, store: Path, to: Path) -> None:
    net = load_trained(run_folder, torch.device("cpu"), landmarks=True)
    weights = to / WEIGHTS
    export_onnx(net.net, net.input_size, weights)
    recipe = json.loads((run_folder / "recipe.json").read_text())
    card = {
        "name": NAME,
        "kind": "landmarks",
        "summary": "68 landmarks (iBUG order) on aligned gray faces: heat maps of a small residual network.",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "mean_std": [net.mean, net.std],
        "input": f"gray faces of {FRAME_SIZE} pixels, aligned by five landmarks",
        "source": "trained from scratch by mien's recipe landmarks68",
        "licence": "MIT for the weights; the training data are for research use",
        "data": "HELEN and LFPW with the annotations of 300-W (Sagonas et al. 2013; research use), frames of "
        "YouTube Faces with landmarks (Wolf et al. 2011; research use): 3,574 faces less 8 % for validation",
        "data_hash": recipe["data"],
        "epochs": recipe["recipe"]["run"]["epochs"],
        "scores": measured(weights, (net.mean, net.std), read_store(store)),
        "metric": "mean distance of the 68 points by the distance of the outer eye corners; a failure is a "
        "face above 10 %",
        "intended_use": "Place and cut faces that a detector found, such as mouth crops or head pose.",
        "limits": [
            "profiles: the hidden half of the jaw is guessed",
            "few faces of children and of dark skin are in the training data; errors there are unmeasured",
            "not for identifying people",
        ],
        "created_by": f"mien {__version__}",
    }
    write_json(to / f"{NAME}.json", card)
    print(json.dumps(card["scores"], indent=1))
    print(f"{weights.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else SHIPPED)
