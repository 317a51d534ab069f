"""What every test may ask for."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def mien_data() -> Path:
    """The folder of the real data sets, named by MIEN_DATA; tests that need it are skipped without it."""
    folder = Path(os.environ.get("MIEN_DATA", HERE.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data sets: {folder} is absent; set MIEN_DATA")
    return folder


def load(path: Path) -> ModuleType:
    """The module of a file that lies outside the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as if it were run: the modules beside it can be imported
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.fixture(scope="session")
def module_at() -> Callable[[str], ModuleType]:
    """``module_at("tools/model_page.py")``: the module of a file of the project, by its place there."""
    return lambda place: load(HERE.parent / place)


@pytest.fixture(scope="session")
def noise_faces() -> Callable[..., Any]:
    """``noise_faces(n, shape=(48, 48))``: noise, labels of FER2013; half to train, half to test."""
    import numpy as np

    from mien.core.emotions import FER2013
    from mien.data.records import FaceSet

    def make(n: int, shape: tuple[int, int] = (48, 48)) -> FaceSet:
        rng = np.random.default_rng(0)
        return FaceSet(
            images=rng.integers(1, 256, (n, *shape), np.uint8),
            labels=rng.integers(0, 7, n),
            split=np.repeat([0, 2], n // 2).astype(np.uint8),
            rows=np.arange(n),
            label_names=FER2013,
            name="made-up",
        )

    return make


@pytest.fixture(scope="session")
def clips() -> ModuleType:
    """The module beside this one that makes video clips; the test is skipped where PyAV is absent."""
    pytest.importorskip("av", reason="needs PyAV")
    return load(HERE / "clips.py")


@pytest.fixture(scope="session")
def image_files() -> dict[str, bytes]:
    """One small sound image a file format and kind, by name."""
    return load(HERE / "core" / "mutations.py").image_files()


@pytest.fixture(scope="session")
def mutants() -> Callable[..., Iterator[tuple[str, bytes]]]:
    """``mutants(n=2000, seed=0)`` yields (what was done, bytes of a damaged image)."""
    return load(HERE / "core" / "mutations.py").mutants


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``MIEN_HOME`` that holds the model ``tiny``; see fixtures_model.py."""
    module, home = load(HERE / "fixtures_model.py"), tmp_path_factory.mktemp("home")
    clean = {**module.SCORES, "n": 3301, "accuracy": 0.7301}
    scores = {"test": module.SCORES, "test_clean": clean, "val_accuracy_by_views": {"1": 0.7212, "2": 0.7301}}
    scores["cpu"] = {"ms_a_face": 2.34, "threads": 1, "processor": "abacus"}
    module.write_tiny_model(home / "models", scores=scores)
    return home


@pytest.fixture
def copied_models(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``copied_models("one", "two")``: the folder of a user whose models are copies of ``tiny`` so named."""

    def make(*names: str) -> Path:
        folder = tmp_path / "home" / "models"
        folder.mkdir(parents=True)
        for name in names:
            for suffix in (".json", ".onnx"):
                (folder / f"{name}{suffix}").write_bytes(
                    (tiny_home / "models" / f"tiny{suffix}").read_bytes()
                )
        monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
        return folder

    return make


@pytest.fixture
def tiny_with(tiny_home: Path, tmp_path: Path) -> Callable[..., str]:
    """``tiny_with(uncertain_below=0.6)``: the path of the model ``tiny`` under a card that differs so."""

    def make(**fields: Any) -> str:
        folder = tmp_path / "models"
        folder.mkdir(exist_ok=True)
        source = tiny_home / "models" / "tiny.onnx"
        card = json.loads(source.with_suffix(".json").read_text("utf-8"))
        (folder / "tiny.json").write_text(json.dumps({**card, **fields}), "utf-8")
        (folder / "tiny.onnx").write_bytes(source.read_bytes())
        return str(folder / "tiny.onnx")

    return make


@pytest.fixture(scope="session")
def tiny_probs() -> dict[str, float]:
    """What the model ``tiny`` answers every face, in the order of its labels."""
    module = load(HERE / "fixtures_model.py")
    return dict(zip(module.FER2013, module.PROBS, strict=True))


@pytest.fixture(scope="session")
def astronaut() -> Any:
    """A public-domain photo (NASA) of one frontal face near (220, 115), uint8 (512, 512, 3)."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for a photo of a face")
    return data.astronaut()


FAILS_AT_FIFTH = """
import os, signal
from mien.workflows.video import frames
pixels, seen = frames.Video._pixels, []
def _pixels(video, image):
    seen.append(image)
    if {part!r} in video.name and len(seen) == 5:
        {what}
    return pixels(video, image)
frames.Video._pixels = _pixels
"""


@pytest.fixture
def failing_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``failing_decoder(code, part)`` has processes run code at frame 5 of a video named so."""

    def fail(what: str, part: str = "bad") -> None:
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(FAILS_AT_FIFTH.format(what=what, part=part))
        source = Path(__file__).resolve().parents[1] / "src"
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(source)]))

    return fail
