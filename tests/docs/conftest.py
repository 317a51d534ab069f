"""What the tests of the documentation share."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder(tmp_path: Path, module_at: Any) -> Path:
    """A folder with the photographs and the video that the examples name."""
    skimage = pytest.importorskip("skimage", reason="the examples read a photograph of scikit-image")
    matplotlib = pytest.importorskip("matplotlib", reason="the examples read a photograph of matplotlib")
    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    hopper = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    (tmp_path / "photos").mkdir()
    for source, names in {astronaut: ["astronaut.png"], hopper: ["grace_hopper.jpg", "photo.jpg"]}.items():
        for name in names:
            shutil.copy(source, tmp_path / name)
            shutil.copy(source, tmp_path / "photos" / name)
    if find_spec("av"):
        clips = module_at("tests/clips.py")
        clips.write_clip(tmp_path / "talk.mp4", clips.crossing(1.0))
    return tmp_path
