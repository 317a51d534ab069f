"""``mien search``: what a person sees of a search while it runs and after."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("optuna", reason="needs the train extra")

import numpy as np
import optuna

import mien.workflows.search as workflow
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.workflows.train import TrainProgress

SEARCH = """
recipe = "base.toml"
trials = 12
[set]
run.epochs = 1
[space]
"optim.lr" = { low = 1e-4, high = 1e-1, log = true }
"optim.momentum" = { low = 0, high = 0.9 }
"run.batch_size" = { choices = [16, 32] }
"""


def train(recipe, folder, *, device, report):
    """Takes no time; the third trial fails, and the others are good near a rate of 0.01."""
    report(TrainProgress(1, 2, 0.5, float("nan") if folder.name == "0002" else 1.0, 321.0))
    folder.mkdir(parents=True)
    right = round(100 - 20 * abs(np.log10(recipe.optim.lr) + 2))
    lines = ["row,label,predicted", *["1,happy,happy"] * right, *["1,happy,sad"] * (100 - right)]
    (folder / "predictions-val.csv").write_text("\n".join(lines) + "\n")


def write(folder: Path, trials: int) -> None:
    n = 12
    faces = FaceSet(
        images=np.arange(n * 256, dtype=np.uint8).reshape(n, 16, 16),
        labels=np.arange(n) % 2,
        split=np.repeat([0, 1, 2], n // 3).astype(np.uint8),
        rows=np.arange(n),
        label_names=("happy", "sad"),
        name="none",
    )
    write_store(faces, folder / "faces.h5")
    (folder / "base.toml").write_text("[run]\nepochs = 7\n")
    (folder / "search.toml").write_text(SEARCH.replace("trials = 12", f"trials = {trials}"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of twelve trials, one of which failed."""
    folder = tmp_path_factory.mktemp("searched")
    write(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "train", train)
        workflow.run_search(str(folder / "search.toml"), folder / "found", data=folder / "faces.h5")
    return folder


def test_a_run_prints_a_line_a_trial_and_what_comes_next(mien, tmp_path, monkeypatch) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    monkeypatch.setattr(workflow, "train", train)
    write(tmp_path, 4)
    result = mien("search", "run", "search.toml", "--data", "faces.h5")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4 of 4 trials finished, 1 of them failed; best ")
    assert result.stdout.endswith("; next: mien search show searches/search\n")
    lines = result.stderr.splitlines()
    assert [line.split()[:2] for line in lines] == [["trial", str(n)] for n in range(4)]
    assert lines[0].startswith("trial 0  validation ")
    assert "  optim.lr=0.0" in lines[0]
    assert lines[2].startswith("trial 2  failed: the loss was nan at step 1 of 2  optim.lr=")
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING  # its log lines would break the bar


def test_a_log_of_a_search_has_one_clock(mien, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(workflow, "train", train)
    monkeypatch.setattr("mien.cli.progress.LINES_EVERY_S", 0.0)
    write(tmp_path, 4)
    lines = mien("search", "run", "search.toml", "--data", "faces.h5").stderr.splitlines()
    assert "left" not in lines[0], "no epoch has been seen"
    clocks = [line.count(" left") for line in lines]
    assert max(clocks) == 1


def test_show_lists_the_best_first_within_80_columns(searched, mien, monkeypatch) -> None:
    monkeypatch.chdir(searched)
    result = mien("search", "show", "found", "--best", "3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.strip("│ ").split("│") for line in lines if line.startswith("│")]
    accuracies = [float(row[1].strip(" %")) for row in rows]
    assert len(rows) == 3
    assert accuracies == sorted(accuracies, reverse=True)
    heading = next(line for line in lines if "validation" in line and "┃" in line)
    assert heading.replace("┃", " ").split() == ["trial", "validation", "lr", "momentum", "batch_size"]
    assert "importance (fANOVA, n = 11): optim.lr" in result.stdout
    assert "trial 2  failed: the loss was nan" in result.stdout
    start = lines.index("train the best in full:")
    assert lines[start + 1] == "mien train base.toml --data faces.h5 --out found/best \\"
    assert not any("run.epochs" in line for line in lines[start:])


def test_json_holds_every_trial_the_importances_and_the_command(searched, mien) -> None:
    value = json.loads(mien("search", "show", str(searched / "found"), "--json").stdout)
    assert [trial["number"] for trial in value["trials"]] == list(range(12))
    best = max((t for t in value["trials"] if t["state"] == "complete"), key=lambda t: t["accuracy"])
    assert value["best"] == best["number"]
    assert f"--set optim.lr={best['point']['optim.lr']}" in value["command"]
    assert set(value["importances"]["by_key"]) == {"optim.lr", "optim.momentum", "run.batch_size"}
    assert value["search"]["trials"] == 12


def test_the_image_is_written(searched, mien, tmp_path: Path) -> None:
    result = mien("search", "show", str(searched / "found"), "--out", "p.png")
    assert result.stdout.endswith("wrote p.png\n")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


ERRORS = {
    "no folder": (["search", "show", "nothing"], "no search in nothing: search.db is absent"),
    "no search": (["search", "run", "cs231"], "no search 'cs231'; did you mean 'cs231n'?"),
}


@pytest.mark.parametrize(("arguments", "says"), ERRORS.values(), ids=ERRORS)
def test_a_mistake_is_one_line_and_exit_code_2(mien, arguments, says) -> None:
    result = mien(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mien: {says}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["run"], ["show"]], ids=["search", "run", "show"])
def test_help_fits_and_has_examples(mien, command) -> None:
    text = mien("search", *command, "--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert not command or f"mien search {command[0]} " in text
