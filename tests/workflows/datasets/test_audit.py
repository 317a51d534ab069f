import base64
import io
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli.main import app
from mien.core.emotions import FER2013, FERPLUS_VOTES
from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError, OutputError
from mien.workflows.datasets.audit import audit_data


@pytest.fixture
def store(tmp_path):
    """Twelve faces: one blank, one no face, one identical pair that contradicts itself, one near copy."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 48, 48), np.uint8)
    images[3] = 0
    images[8] = images[6]
    images[11] = np.roll(images[9], 2, axis=1)
    votes = np.ones((12, 10), np.uint8)
    votes[4, 9] = 100
    faces = FaceSet(
        images=images,
        labels=np.arange(12) % 7,
        split=(np.arange(12) % 3).astype(np.uint8),
        rows=np.arange(12),
        label_names=FER2013,
        name="<made> & up",
        votes=votes,
        vote_names=FERPLUS_VOTES,
    )
    write_store(faces, tmp_path / "a.h5")
    return tmp_path / "a.h5"


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.titles = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.titles.append(data)


def test_the_page_shows_every_finding(tmp_path, store):
    audit_data(store, tmp_path / "audit.html")
    page = _Page((tmp_path / "audit.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.titles == [
        "Audit of <made> & up",
        "Blank images (1)",
        "Not a face (1)",
        "Identical images that contradict each other (1)",
        "Near copies across the splits (1)",
    ]
    shown = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert shown == [
        "face train 3, labelled happy",
        "face val 4, labelled sad",
        "face train 6, labelled neutral",
        "face test 8, labelled disgust",
        "face test 11, labelled sad",
        "face train 9, labelled fear",
    ]


def test_the_images_on_the_page_are_those_of_the_store(tmp_path, store):
    found = audit_data(store, tmp_path / "audit.html")
    codes = re.findall(
        r"data:image/png;base64,([\w+/=]+)", (tmp_path / "audit.html").read_text(encoding="utf-8")
    )
    images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in codes]
    for image, position in zip(images, (3, 4, 6, 8, 11, 9), strict=True):
        np.testing.assert_array_equal(image, found.faces.images[position])


def test_the_page_loads_nothing_from_elsewhere(tmp_path, store):
    audit_data(store, tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    around = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    assert not re.search(r"//|url\(|@import|<script|<link|<iframe", around)
    assert all(a["src"].startswith("data:") for tag, a in _Page(text).tags if tag == "img")


def test_only_the_page_is_written_beside_the_store(tmp_path, store):
    audit_data(store, tmp_path / "audit.html")
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "audit.html"]


def test_a_data_set_that_is_replaced_during_the_search_stays(store):
    newer = replace(read_store(store), name="newer")
    with pytest.raises(DataError, match=r"a\.h5 was replaced while its faces were compared; audit it again"):
        audit_data(store, progress=lambda done, total: write_store(newer, store))
    assert read_store(store).name == "newer"


def test_a_search_that_cannot_be_kept_is_shown_and_noted(store, monkeypatch):
    def refused(*args, **settings):
        raise DataError("a.h5 cannot be written: permission denied")

    kept = audit_data(shutil.copy(store, store.with_name("b.h5")))
    monkeypatch.setattr("mien.workflows.datasets.audit.write_store", refused)
    found = audit_data(store)
    assert (found.summary(), kept.note) == (kept.summary(), "")
    assert found.note.endswith("a.h5 cannot be written: permission denied")
    shown = CliRunner().invoke(app, ["data", "audit", str(store), "--json"])
    assert (json.loads(shown.stdout), shown.stderr) == (kept.summary(), f"note: {found.note}\n")


def test_a_page_in_a_missing_folder_is_refused_before_the_work(tmp_path, store):
    with pytest.raises(OutputError, match=r"audit\.html cannot be written: there is no folder .*none"):
        audit_data(store, tmp_path / "none" / "audit.html")


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path, store):
    (tmp_path / "audit.html").mkdir()
    with pytest.raises(OutputError, match=r"audit\.html cannot be written: it is a folder; name a file"):
        audit_data(store, tmp_path / "audit.html")
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "audit.html"]


def test_a_page_is_not_written_over_the_data_set(tmp_path, store):
    held = store.read_bytes()
    with pytest.raises(OutputError, match=r"give it a name that ends with \.html"):
        audit_data(store, store)
    assert store.read_bytes() == held
