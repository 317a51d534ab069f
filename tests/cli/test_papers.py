"""``mien papers``: the rows on a terminal, and what is said of rows that cannot be run."""

import json

import pytest

from mien.workflows.papers.claims import chosen, papers, rows


@pytest.mark.parametrize("command", [["papers"], ["papers", "list"]], ids=["bare", "list"])
def test_every_row_is_listed_within_80_columns(mien, command):
    shown = mien(*command)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for row in rows().values():
        (line,) = [line for line in lines if f" {row.name} " in line]
        assert row.published in line
        assert (line[0] == "*") == bool(row.command and not row.why)


@pytest.mark.parametrize("name", rows())
def test_show_gives_specification_and_source(mien, name):
    row, shown = rows()[name], mien("papers", "show", name)
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    text = " ".join(shown.stdout.split())
    for fact in (row.source, row.spec, row.published, row.on, row.holds, papers()[row.paper].spec, row.why):
        assert fact in text


def test_an_unknown_row_ends_with_the_nearest(mien):
    shown = mien("papers", "show", "maastrict-cnn1")
    assert shown.exit_code == 2
    assert "did you mean 'maastricht-cnn1'?" in shown.stderr


def test_run_asks_for_a_row(mien):
    shown = mien("papers", "run")
    assert shown.exit_code == 2
    assert shown.stderr == "mien: give rows, such as maastricht-cnn1, or --all; `mien papers` lists them\n"


def test_run_without_data_says_how_to_get_them(mien):
    shown = mien("papers", "run", "maastricht-cnn1")
    assert shown.exit_code == 2
    assert "no data set at fer2013.h5; make one: mien data import fer2013" in shown.stderr


def test_all_goes_on_after_a_row_that_fails_and_ends_with_1(mien):
    shown = mien("papers", "run", "--all", "--data", "absent.h5")
    failed = [line.split(":")[0] for line in shown.stderr.splitlines() if line]
    assert shown.exit_code == 1
    assert failed == [row.name for row in chosen([], True)]


def test_hours_that_are_over_end_the_run_at_hand_and_start_no_other(mien, monkeypatch):
    pytest.importorskip("torch", reason="needs the train extra")
    from mien.workflows.papers import run
    from mien.workflows.train import TrainProgress

    begun = []

    def train_on(row, settings, report):
        begun.append(row.name)
        report(TrainProgress(1, 10, 0.1, 1.0, 100.0))
        raise AssertionError("the report ends it")

    monkeypatch.setattr(run, "run_row", train_on)
    shown = mien("papers", "run", "cs230-base-64", "maastricht-cnn1", "--hours", "0")
    assert shown.exit_code == 0
    assert "cs230-base-64: stopped after 0 hours; the same command continues" in shown.stderr
    assert begun == ["cs230-base-64"]


def test_all_passes_over_rows_that_another_process_runs_and_ends_well(mien, monkeypatch):
    run = pytest.importorskip("mien.workflows.papers.run", reason="needs the train extra")

    def taken(row, *_):
        raise run.TakenError(f"runs/{row.name} is being run by process 7 on node2")

    monkeypatch.setattr(run, "run_row", taken)
    shown = mien("papers", "run", "--all")
    assert shown.exit_code == 0
    assert "maastricht-cnn1: runs/maastricht-cnn1 is being run by process 7 on node2\n" in shown.stderr
    assert mien("papers", "run", "maastricht-cnn1").exit_code == 2


def test_the_leak_is_read_from_the_run_folders(mien, tmp_path):
    folder = tmp_path / "runs" / "maastricht-cnn1"
    folder.mkdir(parents=True)
    scores = {"accuracy": 0.4799, "accuracy_interval": [0.46, 0.5], "balanced_accuracy": 0.4, "macro_f1": 0.4}
    result = {
        "changes": [],
        "epochs": 40,
        "epochs_wanted": 40,
        "finished": True,
        "seconds": 60.0,
        "environment": {"gpu": None, "machine": "x86_64", "threads": 1, "commit": None},
        "test_evaluations": 1,
        "val": scores,
        "test": {**scores, "never_predicted": []},
        "clean": None,
        "leak": {"accuracy": 0.8011, "accuracy_interval": [0.79, 0.81]},
    }
    (folder / "result.json").write_text(json.dumps(result))
    lines = mien("papers", "leak").stdout.splitlines()
    assert lines[1].split() == ["maastricht-cnn1", "80", "%", "48.17", "%", "80.11%", "47.99%"]
    assert lines[2].split()[-2:] == ["-", "-"]
    assert max(map(len, lines)) <= 80


def test_a_leak_is_not_read_from_a_file(mien, tmp_path):
    (tmp_path / "notes.txt").write_text("48 %")
    shown = mien("papers", "leak", "--runs", "notes.txt")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "notes.txt is a file; --runs takes the folder" in shown.stderr


@pytest.mark.train
@pytest.mark.parametrize("options", [(), ("--val-only",)])
def test_the_table_of_test_scores_comes_next_where_there_are_some(mien, monkeypatch, options):
    pytest.importorskip("torch", reason="needs the train extra")
    monkeypatch.setattr("mien.workflows.papers.run.run_row", lambda *_: {})
    monkeypatch.setattr("mien.cli.papers._result_line", lambda *_: "a row")
    done = mien("papers", "run", "maastricht-cnn1", *options)
    next_line = "" if options else "next: mien papers table --runs runs\n"
    assert (done.exit_code, done.stdout) == (0, f"a row\n{next_line}")


def test_a_table_of_nothing_says_what_to_run(mien):
    shown = mien("papers", "table")
    assert shown.exit_code == 2
    assert "no results in runs or docs/papers; first: mien papers run --all --out runs" in shown.stderr
