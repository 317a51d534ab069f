"""Rows whose score is a vote of other rows' networks, or of several views by one of them."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.workflows.ensemble import EnsembleScores, ensemble
from mien.workflows.evaluate import EvaluateSettings, Evaluation, evaluate
from mien.workflows.papers.claims import read_result
from mien.workflows.papers.measure import CLOSED, TEST_PREDICTIONS, kept
from mien.workflows.run_folder import read_predictions

ROUNDING = 1e-3
"""By how much six digits of a probability may change an accuracy: where two classes tie."""


def vote(runs: list[Path], store: Path, folder: Path, device: str, open_test: bool) -> dict[str, Any]:
    """The soft vote of finished runs on PublicTest and, where it is opened, on PrivateTest.

    What a run was scored by there already votes; only the other runs are asked, and their look is counted.
    Figures and predictions of the split that was opened last are written to ``folder``.

    Raises:
        DataError: a run learned from the rows to score, its labels are not those of the data set, or its
            predictions are damaged.
    """
    begun = time.monotonic()
    found: dict[str, Any] = {"members": [run.name for run in runs], "stored": [], **CLOSED}
    models = [str(run) for run in runs]

    def scored(split: str, known: dict[str, NDArray[np.float64]]) -> EnsembleScores:
        return ensemble(models, store, EvaluateSettings(split, to=folder, device=device), known)

    found["val"] = kept(scored("val", {}).votes["soft"])
    if open_test:
        faces = read_store(store)
        stored = {str(run): probs for run in runs if (probs := _stored(run, faces)) is not None}
        test = scored("test", stored)
        found["stored"] = [run.name for run in runs if str(run) in stored]
        found["test"] = kept(test.votes["soft"])
        found["clean"] = kept(test.clean["soft"]) if test.clean else None
    return {**found, "seconds": round(time.monotonic() - begun, 1)}


def by_views(run: Path, store: Path, settings: EvaluateSettings, open_test: bool) -> dict[str, Any]:
    """A finished run by several views of each face, told as `vote` tells votes; its look is counted.

    Raises:
        DataError: as of `vote`.
    """
    begun = time.monotonic()

    def scored(split: str) -> Evaluation:
        return evaluate(str(run), store, replace(settings, split=split))

    found: dict[str, Any] = {"members": [run.name], "views": settings.views, **CLOSED}
    found["val"] = kept(scored("val").scores)
    if open_test:
        test = scored("test")
        found["test"], found["test_evaluations"] = kept(test.scores), test.test_evaluations
        found["clean"] = kept(test.clean) if test.clean else None
    return {**found, "seconds": round(time.monotonic() - begun, 1)}


def _stored(run: Path, faces: FaceSet) -> NDArray[np.float64] | None:
    """The probabilities that a finished run was scored by on the test rows, where they are there.

    `mien evaluate --out` may have written others of that name, as of more views: the accuracy tells.
    """
    result, path = read_result(run), run / TEST_PREDICTIONS
    if not (result and result["finished"] and result["test"] and path.is_file()):
        return None
    if result.get("data", {}).get("content_hash") != faces.content_hash():
        return None
    found, test = read_predictions(path), faces.select("test")
    same_rows = np.array_equal(found.rows, test.rows) and np.array_equal(found.labels, test.labels)
    if found.names != test.label_names or not same_rows:
        return None
    right = float((found.probs.argmax(1) == found.labels).mean())
    return found.probs if abs(right - result["test"]["accuracy"]) < ROUNDING else None
