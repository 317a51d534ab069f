"""The run of one of the papers' rows."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.core.locks import sole
from mien.errors import DataError, RecipeError
from mien.workflows.papers import claims

pytest.importorskip("torch", reason="needs the train extra")

from mien.core.calibration import softmax
from mien.core.emotions import FER2013, FERPLUS_VOTES
from mien.data.duplicates import NearDuplicates
from mien.data.records import FaceSet
from mien.data.store import read_near_duplicates, read_store, write_store
from mien.train.devices import pick_device
from mien.train.recipe_reading import changes, read_recipe
from mien.train.trained_net import load_trained
from mien.workflows.papers.derived import derive
from mien.workflows.papers.run import PaperSettings, TakenError, run_row
from mien.workflows.run_folder import read_predictions

NAMES = ("angry", "happy", "neutral")
SMALL = ("run.epochs=2", "run.batch_size=8", "run.precision=fp32", "run.sizes=[[0.0, 16]]")
SMALL += ("net.options={size = 16}", "run.checkpoint_every_s=0")


def bars(n: int = 96) -> FaceSet:
    """Noise with a bright bar at the top, in the middle or at the bottom: one bar an emotion."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    images = rng.integers(60, 120, (n, 16, 16), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[5 * label : 5 * label + 5] += 60
    split = np.repeat([0, 1, 2], [n // 2, n // 4, n // 4]).astype(np.uint8)
    return FaceSet(images, labels.astype(np.int64), split, np.arange(n), NAMES, "bars")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pytest.importorskip("h5py", reason="needs the train extra")
    write_store(bars(), tmp_path / "bars.h5")
    return tmp_path / "bars.h5"


def settings(data: Path, **changed: Any) -> PaperSettings:
    return PaperSettings(**{"data": data, "runs": data.parent / "runs", "overrides": SMALL, **changed})


def looks(folder: Path) -> int:
    path = folder / "test-evaluations.log"
    return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.mark.train
def test_a_run_leaves_scores_figures_one_look_and_the_score_as_the_paper_took_it(data: Path) -> None:
    row = claims.row("maastricht-cnn1")
    result = run_row(row, settings(data))
    folder = data.parent / "runs" / row.name
    for name in ("curves", "confusion-val", "confusion-test", "examples-test"):
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 600, name
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(result))
    assert (result["epochs"], result["epochs_wanted"], result["finished"]) == (2, 40, True)
    assert "run.epochs=2 (40)" in result["changes"]
    assert not any("store" in change for change in result["changes"])
    assert str(data) not in json.dumps(result)
    assert (result["test_evaluations"], looks(folder)) == (1, 1)
    assert result["clean"] is None  # no one searched this data set for copies
    predicted = (folder / "predictions-test.csv").read_text().splitlines()[1:]
    right = sum(line.split(",")[1] == line.split(",")[2] for line in predicted)
    assert result["test"]["accuracy"] == right / len(predicted)
    net = load_trained(folder, pick_device("cpu"))
    together = bars().take(bars().split != 1)
    right = int((net.logits(together.images).argmax(1) == together.labels).sum())
    assert (result["leak"]["n"], result["leak"]["accuracy"]) == (72, right / 72)
    assert result["leak"]["learned_n"] == 48
    assert run_row(row, settings(data)) == json.loads(json.dumps(result))
    assert looks(folder) == 1  # the second command only reads
    with pytest.raises(RecipeError, match=r"was run with other settings: run.epochs=2 \(3\); choose"):
        run_row(row, settings(data, overrides=(*SMALL, "run.epochs=3")))
    write_store(bars(72), data.parent / "other.h5")
    with pytest.raises(DataError, match=r"cnn1 was trained on other data than .*other\.h5; give that file"):
        run_row(row, settings(data.parent / "other.h5", runs=data.parent / "runs"))


@pytest.mark.train
def test_a_row_that_another_process_runs_is_left_to_it(data: Path) -> None:
    row, asked = claims.row("maastricht-cnn1"), settings(data)
    asked.runs.mkdir()
    with sole(asked.runs / f"{row.name}.lock"):
        with pytest.raises(TakenError, match=rf"runs/{row.name} is being run by process \d+ on "):
            run_row(row, asked)
        assert not (asked.runs / row.name).exists()
    run_row(row, asked)
    with sole(asked.runs / f"{row.name}.lock"):  # who only prints does not wait
        assert run_row(row, asked)["finished"]


class StoppedError(Exception):
    """The run is interrupted."""


@pytest.mark.train
def test_an_unfinished_run_is_scored_as_far_as_it_is_and_goes_on_afterwards(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.workflows.train.TELL_EVERY_S", 0.0)  # each step is reported
    row, asked = claims.row("cs230-base-64"), settings(data)

    def stop(at: Any) -> None:
        if at.step == 9:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_row(row, asked, stop)
    result = run_row(row, settings(data, as_is=True, open_test=False))
    assert (result["finished"], result["epochs"], result["test"]) == (False, 1.5, None)
    assert result["val"]["n"] == 24
    assert looks(asked.runs / row.name) == 0  # PrivateTest stayed closed
    done = run_row(row, asked)
    assert (done["finished"], done["epochs"], done["leak"]) == (True, 2, None)
    assert done["test"]["n"] == 24


@pytest.mark.train
def test_what_a_kill_at_the_very_end_of_training_left_is_removed(data: Path) -> None:
    row, asked = claims.row("cs230-base-64"), settings(data, open_test=False)
    folder = asked.runs / row.name
    run_row(row, asked)
    (folder / "result.json").unlink()
    left = [folder / "checkpoint.safetensors", folder / "lock"]
    for path in left:
        path.touch()
    assert run_row(row, asked)["finished"]
    assert not any(path.exists() for path in left)


@pytest.mark.train
def test_a_student_whose_teacher_is_not_trained_says_what_to_do_first(data: Path) -> None:
    asked = settings(data, overrides=())
    text = f"{asked.runs / 'cs231n-final'} is not trained yet; first: mien papers run cs231n-final"
    with pytest.raises(RecipeError, match=re.escape(text)):
        run_row(claims.row("cs231n-distilled"), asked)


@pytest.mark.train
def test_other_data_than_those_learned_from_are_refused(data: Path) -> None:
    row = claims.row("cs230-base-64")
    run_row(row, settings(data, open_test=False))
    write_store(bars(72), data.parent / "other.h5")
    with pytest.raises(DataError, match="was trained on other data; give that file with --data"):
        run_row(row, settings(data.parent / "other.h5", runs=data.parent / "runs"))


def test_changes_of_place_are_no_changes_of_the_recipe() -> None:
    asked = read_recipe("maastricht-cnn1")
    moved = read_recipe("maastricht-cnn1", ["data.store=x.h5", "run.threads=7"])
    other = read_recipe("maastricht-cnn1", ["optim.lr=0.5", "run.epochs=3"])
    assert changes(asked, moved) == []
    assert changes(asked, other) == ["optim.lr=0.5 (0.0001)", "run.epochs=3 (40)"]


@pytest.mark.train
def test_a_row_of_faces_cuts_its_data_set_once_and_learns_from_it(data: Path) -> None:
    faces, row = bars(), claims.row("maastricht-face")
    write_store(faces, data, source_sha256="ab")
    at: list[str] = []
    result = run_row(row, settings(data), lambda progress: at.append(progress.preparing))
    cut = data.parent / "runs" / "maastricht-face.h5"
    assert result["data"]["name"] == "bars-face"
    assert result["leak"]["n"] == 72
    assert at[0] == "cutting: face"
    assert (read_store(cut).images != faces.images).any()
    made, scored = cut.stat().st_mtime_ns, data.parent / "runs" / row.name / "result.json"
    scored.unlink()
    run_row(row, settings(data))
    assert cut.stat().st_mtime_ns == made
    scored.unlink()
    write_store(faces.take(np.arange(72)), data, source_sha256="ab")
    with pytest.raises(DataError, match="was trained on other data"):
        run_row(row, settings(data))
    assert cut.stat().st_mtime_ns > made, "it was of other rows"


@pytest.mark.train
def test_a_row_of_ferplus_learns_the_ten_answers(data: Path) -> None:
    faces = bars()
    votes = np.zeros((len(faces), 10), np.uint8)
    votes[np.arange(len(faces)), np.array([0, 1, 9])[faces.labels]] = 10
    fer = replace(faces, label_names=FER2013, name="fer2013", votes=votes, vote_names=FERPLUS_VOTES)
    write_store(fer, data)
    result = run_row(claims.row("cs230-base-64-ferplus"), settings(data))
    assert result["data"]["name"] == "ferplus-answers"
    assert result["test"]["label_names"] == FERPLUS_VOTES
    assert {"contempt", "unknown"} <= set(result["test"]["never_predicted"])


@pytest.mark.parametrize(("voted", "kept"), [(96, [80]), (95, None)])
def test_answers_have_the_near_copies_of_their_source_where_no_face_is_left_out(
    data: Path, voted: int, kept: list[int] | None
) -> None:
    votes = np.repeat(np.arange(96) < voted, 10).reshape(96, 10).astype(np.uint8)
    fer = replace(bars(), label_names=FER2013, name="fer2013", votes=votes, vote_names=FERPLUS_VOTES)
    near = NearDuplicates(np.array([80]), np.array([3]), np.float32([0.97]), np.array([False]), 0.9)
    write_store(fer, data, near=near)
    found = read_near_duplicates(derive("answers", data, data.with_name("answers.h5"), lambda _: None))
    assert (None if found is None else found.rows.tolist()) == kept


@pytest.mark.train
def test_a_network_of_landmarks_is_scored_by_its_error_on_each_source(data: Path) -> None:
    points = np.random.default_rng(1).uniform(2, 14, (96, 68, 2)).astype(np.float32)
    points[:, [36, 45]] = [[2, 4], [12, 4]]
    codes = (np.arange(96) % 2).astype(np.uint8)
    faces = replace(bars(), landmarks=points, sources=codes, source_names=("lfpw", "ytf"))
    write_store(faces, data)
    row, folder = claims.row("maastricht-xception"), data.parent / "runs" / "maastricht-xception"
    closed = run_row(row, settings(data, open_test=False))
    assert (closed["test"], looks(folder)) == (None, 0)
    result = run_row(row, settings(data))
    assert [(one["source"], one["n"]) for one in result["test"]] == [("lfpw", 12), ("ytf", 12)]
    test = faces.select("test")
    given = load_trained(folder, pick_device("cpu"), landmarks=True).logits(test.images).reshape(-1, 68, 2)
    far = np.linalg.norm((given + 0.5) * 16 - test.landmarks, axis=2).mean(1) / 10
    assert result["test"][1]["error"] == pytest.approx(far[test.sources == 1].mean(), rel=1e-4)
    assert run_row(row, settings(data)) == json.loads(json.dumps(result))
    assert looks(folder) == 1


@pytest.mark.train
def test_members_vote_when_all_of_them_are_trained(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members, runs = ("cs230-base-64", "maastricht-cnn1"), data.parent / "runs"
    row = replace(claims.row("auc-ensemble"), members=members)
    text = f"{runs / members[0]} is not trained yet; first: mien papers run {' '.join(members)}"
    with pytest.raises(RecipeError, match=re.escape(text)):
        run_row(row, settings(data))
    for name in members:
        run_row(claims.row(name), settings(data, open_test=False))
    result = run_row(row, settings(data))
    test = bars().select("test")
    nets = [load_trained(runs / name, pick_device("cpu")) for name in members]
    temperatures = [json.loads((runs / name / "result.json").read_text())["temperature"] for name in members]
    votes = [softmax(net.logits(test.images), t) for net, t in zip(nets, temperatures, strict=True)]
    right = (np.mean(votes, axis=0).argmax(1) == test.labels).mean()
    assert result["test"]["accuracy"] == pytest.approx(right)
    assert result["members"] == list(members)
    assert "cs230-base-64 run.epochs=2 (10)" in result["changes"]
    assert run_row(row, settings(data)) == json.loads(json.dumps(result))
    assert [looks(runs / name) for name in members] == [1, 1]


@pytest.mark.train
def test_a_run_is_scored_by_several_views_when_it_is_trained(data: Path) -> None:
    member, runs = "maastricht-cnn1", data.parent / "runs"
    row = replace(claims.row("auc-five-layer-views"), members=(member,))
    with pytest.raises(RecipeError, match=f"is not trained yet; first: mien papers run {member}"):
        run_row(row, settings(data))
    run_row(claims.row(member), settings(data))
    result = run_row(row, settings(data))
    test = bars().select("test")
    net = load_trained(runs / member, pick_device("cpu"))
    right = (net.logits(test.images, 10).argmax(1) == test.labels).mean()
    assert result["test"]["accuracy"] == pytest.approx(right)
    assert (result["members"], result["views"], result["test_evaluations"]) == ([member], 10, 2)
    assert run_row(row, settings(data)) == json.loads(json.dumps(result))
    assert looks(runs / member) == 2


@pytest.mark.train
def test_a_vote_takes_the_predictions_that_its_members_were_scored_by(data: Path) -> None:
    runs, members = data.parent / "runs", ("cs230-base-64", "maastricht-cnn1", "cs230-base-128")
    row = replace(claims.row("auc-ensemble"), members=members)
    for name in members:
        run_row(claims.row(name), settings(data))
    other_views = runs / members[2] / "predictions-test.csv"  # as of `mien evaluate --views 10 --out`
    lines = other_views.read_text().splitlines()
    turned = [re.sub(r"(.*),(.*),(.*),(.*)$", r"\1,\4,\2,\3", line) for line in lines[1:]]
    other_views.write_text("\n".join([lines[0], *turned, ""]))
    result = run_row(row, settings(data))
    assert result["stored"] == list(members[:2])
    assert [looks(runs / name) for name in members] == [1, 1, 2]
    test = bars().select("test")
    nets = [load_trained(runs / name, pick_device("cpu")) for name in members]
    temperatures = [json.loads((runs / name / "result.json").read_text())["temperature"] for name in members]
    votes = [softmax(net.logits(test.images), t) for net, t in zip(nets, temperatures, strict=True)]
    voted = read_predictions(runs / row.name / "predictions-test-soft.csv").probs
    np.testing.assert_allclose(voted, np.mean(votes, axis=0), atol=2e-6)


@pytest.mark.train
def test_a_vote_asks_its_members_for_what_set_says(data: Path) -> None:
    members = ("cs230-base-64", "maastricht-cnn1")
    row = replace(claims.row("auc-ensemble"), members=members)
    for name in members:
        run_row(claims.row(name), settings(data, open_test=False))
    asked = settings(data, overrides=(*SMALL, "run.epochs=3"))
    text = r"runs/cs230-base-64 was trained without: run.epochs=2 \(3\); run the members with"
    with pytest.raises(RecipeError, match=text):
        run_row(row, asked)
    with pytest.raises(RecipeError, match="epoch"):
        run_row(row, settings(data, overrides=("run.epoch=3",)))
    moved = replace(settings(data, overrides=(*SMALL, f"data.store={json.dumps(str(data))}")), data=None)
    assert run_row(row, moved)["finished"]
    with pytest.raises(RecipeError, match="was trained without"):  # though it is scored already
        run_row(row, asked)
