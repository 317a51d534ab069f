"""Stored features: found again only where nothing differs; heads and SVMs that learn from them."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("sklearn", reason="needs the train extra")
pytest.importorskip("timm", reason="needs the train extra")

from mien.cli.main import app
from mien.core.preprocess import to_input
from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError, ModelError
from mien.train.features import PART, FeatureCache, HeadTrainer, learns_from_features, mirrored
from mien.train.loop import Trainer
from mien.train.recipe import Recipe
from mien.train.recipe_reading import check_recipe
from mien.train.trained_net import load_trained
from mien.train.transfer import Transfer, Transferred
from mien.train.zoo import make_transferred
from mien.workflows.evaluate import EvaluateSettings, evaluate
from mien.workflows.features import Backbone, compute_features, fit_svm, write_svm_run
from mien.workflows.train import train

pytestmark = pytest.mark.train
CPU = torch.device("cpu")
FROZEN = Transfer(backbone="resnet10t", size=32, freeze="all")
SCALE = (0.5, 0.25)


@pytest.fixture(scope="module")
def net() -> Transferred:
    torch.manual_seed(0)
    return make_transferred(3, FROZEN).eval()


def test_stored_features_are_those_of_the_network_and_are_made_once(net, faces, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    cache = FeatureCache(net, SCALE, CPU, tmp_path, lambda *at: said.append(at))
    made = cache.features(faces.images)
    with torch.no_grad():
        expected = net.features(torch.from_numpy(to_input(faces.images, *SCALE))).numpy()
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)
    again = FeatureCache(net, SCALE, CPU, tmp_path, lambda *at: said.append(at))
    assert np.array_equal(again.features(faces.images), made)
    assert said == [(240, 240)]


def test_what_a_stopped_process_left_is_used_and_damage_is_made_again(net, tmp_path: Path) -> None:
    net_like = make_transferred(3, replace(FROZEN, size=32))
    net_like.backbone, net_like.n_features = torch.nn.AdaptiveAvgPool2d(4), 3  # at no cost
    images = np.random.default_rng(0).integers(0, 256, (2 * PART + 5, 8, 8), dtype=np.uint8)
    said: list[int] = []
    cache = FeatureCache(net_like, SCALE, CPU, tmp_path, lambda done, _: said.append(done))
    whole = cache.features(images)
    folder = tmp_path / cache.key(images)[:32]
    files = sorted(folder.iterdir())
    assert [f.name for f in files] == ["00000000.npy", "00001024.npy", "00002048.npy"]
    files[0].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-9])
    said.clear()
    fresh = FeatureCache(net_like, SCALE, CPU, tmp_path, lambda done, _: said.append(done))
    assert np.array_equal(fresh.features(images), whole)
    assert said == [1024, 2053]


@pytest.mark.parametrize("what", ["weights", "statistics", "scale", "size", "pool", "faces", "order"])
def test_whatever_decides_the_features_decides_their_name(what: str, net, faces, tmp_path: Path) -> None:
    def key(net: Transferred, scale: tuple[float, float], images: Any) -> str:
        return FeatureCache(net, scale, CPU, tmp_path).key(images)

    settings = {"size": {"size": 48}, "pool": {"pool": "flatten"}}.get(what, {})
    other = make_transferred(3, replace(FROZEN, **settings))
    if not settings:
        other.load_state_dict(net.state_dict())
    else:
        other.backbone.load_state_dict(net.backbone.state_dict())
    images, scale = faces.images.copy(), SCALE
    if what in ("weights", "statistics"):
        name = next(n for n in other.backbone.state_dict() if "running" in n or what == "weights")
        other.backbone.state_dict()[name].view(-1)[0] += 1e-6
    elif what == "scale":
        scale = (0.5, 0.26)
    elif what == "faces":
        images[7, 3, 3] ^= 1
    elif what == "order":
        images = images[::-1]
    assert key(other, scale, images) != key(net, SCALE, faces.images)


def test_the_head_is_no_part_of_the_name(net, faces, tmp_path: Path) -> None:
    other = make_transferred(5, replace(FROZEN, head=[8]))
    other.backbone.load_state_dict(net.backbone.state_dict())
    keys = [FeatureCache(n, SCALE, CPU, tmp_path).key(faces.images) for n in (net, other)]
    assert keys[0] == keys[1]


def test_a_network_that_may_change_has_no_stored_features(tmp_path: Path) -> None:
    with torch.device("meta"):
        net = make_transferred(3, replace(FROZEN, freeze=5))
    with pytest.raises(
        ModelError, match=re.escape("set net.options.freeze='all' and net.options.batch_norm")
    ):
        FeatureCache(net, SCALE, CPU, tmp_path)


def head_table(store: Path | str, **changes: Any) -> dict[str, Any]:
    options = {"backbone": "resnet10t", "size": 32, "freeze": "all", "head": [16]}
    table: dict[str, Any] = {
        "data": {"store": str(store)},
        "net": {"name": "transferred", "options": options},
        "augment": {"flip": "alternate"},
        "optim": {"name": "adam", "lr": 0.01, "schedule": "constant"},
        "run": {"epochs": 3, "batch_size": 40, "sizes": [[0.0, 16]], "threads": 1},
    }
    for key, value in changes.items():
        table[key] = {**table[key], **value}
    return table


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"augment": {"flip": "random"}}, True),
        ({"augment": {"rotation_deg": 5}}, False),
        ({"augment": {"mixup": 0.2}}, False),
        ({"run": {"sizes": [[0.0, 12], [0.5, 16]]}}, False),
        ({"net": {"options": {"freeze": 5}}}, False),
        ({"net": {"name": "chmura-vgg16", "options": {}}}, True),
        ({"net": {"name": "resnet50-khanzada", "options": {}}}, False),
        ({"net": {"name": "s2d-resnet", "options": {}}}, False),
    ],
    ids=lambda v: json.dumps(v) if isinstance(v, dict) else None,
)
def test_a_run_learns_from_features_where_they_never_change(changes, expected) -> None:
    assert learns_from_features(check_recipe(head_table("x.h5", **changes))) == expected


@pytest.mark.parametrize("flip", ["alternate", "random"])
def test_a_head_learns_from_stored_features_what_it_learns_from_faces(
    flip: str, faces: FaceSet, tmp_path: Path
) -> None:
    recipe = check_recipe(head_table(tmp_path / "x.h5", augment={"flip": flip}))
    rows, val = faces.select("train"), faces.select("val")
    plain = Trainer(recipe, rows, SCALE, CPU)
    stored = HeadTrainer(recipe, rows, SCALE, CPU)
    stored.prepare()
    for step in (0, plain.batches.per_epoch):  # in the second epoch the other faces are mirrored
        with torch.no_grad():
            expected = plain.net.eval().features(plain.batches.at(step).faces)
        found = stored.batches.at(step).faces[..., 0, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    losses = [(float(plain.step()), float(stored.step())) for _ in range(5)]
    assert [a for a, _ in losses] == pytest.approx([b for _, b in losses], rel=1e-3)
    np.testing.assert_allclose(plain.logits(val.images), stored.logits(val.images), rtol=1e-2, atol=1e-3)
    assert (tmp_path / "x.features").is_dir()


def test_a_mirrored_face_is_the_face_seen_from_the_other_side() -> None:
    colour = np.arange(2 * 2 * 3 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    assert np.array_equal(mirrored(colour)[:, :, 0], colour[:, :, 2])
    assert np.array_equal(mirrored(colour[..., 0])[:, :, 0], colour[:, :, 2, 0])


@pytest.fixture(scope="module")
def made(module_at: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data set and a short run of mien's own network on it; made once, read only."""
    module = module_at("tests/train/conftest.py")
    folder = tmp_path_factory.mktemp("made")
    write_store(module.make_faces(400), folder / "faces.h5")
    table = module.small_table(folder / "faces.h5")
    table["run"] |= {"epochs": 2, "checkpoint_every_s": 60, "ema": 0}
    return {"store": folder / "faces.h5", "run": train(check_recipe(table), folder / "bars")}


def test_a_run_is_a_backbone_whose_features_are_its_own(made, tmp_path: Path) -> None:
    frozen = compute_features(Backbone(str(made["run"])), made["store"], folder=tmp_path)
    own = load_trained(made["run"], CPU)
    rows = frozen.rows["val"].images
    with torch.no_grad():
        expected = own.net.features(torch.from_numpy(to_input(rows, own.mean, own.std)))
    np.testing.assert_allclose(frozen.features["val"], expected, rtol=1e-4, atol=1e-5)
    assert frozen.features["train"].shape == (200, 2 * 16)


def test_the_svm_is_scikit_learns_and_its_run_folder_says_the_same_of_faces(made, tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    frozen = compute_features(Backbone(str(made["run"])), made["store"], folder=tmp_path / "f")
    fits = fit_svm(frozen, (1e-4, 1e-3))
    best = write_svm_run(frozen, fits, tmp_path / "svm", made["store"])
    svm = make_pipeline(StandardScaler(), LinearSVC(C=best.c, dual=False, tol=1e-2, random_state=0))
    svm.fit(frozen.features["train"], frozen.rows["train"].labels)
    expected = svm.decision_function(frozen.features["val"])
    np.testing.assert_allclose(frozen.features["val"] @ best.weight.T + best.bias, expected, atol=1e-3)
    assert best.val_accuracy == (expected.argmax(1) == frozen.rows["val"].labels).mean() > 0.9
    loaded = load_trained(tmp_path / "svm", CPU)
    np.testing.assert_allclose(loaded.logits(frozen.rows["val"].images), expected, atol=2e-3)
    result = evaluate(str(tmp_path / "svm"), made["store"], EvaluateSettings(split="val"))
    assert result.scores.accuracy == best.val_accuracy


def test_mirrored_faces_double_what_the_svm_learns_from(made, tmp_path: Path) -> None:
    frozen = compute_features(Backbone(str(made["run"])), made["store"], folder=tmp_path, with_mirrored=True)
    assert frozen.mirrored.shape == frozen.features["train"].shape
    alone = fit_svm(replace(frozen, mirrored=frozen.mirrored[:0]), (1e-3,))[0]
    assert not np.allclose(fit_svm(frozen, (1e-3,))[0].weight, alone.weight)


def test_what_the_backbone_has_learned_is_no_new_face(made, module_at: Any, tmp_path: Path) -> None:
    faces = read_store(made["store"])
    again = replace(faces, split=np.roll(faces.split, 100), name="bars-split")
    write_store(again, tmp_path / "again.h5")
    frozen = compute_features(Backbone(str(made["run"])), tmp_path / "again.h5", folder=tmp_path / "f")
    with pytest.raises(DataError, match=r"'bars-split' test: 100 of 100 faces are faces that the network"):
        fit_svm(frozen, (1e-3,))
    fits = fit_svm(frozen, (1e-3,), allow_leak=True)
    write_svm_run(frozen, fits, tmp_path / "svm", tmp_path / "again.h5")
    assert json.loads((tmp_path / "svm" / "leaks.json").read_text())["test"]["leaks"]
    with pytest.raises(DataError, match=r"test: 100 of 100 faces are faces that the network learned from"):
        evaluate(str(tmp_path / "svm"), tmp_path / "again.h5")
    table = module_at("tests/train/conftest.py").small_table(tmp_path / "again.h5")
    table["net"] = {"name": "transferred", "options": {"backbone": f"run:{made['run']}", "size": 16}}
    table["loss"] = {}
    with pytest.raises(DataError, match=r"test: 100 of 100 faces are faces that the network learned from"):
        train(check_recipe(table), tmp_path / "new")


def test_an_emotion_without_training_faces_is_named(made, tmp_path: Path) -> None:
    frozen = compute_features(Backbone(str(made["run"])), made["store"], folder=tmp_path)
    train_rows = frozen.rows["train"]
    some = np.flatnonzero(train_rows.labels != 1)
    rows = {**frozen.rows, "train": train_rows.take(some)}
    with pytest.raises(
        DataError, match="'bars' has no training rows of happy; an SVM and its choice of C need"
    ):
        fit_svm(replace(frozen, rows=rows), (1e-3,))


def test_the_command_keeps_features_and_scores_the_svm(made, tmp_path: Path) -> None:
    to = tmp_path / "svm"
    arguments = ["features", str(made["run"]), str(made["store"]), "--folder", str(tmp_path / "f")]
    done = CliRunner().invoke(app, [*arguments, "--svm", "--out", str(to)])
    assert done.exit_code == 0, done.output
    assert "32 features a face (train 200, val 100)" in done.stdout
    assert re.search(r"chosen\n", done.stdout)
    assert re.search(r"test \d+\.\d+% \(\d+\.\d%-\d+\.\d%\), balanced", done.stdout)
    assert {"weights.safetensors", "scores-test.json", "predictions-test.csv"} <= set(os.listdir(to))
    recipe = json.loads((to / "recipe.json").read_text())["recipe"]
    assert recipe["svm"]["c"] in [one["c"] for one in recipe["svm"]["tried"]]
    assert CliRunner().invoke(app, [*arguments, "--svm", "--out", str(to)]).exit_code == 0
    before = (made["run"] / "weights.safetensors").read_bytes()
    taken = CliRunner().invoke(app, [*arguments, "--svm", "--out", str(made["run"])])
    assert (taken.exit_code, "holds another run; choose another folder" in taken.stderr) == (2, True)
    assert (made["run"] / "weights.safetensors").read_bytes() == before
    refused = CliRunner().invoke(app, [*arguments, "--out", str(to)])
    assert refused.exit_code == 2
    assert "--out is the folder of the SVM's run; give --svm too" in refused.output


def test_recipes_for_a_head_are_recipes(stored: Path) -> None:
    assert isinstance(check_recipe(head_table(stored)), Recipe)
