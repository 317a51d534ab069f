"""A short campaign of damaged data sets; benchmarks/hostile_data.py runs the long one."""

import warnings
from pathlib import Path
from typing import Any

from mien.data.store import read_info, read_store
from mien.errors import MienError
from mien.workflows.datasets.import_data import ImportSettings, import_data

KINDS = {
    "fer2013.csv": "fer2013",
    "wide.csv": "fer2013",
    "list.csv": "csv",
    "training.csv": "affectnet",
    "list_patition_label.txt": "rafdb",
    "tree": "folders",
}


def _read(name: str, folder: Path) -> None:
    kind = name.split()[0]
    if kind == "store.h5":
        read_info(folder / kind)
        read_store(folder / kind)
    elif kind in KINDS:
        in_folder = KINDS[kind] in ("affectnet", "rafdb", "folders")
        source = folder if in_folder else folder / kind
        settings = ImportSettings(partial=KINDS[kind] in ("fer2013", "ferplus"))
        import_data(KINDS[kind], source, folder.parent / f"{folder.name}.h5", settings)


def test_damaged_data_sets_are_read_or_refused_in_one_line(tmp_path: Path, module_at: Any) -> None:
    cases = module_at("tests/data/damaged_data_sets.py").cases(160, 1, tmp_path)
    errors, n_read = [], 0
    for i, (name, write) in enumerate(cases):
        folder = tmp_path / str(i)
        folder.mkdir()
        write(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                _read(name, folder)
                n_read += 1
            except MienError as error:
                errors.append(str(error))
    assert n_read > 5
    assert len(errors) > 50
    assert [error for error in errors if "\n" in error] == []
