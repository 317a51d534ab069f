import base64
import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs mien[train]")
pytest.importorskip("matplotlib", reason="needs mien[train]")

from PIL import Image

from mien.core.emotions import FER2013
from mien.core.files import write_json
from mien.core.scores import score
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError, OutputError
from mien.workflows import report_page
from mien.workflows.figures import curves_figure
from mien.workflows.report import (
    Figure,
    Heading,
    Matrix,
    Table,
    Text,
    make_report,
    read_run,
)
from mien.workflows.report_page import write_report
from mien.workflows.run_folder import read_predictions, write_predictions


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    return FaceSet(
        images=rng.integers(0, 256, (60, 48, 48), np.uint8),
        labels=rng.integers(0, 7, 60),
        split=np.full(60, 1, np.uint8),
        rows=np.arange(60) + 100,
        label_names=FER2013,
        name="made-up",
    )


def answers(faces, seed, skill=0.7):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(7), len(faces))
    probs[rng.random(len(faces)) < skill] = 0.02
    probs[np.arange(len(faces)), faces.labels] += 0.3
    return probs / probs.sum(1, keepdims=True)


HISTORY = [{"epoch": 1.0 * i, "train_loss": 1.0 / i, "val_accuracy": 0.2 * i} for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    return curves_figure(HISTORY, tmp_path_factory.mktemp("curves") / "curves.png")


@pytest.fixture
def make_run(tmp_path, faces, curves):
    """``make_run("a", seed=1)`` leaves what `mien train` leaves, but the weights."""

    def make(name, seed=0, part=slice(None)):
        folder = tmp_path / name
        folder.mkdir()
        recipe = {
            "summary": "a <small> net",
            "data": {"store": "faces.h5"},
            "run": {"epochs": 3},
            "net": {"name": "n"},
        }
        write_json(folder / "recipe.json", {"recipe": recipe, "data": "c0ffee"})
        write_json(
            folder / "environment.json", {"mien": "0.1.0", "machine": "two cores", "threads": 2, "gpu": None}
        )
        write_json(folder / "history.json", {"seconds": 1234.5, "history": HISTORY})
        shutil.copy(curves, folder)
        some = faces.take(np.arange(60)[part])
        write_predictions(folder / "predictions-val.csv", some, answers(faces, seed)[part])
        return folder

    return make


def of(blocks, kind):
    return [block for block in blocks if isinstance(block, kind)]


def said(blocks):
    return " ".join(block.text for block in of(blocks, Text))


def test_scores_are_those_of_the_predictions(make_run, faces, tmp_path):
    run = read_run(make_run("a", seed=3))
    expected = score(answers(faces, 3), faces.labels, FER2013)
    assert run.scores["val"].confusion == expected.confusion
    assert run.scores["val"].accuracy == expected.accuracy
    assert run.scores["val"].nll == pytest.approx(expected.nll, abs=1e-4)


def test_a_page_of_one_run_tells_what_it_is(make_run, tmp_path):
    blocks = make_report([make_run("a")], None, tmp_path)
    assert of(blocks, Heading)[0] == Heading("a", 1)
    facts = dict(next(t.rows for t in of(blocks, Table) if t.head == ("", "")))
    assert facts["content hash of the data"] == "c0ffee"
    assert (facts["machine"], facts["threads"], facts["training time"]) == ("two cores", "2", "1,234 s")
    assert facts["epochs"] == "3 of 3"
    assert "gpu" not in facts
    assert [block.title for block in of(blocks, Figure)] == ["risk and coverage, val", "learning curves"]
    assert len(of(blocks, Matrix)) == 1


@pytest.mark.parametrize(("used", "shown"), [("fp32", True), ("bf16", False), (None, False)])
def test_a_precision_that_is_not_the_recipes_is_told(make_run, tmp_path, used, shown):
    run = make_run("a")
    recipe = {"run": {"precision": "bf16", "epochs": 3}}
    write_json(run / "recipe.json", {"recipe": recipe, "data": "1"})
    write_json(run / "environment.json", {"mien": "0.1.0"} | ({"precision": used} if used else {}))
    facts = dict(next(t.rows for t in of(make_report([run], None, tmp_path), Table) if t.head == ("", "")))
    told = "fp32, for the device has no bf16 arithmetic" if shown else None
    assert facts.get("computed in") == told


def test_what_is_missing_is_named_with_its_command(make_run, tmp_path):
    folder = make_run("a")
    text = said(make_report([folder], None, tmp_path))
    assert (
        f"No calibration diagram; this makes it: mien evaluate {folder} DATA --split val --out {folder}"
        in text
    )
    assert f"No maps; this makes it: mien explain {folder} DATA --out {folder}/explain" in text
    assert f"No right and wrong faces; this makes it: mien report {folder} --data DATA" in text
    (folder / "explain").mkdir()
    for name in ("calibration-val.png", "examples-val.png", "explain/sheet.png"):
        Image.new("RGB", (40, 30)).save(folder / name)
    blocks = make_report([folder], None, tmp_path)
    assert "this makes it" not in said(blocks)
    shown = ["calibration, val", "examples, val", "mien explain: sheet"]
    assert [block.title for block in of(blocks, Figure)][-3:] == shown


def test_an_unfinished_run_is_shown_as_far_as_it_is(make_run, tmp_path):
    folder = make_run("a")
    for name in ("history.json", "predictions-val.csv", "curves.png", "environment.json"):
        (folder / name).unlink()
    assert "No predictions; this makes it: mien evaluate" in said(make_report([folder], None, tmp_path))


def test_runs_are_compared_on_the_faces_that_both_answered(make_run, faces, tmp_path):
    folders = [make_run("a", seed=1), make_run("b", seed=2, part=slice(50, 9, -1))]  # fewer, and turned round
    blocks = make_report(folders, None, tmp_path)
    (pair,) = next(t.rows for t in of(blocks, Table) if t.head[-1] == "McNemar's p")
    right = [answers(faces, seed).argmax(1)[10:51] == faces.labels[10:51] for seed in (1, 2)]
    alone = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert pair[:4] == ("a – b", "41", *map(str, alone))
    assert 0 < float(pair[4]) <= 1
    heads = [t.head for t in of(blocks, Table)]
    assert ("", "a", "b") in heads


@pytest.mark.parametrize("evaluated", [False, True], ids=["trained on it", "evaluated on it"])
def test_runs_of_different_data_are_not_tested_against_each_other(make_run, tmp_path, evaluated):
    """Their row numbers match by accident."""
    folders = [make_run("a", seed=1), make_run("b", seed=2), make_run("c", seed=3)]
    if evaluated:
        write_json(folders[2] / "scores-val.json", {"data_hash": "beef", "data": "Other"})
    else:
        held = json.loads((folders[2] / "recipe.json").read_text())
        write_json(folders[2] / "recipe.json", held | {"data": "beef"})
    blocks = make_report(folders, None, tmp_path)
    rows = next(t.rows for t in of(blocks, Table) if t.head[-1] == "McNemar's p")
    assert [row[1] for row in rows] == ["60", "other data", "other data"]
    name = "Other" if evaluated else "faces.h5"
    assert f"do not compare. a, b: faces.h5 (c0ffee); c: {name} (beef)." in said(blocks)


def test_a_run_folder_that_does_not_know_its_data_is_shown_and_not_compared(make_run, tmp_path):
    folders = [make_run("a", seed=1), make_run("b", seed=2)]
    write_json(folders[1] / "recipe.json", {"recipe": {}})
    blocks = make_report(folders, None, tmp_path)
    assert ("a – b", "other data", "", "", "") in next(
        t.rows for t in of(blocks, Table) if t.head[-1] == "McNemar's p"
    )
    assert "b: not known" in said(blocks)


def test_the_curves_of_all_runs_are_drawn(make_run, tmp_path):
    blocks = make_report([make_run(f"r{i}", seed=i) for i in range(6)], None, tmp_path)
    drawn = [block.path for block in of(blocks, Figure) if block.title == "risk and coverage, val"]
    assert len(set(drawn)) == 2


def test_the_clean_score_stands_beside_the_standard_one(make_run, tmp_path):
    folder = make_run("a")
    assert "No clean score: mien data audit DATA" in said(make_report([folder], None, tmp_path))
    write_json(folder / "scores-val.json", {"clean": {"accuracy": 0.4321}})
    blocks = make_report([folder], None, tmp_path)
    row = next(t.rows[0] for t in of(blocks, Table) if "clean" in t.head)
    assert row[3] == "43.2 %"
    assert "No clean score" not in said(blocks)


def test_what_a_paper_scored_on_learned_rows_does_not_make_its_run_damaged(make_run, tmp_path):
    folder = make_run("a")
    write_json(folder / "result.json", {"clean": None, "leak": {"n": 90, "accuracy": 0.9}})
    assert "LEAK" not in said(make_report([folder], None, tmp_path))


def test_a_run_says_which_training_faces_could_not_be_searched_for(make_run, tmp_path):
    folder = make_run("a")
    leak = {"leaks": False, "pixels": 0, "files": 0, "official": 0, "n": 60, "start": "fer2013-nano"}
    write_json(folder / "leaks.json", {"val": leak, "test": None})
    text = "a: it started from fer2013-nano, whose training faces are not known here: not searched for those."
    assert text in said(make_report([folder], None, tmp_path))


@pytest.mark.parametrize("leaks", [True, False])
def test_a_run_that_was_scored_on_faces_that_it_learned_from_is_marked(make_run, tmp_path, leaks):
    folder = make_run("a")
    leak = {"leaks": leaks, "pixels": 7, "files": 0, "official": 0 if leaks else 7, "n": 60, "start": ""}
    text = "LEAK: a: 7 of 60 faces are faces that the network learned from; its scores are not of new faces."
    write_json(folder / "leaks.json", {"val": leak, "test": None})
    assert (text in said(make_report([folder], None, tmp_path))) == leaks
    write_json(folder / "scores-val.json", {"leak": None})  # later, and maybe of another data set
    assert text not in said(make_report([folder], None, tmp_path))
    write_json(folder / "scores-val.json", {"leak": leak})
    assert (text in said(make_report([folder], None, tmp_path))) == leaks


def test_with_the_data_set_faces_are_shown_and_must_be_the_scored_ones(make_run, faces, tmp_path):
    folder = make_run("a")
    write_store(faces, tmp_path / "faces.h5")
    blocks = make_report([folder], tmp_path / "faces.h5", tmp_path)
    assert "examples, val" in [block.title for block in of(blocks, Figure)]
    write_store(faces.take(np.arange(30)), tmp_path / "half.h5")
    with pytest.raises(DataError, match=r"half\.h5 lacks the faces of the predictions"):
        make_report([folder], tmp_path / "half.h5", tmp_path)


def test_the_html_is_one_file_that_loads_nothing(make_run, tmp_path):
    write_report([make_run("a", 1), make_run("b", 2)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "a &lt;small&gt; net" in text
    around = re.sub(r"data:image/(png|webp);base64,[\w+/=]+", "", text)
    assert not re.search(r"//|url\(|@import|<script|<link|<iframe", around)
    codes = re.findall(r"data:image/(?:png|webp);base64,([\w+/=]+)", text)
    assert len(codes) == 3  # risk and coverage of both, and each one's curves
    assert all(Image.open(io.BytesIO(base64.b64decode(code))).width > 400 for code in codes)


def test_images_are_shrunk_until_the_page_is_small_enough(make_run, tmp_path, monkeypatch):
    folder = make_run("a")
    (folder / "explain").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 1700, 3), np.uint8)
    Image.fromarray(noise).save(folder / "explain" / "sheet.png")

    def widest(limit):
        monkeypatch.setattr(report_page, "MAX_BYTES", limit)
        write_report([folder], tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert len(text) <= limit
        codes = re.findall(r"data:image/\w+;base64,([\w+/=]+)", text)
        return max(Image.open(io.BytesIO(base64.b64decode(code))).width for code in codes)

    assert widest(5_000_000) == 1600
    assert widest(220_000) == 1000
    with pytest.raises(MienError, match=r"page\.html would have more than 1,000 bytes; name fewer runs"):
        widest(1000)


def test_the_markdown_has_its_images_beside_it(make_run, tmp_path):
    write_report([make_run("a")], tmp_path / "my (first) report.md")
    text = (tmp_path / "my (first) report.md").read_text(encoding="utf-8")
    names = [unquote(name) for name in re.findall(r"!\[[^]]+\]\(([^ )]+)\)", text)]
    assert len(names) == 2
    assert {Path(name).parent.name for name in names} == {"my (first) report-files"}
    assert all((tmp_path / name).is_file() for name in names)
    assert "| true \\ read as | angry |" in text


def test_the_images_of_a_page_leave_a_run_folder_of_its_name_alone(make_run, tmp_path):
    before = sorted((folder := make_run("a")).iterdir())
    write_report([folder], tmp_path / "a.md")
    assert sorted(folder.iterdir()) == before


def test_a_cell_of_several_lines_stays_in_its_row(make_run, tmp_path):
    folder = make_run("a")
    held = json.loads((folder / "recipe.json").read_text())
    held["recipe"]["summary"] = "first\nsecond | third"
    write_json(folder / "recipe.json", held)
    write_report([folder], tmp_path / "page.md")
    assert "| recipe | first second &#124; third |\n" in (tmp_path / "page.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("angry,angry\n", "has no header 'row,label,predicted,p_...'"),
        ("row,label,predicted,p_a,p_b\n1,a,a,0.9,x\n", "line 2: could not convert"),
        ("row,label,predicted,p_a,p_b\n1,a,a,0.9,0.1\n2,c,a,1,0\n", "line 3: .*not in tuple"),
        ("row,label,predicted,p_a,p_b\n1,a,a,0.9\n2,a,a,1,0\n", "evaluate the run again"),
        ("row,label,predicted,p_a,p_b\n", "evaluate the run again"),
    ],
    ids=["header", "number", "label", "short", "empty"],
)
def test_damaged_predictions_are_named_by_their_line(tmp_path, text, says):
    (tmp_path / "predictions-val.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        read_predictions(tmp_path / "predictions-val.csv")


def test_what_cannot_be_done_is_said_before_the_work(make_run, tmp_path):
    folder = make_run("a")
    with pytest.raises(MienError, match=r"a report is written as \.html or \.md, got a\.pdf"):
        write_report([folder], tmp_path / "a.pdf")
    with pytest.raises(OutputError, match=r"a\.html cannot be written: there is no folder .*none"):
        write_report([folder], tmp_path / "none" / "a.html")
    (tmp_path / "a-files").write_text("mine")
    with pytest.raises(MienError, match=r"a-files cannot be written: it is a file; name a folder"):
        write_report([tmp_path / "none"], tmp_path / "a.md")
    (tmp_path / "my run").mkdir()
    with pytest.raises(MienError, match=r"is not a run folder: it has no recipe\.json; .* '.*/my run'$"):
        write_report([tmp_path / "my run"], tmp_path / "a.html")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MienError, match=r"loop is not a run folder"):
        write_report([tmp_path / "loop"], tmp_path / "a.html")
    (folder / "recipe.json").write_text("{")
    with pytest.raises(DataError, match=r"recipe\.json is damaged: Expecting"):
        write_report([folder], tmp_path / "a.html")


def test_runs_of_the_same_name_are_told_apart(make_run, tmp_path):
    first = make_run("a")
    second = tmp_path / "other" / "a"
    shutil.copytree(first, second)
    blocks = make_report([first, second], None, tmp_path)
    assert {"a (1)", "a (2)"} <= {block.text for block in of(blocks, Heading)}
    assert json.loads((second / "recipe.json").read_text())["data"] == "c0ffee"


def test_runs_that_differ_in_the_seed_alone_have_a_mean_and_a_deviation(make_run, faces, tmp_path):
    runs = [make_run(name, seed) for seed, name in enumerate(("net-seed-0", "net-seed-1", "other"))]
    for seed, run in enumerate(runs):
        recipe = {"run": {"seed": seed, "epochs": 3 if run.name != "other" else 4}}
        write_json(run / "recipe.json", {"recipe": recipe, "data": "1"})
    (draw := tmp_path / "draw").mkdir()
    tables = of(make_report(runs, None, draw), Table)
    grouped = next(table for table in tables if table.head[0] == "mean ± sd over seeds")
    accuracies = [100 * (answers(faces, seed).argmax(1) == faces.labels).mean() for seed in (0, 1)]
    assert len(grouped.rows) == 1
    name, count, accuracy = grouped.rows[0][:3]
    assert (name, count) == ("net", "2")
    assert accuracy == f"{np.mean(accuracies):.2f} ± {abs(np.diff(accuracies)[0]) / 2**0.5:.2f}"


def test_runs_of_any_names_are_named_each_in_their_mean(make_run, tmp_path):
    runs = [make_run(name, seed) for seed, name in enumerate(("a", "b"))]
    for seed, run in enumerate(runs):
        write_json(run / "recipe.json", {"recipe": {"run": {"seed": seed, "epochs": 3}}, "data": "1"})
    (draw := tmp_path / "draw").mkdir()
    assert [row[0] for row in means_of(runs, draw)] == ["a, b"]


def means_of(runs, draw):
    """The rows of the means over seeds."""
    tables = [t for t in of(make_report(runs, None, draw), Table) if t.head[0].startswith("mean")]
    return [row for table in tables for row in table.rows]


def seeds_of(runs, draw):
    """The numbers of seeds of each mean."""
    return [row[1] for row in means_of(runs, draw)]


def test_an_average_of_runs_is_no_seed_of_their_mean(make_run, tmp_path):
    runs = [make_run(f"net-seed-{seed}", seed) for seed in (0, 1)]
    average = make_run("net-average", 2)
    for seed, run in enumerate([*runs, average]):
        write_json(run / "recipe.json", {"recipe": {"run": {"seed": seed % 2}}, "data": "1"})
    write_json(average / "environment.json", {"average_of": [run.name for run in runs]})
    assert means_of([average, *runs], tmp_path) == means_of(runs, tmp_path)
    (average / "environment.json").unlink()
    assert means_of([*runs, average], tmp_path) == means_of(runs, tmp_path)  # the first run of a seed counts


def test_seeds_that_differ_in_what_train_calls_the_same_run_have_a_mean(make_run, tmp_path):
    runs = [make_run(f"net-seed-{seed}", seed) for seed in (0, 1)]
    for seed, run in enumerate(runs):
        recipe = {"data": {"store": "./" * seed + "f.h5"}, "run": {"seed": seed, "threads": seed}}
        write_json(run / "recipe.json", {"recipe": recipe, "data": "1"})
    assert seeds_of(runs, tmp_path) == ["2"]


@pytest.mark.parametrize(
    ("scored", "how"),
    [
        ({"views": 1, "temperature": 1.5}, "1 view, calibrated"),
        ({"views": 10, "temperature": 1.5}, "10 views, calibrated"),
    ],
)
def test_a_run_that_was_scored_otherwise_is_named_and_not_pooled(make_run, tmp_path, scored, how):
    runs = [make_run(f"net-seed-{seed}", seed) for seed in (0, 1, 2)]
    for seed, run in enumerate(runs):
        write_json(run / "recipe.json", {"recipe": {"run": {"seed": seed}}, "data": "1"})
    assert seeds_of(runs, tmp_path) == ["3"]
    write_json(runs[0] / "scores-val.json", scored)
    assert seeds_of(runs, tmp_path) == ["2"]
    blocks = make_report(runs, None, tmp_path)
    others = "net-seed-1, net-seed-2: 1 view, not calibrated"
    assert f"not scored alike: net-seed-0: {how}; {others}." in said(blocks)
    table = next(table for table in of(blocks, Table) if table.head[-2:] == ("views", "temperature"))
    assert [row[-2:] for row in table.rows] == [(str(scored["views"]), "1.500"), ("1", "–"), ("1", "–")]


def test_test_predictions_of_a_paper_are_known_as_calibrated(make_run, tmp_path):
    folder = make_run("a")
    write_json(folder / "result.json", {"clean": None, "temperature": 1.5})
    run = read_run(folder)
    assert (run.temperature("val"), run.temperature("test")) == (None, 1.5)


def test_a_mean_of_clean_scores_is_only_over_all_runs_that_the_row_counts(make_run, tmp_path):
    runs = [make_run(f"net-seed-{seed}", seed) for seed in range(3)]
    for seed, run in enumerate(runs):
        write_json(run / "recipe.json", {"recipe": {"run": {"seed": seed}}, "data": "1"})
    means = []
    for n in (2, 3):
        for run in runs[:n]:
            write_json(run / "scores-val.json", {"clean": {"accuracy": 0.4321}})
        (draw := tmp_path / f"draw-{n}").mkdir()
        tables = of(make_report(runs, None, draw), Table)
        means += [table.rows[0][1:4:2] for table in tables if table.head[0] == "mean ± sd over seeds"]
    assert means == [("3", "–"), ("3", "43.21 ± 0.00")]
