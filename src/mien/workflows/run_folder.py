"""What the commands write into a run folder."""

import csv
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.files import atomic_write, refusals, write_json
from mien.core.locks import sole
from mien.core.outputs import check_output, check_output_folder
from mien.core.own_files import Maybe, read_json, reading
from mien.core.run_names import RECIPE
from mien.data.leaks import LEARNED, Leak, Learned, write_leaks, write_learned
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.errors import DataError, MienError

LOCK = "lock"
AVERAGE_OF = "average_of"
"""In ``environment.json`` of what `mien average` made: the names of the runs."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a run answered: ids of the rows (N,), true labels (N,), probabilities (N, C)."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    probs: NDArray[np.float64]
    names: tuple[str, ...]


@contextmanager
def training_alone(run: Path) -> Iterator[None]:
    """Make a run folder, and keep other processes from training in it; one that stays empty is removed.

    Raises:
        MienError: another process trains there, or the folder cannot be made.
    """
    check_output_folder(run)
    is_new = not run.exists()
    with refusals(run):
        run.mkdir(parents=True, exist_ok=True)
    try:
        with sole(run / LOCK) as other:
            if other:
                who = f"another process trains in {run} ({other})"
                raise MienError(f"{who}; wait for it, or choose another folder with --out")
            yield
    finally:
        if is_new:
            with suppress(OSError):
                run.rmdir()


def read_run_json(run: Path, name: str, shape: Any) -> Any:
    """A JSON file of a run folder, such as ``recipe.json``; see `mien.core.own_files.check_shape`.

    Raises:
        DataError: it is missing or damaged.
    """
    return read_json(run / name, shape=shape, advice="delete the run folder and train again")


def held_recipe(run: Path) -> Any:
    """What ``recipe.json`` of a run folder holds; `mien.train.recipe_reading.check_recipe` checks the recipe.

    Raises:
        DataError: it is missing or damaged.
    """
    return read_run_json(run, RECIPE, {"recipe": {"data": {"store": str}}, "data": str, "votes": Maybe(str)})


def write_run(folder: Path, files: Mapping[str, Any], known: Learned, leaks: Mapping[str, Leak]) -> None:
    """Write what a run is, as JSON ``files`` by name, and what it has learned from.

    The recipe shall be the last of the files, for a folder that has it is a run's.
    """
    write_learned(known, folder / LEARNED)
    write_leaks(leaks, folder)
    for name, held in files.items():
        write_json(folder / name, held)


def store_of_run(run: Path) -> Path:
    """The data set file that the recipe of a run names.

    Raises:
        DataError: the recipe is missing or damaged, or the file is not there.
    """
    store = Path(held_recipe(run)["recipe"]["data"]["store"])
    if not store.is_file():
        raise DataError(f"{run} learned from {store}, which is not there; say where it is with --data")
    return store


def data_of_run(data: Path, run: Path, content_hash: str) -> FaceSet:
    """The data set that a run learned from.

    Args:
        data: Its file.
        run: The run folder.
        content_hash: What the run knows of the data set.

    Raises:
        DataError: the file cannot be read, or holds another data set.
    """
    faces = read_store(data)
    if faces.content_hash() != content_hash:
        raise DataError(f"{data} is not the data that {run} was trained on; give that file with --data")
    return faces


TEST_LOG = "test-evaluations.log"
"""In a run folder: when its test rows were opened."""


def check_test_log(run: Path | None, split: str) -> None:
    """Raise an `OutputError`, before any work, where `count_test_evaluation` could not write."""
    if run and split == "test":
        check_output(run / TEST_LOG)


def count_test_evaluation(run: Path | None, split: str = "test") -> int | None:
    """Log that the test rows of a run were opened; return how often they have been.

    ``None``, and nothing is logged, for models that are no runs, and for other rows.
    """
    if run is None or split != "test":
        return None
    log = run / TEST_LOG
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
            writer.writerow([row, names[label], names[int(p.argmax())], *(f"{x:.9g}" for x in p)])


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        DataError: it is something else, or damaged.
    """
    with (
        reading(path, advice="evaluate the run again"),
        path.open(newline="", encoding="utf-8") as file,
    ):
        lines = csv.reader(file)
        head = next(lines, [])
        if head[:3] != ["row", "label", "predicted"] or not all(name.startswith("p_") for name in head[3:]):
            raise DataError(f"{path} has no header 'row,label,predicted,p_...'; evaluate the run again")
        names = tuple(name.removeprefix("p_") for name in head[3:])
        try:
            cells = [
                (int(row), names.index(label), [float(p) for p in probs]) for row, label, _, *probs in lines
            ]
            rows, labels, probs = zip(*cells, strict=True)
            found = Predictions(
                np.array(rows, np.int64), np.array(labels), np.array(probs, np.float64), names
            )
        except ValueError as e:
            raise DataError(f"{path}, line {lines.line_num}: {e}; evaluate the run again") from e
    return found
