"""A run folder as a report reads it: what commands left there, and the scores of its predictions."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core.own_files import NUMBER, Maybe, reading
from mien.core.run_names import RECIPE, is_run_folder
from mien.core.scores import Scores, score
from mien.data.leaks import Leak
from mien.data.records import SPLITS
from mien.errors import MienError
from mien.workflows.run_folder import AVERAGE_OF, Predictions, read_predictions, read_run_json

LEAK_COUNTS = ("pixels", "files", "official", "n")
LEAK = Maybe({**dict.fromkeys(LEAK_COUNTS, int), "start": Maybe(str)})
CLEAN = Maybe({"accuracy": NUMBER})
SCORED = {
    "clean": CLEAN,
    "data_hash": Maybe(str),
    "data": Maybe(str),
    "leak": LEAK,
    "views": Maybe((int, str)),
    "temperature": Maybe(NUMBER),
}
SHAPES = {
    "recipe": {
        "recipe": {
            "data": Maybe({"store": Maybe(str)}),
            "net": Maybe({"name": Maybe(str)}),
            "run": Maybe({"seed": Maybe(int)}),
        },
        "data": Maybe(str),
    },
    "environment": {},
    "leaks": {"val": LEAK, "test": LEAK},
    "history": {"seconds": Maybe(NUMBER), "history": Maybe([{"epoch": NUMBER}])},
    "result": {"clean": CLEAN, "seconds": Maybe(NUMBER), "temperature": Maybe(NUMBER)},
}
"""The shapes of the JSON files of a run folder; those that are not named hold scores."""
PARTS = {"val": "validation", "test": "test", "train": "training"}


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, as far as it is filled.

    Attributes:
        name: Of the folder; numbered where two are called alike.
        folder: Where it is.
        files: The JSON files by name, such as ``recipe`` or ``scores-val``; absent ones are missing.
        predictions: By split.
        scores: Of ``predictions``.
    """

    name: str
    folder: Path
    files: Mapping[str, Any]
    predictions: Mapping[str, Predictions]
    scores: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def is_average(self) -> bool:
        """Whether `mien average` made it of other runs."""
        return bool(self.files.get("environment", {}).get(AVERAGE_OF))

    def clean(self, split: str) -> dict[str, Any] | None:
        """Scores without faces that have a near copy in training, where a command measured them."""
        found = self.files.get(f"scores-{split}", {}).get("clean")
        return found or (self.files.get("result", {}).get("clean") if split == "test" else None)

    def leak(self, split: str) -> Leak | None:
        """The faces of a split that it had learned from, by the command that scored them; if that knew."""
        scored, trained = self.files.get(f"scores-{split}"), self.files.get("leaks", {})
        found = trained.get(split) if scored is None else scored.get("leak")
        if not found:
            return None
        return Leak(**{key: found[key] for key in LEAK_COUNTS}, start=found.get("start") or "")

    def views(self, split: str) -> str:
        """How many views of each face were averaged; only `mien evaluate` averages more than one."""
        return str(self.files.get(f"scores-{split}", {}).get("views") or 1)

    def temperature(self, split: str) -> float | None:
        """What the logits were divided by; ``None`` where the predictions are not calibrated."""
        scored, of_paper = self.files.get(f"scores-{split}"), self.files.get("result", {})
        if scored is None:  # `mien papers run` writes calibrated predictions of the test rows
            scored = of_paper if split == "test" else {}
        found = scored.get("temperature")
        return None if found is None else float(found)

    def data(self, split: str) -> tuple[str, str]:
        """Content hash and name of the data set whose faces it answered; empty where that is not known."""
        evaluated, recipe = self.files.get(f"scores-{split}", {}), self.files["recipe"]
        if evaluated.get("data_hash"):
            return evaluated["data_hash"], evaluated.get("data") or ""
        store = (recipe["recipe"].get("data") or {}).get("store") or ""
        return recipe.get("data") or "", Path(store).name


def read_run(folder: Path, name: str = "") -> Run:
    """What lies in a run folder.

    Raises:
        MienError: it is not a run folder.
        DataError: a file in it is damaged.
    """
    if not is_run_folder(folder):
        raise MienError(
            f"{folder} is not a run folder: it has no {RECIPE}; make one: mien train RECIPE "
            f"--out {shlex.quote(str(folder))}"
        )
    names = ("recipe", "environment", "leaks", "history", "result", *(f"scores-{split}" for split in SPLITS))
    files = {
        one: read_run_json(folder, f"{one}.json", SHAPES.get(one, SCORED))
        for one in names
        if (folder / f"{one}.json").is_file()
    }
    tables = {split: folder / f"predictions-{split}.csv" for split in PARTS}
    predictions = {split: read_predictions(file) for split, file in tables.items() if file.is_file()}
    scores = {}
    for split, found in predictions.items():
        with reading(tables[split], advice="evaluate the run again"):
            scores[split] = score(found.probs, found.labels, found.names)
    return Run(name or folder.resolve().name, folder, files, predictions, scores)
