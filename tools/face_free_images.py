"""Collect gray images without a face, of which `train_detector.py` makes backgrounds.

    python tools/face_free_images.py FOLDER backgrounds.npz

FOLDER holds images at any depth: what was used are the Debian packages gnome-backgrounds, mate-backgrounds,
plasma-workspace-wallpapers, ukui-wallpapers, lomiri-wallpapers (and 16.04, 20.04), openarena-081-textures,
stellarium-data, torcs-data and megaglest-data, unpacked, without drawn people. At most 70 images of a folder
are taken, none of under 96 pixels or nearly one gray, and none in which the detector finds a face.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from mien import MienError, open_image
from mien.core.detection import DetectorSettings
from mien.core.image_names import is_image
from mien.core.mtcnn import Mtcnn

SIDE, LEAST_SIDE, LEAST_SPREAD, MOST_OF_A_FOLDER = 640, 96, 12, 70


def main(folder: Path, to: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if is_image(path) and path.is_file())
    np.random.default_rng(0).shuffle(files)  # type: ignore[arg-type]
    detector, taken, kept = Mtcnn(DetectorSettings(min_face=24)), Counter[Path](), {}
    for path in files:
        if taken[path.parent] == MOST_OF_A_FOLDER:
            continue
        try:
            image = Image.fromarray(open_image(path))
        except MienError:
            continue
        image.thumbnail((SIDE, SIDE))
        gray = np.asarray(image.convert("L"))
        if min(gray.shape) < LEAST_SIDE or gray.std() < LEAST_SPREAD or detector.find(np.asarray(image)):
            continue
        taken[path.parent] += 1
        kept[f"image{len(kept)}"] = gray
    np.savez(to, **kept)
    print(f"{len(kept)} of {len(files)} images; wrote {to}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
