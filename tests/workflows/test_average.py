"""The mean of the weights of runs, through the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("onnxscript", reason="needs the train extra")

import torch

from mien.cli.main import app
from mien.data.leaks import LEARNED, Leak, read_learned
from mien.errors import DataError, ModelError, RecipeError
from mien.train.averaging import estimate_norms, mean_weights
from mien.train.checkpoints import load_note, load_tensors, save_tensors
from mien.train.recipe_reading import check_recipe
from mien.train.trained_net import load_trained
from mien.workflows.average import average
from mien.workflows.evaluate import EvaluateSettings, evaluate
from mien.workflows.release import CardText, ReleaseSettings, release
from mien.workflows.report_run import read_run
from mien.workflows.train import train

pytestmark = pytest.mark.train
COMMANDS = CliRunner()


@pytest.fixture(scope="module")
def more(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that go on from the first with other seeds."""
    folder = tmp_path_factory.mktemp("more")
    runs = []
    for seed in (1, 2):
        table = made["table"] | {"net": made["table"]["net"] | {"init_from": str(made["run"])}}
        table["run"] = table["run"] | {"epochs": 1, "seed": seed}
        runs.append(train(check_recipe(table), folder / f"seed-{seed}"))
    return runs


def test_the_average_is_a_run_that_can_be_scored_and_released(
    made: dict[str, Any], more: list[Path], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    done = COMMANDS.invoke(app, ["average", *map(str, more), "--out", str(out)])
    assert done.exit_code == 0, done.output
    first, second, both = (load_tensors(run / "weights.safetensors")[0] for run in (*more, out))
    name = next(name for name, tensor in first.items() if tensor.ndim == 4)
    assert not torch.equal(first[name], second[name])
    torch.testing.assert_close(both[name], (first[name] + second[name]) / 2)
    scores = evaluate(str(out), made["store"], EvaluateSettings("val")).scores
    lines = done.stdout.splitlines()
    assert lines[2].split() == [str(out), "validation", f"{scores.accuracy:.2%}"]
    assert json.loads((out / "environment.json").read_text())["average_of"] == ["seed-1", "seed-2"]
    assert set(read_learned(more[0] / LEARNED).pixels) <= set(read_learned(out / LEARNED).pixels)
    card = release(out, "both", made["store"], CardText("an average"), ReleaseSettings(int8=False)).card
    assert card.training["environment"]["average_of"] == ["seed-1", "seed-2"]
    again = COMMANDS.invoke(app, ["average", *map(str, more), "--out", str(out)])
    assert (again.exit_code, "holds a run already" in again.output) == (2, True)
    recipe = check_recipe(json.loads((more[0] / "recipe.json").read_text())["recipe"])
    with pytest.raises(RecipeError, match="both holds a run of another kind, the average of several"):
        train(recipe, out)


def test_norms_have_the_statistics_of_the_training_faces(made: dict[str, Any], run: Path) -> None:
    trained = load_trained(run, torch.device("cpu"))
    norms = [m for m in trained.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.fill_(9)
    faces = made["faces"].select("train")
    estimate_norms(trained, faces)
    seen = []
    norms[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    trained.logits(faces.images)
    means = torch.cat(seen).mean((0, 2, 3))
    torch.testing.assert_close(norms[0].running_mean, means, rtol=0.02, atol=0.005)
    assert not any(m.training for m in trained.net.modules())
    assert norms[0].momentum is not None


def test_frozen_norms_keep_their_statistics(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    options = {"backbone": f"run:{run}", "size": 16, "freeze": "all", "head_norm": True}
    table = made["table"] | {"net": {"name": "transferred", "options": options}, "loss": {}}
    runs = []
    for seed in (0, 1):
        table["run"] = table["run"] | {"epochs": 1, "seed": seed}
        runs.append(train(check_recipe(table), tmp_path / str(seed)))
    average(runs, tmp_path / "both")
    first, both = (load_tensors(one / "weights.safetensors")[0] for one in (runs[0], tmp_path / "both"))
    frozen = [name for name in first if name.startswith("backbone.")]
    assert all(torch.equal(first[name], both[name]) for name in frozen)
    assert not torch.equal(first["head.0.running_mean"], both["head.0.running_mean"])


def test_whole_numbers_are_not_averaged() -> None:
    mean = mean_weights(
        [{"w": torch.tensor([1.0]), "n": torch.tensor(7)}, {"w": torch.tensor([2.0]), "n": torch.tensor(8)}]
    )
    assert mean == {"w": torch.tensor([1.5]), "n": torch.tensor(7)}


def test_what_cannot_be_averaged_says_why_and_leaves_nothing(
    made: dict[str, Any], more: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="two or more different runs"):
        average([more[0], more[0]], out)
    with pytest.raises(ModelError, match=r"no run of `mien train`"):
        average([more[0], tmp_path], out)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ModelError, match=r"no run of `mien train`"):
        average([more[0], tmp_path / "loop"], out)
    other = tmp_path / "other"
    other.mkdir()
    tensors, note = load_tensors(more[1] / "weights.safetensors")
    for changed, said in (
        (note | {"mean_std": [0.5, 0.5]}, r"other cannot be averaged with .*seed-1: its mean_std are others"),
        (note | {"data": {"content_hash": "x"}}, "its data are others"),
    ):
        save_tensors(other / "weights.safetensors", tensors, changed)
        with pytest.raises(ModelError, match=said):
            average([more[0], other], out)
    table = made["table"] | {"net": {"name": "s2d-resnet", "options": {"widths": [8, 8, 16]}}}
    table["run"] = table["run"] | {"epochs": 1}
    wide = train(check_recipe(table), tmp_path / "wide")
    assert load_note(wide / "weights.safetensors")["net"] != note["net"]
    with pytest.raises(ModelError, match="its network is another"):
        average([more[0], wide], out)
    with pytest.raises(DataError, match=r"gone\.h5"):
        average(more, out, tmp_path / "gone.h5")
    assert not out.exists()


def test_an_accuracy_on_faces_that_were_learned_from_is_marked(leaky: dict[str, Any], tmp_path: Path) -> None:
    runs, out = [str(leaky["run"]), str(shutil.copytree(leaky["run"], tmp_path / "b"))], tmp_path / "both"
    done = COMMANDS.invoke(app, ["average", *runs, "--out", str(out)])
    assert "\nLEAK: 100 of 100 faces are faces that the network learned from" in done.stdout, done.output
    for run in (leaky["run"], out):
        assert read_run(run).leak("val") == Leak(100, 0, 0, 100)
