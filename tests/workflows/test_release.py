"""The one path: train, evaluate, release, load; on generated faces, through the command line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("onnxscript", reason="needs the train extra")

import mien
from mien.cli.main import app
from mien.core.model_store import find_model
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError, ModelError, OutputError
from mien.train.recipe_reading import check_recipe
from mien.workflows.evaluate import EvaluateSettings, evaluate
from mien.workflows.model_card import model_card
from mien.workflows.recalibrate import RecalibrationSettings, recalibrate
from mien.workflows.release import CardText, ReleaseSettings, read_card_text, release
from mien.workflows.train import train

pytestmark = pytest.mark.train
COMMANDS = CliRunner()


def test_a_run_is_released_under_a_name_and_the_light_half_reads_with_it(
    made: dict[str, Any], run: Path, home: Path
) -> None:
    released = release(run, "bars", made["store"], CardText("three bars"))
    assert released.same_labels == 1
    model = mien.load("bars")
    test = made["faces"].select("test")
    accuracy = (model.probs(test.images).argmax(1) == test.labels).mean()
    assert accuracy == pytest.approx(released.card.scores["test"]["accuracy"])
    assert accuracy > 0.9
    assert model.card.labels == made["faces"].label_names
    assert model.card.training["recipe"]["run"]["epochs"] == 6
    assert model.card.training["recipe"]["data"]["store"] == "faces.h5", "a card names no folder"
    assert set(model.card.temperatures) == {"1", "2", "5", "10", "auto"}
    val = made["faces"].select("val")
    named = model.probs(val.images).max(1) >= model.card.uncertain_below
    assert named.mean() == pytest.approx(model.card.scores["val_certain"]["coverage"])
    assert named.mean() >= 0.8
    assert model.card.calibrated_on == "the 100 validation faces of bars"
    face = np.repeat(test.images[:1, :, :, None], 3, axis=3)[0]
    read = model.classify(face)
    assert max(read, key=read.get) == model.labels[int(model.probs(test.images[:1]).argmax())]
    assert sum(read.values()) == pytest.approx(1)


def test_a_release_is_a_look_at_the_test_rows_of_its_run(made: dict[str, Any], run: Path, home: Path) -> None:
    (run / "test-evaluations.log").unlink(missing_ok=True)
    command = ["release", str(run), "--name", "bars", "--data", str(made["store"]), "--no-int8"]
    done = COMMANDS.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "\ntest set evaluated 1 time by this run\n" in done.stdout
    assert evaluate(str(run), made["store"]).test_evaluations == 2
    (run / "test-evaluations.log").unlink()
    (run / "test-evaluations.log").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.workflows.release.export_onnx", None)  # it is told before that work
        with pytest.raises(OutputError, match=r"test-evaluations\.log cannot be written: it is a folder"):
            release(run, "again", made["store"], CardText("three bars"))


def test_the_card_of_ones_own_emotions_says_only_what_is_known(
    made: dict[str, Any], run: Path, home: Path, tmp_path: Path
) -> None:
    told = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    told["recipe"]["net"]["init_from"] = str(tmp_path / "secret" / "older-run")
    told["recipe"]["net"]["options"] = {"backbone": "run:/secret/sees-by"}
    told["recipe"]["distil"] |= {"teachers": ["/secret/a", "secret/b"], "targets": "fer2013-votes"}
    (run / "recipe.json").write_text(json.dumps(told), encoding="utf-8")
    released = release(run, "bars", made["store"], CardText("three bars"), ReleaseSettings(int8=False))
    recipe = released.card.training["recipe"]
    assert recipe["net"]["init_from"] == "older-run"
    assert (recipe["net"]["name"], recipe["net"]["options"]["backbone"]) == ("s2d-resnet", "run:sees-by")
    assert (recipe["distil"]["teachers"], recipe["distil"]["targets"]) == (["a", "b"], "fer2013-votes")
    text = released.weights.with_suffix(".json").read_text("utf-8") + model_card(released.card, 1)
    for word in ("secret", str(tmp_path), "FER2013", "FER+", "web faces", "gray web", "fear", "rater"):
        assert word not in text
    assert "language: en\n" in text


def test_a_model_with_automatic_views_and_a_prior_scores_as_its_card_says(
    made: dict[str, Any], run: Path, home: Path
) -> None:
    card = release(run, "bars", made["store"], CardText(""), ReleaseSettings("auto", prior_power="auto")).card
    training = made["faces"].select("train").labels
    assert card.prior == pytest.approx([(training == label).mean() for label in range(3)])
    assert (card.auto["few"], card.auto["many"]) == (1, 5)
    assert card.scores["val_by_prior_power"]["why"].startswith("0: none gains")
    scored = evaluate("bars", made["store"])
    assert (scored.views, scored.temperature) == ("auto", card.temperatures["auto"])
    assert scored.scores.accuracy == card.scores["test"]["accuracy"]
    with pytest.raises(ModelError, match="automatic views need the threshold of a released model"):
        evaluate(str(run), made["store"], EvaluateSettings("val", views="auto"))


def test_a_balanced_network_is_released_and_calibrated_without_a_power_of_its_prior(
    made: dict[str, Any], run: Path, home: Path
) -> None:
    told = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    told["recipe"]["data"]["sampling"] = "balanced"
    (run / "recipe.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match=r"trained with data.sampling=balanced"):
        release(run, "bars", made["store"], CardText(""), ReleaseSettings(prior_power=1, int8=False))
    release(run, "bars", made["store"], CardText(""), ReleaseSettings(int8=False))
    with pytest.raises(ModelError, match=r"trained with data.sampling=balanced"):
        recalibrate("bars", "other", made["store"], RecalibrationSettings(prior_power=1))


@pytest.mark.parametrize("least", [0.985, 1.01], ids=["good enough", "not"])
def test_the_int8_file_is_shipped_only_where_the_validation_rows_allow_it(
    made: dict[str, Any], run: Path, home: Path, monkeypatch: pytest.MonkeyPatch, least: float
) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr("mien.workflows.release_int8.MIN_SAME_LABELS", least)
    released = release(run, "bars", made["store"], CardText("three bars"))
    told, kinds = (
        released.card.scores["int8"],
        {t.data_type for t in onnx.load(released.weights).graph.initializer},
    )
    is_shipped = least < 1
    assert told["shipped"] == ("int8" if is_shipped else "float")
    assert (onnx.TensorProto.INT8 in kinds) is is_shipped
    assert told["why"].startswith(
        "same label on" if is_shipped else "fewer than 101.0% of the labels stay: same"
    )
    assert sorted(path.name for path in (home / "models").iterdir()) == ["bars.json", "bars.onnx"]
    assert evaluate("bars", made["store"]).scores.accuracy == released.card.scores["test"]["accuracy"]
    assert released.card.scores["cpu"]["ms_a_face"] > 0


def test_the_onnx_file_scores_as_the_run_does(made: dict[str, Any], run: Path, home: Path) -> None:
    release(run, "bars", made["store"], CardText("three bars"), ReleaseSettings(views=10, int8=False))
    by_torch = evaluate(str(run), made["store"], EvaluateSettings(views=10))
    by_onnx = evaluate("bars", made["store"])
    assert by_onnx.views == 10
    assert by_onnx.scores.confusion == by_torch.scores.confusion
    assert by_onnx.temperature == pytest.approx(by_torch.temperature, rel=0.02)


def test_the_commands_lead_from_recipe_to_reading(made: dict[str, Any], tmp_path: Path, home: Path) -> None:
    recipe = tmp_path / "bars.toml"
    recipe.write_text(
        'summary = "bars"\n[net]\nname = "s2d-resnet"\noptions = { widths = [8], blocks = [1] }\n'
        "[run]\nepochs = 1\nbatch_size = 32\nsizes = [[0.0, 16]]\nthreads = 1\n"
    )
    run, store = str(tmp_path / "run"), str(shutil.copy(made["store"], tmp_path / "bars.h5"))
    steps = [
        ["train", str(recipe), "--out", run, "--data", store, "--set", "run.epochs=2"],
        ["evaluate", run, store, "--split", "val", "--json"],
        ["release", run, "--name", "bars", "--data", store, "--summary", "from the command line"],
        ["evaluate", "bars", store],
        ["data", "audit", store],
        ["release", run, "--name", "audited", "--data", store],
    ]
    printed = []
    for step in steps:
        result = COMMANDS.invoke(app, step)
        assert result.exit_code == 0, result.output
        printed.append(result.stdout)
    assert "next: mien evaluate" in printed[0]
    assert json.loads(printed[1])["split"] == "val"
    assert "\ntest accuracy" in printed[2]
    assert f"no clean score in the card: run `mien data audit {store}`, then this command again" in printed[2]
    assert "accuracy (95 %)" in printed[3]
    clean = find_model("audited")[1].scores["test_clean"]
    assert f"\nclean test accuracy {clean['accuracy']:.2%} (" in printed[5]
    assert "no clean score" not in printed[5]
    assert find_model("bars")[1].summary == "from the command line"


def test_without_data_the_set_that_the_run_learned_from_is_taken(run: Path, home: Path) -> None:
    for command in (["release", str(run), "--name", "bars", "--no-int8"], ["ensemble", "bars", str(run)]):
        done = COMMANDS.invoke(app, command)
        assert done.exit_code == 0, done.output
    assert find_model("bars")[1].scores["test"]["data"] == "bars"


@pytest.mark.parametrize(
    "command",
    [
        ["release", "{}", "--name", "x"],
        ["ensemble", "fer2013-nano", "{}"],
        ["average", "{}", "{}2", "--out", "o"],
    ],
)
def test_a_run_that_is_apart_from_its_data_set_is_told_to_be_given_it(
    run: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    kept = json.loads((run / "recipe.json").read_text())
    kept["recipe"]["data"]["store"] = "faces.h5"  # as it was named in another folder
    (run / "recipe.json").write_text(json.dumps(kept))
    shutil.copytree(run, f"{run}2")
    monkeypatch.chdir(tmp_path)
    refused = COMMANDS.invoke(app, [part.format(run) for part in command])
    assert refused.exit_code == 2
    assert f"{run} learned from faces.h5, which is not there; say where it is with --data" in refused.stderr


def test_a_release_that_cannot_be_made_says_why_and_leaves_nothing(
    made: dict[str, Any], run: Path, home: Path, tmp_path: Path
) -> None:
    write_store(
        replace(made["faces"], name="other", split=made["faces"].split[::-1].copy()), tmp_path / "o.h5"
    )
    with pytest.raises(DataError, match=r"o.h5 is not the data that .*bars was trained on"):
        release(run, "bars", tmp_path / "o.h5", CardText(""))
    with pytest.raises(ModelError, match=r"'\.\./bars' cannot name a model"):
        release(run, "../bars", made["store"], CardText(""))
    arguments = ["release", str(run), "--name", "bars", "--data", str(made["store"]), "--views", "0"]
    refused = COMMANDS.invoke(app, arguments)
    assert refused.exit_code == 2
    assert "views must be one of 1, 2, 5, 10, 12, 18 or auto, got 0" in refused.stderr
    (run / "weights.safetensors").rename(run / "gone")
    with pytest.raises(ModelError, match="bars holds an unfinished run; give its `mien train` command again"):
        release(run, "bars", made["store"], CardText(""))
    with pytest.raises(ModelError, match="holds no run of `mien train`"):
        release(tmp_path / "nothing", "bars", made["store"], CardText(""))
    (run / "weights.safetensors").write_bytes((run / "gone").read_bytes()[:5000])
    with pytest.raises(ModelError, match="is not a readable checkpoint of mien"):
        release(run, "bars", made["store"], CardText(""))
    assert not list(home.rglob("*.onnx"))


def test_an_export_that_disagrees_with_torch_is_not_released(
    made: dict[str, Any], run: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.workflows.release.compare", lambda *_: (0.99, 3.0))
    with pytest.raises(ModelError, match=r"agrees with torch on only 99.00% of the rows; not released"):
        release(run, "bars", made["store"], CardText(""))
    assert not list(home.rglob("bars*"))


def test_weights_that_changed_after_the_release_are_refused(
    made: dict[str, Any], run: Path, home: Path
) -> None:
    weights = release(run, "bars", made["store"], CardText("")).weights
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="is not the file that its card describes"):
        mien.load("bars")


def test_card_text_comes_from_toml_and_its_mistakes_are_named(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text('licence = "CC0"\nversion = "2"\ncontact = "me"\ncitation = "us"\n')
    text = read_card_text(tmp_path / "card.toml", "short")
    assert (text.version, text.contact, text.citation) == ("2", "me", "us")
    assert read_card_text(tmp_path / "card.toml", "short").licence == "CC0"
    assert read_card_text(tmp_path / "card.toml", "short").summary == "short"
    (tmp_path / "bad.toml").write_text('license = "CC0"\n')
    with pytest.raises(MienError, match=r"'license' must be one of .*; did you mean 'licence'?"):
        read_card_text(tmp_path / "bad.toml", "")


def test_a_network_that_sees_enlarged_faces_in_colour_is_released_and_reads(
    tmp_path: Path, home: Path, made: dict[str, Any], astronaut: Any
) -> None:
    """Noise in red, green or blue: a hue an emotion."""
    gray: FaceSet = made["faces"]
    noise = np.random.default_rng(0).integers(60, 120, gray.images.shape, np.uint8)
    images = np.repeat(noise[..., None], 3, axis=3)
    for image, label in zip(images, gray.labels, strict=True):
        image[..., label] += 60
    write_store(replace(gray, images=images), tmp_path / "colour.h5")
    table = made["table"] | {"data": {"store": str(tmp_path / "colour.h5")}}
    options = {"backbone": "resnet10t", "size": 32}
    table |= {"net": {"name": "transferred", "options": options}, "augment": {}, "loss": {}}
    table |= {"optim": {"name": "adam", "lr": 0.005, "schedule": "constant"}}
    table["run"] = {"epochs": 2, "batch_size": 16, "sizes": [[0.0, 24]], "threads": 1}
    run = train(check_recipe(table), tmp_path / "run")
    released = release(run, "colour", tmp_path / "colour.h5", CardText("hues"))
    assert released.same_labels == 1
    assert (released.card.channels, released.card.input_size) == (3, 24)
    scores = evaluate("colour", tmp_path / "colour.h5").scores
    assert scores.accuracy == released.card.scores["test"]["accuracy"]
    assert scores.accuracy > 0.9
    model = mien.load("colour")
    (reading,) = mien.Analyzer(model).read(astronaut)
    crop = model.crop(astronaut, reading.face)
    assert crop.shape == (24, 24, 3)
    assert model.probs(crop[None])[0] == pytest.approx(reading.probs, abs=1e-6)
    red = images[gray.labels == 0][0]
    named = model.classify(red)
    assert max(named, key=named.get) == "angry"
    with pytest.raises(ModelError, match=r"crops must be uint8 \(N, 24, 24, 3\)"):
        model.probs(red[None, ..., 0])


def test_faces_that_the_run_learned_from_are_refused_and_marked_in_the_card(
    leaky: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    run, store = Path(shutil.copytree(leaky["run"], tmp_path / "remembers")), str(leaky["store"])
    steps = {
        "release": ["release", str(run), "--name", "leaky", "--data", store, "--no-int8"],
        "calibrate": ["calibrate", "leaky", store, "--name", "again"],
    }
    for name, arguments in zip(("leaky", "again"), steps.values(), strict=True):
        refused = COMMANDS.invoke(app, arguments)
        assert "on leaky val: 100 of 100 faces are faces that the network" in refused.stderr
        assert not (home / "models" / f"{name}.json").exists()
        allowed = COMMANDS.invoke(app, [*arguments, "--allow-leak"])
        assert "\nLEAK: the network has learned from test faces" in allowed.stdout, allowed.output
        card = find_model(name)[1]
        assert card.scores["test"]["leak"]["pixels"] == 100
        assert card.calibrated_on.endswith(
            "of leaky; 100 of 100 faces are faces that the network learned from"
        )
        assert "LEAK: the network was trained on faces of these rows: test." in model_card(card, 1)
        assert (
            "LEAK: the network has learned from faces of test"
            in COMMANDS.invoke(app, ["models", name]).stdout
        )
