"""Several processes that train together reach what one reaches, and none outlives the others."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from mien.data.records import FaceSet
from mien.errors import MienError, MissingExtraError
from mien.train import parallel
from mien.train.checkpoints import load_tensors
from mien.train.loop import Trainer
from mien.train.parallel import ALONE, Workers, named, start
from mien.train.recipe_reading import check_recipe
from mien.workflows.train import make_trainer, train

PLAIN = {"name": "cs231n-final-as-printed", "options": {"size": 16}}
"""A network without dropout and batch normalisation."""


def plain(table: dict[str, Any], **tables: dict[str, Any]) -> dict[str, Any]:
    """A small recipe of `PLAIN`; each given table is laid over the recipe's."""
    changed = {**table, "net": PLAIN, "loss": {}, "run": table["run"] | {"sizes": [[0.0, 16]]}}
    return changed | {name: changed.get(name, {}) | part for name, part in tables.items()}


# The arithmetic, with threads in the place of processes


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """``together(2, make, work)`` calls ``work(made)`` in so many threads, whose sums are over the threads.

    ``make(workers)`` is called for one after the other, as new weights come from torch's one generator.
    """

    def run(count: int, make: Callable[[Workers], Any], work: Callable[[Any], Any]) -> list[Any]:
        made = [make(Workers(rank, count, count)) for rank in range(count)]
        barrier, terms, found = threading.Barrier(count, timeout=60), {}, {}

        def add(tensor: Tensor) -> None:
            terms[threading.get_ident()] = tensor.clone()
            barrier.wait()
            total = sum(terms[key] for key in sorted(terms))
            barrier.wait()
            tensor.copy_(total)

        def one(rank: int) -> None:
            try:
                found[rank] = work(made[rank])
            except BaseException:
                barrier.abort()
                raise

        monkeypatch.setattr(parallel, "_add", add)
        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[rank] for rank in range(count)]

    return run


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "tables",
    [
        {"loss": {"class_weights": "balanced", "label_smoothing": 0.1}, "augment": {"mixup": 0.2}},
        {"loss": {"name": "focal"}, "augment": {"flip": "random"}, "optim": {"name": "adam", "lr": 0.01}},
        {"loss": {"name": "soft-votes"}, "data": {"sampling": "balanced"}},
        {"loss": {"name": "valence-arousal"}},
    ],
    ids=["class-weights-mixup", "focal-adam", "votes-balanced", "valence-arousal"],
)
def test_parts_of_a_batch_lead_to_the_weights_of_the_whole_batch(
    faces: FaceSet, recipe_table: dict[str, Any], together: Any, tables: dict[str, Any], count: int
) -> None:
    table = plain(recipe_table, **tables)
    table["run"]["batch_size"] = 17  # parts are not of one size, and their weights not of one sum
    votes = np.concatenate([np.eye(3)[faces.labels] * 7 + 1, np.ones((len(faces), 1))], axis=1)
    places = np.random.default_rng(1).uniform(-1, 1, (len(faces), 2)).astype(np.float32)
    places[::3] = np.nan
    faces = FaceSet(
        **{
            **vars(faces),
            "votes": votes.astype(np.uint8),
            "vote_names": (*faces.label_names, "not-a-face"),
            "valence_arousal": places,
        }
    )

    def make(workers: Workers) -> Trainer:
        return make_trainer(check_recipe(table), faces, "cpu", workers)

    def work(trainer: Trainer) -> tuple[list[float], Trainer]:
        losses = [float(trainer.step()) for _ in range(8)]
        trainer.validate(faces.select("val"))
        return losses, trainer

    losses, alone = work(make(ALONE))
    for found, trainer in together(count, make, work):
        assert found == pytest.approx(losses, rel=1e-5, abs=1e-6)  # a loss of 0.002 is as exact as one of 1
        for name, value in alone.net.state_dict().items():
            torch.testing.assert_close(trainer.net.state_dict()[name], value, rtol=1e-3, atol=1e-5)
        assert trainer.history[0] == pytest.approx(alone.history[0], rel=1e-5)


def test_statistics_of_batch_normalisation_are_the_mean_of_all_processes(together: Any) -> None:
    def work(workers: Workers) -> tuple[nn.Module, nn.Module]:
        learning, frozen = nn.BatchNorm2d(1), nn.BatchNorm2d(1).eval()
        for norm in (learning, frozen):
            norm.running_mean.fill_(1.0 + workers.rank)
        workers.add_up(nn.Sequential(learning, frozen))
        return learning, frozen

    for rank, (learning, frozen) in enumerate(together(2, lambda workers: workers, work)):
        assert learning.running_mean.item() == 1.5
        assert frozen.running_mean.item() == 1.0 + rank


def test_all_processes_of_a_network_with_batch_normalisation_hold_the_same_weights(
    faces: FaceSet, recipe_table: dict[str, Any], together: Any
) -> None:
    def make(workers: Workers) -> Trainer:
        return make_trainer(check_recipe(recipe_table), faces, "cpu", workers)

    def work(trainer: Trainer) -> dict[str, Tensor]:
        for _ in range(3):
            trainer.step()
        return trainer.net.state_dict()

    first, second = together(2, make, work)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_batch_with_fewer_faces_than_processes_is_refused(
    faces: FaceSet, recipe_table: dict[str, Any]
) -> None:
    with pytest.raises(MienError, match=r"a batch has 16 faces, too few for 17 processes"):
        make_trainer(check_recipe(recipe_table), faces, "cpu", Workers(0, 17, 17))


# Which devices


@pytest.mark.parametrize(
    ("devices", "gpus", "per_node", "expected"),
    [
        ("cpu", 4, 0, ["cpu"]),
        ("2", 0, 0, ["cpu", "cpu"]),
        ("2", 4, 0, ["cuda:0", "cuda:1"]),
        ("auto", 0, 0, ["cpu"]),
        ("auto", 3, 0, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 4, 0, ["cuda:0"]),
        ("cuda:3,cuda:1", 4, 0, ["cuda:3", "cuda:1"]),
        ("cuda", 4, 2, ["cuda:0", "cuda:1"]),
        ("cpu", 4, 2, ["cpu", "cpu"]),
        ("auto", 0, 2, ["cpu", "cpu"]),
        ("mps", 0, 0, ["mps"]),
    ],
)
def test_devices_are_named(devices: str, gpus: int, per_node: int, expected: list[str]) -> None:
    assert named(devices, gpus, per_node) == expected


@pytest.mark.parametrize(
    ("devices", "gpus", "text"),
    [
        ("cpu,cuda:0", 1, r"--devices takes cpu, cuda, .*, got 'cpu,cuda:0'"),
        ("0", 1, r"got '0'"),
        ("cuda:0,cuda:2", 2, r"--devices cuda:0,cuda:2: there are 2 CUDA devices here"),
        ("3", 2, r"--devices 3: there are 2 CUDA devices here"),
    ],
)
def test_devices_that_are_not_there_are_refused(devices: str, gpus: int, text: str) -> None:
    with pytest.raises(MienError, match=text):
        named(devices, gpus)


def test_one_process_does_without_lightning_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with start("cpu") as workers:
        assert workers == ALONE
    with pytest.raises(MissingExtraError, match=r"lightning-fabric; run: pip install \"mien\[several\]\""):
        start("2").__enter__()


# The command


class Command:
    """A training that runs as ``mien train``."""

    def __init__(self, table: dict[str, Any], folder: Path) -> None:
        self.table, self.folder = table, folder

    def run(self, devices: str, **run: float) -> "subprocess.Popen[bytes]":
        tables = self.table | {"run": self.table["run"] | run}
        lines = [
            f"{table}.{key}={json.dumps(value)}"
            for table, part in tables.items()
            for key, value in part.items()
            if not isinstance(value, dict)
        ]
        self.folder.mkdir(exist_ok=True)
        recipe = self.folder.with_suffix(".toml")
        recipe.write_text("\n".join([*lines, "net.options.size=16"]))
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "mien",
            "train",
            str(recipe),
            "--out",
            str(self.folder),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, "--devices", devices], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


@pytest.fixture
def whole(recipe_table: dict[str, Any], stored: Path, tmp_path: Path) -> Command:
    """What one process trained, and its recipe."""
    table = plain(recipe_table, data={"store": str(stored)}, run={"checkpoint_every_s": 0})
    table = {name: part for name, part in table.items() if name != "summary"}
    return Command(table, train(check_recipe(table), tmp_path / "whole"))


def same_run(one: Path, other: Path) -> None:
    """The same learning curve and weights, within float tolerance."""
    curves = [json.loads((f / "history.json").read_text())["history"] for f in (one, other)]
    for line, expected in zip(*curves, strict=True):
        assert line == pytest.approx(expected, rel=1e-4)
    weights = [load_tensors(f / "weights.safetensors")[0] for f in (one, other)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.train
def test_two_processes_have_the_loss_curve_of_one(whole: Command, tmp_path: Path) -> None:
    two = Command(whole.table, tmp_path / "two")
    process = two.run("2")
    out, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert out.decode().count("wrote") == 1, "one process alone must report"
    same_run(two.folder, whole.folder)
    assert json.loads((two.folder / "environment.json").read_text())["processes"] == 2


@pytest.mark.train
def test_kill_9_of_two_processes_leaves_none_and_one_process_goes_on(whole: Command, tmp_path: Path) -> None:
    killed = Command(whole.table, tmp_path / "killed")
    process = killed.run("2")
    checkpoint = killed.folder / "checkpoint.safetensors"
    while not checkpoint.is_file():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)
    others = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert others
    _, alive = psutil.wait_procs(others, timeout=60)
    assert not alive
    assert 0 < load_tensors(checkpoint)[1]["step"] < 28, "the run must be killed in the middle"
    train(check_recipe(whole.table), killed.folder)
    same_run(killed.folder, whole.folder)
