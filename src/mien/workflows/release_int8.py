"""Decide on 8 bits for a released model: quantise, compare with the float file on validation rows, time."""

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
class Measured:
    """A file on validation rows in one view, and in CPU time of one thread."""

    accuracy: float
    ms_a_face: float
    n_bytes: int


NOT_MEASURED = Measured(0.0, 0.0, 0)


@dataclass(frozen=True)
class Int8:
    """An int8 file against its float file.

    Attributes:
        path: The int8 file; ``None`` where there could be none.
        problem: Why it must not be shipped; empty where it may.
        same_labels: The part of the validation rows that keeps its label.
        small: The int8 file.
        whole: The float file.
    """

    path: Path | None
    problem: str
    same_labels: float = 0.0
    small: Measured = NOT_MEASURED
    whole: Measured = NOT_MEASURED

    @property
    def time_ratio(self) -> float:
        """CPU time of int8 : float."""
        return self.small.ms_a_face / self.whole.ms_a_face if self.whole.ms_a_face else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As a card states it among its scores."""
        if self.path is None:
            return {"shipped": "float", "why": self.problem}
        return {
            "shipped": "float" if self.problem else "int8",
            "why": self.problem or self.figures,
            "val_same_labels": self.same_labels,
            "val_accuracy": self.small.accuracy,
            "val_accuracy_of_float": self.whole.accuracy,
            "cpu_time_ratio": round(self.time_ratio, 3),
            "megabytes": round(self.small.n_bytes / 1e6, 2),
            "megabytes_of_float": round(self.whole.n_bytes / 1e6, 2),
        }

    @property
    def figures(self) -> str:
        """The figures as text."""
        return (
            f"same label on {self.same_labels:.2%} of the validation rows, accuracy "
            f"{self.small.accuracy:.2%} for {self.whole.accuracy:.2%}; CPU time int8 : float "
            f"{self.time_ratio:.2f} ({self.small.ms_a_face:.2f} : {self.whole.ms_a_face:.2f} ms a face in "
            f"one view); {self.small.n_bytes / 1e6:.1f} : {self.whole.n_bytes / 1e6:.1f} MB"
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
    """An int8 file against its float file on normalised faces (N, C, S, S) with labels (N,).

    What is compared are the answers of the networks in one view; a card's ``prior_power`` changes both alike.
    """
    sessions = [open_session(file) for file in (path, onnx)]
    named = [run(session, inputs).argmax(axis=1) for session in sessions]
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for session, taken in zip(sessions, times, strict=True):
            start = time.process_time()
            run(session, inputs[:TIMED_FACES])
            taken.append(time.process_time() - start)
    small, whole = (
        Measured(
            float((answers == labels).mean()),
            1000 * float(np.median(taken)) / len(inputs[:TIMED_FACES]),
            file.stat().st_size,
        )
        for answers, taken, file in zip(named, times, (path, onnx), strict=True)
    )
    found = Int8(path, "", float((named[0] == named[1]).mean()), small, whole)
    return replace(found, problem=_problem(found))


def _problem(found: Int8) -> str:
    reasons = []
    if found.same_labels < MIN_SAME_LABELS:
        reasons.append(f"fewer than {MIN_SAME_LABELS:.1%} of the labels stay")
    if found.small.accuracy < found.whole.accuracy - MAX_LOSS - 1e-9:
        reasons.append(f"more than {100 * MAX_LOSS:.1f} points of accuracy are lost")
    return f"{' and '.join(reasons)}: {found.figures}" if reasons else ""
