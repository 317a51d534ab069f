"""An ensemble of a run and its release, through the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("onnxscript", reason="needs the train extra")

from mien.cli.main import app
from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError
from mien.train.recipe_reading import check_recipe
from mien.workflows.ensemble import ensemble
from mien.workflows.evaluate import evaluate
from mien.workflows.release import CardText, ReleaseSettings, release
from mien.workflows.train import train

pytestmark = pytest.mark.train
COMMANDS = CliRunner()


def test_an_ensemble_of_a_run_and_its_release_votes_as_they_do(
    made: dict[str, Any], run: Path, home: Path, tmp_path: Path
) -> None:
    release(run, "bars", made["store"], CardText("three bars"), ReleaseSettings(views=1, int8=False))
    arguments = ["ensemble", str(run), "bars", "--data", str(made["store"]), "--views", "1"]
    done = COMMANDS.invoke(app, [*arguments, "--out", str(tmp_path / "votes"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    alone = [member["scores"]["accuracy"] for member in found["members"]]
    assert found["votes"]["soft"]["accuracy"] == alone[0] == alone[1]
    assert sum(member["weight"] for member in found["members"]) == pytest.approx(1)
    member = found["members"][0]["name"]
    assert found["against_best"] == {"member": member, "only_first": 0, "only_second": 0, "p_value": 1}
    shown = " ".join(COMMANDS.invoke(app, arguments).stdout.split())
    assert f"soft vote against {member}, the best member on val: 0 faces only the vote got right, 0" in shown
    assert (tmp_path / "votes" / "predictions-test-hard.csv").is_file()
    same = [
        ["bars", "bars"],
        ["bars", str(home / "models" / "bars.onnx")],
        [str(run), f"{run}/../{run.name}"],
    ]
    for two in same:
        twice = COMMANDS.invoke(app, ["ensemble", *two, "--data", str(made["store"])])
        assert twice.exit_code == 2
        assert f"needs two or more different models, got {', '.join(two)}" in twice.stderr


def test_models_vote_in_the_order_of_the_first(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    faces: FaceSet = made["faces"]
    turned = replace(faces, label_names=tuple(reversed(faces.label_names)), labels=2 - faces.labels)
    write_store(turned, tmp_path / "turned.h5")
    table = made["table"] | {"data": {"store": str(tmp_path / "turned.h5")}}
    other = train(check_recipe(table | {"run": table["run"] | {"epochs": 2}}), tmp_path / "other")
    found = ensemble([str(run), str(other)], made["store"])
    alone = [evaluate(str(one), made["store"]).scores for one in (run, other)]
    assert [one.accuracy for one in found.alone] == [one.accuracy for one in alone]
    with pytest.raises(DataError, match=r"the same emotions; fer2013-nano names .*, the first angry"):
        ensemble([str(run), "fer2013-nano"], made["store"])


def test_a_leak_is_found_whatever_model_comes_first(noise_faces: Any, module_at: Any, tmp_path: Path) -> None:
    faces = noise_faces(30)
    faces = replace(faces, split=np.repeat([0, 1, 2], 10).astype(np.uint8))
    write_store(replace(faces, images=np.tile(faces.images[:10], (3, 1, 1))), tmp_path / "leaky.h5")
    learned = {"name": faces.name, "content_hash": read_store(tmp_path / "leaky.h5").content_hash()}
    write = module_at("tests/fixtures_model.py").write_tiny_model
    knows = str(write(tmp_path, "knows", training={"data": learned}))
    other = str(write(tmp_path, "other", labels=tuple(reversed(faces.label_names))))
    for models in ([knows, other], [other, knows]):
        with pytest.raises(DataError, match=r"knows on .* test: 10 of 10 faces are faces that the network"):
            ensemble(models, tmp_path / "leaky.h5")
