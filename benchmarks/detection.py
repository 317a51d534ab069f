"""Recall, landmark error and time of the face detector on the 224 annotated LFPW photographs, one thread.

    python benchmarks/detection.py ../shared/data/photos [key=value ...]     keys: fields of MtcnnSettings

A face counts as found when a box's centre lies inside the annotated landmarks' bounding box and the square
root of the ratio of the two areas lies within 0.55-2.3. Other people on the images are not annotated, so
further boxes are counted but are no errors. The error of the five landmarks is their mean distance over the
distance of the outer eye corners (the 300-W convention). Time is processor time.

Measured on one x86-64 core: recall .9955, landmark error .033, 30 ms a photo of 0.2 megapixels at the default
min_face=40; 1.000, .033 and 50 ms at min_face=24.
"""

import csv
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.mtcnn import Mtcnn, MtcnnSettings
from mien.core.results import Face

LEAST_RECALL = 0.97


def read_photos(folder: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Each photograph, uint8 (H, W, 3), with the 68 points (68, 2) of its face.

    The points are taken as they are: with the 0.5 that pixel indices would need, mirror-averaged landmarks,
    which cannot be biased sideways, would lie half a pixel to the left of them on average.
    """
    with (folder / "points.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            points = np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)])
            yield np.asarray(Image.open(folder / row["file"]).convert("RGB")), points


def five_points(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eye centres, nose tip and mouth corners (5, 2) of the 68 iBUG points."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def is_found(face: Face, points: NDArray[np.float64]) -> bool:
    low, high = points.min(axis=0), points.max(axis=0)
    centre = np.array(face.box.center)
    ratio = (face.box.width * face.box.height / np.prod(high - low)) ** 0.5
    return bool((centre > low).all() and (centre < high).all() and 0.55 <= ratio <= 2.3)


def main(folder: Path, settings: MtcnnSettings) -> None:
    detector = Mtcnn(settings)
    detector.find(np.zeros((100, 100, 3), np.uint8))  # opens the sessions
    found, others, errors, seconds, pixels = 0, 0, [], [], 0
    for image, points in read_photos(folder):
        start = time.process_time()
        faces = detector.find(image)
        seconds.append(time.process_time() - start)
        pixels += image.shape[0] * image.shape[1]
        hits = [face for face in faces if is_found(face, points)]
        found, others = found + bool(hits), others + len(faces) - len(hits)
        if hits and hits[0].landmarks:
            gap = np.array(hits[0].landmarks.points) - five_points(points)
            errors.append(gap / np.linalg.norm(points[45] - points[36]))
    nme = np.linalg.norm(errors, axis=2)
    shift = np.mean(errors, axis=0)
    print(f"recall            {found}/{len(seconds)} = {found / len(seconds):.4f}   (wanted: {LEAST_RECALL})")
    print(f"further boxes     {others}   (unannotated people, mostly)")
    print(
        f"landmark error    mean {nme.mean():.4f}, median {np.median(nme.mean(axis=1)):.4f} of eye distance"
    )
    names = ("left eye", "right eye", "nose", "left mouth", "right mouth")
    for name, error, (right, down) in zip(names, nme.mean(axis=0), shift, strict=True):
        print(f"  {name:<14}  {error:.4f}, on average {right:+.4f} to the right and {down:+.4f} down")
    print(
        f"time a photo      mean {1e3 * np.mean(seconds):.1f} ms, median {1e3 * np.median(seconds):.1f} ms, "
        f"longest {1e3 * max(seconds):.1f} ms; {pixels / len(seconds) / 1e6:.2f} Mpix each"
    )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    pairs = dict(pair.split("=", 1) for pair in sys.argv[2:])
    main(Path(sys.argv[1]), MtcnnSettings(**{key: json.loads(value) for key, value in pairs.items()}))
