"""A report of two runs in a real Chromium, from the file system and without network."""

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs mien[train]")
pytest.importorskip("matplotlib", reason="needs mien[train]")
pytest.importorskip("playwright", reason="needs playwright")

from PIL import Image

from mien.core.emotions import FER2013
from mien.core.files import write_json
from mien.data.records import FaceSet
from mien.workflows.report_page import write_report
from mien.workflows.run_folder import write_predictions

pytestmark = pytest.mark.browser


@pytest.fixture
def runs(tmp_path):
    """Two runs with their predictions and a sheet."""
    rng = np.random.default_rng(0)
    faces = FaceSet(
        images=np.zeros((200, 8, 8), np.uint8),
        labels=rng.integers(0, 7, 200),
        split=np.ones(200, np.uint8),
        rows=np.arange(200),
        label_names=FER2013,
        name="made-up",
    )
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        write_json(folder / "recipe.json", {"recipe": {"summary": "made up"}, "data": "c0ffee"})
        write_predictions(folder / "predictions-val.csv", faces, rng.dirichlet(np.ones(7), 200))
        Image.new("RGB", (1200, 300), "gray").save(folder / "sheet.png")
    return folders


@pytest.mark.parametrize("width", [1180, 390])
def test_a_report_opens_from_the_file_system_without_network(chromium, runs, tmp_path, width):
    page_file = tmp_path / "page.html"
    write_report(runs, page_file)
    assert page_file.stat().st_size < 5_000_000
    context = chromium.new_context(viewport={"width": width, "height": 800}, offline=True)
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(page_file.as_uri())
    images = page.locator("img").evaluate_all("all => all.map((one) => one.complete && one.naturalWidth)")
    wide = page.evaluate("document.documentElement.scrollWidth")
    shown = page.locator("h2").all_inner_texts()
    context.close()
    assert len(images) == 3
    assert all(images)
    assert shown == ["Scores on validation", "first", "second"]
    assert [url for url in asked if not url.startswith(("file://", "data:image/"))] == []
    assert errors == []
    assert wide <= width
