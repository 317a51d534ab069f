"""Hostile data sets through `mien data import` and the readers of stores: what they raise and what they cost.

    python benchmarks/hostile_data.py [N] [SEED]

N damaged CSVs, stores and trees of class folders (5,000); the same for the same seed. They are read in a
process of their own, so that one that ends it is counted and the rest goes on. The limits: no signal, no
exception but `MienError`, no warning, 2 s of computing each, memory that does not grow.
"""

import json
import shutil
import sys
import tempfile
import time
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from types import ModuleType

import psutil
from campaign import WARM_UP, Tally, command_line, run
from hostile import peak_mib

from mien.data.store import read_info, read_near_duplicates, read_store
from mien.errors import MienError
from mien.workflows.datasets.import_data import ImportSettings, import_data

CASES = Path(__file__).resolve().parents[1] / "tests" / "data" / "damaged_data_sets.py"
KINDS = {
    "fer2013.csv": "fer2013",
    "wide.csv": "ckextended",
    "list.csv": "csv",
    "training.csv": "affectnet",
    "list_patition_label.txt": "rafdb",
}


def damaged_data_sets() -> ModuleType:
    spec = spec_from_file_location(CASES.stem, CASES)
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def read(name: str, folder: Path, sound: Path) -> None:
    """As a user would: import what can be imported, open what can be opened."""
    kind, to = name.split()[0], folder.parent / "to.h5"
    if kind == "store.h5":
        for reader in (read_info, read_store, read_near_duplicates):
            reader(folder / kind)
    elif kind == "votes.csv":
        settings = ImportSettings(ferplus=folder / kind, partial=True)
        import_data("ferplus", sound, to, settings)
    elif kind == "tree":
        for one in ("folders", "rafdb", "affectnet", "fer2013"):
            try:
                import_data(one, folder, to, ImportSettings(partial=True))
            except MienError as error:
                refused = error
            else:
                refused = None
        if refused:
            raise refused
    else:
        path = folder if KINDS[kind] in ("affectnet", "rafdb") else folder / kind
        import_data(KINDS[kind], path, to, ImportSettings(partial=True))


def work(n: int, seed: int, start: int, end: int) -> None:
    """Read the cases from one number to another, and write a line before and after each."""
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as below:
        work_folder, cases = Path(below), damaged_data_sets()
        made = cases.cases(n, seed, work_folder)
        sound = work_folder / "fer2013.csv"
        for name, write in islice(made, start, end):
            if not sound.exists():
                sound.write_bytes(cases.sound_files(work_folder)[sound.name])
            folder = work_folder / "case"
            folder.mkdir()
            write(folder)
            print(json.dumps({"name": name}), flush=True)
            before = time.process_time()
            try:
                with warnings.catch_warnings(record=True) as heard:
                    warnings.simplefilter("always")
                    read(name, folder, sound)
                outcome = "opened"
            except MienError as error:
                outcome = "refused" if "\n" not in str(error) else f"two lines: {error}"[:200]
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"[:200]
            outcome = f"{heard[0].category.__name__}: {heard[0].message}"[:200] if heard else outcome
            seconds, mib = time.process_time() - before, process.memory_info().rss / 2**20
            told = {"outcome": outcome, "seconds": seconds, "mib": mib, "peak": peak_mib()}
            print(json.dumps(told), flush=True)
            shutil.rmtree(folder)
            for left in work_folder.glob("to.*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def campaign(n: int, seed: int) -> Tally:
    """Have all cases read, by as many processes as it takes."""
    worker = [sys.executable, __file__, "--work", str(n), str(seed)]
    return run(lambda start: [*worker, str(start), str(n)], n, min(WARM_UP, n), n)


if __name__ == "__main__":
    command_line(campaign, work)
