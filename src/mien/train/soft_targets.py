"""Soft targets in a file: out-of-fold predictions of teachers for each training face, computed once.

One safetensors file: ``rows`` (int32, as in `FaceSet.rows`), ``probs`` (float16), and a note with the
emotions, the hash of the data set, and how they were made.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien.core.own_files import check_shape, reading
from mien.data.records import FaceSet
from mien.errors import ModelError, RecipeError
from mien.train.checkpoints import load_tensors, save_tensors


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """Probabilities of the emotions for training faces.

    Attributes:
        rows: int64 (N,), which face of the data set; see `FaceSet.rows`.
        probs: float32 (N, C), rows sum to 1.
        labels: The emotions, in the order of ``probs``.
        content_hash: `FaceSet.content_hash` of the data set that they are for.
        made: How, JSON-ready.
    """

    rows: NDArray[np.int64]
    probs: NDArray[np.float32]
    labels: tuple[str, ...]
    content_hash: str
    made: dict[str, Any]

    def logits(self, faces: FaceSet, content_hash: str) -> NDArray[np.float32]:
        """Logarithm of the probabilities (M, C) for the given training faces.

        Args:
            faces: Rows of the data set, in any order.
            content_hash: Of the whole data set.

        Raises:
            RecipeError: they are for another data set or other emotions, or lack one of the faces.
        """
        if content_hash != self.content_hash:
            raise RecipeError(
                "distil.targets: the file is for another data set "
                f"({self.content_hash[:12]}, this one is {content_hash[:12]}); import the data as it was "
                "then, or make a file with `mien targets`"
            )
        if self.labels != faces.label_names:
            raise RecipeError(f"distil.targets: the file names {', '.join(self.labels)}")
        place = {row: i for i, row in enumerate(self.rows.tolist())}
        lacking = [row for row in faces.rows.tolist() if row not in place]
        if lacking:
            raise RecipeError(
                f"distil.targets: the file lacks {len(lacking)} faces, such as row {lacking[0]}"
            )
        picked = self.probs[[place[row] for row in faces.rows.tolist()]]
        return np.asarray(np.log(picked.clip(1e-6)), np.float32)


def write_soft_targets(targets: SoftTargets, path: Path) -> None:
    """Write the file, whole or not at all."""
    tensors = {
        "rows": torch.from_numpy(targets.rows.astype(np.int32)),
        "probs": torch.from_numpy(targets.probs).half(),
    }
    note = {"labels": list(targets.labels), "content_hash": targets.content_hash, "made": targets.made}
    save_tensors(path, tensors, note)


def read_soft_targets(path: Path) -> SoftTargets:
    """Read what `write_soft_targets` wrote.

    Raises:
        ModelError: the file is missing, damaged or of another kind.
    """
    tensors, note = load_tensors(path)
    with reading(path, "holds no soft targets of mien", error=ModelError):
        check_shape(note, {"labels": [str], "content_hash": str, "made": {}})
        rows, probs = tensors["rows"].long().numpy(), tensors["probs"].float().numpy()
        labels, content_hash, made = tuple(note["labels"]), note["content_hash"], note["made"]
        if rows.ndim != 1:
            raise ValueError("its rows are not a list")
    if probs.shape != (len(rows), len(labels)) or not np.allclose(probs.sum(1), 1, atol=0.01):
        raise ModelError(f"{path} is damaged: its probabilities do not sum to 1, or not every face has some")
    return SoftTargets(rows, probs / probs.sum(1, keepdims=True), labels, content_hash, made)
