"""``mien train`` and ``mien targets`` on generated faces."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("h5py", reason="needs the train extra")

from dataclasses import replace

from mien.data.store import read_store, write_store

pytestmark = pytest.mark.train

RECIPE = """
[net]
name = "s2d-resnet"
options = { widths = [8, 16], blocks = [1, 1] }
[run]
epochs = 1
batch_size = 16
sizes = [[0.0, 16]]
threads = 1
"""


@pytest.fixture
def files(module_at: Any, tmp_path: Path) -> Path:
    """A folder with a recipe and a data set of noisy bars."""
    faces = module_at("tests/train/conftest.py").make_faces()
    noise = np.random.default_rng(1).integers(0, 150, faces.images.shape, dtype=np.uint8)
    write_store(replace(faces, images=faces.images // 3 + noise), tmp_path / "bars.h5")
    (tmp_path / "net.toml").write_text(RECIPE)
    return tmp_path


def test_seeds_make_a_run_each_that_differs_in_the_seed_alone(mien: Any, files: Path) -> None:
    done = mien("train", "net.toml", "--data", "bars.h5", "--seeds", "2", "--set", "run.seed=5")
    assert done.exit_code == 0, done.output
    recipes = [json.loads((files / f"runs/net-seed-{seed}/recipe.json").read_text()) for seed in (5, 6)]
    assert [one["recipe"]["run"].pop("seed") for one in recipes] == [5, 6]
    assert recipes[0] == recipes[1]
    weights = [(files / f"runs/net-seed-{seed}/weights.safetensors").read_bytes() for seed in (5, 6)]
    assert weights[0] != weights[1]
    assert "mien report runs/net-seed-5 runs/net-seed-6" in done.stdout


def test_a_seed_beyond_the_largest_is_refused_before_the_first_run(mien: Any, files: Path) -> None:
    largest = f"run.seed={2**64 - 1}"
    done = mien("train", "net.toml", "--data", "bars.h5", "--seeds", "2", "--set", largest)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "run.seed: input should be less than or equal to 18446744073709551615" in done.stderr
    assert not (files / "runs").exists()


def test_data_may_lie_under_any_name_and_seeds_need_one(mien: Any, files: Path) -> None:
    (files / "O'Brien").mkdir()
    (files / "bars.h5").rename(files / "O'Brien" / "bars.h5")
    data = ("--data", "O'Brien/bars.h5")
    assert mien("train", "net.toml", *data).exit_code == 0
    assert mien("targets", "net.toml", *data, "--out", "t.safetensors", "--folds", "2").exit_code == 0
    nameless = mien("train", "net.toml", *data, "--seeds", "2", "--out", ".")
    assert (nameless.exit_code, nameless.stderr) == (
        2,
        "mien: the runs of several seeds need a name before -seed-N; --out is '.'\n",
    )
    (files / "more").mkdir()
    (files / "more/net.toml").write_text(RECIPE)
    twice = mien("targets", "net.toml", "more/net.toml", *data)
    assert (twice.exit_code, twice.stderr) == (
        2,
        "mien: recipes must have different names, because they name the runs: net, net\n",
    )


def test_one_seed_keeps_the_plain_folder(mien: Any, files: Path) -> None:
    assert mien("train", "net.toml", "--data", "bars.h5").exit_code == 0
    assert (files / "runs/net/weights.safetensors").is_file()


@pytest.mark.parametrize("has", [True, False])
def test_fp32_in_place_of_bf16_is_said(
    mien: Any, files: Path, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    monkeypatch.setattr("mien.train.devices.computes_bf16", lambda device: has)
    done = mien("train", "net.toml", "--data", "bars.h5", "--set", "run.precision=bf16")
    assert done.exit_code == 0, done.output
    assert ("no bf16 arithmetic, so fp32 is faster" in done.stderr) is not has


@pytest.mark.parametrize("has", [True, False])
def test_a_weight_of_votes_without_votes_is_said(mien: Any, files: Path, module_at: Any, has: bool) -> None:
    if not has:
        faces = module_at("tests/train/conftest.py").make_faces()
        write_store(replace(faces, votes=None, vote_names=None), files / "bars.h5")
    done = mien("train", "net.toml", "--data", "bars.h5", "--set", "loss.votes_weight=0.3")
    assert done.exit_code == 0, done.output
    note = "loss.votes_weight=0.3: bars.h5 has no votes of raters, so labels alone are learned\n"
    assert (note in done.stderr) is not has


def test_a_data_set_without_validation_rows_is_told_with_what_makes_some(mien: Any, files: Path) -> None:
    command = ("train", "net.toml", "--data", "bars.h5")
    assert "has no validation rows" not in mien(*command, "--out", "with").stderr
    faces = read_store(files / "bars.h5")
    for rows, option in ((faces.split != 1, " --keep-test"), (faces.split == 0, "")):
        write_store(faces.take(rows), files / "bars.h5")
        done = mien(*command, "--out", f"without{option}")
        assert done.exit_code == 0, done.output
        told = (
            f"bars.h5 has no validation rows, so nothing is validated; `mien data split{option}` makes some\n"
        )
        assert told in done.stderr


def test_targets_of_one_recipe_teach_the_next(mien: Any, files: Path) -> None:
    done = mien("targets", "net.toml", "--data", "bars.h5", "--out", "soft.safetensors", "--folds", "2")
    assert done.exit_code == 0, done.output
    assert "with the votes" in done.stdout
    taught = mien("train", "net.toml", "--data", "bars.h5", "--set", "distil.targets=soft.safetensors")
    assert taught.exit_code == 0, taught.output
    wrong = mien("train", "net.toml", "--data", "bars.h5", "--set", "distil.targets=sof.safetensors")
    assert wrong.exit_code == 2
    assert "distil.targets: no soft targets 'sof.safetensors'" in wrong.stderr


def test_trained_models_teach_by_a_file_what_they_teach_themselves(mien: Any, files: Path) -> None:
    from mien.train.soft_targets import read_soft_targets
    from mien.workflows.train import load_teacher, pick_device, teacher_logits

    data, runs = ("--data", "bars.h5"), ("runs/one", "runs/two")
    for seed, run in enumerate(runs):
        assert mien("train", "net.toml", *data, "--out", run, "--set", f"run.seed={seed}").exit_code == 0
    done = mien("targets", "--trained", *runs, *data, "--out", "soft.safetensors")
    assert done.exit_code == 0, done.output
    assert "mean of the models       on training faces: accuracy" in done.stdout
    faces = read_store(files / "bars.h5")
    train = faces.select("train")
    teachers = [load_teacher(run, pick_device("cpu")) for run in runs]
    expected = teacher_logits(teachers, train, lambda *_: None)
    said = read_soft_targets(files / "soft.safetensors").logits(train, faces.content_hash())
    np.testing.assert_allclose(np.exp(said), np.exp(expected), atol=1e-3)
    named = (*faces.label_names[:-1], "bored")
    write_store(replace(faces, label_names=named), files / "others.h5")
    for wrong, text in (
        (("runs/one", "--data", "others.h5"), "teacher runs/one does not know bored; it knows"),
        ((*runs,), "--trained needs --data"),
        ((*runs, *data, "--set", "run.seed=1"), "takes no --set"),
        (("runs/one", "fer2013-nan", *data), "no model named 'fer2013-nan'"),
    ):
        result = mien("targets", "--trained", *wrong, "--out", "more.safetensors")
        assert (result.exit_code, text in result.stderr) == (2, True), result.stderr
    assert not (files / "more.safetensors").exists()


def test_targets_are_of_the_data_that_the_recipes_name(mien: Any, files: Path) -> None:
    (files / "net.toml").write_text('data.store = "bars.h5"\n' + RECIPE)
    (files / "other.toml").write_text('data.store = "more.h5"\n' + RECIPE)
    (files / "more.h5").write_bytes((files / "bars.h5").read_bytes())
    done = mien("targets", "net.toml", "--out", "soft.safetensors", "--folds", "2")
    assert done.exit_code == 0, done.output
    both = mien("targets", "net.toml", "other.toml")
    text = "mien: recipes name different data sets, bars.h5, more.h5; give one with --data\n"
    assert (both.exit_code, both.stderr) == (2, text)


def test_a_network_of_the_users_own_is_trained_scored_and_released(
    mien: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, n_classes):\n"
        "        super().__init__(nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(),\n"
        "            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, n_classes))\n"
    )
    (files / "own.toml").write_text(
        RECIPE.replace("s2d-resnet", "nets.py:Net").replace(RECIPE.splitlines()[3], "")
    )
    trained = mien("train", "own.toml", "--data", "bars.h5")
    assert trained.exit_code == 0, trained.output
    assert "next: mien --allow-code nets.py:Net evaluate runs/own bars.h5" in trained.stdout
    monkeypatch.setattr("mien.core.own_code._allowed", set())  # as in a process of its own
    refused = mien("evaluate", "runs/own", "bars.h5", "--split", "val")
    assert (refused.exit_code, "mien --allow-code nets.py:Net" in refused.stderr) == (2, True)
    allow = ("--allow-code", "nets.py:Net")
    scored = mien(*allow, "evaluate", "runs/own", "bars.h5", "--split", "val", "--out", "runs/own")
    assert scored.exit_code == 0, scored.output
    released = mien(*allow, "release", "runs/own", "--data", "bars.h5", "--name", "own", "--out", "out")
    assert released.exit_code == 0, released.output
