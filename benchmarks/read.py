"""Milliseconds a photo and a face for `mien.read`, on one thread, against the floor that its networks set.

    python benchmarks/read.py [FOLDER_OF_PHOTOS]

Without a folder the astronaut of scikit-image is read. The floor is the time that ONNX Runtime alone takes
for the emotion network on as many ready inputs; the detector's time is printed beside it. Each stage is timed
on every photo in turn within one run, and medians are given; the machine's drift then touches all alike.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mien
from mien.core.preprocess import face_crop, to_input
from mien.core.session import run

REPEATS = 3


def photos(arguments: list[str]) -> list[np.ndarray]:
    if arguments:
        files = sorted(p for p in Path(arguments[0]).iterdir() if p.suffix in (".jpg", ".jpeg", ".png"))
        return [mien.open_image(file) for file in files]
    from skimage import data

    return [np.asarray(data.astronaut())]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds (best of `REPEATS`, so that a neighbour's burst does not count) and the result."""
    best, result = float("inf"), None
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = work()
        best = min(best, (time.perf_counter() - start) * 1e3)
    return best, result


def main() -> None:
    analyzer = mien.Analyzer()
    classifier = analyzer.classifier
    card = classifier.card
    columns: dict[str, list[float]] = {
        "detect": [],
        "crop": [],
        "classify": [],
        "network alone": [],
        "read": [],
    }
    for photo in photos(sys.argv[1:]):
        detect, faces = timed(lambda photo=photo: analyzer.detector.find(photo))
        if not faces:
            continue
        crop, crops = timed(
            lambda photo=photo, faces=faces: np.stack(
                [face_crop(photo, face, card.input_size, card.crop_scale) for face in faces]
            )
        )
        n_views = classifier.views if isinstance(classifier.views, int) else card.auto_views().few
        views = np.repeat(to_input(crops, card.mean, card.std), n_views, axis=0)
        classify, _ = timed(lambda crops=crops: classifier.probs(crops))
        alone, _ = timed(lambda views=views: run(classifier.session, views))
        read, _ = timed(lambda photo=photo: analyzer.read(photo))
        n = len(faces)
        columns["detect"].append(detect)
        columns["read"].append(read)
        for name, value in (("crop", crop), ("classify", classify), ("network alone", alone)):
            columns[name].append(value / n)
    medians = {name: statistics.median(values) for name, values in columns.items()}
    print(f"{len(columns['read'])} photos, one thread, {classifier.views} view(s) of a face, medians:")
    print(f"  read a photo, opened already   {medians['read']:7.2f} ms")
    print(f"    detect, a photo              {medians['detect']:7.2f} ms")
    print(f"    crop, a face                 {medians['crop']:7.2f} ms")
    print(f"    classify, a face             {medians['classify']:7.2f} ms")
    print(f"    its network alone, a face    {medians['network alone']:7.2f} ms")
    over = statistics.median(
        (c + k) / a
        for c, k, a in zip(columns["crop"], columns["classify"], columns["network alone"], strict=True)
    )
    print(f"crop and classify against the network alone: x{over:.2f}")


if __name__ == "__main__":
    main()
