"""An ensemble of a run and its release, through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("onnxscript", reason="needs the train extra")

from mien.cli.main import app
from mien.errors import DataError
from mien.workflows.release import CardText, ReleaseSettings, release

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
    assert found["against_best"]["p_value"] == 1
    assert (tmp_path / "votes" / "predictions-test-hard.csv").is_file()
    twice = COMMANDS.invoke(app, ["ensemble", "bars", "bars", "--data", str(made["store"])])
    assert isinstance(twice.exception, DataError) or "two or more different models" in twice.output
