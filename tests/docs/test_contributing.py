"""The map of the code is complete, and each recipe of "Adding" works when it is followed with a dummy."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core.analyzer import Analyzer
from mien.core.detectors import DETECTORS
from mien.core.providers import DEVICES, INSTALL, checked_device
from mien.core.results import Box, Face
from mien.errors import MienError
from mien.workflows.rows.formats import FORMATS, RowFormat, csv_bytes, csv_rows, format_of

ROOT = Path(__file__).resolve().parents[2]
ADDING = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\n## Adding\n")[1].split("\n## ")[0]
RECIPES = dict(part.split("\n", 1) for part in ADDING.split("\n### ")[1:])


def test_the_map_has_a_line_for_every_file(module_at: Any) -> None:
    page = module_at("tools/code_map.py").page()
    told = (ROOT / "docs/reference/code-map.md").read_text("utf-8")
    assert told == page, "run tools/code_map.py docs/reference/code-map.md"
    files = [path for path in (ROOT / "src/mien").rglob("*.py") if path.stat().st_size]
    assert page.count("\n- [") == len(files)
    assert not re.findall(r"\): *$", page, re.MULTILINE), "a file says nothing of itself"


def test_there_are_seven_recipes() -> None:
    assert len(RECIPES) == 7


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_touches_at_most_four_files_and_names_none_that_is_gone(recipe: str) -> None:
    steps = re.findall(r"^\d\. `([\w/.-]+)`", RECIPES[recipe], re.MULTILINE)
    assert 1 < len(steps) <= 4
    named = re.findall(r"`((?:src|tests|docs|tools|benchmarks)/[\w/.-]+)`", RECIPES[recipe])
    assert set(steps) <= set(named)
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_a_detector_of_the_table_reads(monkeypatch: pytest.MonkeyPatch, tiny_home: Path) -> None:
    class Dummy:
        def __init__(self, settings: Any) -> None:
            self.side = settings.min_face

        def find(self, image: Any) -> list[Face]:
            return [Face(Box(0, 0, self.side, self.side), 0.5)]

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.setitem(DETECTORS, "dummy", Dummy)
    (reading,) = Analyzer("tiny", "dummy").read(np.zeros((50, 50, 3), np.uint8))
    assert reading.box == Box(0, 0, 40, 40)


def test_a_format_of_rows_is_found_by_its_ending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def tabs(columns: Any, rows: Any) -> bytes:
        return csv_bytes(columns, rows).replace(b",", b"\t")

    monkeypatch.setitem(FORMATS, ".tsv", RowFormat(tabs, csv_rows, header=True))
    found = format_of(tmp_path / "rows.tsv")
    assert found.encode(["a", "b"], [(1, 2)]) == b"1\t2\n"


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "dummy", "DummyExecutionProvider")
    monkeypatch.setitem(INSTALL, "dummy", "pip install onnxruntime-dummy")
    with pytest.raises(MienError, match="pip install onnxruntime-dummy"):
        checked_device("dummy")


def test_a_data_set_of_the_table_is_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs the train extra")
    from PIL import Image

    from mien.data.folders import list_folders
    from mien.workflows.datasets.import_data import KINDS, LISTINGS, ImportSettings, import_data

    monkeypatch.setitem(LISTINGS, "dummy", lambda path, _: list_folders(path))
    monkeypatch.setattr("mien.workflows.datasets.import_data.KINDS", (*KINDS, "dummy"))
    for label in ("happy", "sad"):
        for split in ("train", "test"):
            folder = tmp_path / "faces" / split / label
            folder.mkdir(parents=True)
            noise = np.random.default_rng(len(str(folder))).integers(0, 256, (48, 48), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "1.png")
    import_data("dummy", tmp_path / "faces", tmp_path / "dummy.h5", ImportSettings())
    assert (tmp_path / "dummy.h5").is_file()


def test_a_network_of_the_table_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from mien.train.recipe import NetSettings
    from mien.train.zoo import NETS, build, net_mistakes

    class Dummy(torch.nn.Sequential):
        def __init__(self, n_classes: int, width: int = 4) -> None:
            super().__init__(
                torch.nn.Flatten(), torch.nn.LazyLinear(width), torch.nn.Linear(width, n_classes)
            )

    monkeypatch.setitem(NETS, "dummy", Dummy)
    settings = NetSettings(name="dummy", options={"width": 3})
    assert net_mistakes(settings) == []
    assert build(settings, 7)(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


@pytest.mark.parametrize("what", ["target", "loss"])
def test_what_a_run_learns_is_found_by_the_name_of_its_loss(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from mien.train.losses import LOSSES
    from mien.train.recipe import LossSettings, Recipe, RunSettings
    from mien.train.targets import TARGETS, Emotions, make_target

    class Dummy(Emotions):
        """Learns as emotions are learned."""

    from mien.data.records import FaceSet

    faces = FaceSet(
        images=np.zeros((6, 8, 8), np.uint8),
        labels=np.arange(6) % 2,
        split=np.zeros(6, np.uint8),
        rows=np.arange(6),
        label_names=("a", "b"),
        name="dummy",
    )
    table = TARGETS if what == "target" else LOSSES
    monkeypatch.setitem(table, "dummy", Dummy if what == "target" else lambda logits, wanted, _: logits.sum())
    loss = LossSettings().model_copy(update={"name": "dummy"})
    recipe = Recipe(run=RunSettings(epochs=1)).model_copy(update={"loss": loss})
    target = make_target(faces, recipe, torch.device("cpu"))
    assert type(target) is (Dummy if what == "target" else Emotions)
