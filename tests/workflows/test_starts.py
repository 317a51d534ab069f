"""A run that starts from another model: the order of its emotions, what that has learned, colour."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="needs the train extra")

from mien.core.cards import ModelCard
from mien.core.model_store import sha256
from mien.core.preprocess import luma
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, RecipeError
from mien.train.export import export_onnx
from mien.train.loop import Trainer
from mien.train.recipe_reading import check_recipe
from mien.train.trained_net import load_trained
from mien.workflows.evaluate import evaluate
from mien.workflows.features import Backbone, compute_features
from mien.workflows.soft_targets import predict_soft_targets
from mien.workflows.train import make_trainer, train

pytestmark = pytest.mark.train
CPU = torch.device("cpu")
STILL = {"name": "sgd", "lr": 1e-7, "warmup": 0.0}
"""An optimiser that changes nothing to speak of."""


def changed(
    made: dict[str, Any], start: str | Path, store: Path | None = None, **options: Any
) -> dict[str, Any]:
    """The table of a run of one epoch from a start."""
    table: dict[str, Any] = made["table"]
    net = table["net"] | {"init_from": str(start), "options": table["net"]["options"] | options}
    run = table["run"] | {"epochs": 1, "ema": 0.0}
    return table | {"net": net, "data": {"store": str(store or made["store"])}, "optim": STILL, "run": run}


def released(net: torch.nn.Module, labels: tuple[str, ...], path: Path, size: int = 16) -> Path:
    export_onnx(net, size, path)
    texts = dict.fromkeys(("licence", "data", "intended_use", "unfit_use", "limits"), "a test")
    card = ModelCard(path.stem, "Bars", labels, size, 0.5, 0.25, sha256(path), **texts)
    card.write(path.with_suffix(".json"))
    return path


def test_a_run_folder_as_a_start_keeps_its_emotions(made: dict[str, Any], run: Path) -> None:
    """Other orders of the emotions were loaded row by row: happy faces were called neutral."""
    faces: FaceSet = made["faces"]
    names = tuple(reversed(faces.label_names))
    turned = replace(faces, label_names=names, labels=2 - faces.labels)
    trainer = make_trainer(check_recipe(changed(made, run)), turned, "cpu")
    expected = load_trained(run, CPU).logits(faces.images)
    np.testing.assert_allclose(trainer.logits(faces.images), expected[:, ::-1], atol=1e-3)
    other = replace(faces, label_names=("angry", "glad", "neutral"))
    assert str(make_trainer(check_recipe(changed(made, run)), other, "cpu").initial).endswith(
        "does not name: glad"
    )


def test_what_the_start_has_learned_is_no_new_face(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    faces: FaceSet = made["faces"]
    again = replace(faces, split=np.roll(faces.split, 250), name="bars-split")
    write_store(again, tmp_path / "again.h5")
    recipe = check_recipe(changed(made, run, tmp_path / "again.h5"))
    with pytest.raises(DataError, match=r"again.h5 \w+: \d+ of 100 faces are faces that the network learned"):
        train(recipe, tmp_path / "new")
    train(recipe, tmp_path / "new", allow_leak=True)
    with pytest.raises(DataError, match="50 of 100 faces are faces that the network learned from"):
        evaluate(str(tmp_path / "new"), tmp_path / "again.h5")


def test_what_a_teacher_has_learned_is_no_new_face(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    faces: FaceSet = made["faces"]
    again = tmp_path / "again.h5"
    write_store(replace(faces, split=np.roll(faces.split, 250), name="bars-split"), again)
    taught = changed(made, "", again) | {"distil": {"teachers": [str(run)]}}
    with pytest.raises(DataError, match=r"again.h5 \w+: \d+ of 100 faces are faces that the network learned"):
        train(check_recipe(taught), tmp_path / "new")
    with pytest.raises(DataError, match=r"\d+ of 100 faces are .*; take teachers that have not learned"):
        predict_soft_targets([str(run)], again, tmp_path / "soft.safetensors")
    assert not (tmp_path / "soft.safetensors").exists()


def test_the_weights_file_of_a_run_is_a_start_as_its_folder_is(
    made: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    faces: FaceSet = made["faces"]
    turned = replace(faces, label_names=tuple(reversed(faces.label_names)), labels=2 - faces.labels)
    again = replace(faces, split=np.roll(faces.split, 250), name="bars-split")
    write_store(again, tmp_path / "again.h5")
    copied = shutil.copy(run / "weights.safetensors", tmp_path / "copied.safetensors")
    for start in (run / "weights.safetensors", copied):
        trainer = make_trainer(check_recipe(changed(made, start)), turned, "cpu")
        expected = load_trained(run, CPU).logits(faces.images)
        np.testing.assert_allclose(trainer.logits(faces.images), expected[:, ::-1], atol=1e-3)
    beside = check_recipe(changed(made, run / "weights.safetensors", tmp_path / "again.h5"))
    with pytest.raises(DataError, match="faces that the network learned"):
        train(beside, tmp_path / "new")
    train(check_recipe(changed(made, copied, tmp_path / "again.h5")), tmp_path / "new")
    leak = evaluate(str(tmp_path / "new"), tmp_path / "again.h5").leak
    assert (leak.start, bool(leak)) == ("copied.safetensors", False)


def test_a_network_gets_faces_in_the_scale_in_which_it_learned(made: dict[str, Any], tmp_path: Path) -> None:
    table = changed(made, "") | {"data": {"store": str(made["store"]), "input": "raw"}}
    raw = train(check_recipe(table), tmp_path / "raw")
    trained = load_trained(raw, CPU)
    model = released(trained.net, trained.labels, tmp_path / "model.onnx")
    card = json.loads(model.with_suffix(".json").read_text()) | {"mean": trained.mean, "std": trained.std}
    model.with_suffix(".json").write_text(json.dumps(card))
    seen = {"name": "transferred", "options": {"backbone": f"run:{raw}", "size": 16}}
    nets = [changed(made, raw)["net"], changed(made, model)["net"], seen]
    for net in nets:
        other = changed(made, "") | {"net": net, "loss": {}}
        with pytest.raises(RecipeError, match=r"data.input must be raw, .* got standard; set data.input=raw"):
            train(check_recipe(other), tmp_path / "new")
        assert not (tmp_path / "new").exists()
    train(check_recipe(table | {"net": nets[0]}), tmp_path / "new")
    given = compute_features(Backbone(str(raw)), made["store"], folder=tmp_path / "features")
    assert given.mean_std == (0.0, 1 / 255)


def test_a_start_that_nobody_knows_is_told(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    trained = load_trained(run, CPU)
    start = released(trained.net, trained.labels, tmp_path / "start.onnx")
    train(check_recipe(changed(made, start)), tmp_path / "new")
    leak = evaluate(str(tmp_path / "new"), made["store"]).leak
    assert leak is not None
    assert (leak.start, bool(leak)) == ("start", False)
    assert evaluate(str(run), made["store"]).leak.start == ""


def test_colour_and_gray_meet_in_one_line(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    faces: FaceSet = made["faces"]
    shades = np.array([1.0, 0.6, 0.2])
    colour = replace(faces, images=np.rint(faces.images[..., None] * shades).astype(np.uint8))
    gray = replace(faces, images=np.stack([luma(image) for image in colour.images]))
    for name, one in (("colour", colour), ("gray", gray)):
        write_store(one, tmp_path / f"{name}.h5")
    scores = [evaluate(str(run), tmp_path / f"{name}.h5").scores for name in ("colour", "gray")]
    assert scores[0] == scores[1]
    text = r"net.s2d-resnet cannot take RGB faces \(1, 3, 16, 16\); "
    advice = "import the data without --color"
    for start, told in (
        ("", f"{text}set net.options.channels=3, or {advice}$"),
        (str(run), f"{text}{advice}$"),
    ):
        with pytest.raises(RecipeError, match=told):
            train(check_recipe(changed(made, start, tmp_path / "colour.h5")), tmp_path / "new")
    with pytest.raises(
        RecipeError, match=r"gray faces \(1, 1, 16, 16\); .*channels=1, or .* data with --color$"
    ):
        train(check_recipe(changed(made, "", made["store"], channels=3)), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    table = changed(made, "", tmp_path / "colour.h5", channels=3) | {"distil": {"teachers": [str(run)]}}
    make_trainer(check_recipe(table), colour, "cpu").prepare()


def test_a_frozen_network_may_start_from_a_released_one(
    made: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    options = {"backbone": f"run:{run}", "channels": 1, "size": 16, "freeze": "all"}
    table = changed(made, "") | {"augment": {"flip": "none"}, "loss": {}}
    table["net"] = {"name": "transferred", "options": options}
    table["run"] |= {"sizes": [[0.0, 16]]}
    first = make_trainer(check_recipe(table), made["faces"], "cpu")
    start = released(first.net, first.target.names, tmp_path / "start.onnx")
    table["net"] |= {"init_from": str(start)}
    second = make_trainer(check_recipe(table), made["faces"], "cpu")
    images = made["faces"].images
    np.testing.assert_allclose(second.logits(images), first.logits(images), atol=0.02)


def test_the_last_of_several_linear_layers_follows_the_emotions(made: dict[str, Any], tmp_path: Path) -> None:
    faces: FaceSet = made["faces"]
    table = changed(made, "") | {"loss": {}}
    table["net"] = {"name": "cs231n-baseline", "options": {}}
    table["run"] |= {"sizes": [[0.0, 48]]}
    first = Trainer(check_recipe(table), faces, (0.5, 0.25), CPU)
    start = released(first.net, faces.label_names, tmp_path / "start.onnx", 48)
    table["net"] |= {"init_from": str(start)}
    turned = replace(faces, label_names=tuple(reversed(faces.label_names)), labels=2 - faces.labels)
    second = Trainer(check_recipe(table), turned, (0.5, 0.25), CPU)
    images = faces.images[:20]
    np.testing.assert_allclose(second.logits(images), first.logits(images)[:, ::-1], atol=0.02)
