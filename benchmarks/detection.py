"""Recall, landmark error and time of a face detector on annotated photographs: upright, turned, and small.

    python benchmarks/detection.py PHOTOS [DETECTOR ...]     names, or your own as file.py:Class

PHOTOS holds images and ``points.csv`` with the 68 points of one face each, such as the 224 photographs of
LFPW's test part. A face counts as found when a box's centre lies inside the bounding box of the annotated
points (turned with the image) and the square root of the ratio of the two areas lies within 0.55-2.3. Other
people on the photographs are not annotated, so further boxes there are no errors; false boxes are counted on
200 cuts of face-free images (scikit-image's). The error of the five landmarks is their mean distance over the
distance of the outer eye corners (the 300-W convention). Time is the median processor time of one thread.
"""

import csv
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from mien.core.detection import Detector, DetectorSettings
from mien.core.detectors import make_detector
from mien.core.geometry import transform, warp
from mien.core.quality import five_of_68
from mien.core.results import Face

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]
SMALL, SCENE_WH, GRAY = 24, (640, 480), 127
FACE_FREE = (
    *("brick", "cell", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse"),
    *(
        "hubble_deep_field",
        "immunohistochemistry",
        "logo",
        "microaneurysms",
        "moon",
        "page",
        "retina",
        "rocket",
        "text",
    ),
)
CUTS, CUT = 200, 240


@dataclass(frozen=True)
class Condition:
    """How the photographs are shown, and how the detector is asked: turned by ``degrees``, or small."""

    name: str
    looks: DetectorSettings
    degrees: float = 0
    small: bool = False

    def show(self, image: Pixels, points: Points) -> tuple[Pixels, Points]:
        """The photograph and its points (68, 2) under this condition."""
        if self.small:
            return in_scene(image, points)
        return turned(image, points, self.degrees) if self.degrees else (image, points)


ROTATED = DetectorSettings(rotated=True)
CONDITIONS = (
    Condition("upright", DetectorSettings()),
    Condition("turned by 30", DetectorSettings(), 30),
    Condition("turned by -30", DetectorSettings(), -30),
    *(Condition(f"turned by {d}, rotated", ROTATED, d) for d in (90, 180, 270)),
    Condition("turned by 45, rotated", ROTATED, 45),
    Condition("upright, rotated", ROTATED),
    Condition(f"{SMALL} px in 640 x 480", DetectorSettings(min_face=20, max_side=None), small=True),
)


def read_photos(folder: Path) -> Iterator[tuple[Pixels, Points]]:
    """Each photograph, uint8 (H, W, 3), with the 68 points (68, 2) of its face.

    The points are taken as they are: with the 0.5 that pixel indices would need, mirror-averaged landmarks,
    which cannot be biased sideways, would lie half a pixel to the left of them on average.
    """
    with (folder / "points.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            points = np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)])
            yield np.asarray(Image.open(folder / row["file"]).convert("RGB")), points


def turned(image: Pixels, points: Points, degrees: float) -> tuple[Pixels, Points]:
    """Image and points turned about the middle, on a gray canvas that holds all of the image."""
    height, width = image.shape[:2]
    out = np.asarray(
        Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(GRAY,) * 3)
    )
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([out.shape[1], out.shape[0]]) / 2
    return out, (points - (width / 2, height / 2)) @ turn + middle


def in_scene(image: Pixels, points: Points) -> tuple[Pixels, Points]:
    """The photograph shrunk until its face is 24 pixels high, in the middle of a gray scene."""
    scale = SMALL / np.ptp(points[:, 1])
    shift = np.array(SCENE_WH) / 2 - scale * points.mean(axis=0)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    shown = warp(image, matrix, SCENE_WH)
    height, width = image.shape[:2]
    columns, rows = (
        (np.arange(side) + 0.5 > start) & (np.arange(side) + 0.5 < start + scale * length)
        for side, start, length in zip(SCENE_WH, shift, (width, height), strict=True)
    )
    shown[~(rows[:, None] & columns)] = GRAY
    return shown, transform(points, matrix)


def face_free() -> list[Pixels]:
    """Cuts of images without a face, the same ones each time."""
    rng = np.random.default_rng(0)
    images = [np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB")) for name in FACE_FREE]
    cuts = []
    for number in range(CUTS):
        image = images[number % len(images)]
        top, left = (int(rng.integers(0, max(side - CUT, 0) + 1)) for side in image.shape[:2])
        cuts.append(image[top : top + CUT, left : left + CUT])
    return cuts


def is_found(face: Face, points: Points) -> bool:
    low, high = points.min(axis=0), points.max(axis=0)
    centre = np.array(face.box.center)
    ratio = (face.box.width * face.box.height / np.prod(high - low)) ** 0.5
    return bool((centre > low).all() and (centre < high).all() and 0.55 <= ratio <= 2.3)


def timed(detector: Detector, image: Pixels) -> tuple[Sequence[Face], float]:
    """The faces, and the processor time in milliseconds."""
    start = time.process_time()
    faces = detector.find(image)
    return faces, 1e3 * (time.process_time() - start)


def row(detector: Detector, condition: Condition, photos: Sequence[tuple[Pixels, Points]]) -> str:
    """What the detector does under a condition, as a row of the table."""
    found, further, errors, times = 0, 0, [], []
    for image, points in photos:
        shown, places = condition.show(image, points)
        faces, ms = timed(detector, shown)
        hits = [face for face in faces if is_found(face, places)]
        found, further = found + bool(hits), further + len(faces) - len(hits)
        times.append(ms)
        if hits and hits[0].landmarks:
            gaps = np.linalg.norm(np.array(hits[0].landmarks.points) - five_of_68(places), axis=1)
            errors.append(gaps.mean() / np.linalg.norm(places[45] - places[36]))
    error = f"{np.mean(errors):.2%}" if errors else "-"
    recall = f"{found / len(times):.1%} ({found} of {len(times)})"
    return f"{condition.name:<26}{recall:<24}{error:>8}{further:>10}{np.median(times):>10.1f}"


def main(folder: Path, names: Sequence[str]) -> None:
    photos, nothing = list(read_photos(folder)), face_free()
    for name in names:
        print(f"{name}\n{'photographs':<26}{'recall':<24}{'points':>8}{'further':>10}{'CPU ms':>10}")
        for condition in CONDITIONS:
            detector = make_detector(name, condition.looks)
            detector.find(np.zeros((100, 100, 3), np.uint8))  # opens the sessions
            print(row(detector, condition, photos), flush=True)
        for looks in (DetectorSettings(), ROTATED):
            detector = make_detector(name, looks)
            boxes = sum(len(detector.find(image)) for image in nothing)
            print(
                f"false boxes on {len(nothing)} cuts without a face{', rotated' * looks.rotated}: {boxes}",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or ["mtcnn"])
