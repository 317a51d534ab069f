"""The row whose score is a vote of other rows' networks."""

import time
from pathlib import Path
from typing import Any

from mien.workflows.ensemble import EnsembleScores, ensemble
from mien.workflows.evaluate import EvaluateSettings
from mien.workflows.papers.measure import kept


def vote(runs: list[Path], store: Path, folder: Path, device: str, open_test: bool) -> dict[str, Any]:
    """The soft vote of finished runs on PublicTest and, where it is opened, on PrivateTest.

    Figures and predictions of the split that was opened last are written to ``folder``.

    Raises:
        DataError: a run learned from the rows to score, or its labels are not those of the data set.
    """
    begun = time.monotonic()
    closed = dict.fromkeys(("metric", "test_evaluations", "test", "clean", "leak"))
    found: dict[str, Any] = {"members": [run.name for run in runs], **closed}

    def scored(split: str) -> EnsembleScores:
        return ensemble([str(run) for run in runs], store, EvaluateSettings(split, to=folder, device=device))

    found["val"] = kept(scored("val").votes["soft"])
    if open_test:
        test = scored("test")
        found["test"] = kept(test.votes["soft"])
        found["clean"] = kept(test.clean["soft"]) if test.clean else None
    return {**found, "seconds": round(time.monotonic() - begun, 1)}
