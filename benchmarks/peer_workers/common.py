"""What the Python workers of `benchmarks/peers.py` share; needs numpy only, whatever environment runs it.

A worker gets a job as JSON and answers in lines of JSON on standard output. Job: ``faces`` (file of gray
48 x 48 pixels), ``n_faces``, ``photos`` (RGB pixels: path, width, height), ``score`` (whether to name the
emotion of every face, or to take times), ``repeat`` (how many faces to time), ``model``, ``views``.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 48


def read_job() -> dict[str, Any]:
    return json.loads(Path(sys.argv[1]).read_text())


def read_faces(job: dict[str, Any]) -> np.ndarray:
    """Gray faces, uint8 (N, 48, 48)."""
    return np.fromfile(job["faces"], np.uint8).reshape(-1, SIDE, SIDE)


def read_photos(job: dict[str, Any]) -> list[np.ndarray]:
    """RGB images, uint8 (H, W, 3), decoded already."""
    return [np.fromfile(p["path"], np.uint8).reshape(p["height"], p["width"], 3) for p in job["photos"]]


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def peak_mb() -> float:
    """The most memory that this process has held; `getrusage` would count its parent's before the start."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def cpu_seconds(work: Callable[[Any], Any], items: list[Any]) -> float:
    """Processor seconds an item, all threads together."""
    start = time.process_time()
    for item in items:
        work(item)
    return (time.process_time() - start) / len(items)


def run(
    job: dict[str, Any], photo: Callable[[Any], int], face: Callable[[Any], str], versions: dict[str, str]
) -> None:
    """Answer the job.

    Args:
        job: See the top of this file.
        photo: Reads a photograph; returns how many faces it named an emotion for.
        face: Names the emotion of one face that is cut out already.
        versions: What was installed.
    """
    photos, faces = read_photos(job), read_faces(job)
    if job["score"]:
        tell(answers=[face(one) for one in faces], versions=versions)
        return
    photo(photos[0])
    tell(first_answer_cpu_s=time.process_time())
    found = [photo(one) for one in photos[:2]] + [face(one) for one in faces[:10]]  # warms up
    del found
    tell(
        face_cpu_s=cpu_seconds(face, list(faces[: job["repeat"]])),
        photo_cpu_s=cpu_seconds(photo, photos),
        peak_mb=peak_mb(),
        photos_with_a_face=sum(photo(one) > 0 for one in photos),
        versions=versions,
    )
