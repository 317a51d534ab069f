"""The benchmark beside other packages, with made-up packages: what it counts and what it survives."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.core.model_store import find_model
from mien.data.records import FaceSet

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ROOT / "benchmarks" / "peer_workers"
pytestmark = pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset, thus Linux")

WORKER = """
import json, sys
job = json.load(open(sys.argv[1]))
print("a greeting that is no JSON")
if job["score"]:
    print(json.dumps({"answers": ["happiness", "fearful", "surprised", "angry"][: job["n_faces"]]}))
elif job["peer"] == "broken":
    sys.exit("some trace\\nno such cascade file")
else:
    print(json.dumps({"first_answer_cpu_s": 0.5}), flush=True)
    print(json.dumps({
        "face_cpu_s": 0.01, "photo_cpu_s": 0.2, "peak_mb": 100, "photos_with_a_face": 2,
        "versions": {job["peer"].split()[0]: "1.2", "model": "tiny"},
    }))
"""


@pytest.fixture(scope="module")
def bench(module_at: Callable[[str], ModuleType]) -> ModuleType:
    return module_at("benchmarks/peers.py")


@pytest.fixture
def row(bench: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)

    def make(name: str, **fields: Any) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        return bench.Row(name, [sys.executable, str(worker)], folder, **fields)

    return make


@pytest.fixture
def core() -> int:
    import os

    return max(os.sched_getaffinity(0))


JOB = {"score": False, "n_faces": 4}


def test_every_round_runs_each_package_once_and_a_broken_one_is_left_out(bench, row, core):
    rows = [row("mien"), row("broken"), row("other")]
    failed = bench.take_times(rows, JOB, core, 3)
    assert [r.name for r in rows] == ["mien", "other"]
    assert "does not run: no such cascade file" in failed["broken"]
    assert all(r.rounds["face_cpu_s"] == [0.01] * 3 for r in rows)
    assert all(seconds > 0 for seconds in rows[0].rounds["first_answer_s"])


def test_the_order_turns_from_round_to_round(bench, row, core, monkeypatch):
    asked = []

    def answer(row, job, core):
        asked.append(row.name)
        return dict.fromkeys(bench.FIGURES, 1.0) | {"versions": {}, "photos_with_a_face": 0}

    monkeypatch.setattr(bench, "run_worker", answer)
    bench.take_times([row("a"), row("b"), row("c")], JOB, core, 3)
    assert "".join(asked) == "abcbcacab"


def test_answers_are_scored_by_any_name_of_an_emotion(bench, row, core, noise_faces):
    faces = noise_faces(8).select("test")
    names = faces.label_names
    faces.labels[:] = [names.index(name) for name in ("happy", "fear", "sad", "angry")]
    peer = row("other")
    bench.take_accuracy(peer, {**JOB, "score": True}, core, faces, np.array([True, True, True, False]))
    assert peer.accuracy[0] == 3 / 4
    assert peer.clean_accuracy[0] == 2 / 3
    assert peer.accuracy[1] == pytest.approx((0.301, 0.954), abs=1e-3)  # Wilson's of 3 of 4


def test_figures_are_medians_and_ratios_are_taken_within_a_round(bench, row):
    first, other = row("a"), row("b")
    first.rounds["face_cpu_s"], other.rounds["face_cpu_s"] = [1.0, 2.0, 10.0], [2.0, 4.0, 10.0]
    assert first.median("face_cpu_s") == 2.0
    assert other.ratio("face_cpu_s", first) == 2.0


def test_the_card_speaks_for_its_own_model_only(bench, row, tiny_home):
    path, card = find_model(tiny_home / "models" / "tiny.onnx")
    own, other = row("one", model=path, card=card), row("other")
    for one in (own, other):
        bench.accuracy_of_card(one)
    assert own.accuracy == (0.7412, (0.7266, 0.7553))
    assert own.clean_accuracy[0] == 0.7301
    assert other.accuracy is None


def test_what_cannot_be_installed_says_why(bench, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(bench.PeerError, match=r"cannot be installed: no such package .*log"):
        bench.install([sys.executable, "-c", "import sys; sys.exit('trying\\nno such package')"], log)
    assert "trying" in log.read_text()
    with pytest.raises(bench.PeerError, match=r"cannot be installed: .*npm-that-is-absent"):
        bench.install(["npm-that-is-absent"], log)


def test_installers_do_not_count_as_megabytes(bench, tmp_path):
    for name, size in (("fer/model", 3_000_000), ("pip/x", 10**6), ("setuptools-80.dist-info/x", 10**6)):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(bytes(size))
    assert bench.megabytes(tmp_path) == 3.0


def test_every_listed_package_has_its_worker_and_a_note(bench):
    peers = bench.known_peers()
    assert [peer.name for peer in peers] == ["fer", "face-api", "human"]
    assert all((WORKERS / peer.worker).is_file() and peer.note for peer in peers)
    assert [peer.is_node for peer in peers] == [False, True, True]


@pytest.fixture
def run(
    bench: ModuleType, row: Callable[..., Any], tiny_home: Path, tmp_path: Path, monkeypatch, capsys
) -> Callable[..., str]:
    """Runs everything but installation, with three made-up packages of which one cannot be installed."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(2):
        Image.new("RGB", (30, 20)).save(photos / f"{i}.png")
    faces = FaceSet(
        images=np.zeros((6, 48, 48), np.uint8),
        labels=np.array([0, 0, 3, 2, 4, 0]),
        split=np.array([1, 1, 2, 2, 2, 2], np.uint8),
        rows=np.arange(6),
        label_names=find_model(tiny_home / "models" / "tiny.onnx")[1].labels,
        name="made-up",
    )

    def prepared(peer: Any, work: Path) -> Any:
        if peer.name == "fer":
            raise bench.PeerError("cannot be installed: no wheel")
        return row(peer.name, peer=peer)

    monkeypatch.setattr(bench, "read_store", lambda path: faces)
    monkeypatch.setattr(bench, "clean_mask", lambda path, split: np.array([True, True, False, False]))
    monkeypatch.setattr(bench, "prepared_row", prepared)
    monkeypatch.setattr(
        bench,
        "mien_rows",
        lambda work, models: [row(f"mien {card.name}", model=path, card=card) for path, card in models],
    )

    def start(*more: str) -> str:
        model = str(tiny_home / "models" / "tiny.onnx")
        given = ["store.h5", str(photos), "--work", str(tmp_path / "work"), "--model", model]
        bench.main([*given, "--rounds", "2", "--json", str(tmp_path / "out.json"), *more])
        return capsys.readouterr().out

    return start


def test_the_faces_that_are_timed_are_drawn_from_all_validation_rows_and_always_the_same(bench, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "0.png")
    n = 200
    images = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    faces = FaceSet(
        images=images,
        labels=np.zeros(n, int),
        split=np.ones(n, np.uint8),
        rows=np.arange(n),
        label_names=("angry",),
        name="made-up",
    )
    order = []
    for _ in range(2):
        job = bench.write_inputs(tmp_path / "work", faces, tmp_path, 1)
        order.append(np.fromfile(job["faces"], np.uint8).reshape(-1, 48, 48)[:, 0, 0].tolist())
    assert job["n_faces"] == n
    assert sorted(order[0]) == list(range(n)), "each once"
    assert np.mean(order[0][:50]) == pytest.approx(n / 2, abs=20), "not the first rows"
    assert order[0] == order[1]


def test_the_table_goes_on_without_a_package_and_mien_speaks_by_its_card(run, tmp_path):
    text = run()
    mien = next(line for line in text.splitlines() if line.startswith("| mien"))
    assert mien.startswith("| mien 1.2 tiny | 74.1% (72.7-75.5) | 73.0% (72.7-75.5) | 10.0 | 200.0 | 2/2 |")
    other = next(line for line in text.splitlines() if line.startswith("| face-api"))
    assert "| 75.0% (30.1-95.4) | 100.0% (34.2-100.0) | 10.0 (1.00 x) | 200.0 (1.00 x) |" in other
    assert "- fer cannot be installed: no wheel" in text
    assert "accuracy is its card's, not measured again here" in text
    assert "- face-api (face-api 1.2, model tiny): MIT; the terms of the weights are not stated." in text
    kept = json.loads((tmp_path / "out.json").read_text())
    assert [one["name"] for one in kept["rows"]] == ["mien tiny", "face-api", "human"]
    assert kept["failed"] == {"fer": "cannot be installed: no wheel"}


def test_the_test_rows_are_opened_for_mien_only_when_asked(run):
    text = run("--score-mien")
    mien = next(line for line in text.splitlines() if line.startswith("| mien"))
    assert mien.startswith("| mien 1.2 tiny | 75.0% (30.1-95.4) | 100.0% (34.2-100.0) |")
    assert "accuracy is scored in this run" in text


@pytest.mark.parametrize("score", [False, True], ids=["times", "answers"])
def test_miens_worker_answers_the_protocol(tiny_home, tmp_path, astronaut, score):
    np.full((12, 48, 48), 128, np.uint8).tofile(tmp_path / "faces.raw")
    image = np.ascontiguousarray(astronaut[:256, 96:352])
    image.tofile(tmp_path / "photo.raw")
    job = {
        "faces": str(tmp_path / "faces.raw"),
        "n_faces": 12,
        "photos": [{"path": str(tmp_path / "photo.raw"), "width": 256, "height": 256}],
        "score": score,
        "repeat": 3,
        "model": str(tiny_home / "models" / "tiny.onnx"),
        "views": 1,
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, str(WORKERS / "mien_worker.py"), str(tmp_path / "job.json")]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = {}
    for line in out.splitlines():
        found |= json.loads(line)
    if score:
        assert found["answers"] == ["happy"] * 12
    else:
        assert found["photos_with_a_face"] == 1
        assert min(found[key] for key in ("first_answer_cpu_s", "face_cpu_s", "photo_cpu_s", "peak_mb")) > 0
    assert found["versions"]["model"] == "tiny"
