"""Ship the one-stage detector of a finished run: 8-bit ONNX and its card, beside the other weights.

    python tools/export_detector.py RUN LANDMARKS BACKGROUNDS.npz [FOLDER]

LANDMARKS and BACKGROUNDS are those that it was trained on; their scenes set the ranges of the 8 bits.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from face_scenes import Scenes
from train_detector import landmark_faces, read_backgrounds

from mien import __version__
from mien.core.files import temporary_folder, write_json
from mien.core.model_store import SHIPPED
from mien.core.one_stage import NAME, WEIGHTS
from mien.train.detector_net import DetectorNet
from mien.train.export import write_onnx
from mien.train.quantise import ends_of, quantise_onnx

N_SCENES = 256
AUTO = torch.export.Dim.AUTO


def write_weights(net: DetectorNet, scenes: Scenes, to: Path) -> None:
    """The network in 8 bits, but for its last layer: places need more."""
    images = np.stack([scenes.make()[0] for _ in range(N_SCENES)])[:, None].astype(np.float32)
    with temporary_folder() as folder:
        whole = folder / "float.onnx"
        example = torch.zeros(2, 1, 160, 192)
        write_onnx(net, example, whole, ("images", "cells"), {0: torch.export.Dim("n"), 2: AUTO, 3: AUTO})
        quantise_onnx(whole, to, images, ends_of(whole)[1:])


def main(run: Path, landmarks: Path, backgrounds: Path, to: Path) -> None:
    net = DetectorNet()
    net.load_state_dict(torch.load(run / "weights.pt", weights_only=True))
    photographs, frames = landmark_faces(landmarks)
    write_weights(net.eval(), Scenes([photographs, frames], read_backgrounds(backgrounds)), to / WEIGHTS)
    card = {
        "name": NAME,
        "kind": "detector",
        "summary": "Faces of any roll in one pass: scores and five landmarks on a grid, by a small residual "
        "network with maps of three sizes.",
        "sha256": hashlib.sha256((to / WEIGHTS).read_bytes()).hexdigest(),
        "input": "gray images, 0-255, sides multiples of 32; faces of 18 to 58 pixels",
        "source": "trained from scratch by tools/train_detector.py",
        "licence": "MIT for the weights; the training data are for research use",
        "data": "scenes of FER2013's Training faces (Goodfellow et al. 2013; landmarks by MTCNN's ONet), of "
        "HELEN and LFPW with the annotations of 300-W (Sagonas et al. 2013), and of frames of YouTube Faces "
        "(Wolf et al. 2011), all for research use, laid over desktop backgrounds and textures of games",
        "intended_use": "Find faces in photographs and video, before MTCNN's last network confirms them.",
        "limits": [
            "trained on faces laid over other images: few bodies, hands or crowds were seen",
            "profiles, covered faces and faces of children and of dark skin: unmeasured",
            "not for identifying people",
        ],
        "created_by": f"mien {__version__}",
    }
    write_json(to / f"{NAME}.json", card)
    print(f"{(to / WEIGHTS).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*(Path(name) for name in sys.argv[1:4]), Path(sys.argv[4]) if len(sys.argv) > 4 else SHIPPED)
