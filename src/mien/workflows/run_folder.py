"""What the commands write into a run folder."""

import csv
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write
from mien.data.records import FaceSet


def count_test_evaluation(run: Path) -> int:
    """Log that the test rows of a run were opened; return how often they have been."""
    log = run / "test-evaluations.log"
    with log.open("a", encoding="utf-8") as file:
        file.write(time.strftime("%Y-%m-%d %H:%M:%S %z") + "\n")
        file.flush()
        os.fsync(file.fileno())
    return len(log.read_text(encoding="utf-8").splitlines())


def write_predictions(path: Path, faces: FaceSet, probs: NDArray[np.floating[Any]]) -> None:
    """One CSV line a face: source row, true label, predicted label, probability of each label."""
    names = faces.label_names
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "label", "predicted", *(f"p_{name}" for name in names)])
        for row, label, p in zip(faces.rows, faces.labels, probs, strict=True):
            writer.writerow([row, names[label], names[int(p.argmax())], *(f"{x:.6f}" for x in p)])
