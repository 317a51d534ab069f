"""Ship the one-stage detector of two finished runs: 8-bit ONNX and their card, beside the other weights.

    python tools/export_detector.py RUN REFINER_RUN LANDMARKS BACKGROUNDS.npz [FOLDER]

RUN is of `train_detector.py`, REFINER_RUN of `train_refiner.py`. LANDMARKS and BACKGROUNDS are those that the
first was trained on; their scenes set the ranges of the 8 bits, and so do the faces kept in REFINER_RUN.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from detector_net import DetectorNet, RefineNet
from face_scenes import Scenes
from numpy.typing import NDArray
from torch import Tensor, nn
from train_detector import landmark_faces, read_backgrounds

from mien import __version__
from mien.core.files import temporary_folder, write_json
from mien.core.model_store import SHIPPED
from mien.core.one_stage import FRAME, NAME, REFINE_WEIGHTS, WEIGHTS
from mien.train.export import write_onnx
from mien.train.quantise import ends_of, quantise_onnx

N_SCENES, N_FRAMES = 256, 2000
AUTO = torch.export.Dim.AUTO


def write_weights(net: nn.Module, example: Tensor, seen: NDArray[np.uint8], to: Path) -> None:
    """A network in 8 bits, but for its last layer, and that of faces for its first: places need more.

    Args:
        net: The network.
        example: An input; those of its sides that are not a `FRAME` may vary.
        seen: Gray images (N, H, W) such as it will see.
        to: The file.
    """
    free = {0: torch.export.Dim("n")} | {axis: AUTO for axis in (2, 3) if example.shape[axis] != FRAME}
    with temporary_folder() as folder:
        whole = folder / "float.onnx"
        write_onnx(net.eval(), example, whole, ("images", "cells"), free)
        first, last = ends_of(whole)
        keep = (last,) if free.keys() > {0} else (first, last)
        quantise_onnx(whole, to, seen[:, None].astype(np.float32), keep)


def read_weights(net: nn.Module, run: Path) -> nn.Module:
    net.load_state_dict(torch.load(run / "weights.pt", weights_only=True))
    return net


def main(run: Path, refiner_run: Path, landmarks: Path, backgrounds: Path, to: Path) -> None:
    scenes = Scenes(landmark_faces(landmarks), read_backgrounds(backgrounds))
    seen = np.stack([scenes.make()[0] for _ in range(N_SCENES)])
    write_weights(read_weights(DetectorNet(), run), torch.zeros(2, 1, 160, 192), seen, to / WEIGHTS)
    with np.load(refiner_run / "kept.npz") as file:
        seen = file["frames"][:: max(1, len(file["frames"]) // N_FRAMES)]
    refiner = read_weights(RefineNet(), refiner_run)
    write_weights(refiner, torch.zeros(2, 1, FRAME, FRAME), seen, to / REFINE_WEIGHTS)
    files = [to / name for name in (WEIGHTS, REFINE_WEIGHTS)]
    card = {
        "name": NAME,
        "kind": "detector",
        "summary": "Faces of any roll in one pass: scores and five landmarks on a grid, by a small residual "
        "network with maps of three sizes; a smaller one looks at each again.",
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        "input": "gray images, 0-255, sides multiples of 32; faces of 18 to 58 pixels; then faces of 48 x 48",
        "source": "trained from scratch by tools/train_detector.py and tools/train_refiner.py",
        "licence": "MIT for the weights; the training data are for research use",
        "data": "scenes of FER2013's Training faces (Goodfellow et al. 2013; landmarks by MTCNN's ONet), of "
        "HELEN and LFPW with the annotations of 300-W (Sagonas et al. 2013), and of frames of YouTube Faces "
        "(Wolf et al. 2011), all for research use, laid over desktop backgrounds and textures of games",
        "intended_use": "Find faces in photographs and video.",
        "limits": [
            "trained on faces laid over other images: few bodies, hands or crowds were seen",
            "profiles, covered faces and faces of children and of dark skin: unmeasured",
            "not for identifying people",
        ],
        "created_by": f"mien {__version__}",
    }
    write_json(to / f"{NAME}.json", card)
    print(", ".join(f"{file.name}: {file.stat().st_size:,} bytes" for file in files))


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:5]), Path(sys.argv[5]) if len(sys.argv) > 5 else SHIPPED)
