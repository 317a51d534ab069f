"""The folder that `mien page` writes: complete, for the right model, and closed to other hosts."""

import gzip
import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from mien.cli.main import app
from mien.core.model_store import SHIPPED, find_model
from mien.errors import MienError, ModelError
from mien.workflows.page import ASSETS, write_page

MOST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A page that was written."""
    return write_page(tmp_path_factory.mktemp("page") / "new" / "site")


def kept(folder):
    """The files that the service worker keeps, and its version."""
    found = re.match(r'const FILES=(\[.*?\]),VERSION="(\w+)";', (folder / "sw.js").read_text("utf-8"))
    return json.loads(found[1]), found[2]


def test_a_visitor_loads_at_most_15_mb_without_any_compression(site):
    assert site.n_bytes == sum(path.stat().st_size for path in site.folder.iterdir()) < MOST_BYTES


def test_the_page_has_the_very_networks_of_python(site):
    weights, card = find_model()
    assert (site.folder / "model.onnx").read_bytes() == weights.read_bytes()
    assert json.loads((site.folder / "model.json").read_text("utf-8"))["name"] == card.name == site.model
    for net in ("one-stage-net.onnx", "one-stage-refine.onnx"):
        assert (site.folder / net).read_bytes() == (SHIPPED / net).read_bytes()


def test_the_runtime_is_webassembly(site):
    assert gzip.decompress((site.folder / "runtime.gz").read_bytes())[:4] == b"\0asm"


def test_all_files_are_kept_for_use_offline(site):
    files, _ = kept(site.folder)
    assert set(files) == {"./"} | {path.name for path in site.folder.iterdir()} - {"sw.js"}


def test_another_model_makes_another_version_and_the_same_model_the_same(site, tmp_path):
    weights, _ = find_model()
    for suffix in (".onnx", ".json"):
        shutil.copy(weights.with_suffix(suffix), tmp_path / f"mine{suffix}")
    card = json.loads((tmp_path / "mine.json").read_text("utf-8"))
    (tmp_path / "mine.json").write_text(json.dumps(card | {"summary": "another"}), "utf-8")
    again = write_page(tmp_path / "again")
    mine = write_page(tmp_path / "mine", tmp_path / "mine.onnx")
    assert kept(again.folder) == kept(site.folder)
    assert kept(mine.folder)[1] != kept(site.folder)[1]


def test_a_page_is_written_over_but_nothing_else(site, tmp_path):
    assert write_page(site.folder).sizes == site.sizes
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(MienError, match="holds something else; give a new or an empty folder"):
        write_page(tmp_path)
    with pytest.raises(MienError, match="holds something else"):
        write_page(tmp_path / "letter.txt")
    with pytest.raises(ModelError, match="no model named 'none'"):
        write_page(tmp_path / "site", "none")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_page_with_the_detector_of_earlier_versions_is_replaced(site, tmp_path):
    former = ("mtcnn-pnet.onnx", "mtcnn-rnet.onnx", "mtcnn-onet.onnx", "mtcnn-LICENSE.txt")
    sizes = json.loads((site.folder / "files.json").read_text("utf-8"))
    listed = {name: size for name, size in sizes.items() if not name.startswith("one-stage")}
    (tmp_path / "files.json").write_text(json.dumps(listed | dict.fromkeys(former, 5)))
    for name in (*former, "CNAME"):
        (tmp_path / name).write_text("words")
    assert write_page(tmp_path).sizes == site.sizes
    assert {path.name for path in tmp_path.iterdir()} == {*site.sizes, "CNAME"}


@pytest.mark.parametrize("listed", ['{"a.jpg": 3}', '["model.onnx"]', "no JSON", '{"model.onnx": "3 MB"}'])
def test_a_foreign_site_with_a_list_of_its_files_stays_as_it_was(tmp_path, listed):
    files = {"files.json": listed, "index.html": "my garden"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(MienError, match="holds something else; give a new or an empty folder"):
        write_page(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_the_policy_lets_the_page_reach_its_own_host_alone(site):
    page = (site.folder / "index.html").read_text("utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert {source for rule in rules.values() for source in rule.split()} <= {
        "'none'",
        "'self'",
        "blob:",
        "'wasm-unsafe-eval'",
    }
    assert "http" not in re.sub(r"http-equiv|python -m http\.server|http://localhost:8000", "", page)


def test_the_licences_come_along(site):
    assert "Microsoft" in (site.folder / "ONNXRUNTIME-LICENSE.txt").read_text()
    assert json.loads((site.folder / "one-stage.json").read_text("utf-8"))["licence"].startswith("MIT")


def test_the_command_says_what_it_wrote_and_how_to_look(tmp_path):
    done = CliRunner().invoke(app, ["page", "--out", str(tmp_path / "site")])
    assert done.exit_code == 0
    assert re.search(r"wrote .*: \d+ files, \d\.\d MB, model fer2013", done.stdout.replace("\n", ""))
    assert "http.server" in done.stdout
    assert {path.name for path in ASSETS.iterdir()} - {"runtime.wasm.xz"} <= {
        path.name for path in (tmp_path / "site").iterdir()
    }
