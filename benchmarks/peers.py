"""mien beside the packages that people install for the same purpose, all measured in one run.

    python benchmarks/peers.py STORE PHOTOS --work FOLDER [--model MODEL]... [--score-mien]

STORE is FER2013 as `mien data import` wrote it, PHOTOS a folder of photographs. FOLDER gets an environment
for each package; those that are there already are used again. What cannot be installed or does not run is
told and left out. Needs Linux, taskset, a package registry, and node with npm for the two packages of npm.

Accuracy is that of the network on PrivateTest, fed with the 48-pixel faces directly, on all faces and without
those that have a near copy in Training. mien's is its card's: to score mien again is to open the test rows
again, so that needs ``--score-mien``. Everything else is taken in rounds, a fresh process a package, in turn,
on one core, and medians are given: processor seconds, since other programs disturb the clock more; in
brackets the median ratio to mien's in the same round. Images are decoded beforehand. Memory is the peak.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mien import MienError, open_image
from mien.core import metrics
from mien.core.cards import ModelCard
from mien.core.emotions import emotion
from mien.core.image_names import is_image
from mien.core.model_store import DEFAULT_MODEL, find_model
from mien.data.records import FaceSet
from mien.data.store import clean_mask, read_store
from mien.workflows.find import natural_key

ROOT = Path(__file__).resolve().parents[1]
WORKERS = Path(__file__).resolve().parent / "peer_workers"
NOT_COUNTED = ("pip", "setuptools", "_distutils_hack", "pkg_resources", "distutils-precedence.pth")
TIMEOUT_S = 1800
FIGURES = ("first_answer_cpu_s", "first_answer_s", "face_cpu_s", "photo_cpu_s", "peak_mb")


class PeerError(Exception):
    """Why a package has no row."""


@dataclass(frozen=True)
class Peer:
    """A package, how it gets in, and what a reader of its row must know."""

    name: str
    packages: list[str]
    worker: str
    note: str

    @property
    def is_node(self) -> bool:
        return self.worker.endswith(".js")


def known_peers() -> list[Peer]:
    table = tomllib.loads((WORKERS / "peers.toml").read_text(encoding="utf-8"))
    return [Peer(name, **fields) for name, fields in table.items()]


@dataclass
class Row:
    """What was measured of one package; ``rounds`` holds each figure once a round."""

    name: str
    command: list[str]
    folder: Path
    peer: Peer | None = None
    model: Path | None = None
    card: ModelCard | None = None
    installed_mb: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    photos_with_a_face: int = 0
    accuracy: tuple[float, metrics.Interval] | None = None
    clean_accuracy: tuple[float, metrics.Interval] | None = None

    def median(self, figure: str) -> float:
        return statistics.median(self.rounds[figure])

    def ratio(self, figure: str, other: "Row") -> float:
        """Median over the rounds of this one's figure by the other's."""
        pairs = zip(self.rounds[figure], other.rounds[figure], strict=True)
        return statistics.median(mine / its for mine, its in pairs)


# --- environments ----------------------------------------------------------------------------------------


def clean_environment() -> dict[str, str]:
    """Nothing of the caller's own packages, and TensorFlow quiet."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def install(command: Sequence[str], log: Path) -> None:
    """Run an installer.

    Raises:
        PeerError: it is absent or fails; the text is its last line.
    """
    try:
        done = subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise PeerError(f"cannot be installed: {e}") from e
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise PeerError(f"cannot be installed: {last_line(log)} (all of it in {log})")


def last_line(log: Path) -> str:
    said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return said[-1][:200] if said else "no message"


def python_environment(folder: Path, packages: Sequence[str]) -> tuple[list[str], float]:
    """The interpreter of an environment with these packages, and the megabytes that they take."""
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        install([sys.executable, "-m", "venv", str(folder)], folder.parent / f"{folder.name}.log")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install([*pip, *packages], folder.parent / f"{folder.name}.log")
        (folder / "complete").touch()
    (site,) = folder.glob("lib/python*/site-packages")
    return [str(python)], megabytes(site)


def node_environment(folder: Path, packages: Sequence[str]) -> tuple[list[str], float]:
    """Node in a folder with these packages, and the megabytes that they take."""
    if not (folder / "complete").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund"]
        install([*npm, *packages], folder.parent / f"{folder.name}.log")
        (folder / "complete").touch()
    return ["node"], megabytes(folder / "node_modules")


def megabytes(folder: Path) -> float:
    """Of all files below, but those of the installers."""
    files = (
        file
        for top in folder.iterdir()
        if top.name.split("-")[0] not in NOT_COUNTED and top.name not in NOT_COUNTED
        for file in ([top] if top.is_file() else top.rglob("*"))
    )
    return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6


def prepared_row(peer: Peer, work: Path) -> Row:
    make = node_environment if peer.is_node else python_environment
    command, size = make(work / peer.name, peer.packages)
    command.append(str(WORKERS / peer.worker))
    return Row(peer.name, command, work / peer.name, peer=peer, installed_mb=size)


def mien_rows(work: Path, models: Sequence[tuple[Path, ModelCard]]) -> list[Row]:
    """One row for each model, in the views of its card; all of one environment with the light half."""
    command, size = python_environment(work / "mien", [str(ROOT)])
    command.append(str(WORKERS / "mien_worker.py"))
    return [
        Row(f"mien {card.name}", command, work / "mien", model=path, card=card, installed_mb=size)
        for path, card in models
    ]


# --- runs ------------------------------------------------------------------------------------------------


def run_worker(row: Row, job: Mapping[str, Any], core: int) -> dict[str, Any]:
    """What a fresh process answers, on one core; with the seconds until its first answer by the clock.

    Raises:
        PeerError: it fails or takes too long.
    """
    path = row.folder / "job.json"
    own = {"model": str(row.model), "views": row.card.views} if row.card else {}
    path.write_text(json.dumps({**job, "peer": row.name, **own}))
    found: dict[str, Any] = {}
    command = ["taskset", "-c", str(core), *row.command, str(path)]
    errors, start = row.folder / "stderr.txt", time.perf_counter()
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            command, cwd=row.folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        alarm = threading.Timer(TIMEOUT_S, process.kill)
        alarm.daemon = True  # no one waits for it where something goes wrong here
        alarm.start()
        for line in process.stdout:
            if line.startswith("{"):  # packages say other things too
                found |= json.loads(line)
                found.setdefault("first_answer_s", time.perf_counter() - start)
        alarm.cancel()
    if process.returncode:
        raise PeerError(f"does not run: {last_line(errors)} (all of it in {errors})")
    return found


def attempt(rows: Sequence[Row], failed: dict[str, str], work: Callable[[Row], None]) -> list[Row]:
    """Do something with every row; those that fail are told and left out from now on."""
    left = []
    for row in rows:
        try:
            work(row)
        except PeerError as error:
            failed[row.name] = str(error)
            print(f"{row.name} {error}", file=sys.stderr)
        else:
            left.append(row)
    return left


def take_times(rows: list[Row], job: Mapping[str, Any], core: int, n_rounds: int) -> dict[str, str]:
    """Fill in the figures of every row; returns why some have none, and removes those."""
    failed: dict[str, str] = {}

    def once(row: Row) -> None:
        found = run_worker(row, job, core)
        for figure in FIGURES:
            row.rounds.setdefault(figure, []).append(found[figure])
        row.versions, row.photos_with_a_face = found["versions"], found["photos_with_a_face"]

    for i in range(n_rounds):
        turn = i % max(len(rows), 1)
        kept = attempt([*rows[turn:], *rows[:turn]], failed, once)
        rows[:] = [row for row in rows if row in kept]
    return failed


def take_accuracy(row: Row, job: Mapping[str, Any], core: int, faces: FaceSet, clean: np.ndarray) -> None:
    """Score what the row's network answers to the faces of the job."""
    answers = [emotion(answer) for answer in run_worker(row, job, core)["answers"]]
    right = np.array(answers) == np.array(faces.label_names)[faces.labels]
    row.accuracy, row.clean_accuracy = share(right), share(right[clean])


def share(right: np.ndarray) -> tuple[float, metrics.Interval]:
    return float(right.mean()), metrics.accuracy_interval(int(right.sum()), len(right))


def accuracy_of_card(row: Row) -> None:
    """What the card of the row's model says, where it says it."""
    scores = row.card.scores if row.card else {}
    for key, name in (("test", "accuracy"), ("test_clean", "clean_accuracy")):
        if key in scores:
            setattr(row, name, (scores[key]["accuracy"], tuple(scores[key]["accuracy_interval"])))


# --- what is written -------------------------------------------------------------------------------------


def machine() -> str:
    """The processor, as far as Linux tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def shown(value: tuple[float, metrics.Interval] | None) -> str:
    return f"{value[0]:.1%} ({100 * value[1][0]:.1f}-{100 * value[1][1]:.1f})" if value else "-"


def lines(rows: Sequence[Row], failed: Mapping[str, str], n_photos: int, scored: bool) -> Iterable[str]:
    """The table and its notes as Markdown."""
    first = rows[0]
    yield f"{date.today():%Y-%m-%d}, {machine()}, one core; {len(first.rounds['face_cpu_s'])} rounds\n"
    yield (
        "| package | PrivateTest | clean | face, CPU ms | photograph, CPU ms | with a face | "
        "first answer, CPU s | by the clock, s | peak MB | installed MB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        package, _, model = row.name.partition(" ")
        version = next((v for name, v in row.versions.items() if package in name), "")
        named = " ".join(filter(None, (package, version, model)))
        cells = [named, shown(row.accuracy), shown(row.clean_accuracy)]
        for figure in ("face_cpu_s", "photo_cpu_s"):
            ratio = "" if row is first else f" ({row.ratio(figure, first):.2f} x)"
            cells.append(f"{1e3 * row.median(figure):.1f}{ratio}")
        cells.append(f"{row.photos_with_a_face}/{n_photos}")
        cells += [f"{row.median(figure):.2f}" for figure in ("first_answer_cpu_s", "first_answer_s")]
        cells += [f"{row.median('peak_mb'):.0f}", f"{row.installed_mb:.0f}"]
        yield f"| {' | '.join(cells)} |"
    yield ""
    origin = "scored in this run" if scored else "its card's, not measured again here"
    yield f"- mien: accuracy is {origin}; a face is a crop and its network, a photograph the detector too."
    for row in rows:
        if row.peer:
            versions = ", ".join(f"{name} {value}" for name, value in row.versions.items())
            yield f"- {row.name} ({versions}): {row.peer.note}."
    for name, why in failed.items():
        yield f"- {name} {why}"


def write_inputs(work: Path, data: FaceSet, photos: Path, n_photos: int) -> dict[str, Any]:
    """Faces and decoded photographs for the workers; returns the job that takes times.

    Raises:
        MienError: there are no photographs, or the faces are no 48-pixel gray ones.
    """
    if data.images.shape[1:] != (48, 48):
        raise MienError(f"the peers take gray faces of 48 x 48 pixels, got {data.images.shape[1:]}")
    files = sorted((str(f) for f in photos.iterdir() if is_image(str(f))), key=natural_key)[:n_photos]
    if not files:
        raise MienError(f"{photos} holds no image")
    work.mkdir(parents=True, exist_ok=True)
    listed = []
    for i, file in enumerate(files):
        pixels, path = open_image(file), work / f"photo-{i}.raw"
        pixels.tofile(path)
        listed.append({"path": str(path), "width": pixels.shape[1], "height": pixels.shape[0]})
    val = data.select("val").images
    drawn = np.random.default_rng(0).permutation(len(val))  # the first rows are easier for mien than the rest
    val[drawn].tofile(work / "val.raw")
    data.select("test").images.tofile(work / "test.raw")
    return {"faces": str(work / "val.raw"), "n_faces": len(val), "photos": listed, "score": False}


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and logs")
    parser.add_argument("--model", action="append", help="a model of mien, or its .onnx file; may repeat")
    parser.add_argument("--score-mien", action="store_true", help="open the test rows for mien's model too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--faces", type=int, default=400, help="faces that are timed a round")
    parser.add_argument("--photographs", type=int, default=10, help="photographs that are timed a round")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="write every round's figures here")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    options = arguments(given)
    work = options.work.resolve()
    models = [find_model(name) for name in options.model or [DEFAULT_MODEL]]
    data = read_store(options.store)
    faces, clean = data.select("test"), clean_mask(options.store, "test")
    if clean is None:
        raise MienError(f"{options.store} was not searched for near copies; run: mien data audit")
    job = write_inputs(work, data, options.photos, options.photographs)
    job |= {"repeat": options.faces}
    rows, failed = mien_rows(work, [(path.resolve(), card) for path, card in models]), {}
    for peer in known_peers():
        try:
            rows.append(prepared_row(peer, work))
        except PeerError as error:
            failed[peer.name] = str(error)
            print(f"{peer.name} {error}", file=sys.stderr)
    failed |= take_times(rows, job, options.core, options.rounds)
    scoring = {**job, "faces": str(work / "test.raw"), "n_faces": len(faces), "score": True}
    asked = [row for row in rows if row.peer or options.score_mien]
    scored = attempt(asked, failed, lambda row: take_accuracy(row, scoring, options.core, faces, clean))
    for row in rows:
        if row not in scored and not row.peer:
            accuracy_of_card(row)
    print("\n".join(lines(rows, failed, len(job["photos"]), options.score_mien)))
    if options.json:
        kept = [
            {k: v for k, v in vars(row).items() if k not in ("peer", "command", "folder", "model", "card")}
            for row in rows
        ]
        options.json.write_text(json.dumps({"rows": kept, "failed": failed}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (MienError, PeerError) as error:
        sys.exit(f"error: {error}")
