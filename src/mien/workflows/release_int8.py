"""Whether a released model may be in 8 bits: made, compared with the float file on validation rows, timed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.session import open_session, run
from mien.data.records import FaceSet
from mien.errors import ModelError
from mien.train.quantise import ends_of, quantise_onnx

ToInputs = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

MIN_SAME_LABELS = 0.985
MAX_LOSS = 0.002
"""On validation rows: the part that must keep its label, and the accuracy that may be lost."""

CALIBRATION_FACES = 256
ROUNDS, TIMED_FACES = 15, 10
"""How often, and with how many faces at once, each file is timed; in turns, for other work comes and goes."""


@dataclass(frozen=True)
class Int8:
    """An int8 file against its float file, on validation rows in one view and in CPU time of one thread.

    Attributes:
        path: The int8 file; ``None`` where there could be none.
        problem: Why it must not be shipped; empty where it may.
    """

    path: Path | None
    problem: str
    same_labels: float = 0.0
    accuracy: float = 0.0
    float_accuracy: float = 0.0
    ms_a_face: float = 0.0
    float_ms_a_face: float = 0.0
    n_bytes: int = 0
    float_n_bytes: int = 0

    @property
    def time_ratio(self) -> float:
        """CPU time of int8 : float."""
        return self.ms_a_face / self.float_ms_a_face if self.float_ms_a_face else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As a card states it among its scores."""
        if self.path is None:
            return {"shipped": "float", "why": self.problem}
        return {
            "shipped": "float" if self.problem else "int8",
            "why": self.problem or self.told,
            "val_same_labels": self.same_labels,
            "val_accuracy": self.accuracy,
            "val_accuracy_of_float": self.float_accuracy,
            "cpu_time_ratio": round(self.time_ratio, 3),
            "megabytes": round(self.n_bytes / 1e6, 2),
            "megabytes_of_float": round(self.float_n_bytes / 1e6, 2),
        }

    @property
    def told(self) -> str:
        """The figures as text."""
        return (
            f"same label on {self.same_labels:.2%} of the validation rows, accuracy {self.accuracy:.2%} for "
            f"{self.float_accuracy:.2%}; CPU time int8 : float {self.time_ratio:.2f} "
            f"({self.ms_a_face:.2f} : {self.float_ms_a_face:.2f} ms a face in one view); "
            f"{self.n_bytes / 1e6:.1f} : {self.float_n_bytes / 1e6:.1f} MB"
        )


def try_int8(onnx: Path, to_inputs: ToInputs, faces: FaceSet) -> Int8:
    """Make the int8 file beside the float one, and measure it; no test row is opened.

    Args:
        onnx: The float file.
        to_inputs: From images of faces to its input.
        faces: Training rows set the ranges, validation rows judge.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    training, val = faces.select("train"), faces.select("val")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(training), min(CALIBRATION_FACES, len(training)), replace=False)
    path = onnx.with_name(f"{onnx.stem}-int8.onnx")
    try:
        quantise_onnx(onnx, path, to_inputs(training.images[chosen]), ends_of(onnx))
    except ModelError as error:
        return Int8(None, str(error))
    return compare_int8(onnx, path, to_inputs(val.images), val.labels)


def compare_int8(
    onnx: Path, path: Path, inputs: NDArray[np.float32], labels: NDArray[np.integer[Any]]
) -> Int8:
    """An int8 file against its float file on normalised faces (N, C, S, S) with labels (N,)."""
    sessions = [open_session(file) for file in (path, onnx)]
    small, whole = (run(session, inputs).argmax(axis=1) for session in sessions)
    same = float((small == whole).mean())
    accuracy, before = (float((named == labels).mean()) for named in (small, whole))
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for session, taken in zip(sessions, times, strict=True):
            start = time.process_time()
            run(session, inputs[:TIMED_FACES])
            taken.append(time.process_time() - start)
    ms = [1000 * float(np.median(taken)) / len(inputs[:TIMED_FACES]) for taken in times]
    sizes = path.stat().st_size, onnx.stat().st_size
    found = Int8(path, "", same, accuracy, before, ms[0], ms[1], *sizes)
    return replace(found, problem=_problem(found))


def _problem(found: Int8) -> str:
    reasons = []
    if found.same_labels < MIN_SAME_LABELS:
        reasons.append(f"fewer than {MIN_SAME_LABELS:.1%} of the labels stay")
    if found.accuracy < found.float_accuracy - MAX_LOSS - 1e-9:
        reasons.append(f"more than {100 * MAX_LOSS:.1f} points of accuracy are lost")
    return f"{' and '.join(reasons)}: {found.told}" if reasons else ""
