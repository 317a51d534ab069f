"""A released model is calibrated again: the same network, other probabilities, and scores of its own."""

import json
import re
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
from mien.core.calibration import softmax
from mien.core.model_store import find_model
from mien.data.duplicates import find_near_duplicates
from mien.data.records import SPLITS, FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError, ModelError
from mien.workflows.evaluate import evaluate
from mien.workflows.recalibrate import RecalibrationSettings, recalibrate
from mien.workflows.release import CardText, release

pytestmark = pytest.mark.train
COMMANDS = CliRunner()


@pytest.fixture
def bars(made: dict[str, Any], run: Path, home: Path) -> Path:
    """The released model's ``.onnx`` file."""
    return release(run, "bars", made["store"], CardText("three bars", version="1.0")).weights


def noisy(faces: FaceSet) -> FaceSet:
    """The faces of another camera, as it were: half of them carry another's label, so that doubt is due."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(len(faces.labels)) < 0.5, rng.permutation(faces.labels), faces.labels)
    return replace(faces, name="noisy", labels=labels)


def test_probabilities_follow_the_rows_and_the_network_stays(
    made: dict[str, Any], bars: Path, tmp_path: Path
) -> None:
    faces = noisy(made["faces"])
    write_store(faces, tmp_path / "noisy.h5")
    weights, card = recalibrate(
        "bars", "doubtful", tmp_path / "noisy.h5", RecalibrationSettings(version="1.1")
    )
    assert weights.read_bytes() == bars.read_bytes()
    old, new = mien.load("bars"), mien.load("doubtful")
    assert replace(new.card, scores={}) == replace(card, scores={})
    assert (card.name, card.version, card.summary) == ("doubtful", "1.1", "three bars")
    assert (card.training, card.views) == (old.card.training, old.card.views)
    assert card.calibrated_on == "the 100 validation faces of noisy"
    about = card.scores["test"]["data"], card.scores["test"]["data_hash"]
    assert about == ("noisy", faces.content_hash())
    assert card.scores["int8"] == {"data": made["faces"].name, **old.card.scores["int8"]}
    val = faces.select("val")
    np.testing.assert_array_equal(new.logits(val.images), old.logits(val.images))

    def confidence(model: mien.Classifier) -> float:
        return float(model.probs(val.images).max(axis=1).mean())

    right = float((new.probs(val.images).argmax(axis=1) == val.labels).mean())
    assert confidence(old) > right + 0.2
    assert confidence(new) == pytest.approx(right, abs=0.05)
    assert (new.probs(val.images).max(axis=1) >= card.uncertain_below).mean() >= 0.8
    scored = evaluate("doubtful", tmp_path / "noisy.h5")
    assert scored.scores.accuracy == card.scores["test"]["accuracy"]
    assert scored.scores.accuracy != old.card.scores["test"]["accuracy"]


def test_int8_of_a_card_whose_scores_name_no_data_was_measured_on_the_training_data(
    made: dict[str, Any], bars: Path, tmp_path: Path
) -> None:
    table = json.loads(bars.with_suffix(".json").read_text())
    del table["scores"]["test"]["data"]  # as in the shipped cards
    bars.with_suffix(".json").write_text(json.dumps(table))
    write_store(noisy(made["faces"]), tmp_path / "noisy.h5")
    card = recalibrate("bars", "again", tmp_path / "noisy.h5")[1]
    assert card.scores["int8"]["data"] == made["faces"].name


def test_faces_of_another_colour_are_taken_as_the_network_sees_them(
    noise_faces: Any, tiny_with: Any, tmp_path: Path
) -> None:
    gray = noise_faces(30)
    gray = replace(gray, split=np.repeat([0, 1, 2], 10).astype(np.uint8))
    write_store(gray, tmp_path / "gray.h5")
    write_store(replace(gray, images=np.repeat(gray.images[..., None], 3, axis=3)), tmp_path / "rgb.h5")
    cards = [
        recalibrate(tiny_with(), kind, tmp_path / f"{kind}.h5", RecalibrationSettings(to=tmp_path))[1]
        for kind in ("gray", "rgb")
    ]
    assert cards[0].temperatures == cards[1].temperatures
    assert cards[0].scores["test"]["accuracy"] == cards[1].scores["test"]["accuracy"]


def test_what_the_model_learned_from_elsewhere_is_not_known_and_is_told(
    made: dict[str, Any], bars: Path, tmp_path: Path
) -> None:
    write_store(noisy(made["faces"]), tmp_path / "noisy.h5")
    store, text = (
        str(tmp_path / "noisy.h5"),
        "this model learned from is not known here: not searched for leaks",
    )
    own = ["calibrate", "bars", str(made["store"]), "--name", "other"]
    assert text not in COMMANDS.invoke(app, own).stdout
    for command in (
        ["calibrate", "bars", store, "--name", "other"],
        ["ensemble", "bars", "other", "--data", store],
    ):
        assert text in COMMANDS.invoke(app, command).stdout


def test_clean_of_a_training_part_that_is_not_the_models_is_called_so_and_enters_no_card(
    made: dict[str, Any], run: Path, bars: Path, tmp_path: Path
) -> None:
    stores = {}
    for name, faces in (("own", made["faces"]), ("noisy", noisy(made["faces"]))):
        stores[name] = str(tmp_path / f"{name}.h5")
        write_store(faces, Path(stores[name]), near=find_near_duplicates(faces))
    for name, store in stores.items():
        for command in (["evaluate", "bars", store], ["ensemble", "bars", str(run), "--data", store]):
            shown = COMMANDS.invoke(app, command).stdout
            assert "clean" in shown
            assert ("training" in shown) == (name == "noisy")
        done = COMMANDS.invoke(app, ["calibrate", "bars", store, "--name", name])
        assert done.exit_code == 0, done.output
        assert ("\nclean test accuracy" in done.stdout) == (name == "own")
        assert ("test_clean" in find_model(name)[1].scores) == (name == "own")
        told = "\nno clean score in the card: this model's training faces are not known here\n"
        assert (told in done.stdout) == (name == "noisy")


def test_views_and_prior_are_kept_unless_others_are_asked_for(made: dict[str, Any], bars: Path) -> None:
    shares = [(made["faces"].select("train").labels == label).mean() for label in range(3)]
    _, auto = recalibrate("bars", "auto", made["store"], RecalibrationSettings("auto", 0.5))
    assert auto.prior == pytest.approx(shares)
    assert (auto.views, auto.prior_power) == ("auto", 0.5)
    _, again = recalibrate("auto", "again", made["store"])
    assert (again.views, again.prior_power, again.prior) == ("auto", 0.5, auto.prior)
    _, chosen = recalibrate("auto", "chosen", made["store"], RecalibrationSettings(prior_power="auto"))
    assert chosen.prior_power == 0
    assert chosen.scores["val_by_prior_power"]["why"].startswith("0: none gains")
    _, without = recalibrate("auto", "without", made["store"], RecalibrationSettings(1, 0.0))
    assert (without.views, without.prior_power) == (1, 0)


def test_automatic_views_stay_so_no_label_changes_unless_options_say_so(
    made: dict[str, Any], bars: Path, tmp_path: Path
) -> None:
    faces, card = noisy(made["faces"]), find_model("bars")[1]
    write_store(faces, tmp_path / "noisy.h5")
    one = softmax(mien.load("bars", views=1).logits(faces.images))
    auto = {"few": 1, "many": 2, "below": float(np.median(one.max(axis=1)))}
    card = replace(card, views="auto", auto=auto, temperatures=card.temperatures | {"1": 1.0})
    card.write(bars.with_suffix(".json"))
    _, again = recalibrate("bars", "again", tmp_path / "noisy.h5")
    assert again.auto == auto | {"temperature": 1.0}
    assert abs(again.temperatures["1"] - 1) > 0.1
    old, new = mien.load("bars"), mien.load("again")
    assert 0 < again.scores["val_share_in_many_views"] < 1
    np.testing.assert_array_equal(new.logits(faces.images), old.logits(faces.images))
    _, third = recalibrate("again", "third", made["store"])
    assert third.auto == again.auto
    for settings in (RecalibrationSettings("auto"), RecalibrationSettings(prior_power=0.0)):
        assert recalibrate("bars", "other", tmp_path / "noisy.h5", settings)[1].auto["many"] == 5


def test_a_prior_that_nobody_knows_is_not_made_up(made: dict[str, Any], bars: Path, tmp_path: Path) -> None:
    write_store(noisy(made["faces"]), tmp_path / "noisy.h5")
    with pytest.raises(
        DataError, match=r"card of 'bars' does not state how common .* leave --prior-power out"
    ):
        recalibrate("bars", "other", tmp_path / "noisy.h5", RecalibrationSettings(prior_power="auto"))


def test_what_cannot_be_calibrated_says_why_and_leaves_nothing(
    made: dict[str, Any], bars: Path, home: Path, tmp_path: Path
) -> None:
    faces, (train, val, test) = made["faces"], map(SPLITS.index, ("train", "val", "test"))
    for name, other in {
        "labels": replace(faces, label_names=("a", "b", "c")),
        "no val": replace(faces, split=np.where(faces.split == val, train, faces.split).astype(np.uint8)),
        "no test": replace(faces, split=np.where(faces.split == test, train, faces.split).astype(np.uint8)),
    }.items():
        write_store(other, tmp_path / f"{name}.h5")
    before = sorted(home.rglob("*"))
    with pytest.raises(DataError, match=r"labels of 'bars' \(a, b, c\) are not the model's"):
        recalibrate("bars", "other", tmp_path / "labels.h5")
    for split in ("val", "test"):
        command = "mien data split" + (" --keep-test" if split == "val" else "")
        text = f"data set 'bars' has no {split} rows; {command} makes some"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mien.workflows.recalibrate.calibrated", None)  # it is told before that work
            with pytest.raises(DataError, match=text):
                recalibrate("bars", "other", tmp_path / f"no {split}.h5")
    with pytest.raises(ModelError, match=r"'\.\./other' cannot name a model"):
        recalibrate("bars", "../other", made["store"])
    with pytest.raises(ModelError, match="no model named 'bar'; did you mean 'bars'"):
        recalibrate("bar", "other", made["store"])
    with pytest.raises(MienError, match="views must be one of"):
        recalibrate("bars", "other", made["store"], RecalibrationSettings(views=3))
    for power in ("auto ", 2.1, float("nan"), True):
        with pytest.raises(MienError, match=r"prior_power must lie in 0\.\.2, or be 'auto', got "):
            RecalibrationSettings(prior_power=power)
    shutil.copyfile(bars, tmp_path / "larger.onnx")
    replace(find_model("bars")[1], input_size=64).write(tmp_path / "larger.json")
    with pytest.raises(ModelError, match=r"network of 'bars' maps .* its card says"):
        recalibrate(str(tmp_path / "larger.onnx"), "other", made["store"])
    assert sorted(home.rglob("*")) == before


def test_the_command_prints_the_figures_and_where_the_model_is(
    made: dict[str, Any], bars: Path, tmp_path: Path
) -> None:
    store, out = str(made["store"]), str(tmp_path / "to")
    done = COMMANDS.invoke(app, ["calibrate", "bars", store, "--name", "mine", "--prior-power", "auto"])
    assert done.exit_code == 0, done.output
    card = find_model("mine")[1]
    assert f"\ntest accuracy {card.scores['test']['accuracy']:.2%} (" in done.stdout
    assert f"uncertain below {card.uncertain_below:.4f}: " in done.stdout
    assert "\nprior power 0: none gains" in done.stdout
    assert "shipped in" not in done.stdout  # figures of other rows
    assert "replaced" not in done.stdout
    again = COMMANDS.invoke(app, ["calibrate", "bars", store, "--name", "mine"]).stdout
    assert re.search(r"^replaced mine, made \d{4}-\d\d-\d\d \d\d:\d\d$", again, re.M)
    assert done.stdout.endswith("next: mien read photo.jpg --model mine\n")
    done = COMMANDS.invoke(
        app, ["calibrate", "bars", store, "--name", "mine", "--out", out, "--version", "3"]
    )
    assert done.stdout.endswith(f"next: mien read photo.jpg --model {Path(out) / 'mine.onnx'}\n")
    assert json.loads((Path(out) / "mine.json").read_text("utf-8"))["version"] == "3"
    wrong = COMMANDS.invoke(app, ["calibrate", "bars", store, "--name", "mine", "--prior-power", "3"])
    assert wrong.exit_code != 0
    assert "--prior-power must lie in 0..2, or be auto, got '3'" in str(wrong.exception) + wrong.output
