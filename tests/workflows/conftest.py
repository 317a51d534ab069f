"""A finished run on generated faces, which several workflows start from."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made(module_at: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A data set file and a finished run on it; made once, read only."""
    pytest.importorskip("onnxscript", reason="needs the train extra")
    from mien.data.store import write_store
    from mien.train.recipe_reading import check_recipe
    from mien.workflows.train import train

    module = module_at("tests/train/conftest.py")
    folder = tmp_path_factory.mktemp("made")
    faces = module.make_faces(400)
    write_store(faces, folder / "faces.h5")
    table = module.small_table(folder / "faces.h5")
    table["run"] |= {"epochs": 6, "checkpoint_every_s": 60}
    run = train(check_recipe(table), folder / "bars")
    return {"faces": faces, "store": folder / "faces.h5", "run": run, "table": table}


@pytest.fixture(scope="session")
def leaky(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same where validation and test rows repeat training rows, which was allowed."""
    from mien.data.store import write_store
    from mien.train.recipe_reading import check_recipe
    from mien.workflows.train import train

    faces, folder = made["faces"], tmp_path_factory.mktemp("leaky")
    images, labels = faces.images.copy(), faces.labels.copy()
    images[200:], labels[200:] = images[:200], labels[:200]
    write_store(replace(faces, images=images, labels=labels, name="leaky"), folder / "leaky.h5")
    table = made["table"] | {"data": {"store": str(folder / "leaky.h5")}}
    run = train(check_recipe(table), folder / "remembers", allow_leak=True)
    return {"store": folder / "leaky.h5", "run": run, "table": table}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(made: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the run, because looks at the test rows are logged in it."""
    return Path(shutil.copytree(made["run"], tmp_path / "bars"))
