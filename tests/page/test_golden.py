"""The golden vectors of the page belong to the model that is shipped, and Node's reading agrees with them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = PROJECT / "page"
WRITTEN_BY_HAND = ("index.html", "manifest.webmanifest", "ONNXRUNTIME-LICENSE.txt")
BUILT = PROJECT / "src" / "mien" / "page"
WRITTEN_BY_HAND = ("index.html", "manifest.webmanifest", "ONNXRUNTIME-LICENSE.txt")


@pytest.fixture(scope="module")
def golden(module_at):
    """The tool that makes the vectors."""
    return module_at("tools/page_golden.py")


@pytest.fixture
def npm(tmp_path):
    """``npm("run", "check")`` in the folder page/; skipped where its packages are absent."""
    if not shutil.which("npm") or not (SOURCES / "node_modules").is_dir():
        pytest.skip("needs Node and its packages: run `npm ci` in the folder page/")

    def run(*command: str) -> str:
        done = subprocess.run(["npm", *command], cwd=SOURCES, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_vectors_are_those_of_the_shipped_model(golden):
    kept = json.loads((golden.FOLDER / "golden.json").read_text("utf-8"))
    made = golden.golden()
    assert made["model"] == kept["model"], "run `python tools/page_golden.py`"
    for scene, now in zip(kept["scenes"], made["scenes"], strict=True):
        assert scene["sha256"] == now["sha256"], scene["name"]
        assert [one["emotion"] for one in scene["readings"]] == [one["emotion"] for one in now["readings"]]
        for old, new in zip(scene["readings"], now["readings"], strict=True):
            # A processor's rounding moves a crop by a gray level here and there, and 8-bit answers by 0.012.
            assert new["probabilities"] == pytest.approx(old["probabilities"], abs=0.02), scene["name"]
            assert list(new) == list(old), "run `python tools/page_golden.py`"
            assert new["box"] == pytest.approx(old["box"], abs=0.05), scene["name"]


def test_the_scenes_hold_no_face_one_two_and_three(golden):
    counts = [
        len(scene["readings"]) for scene in json.loads((golden.FOLDER / "golden.json").read_text())["scenes"]
    ]
    assert (len(counts), set(counts)) == (20, {0, 1, 2, 3})


@pytest.mark.browser
def test_node_reads_what_python_reads(npm):
    assert "# fail 0" in npm("test")


@pytest.mark.browser
def test_the_built_page_is_the_one_of_the_sources(npm, tmp_path):
    npm("run", "check")
    npm("run", "site", "--", str(tmp_path / "site"))
    made = {path.name: path.read_bytes() for path in (tmp_path / "site").iterdir()}
    kept = {path.name: path.read_bytes() for path in BUILT.iterdir() if path.name not in WRITTEN_BY_HAND}
    assert sorted(made) == sorted(kept)
    assert [name for name in kept if made[name] != kept[name]] == [], "run `npm run build` in page/"
