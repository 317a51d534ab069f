"""The pages that follow from the results."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError
from mien.workflows.papers import claims
from mien.workflows.papers import page as papers_page

ROOT = Path(__file__).resolve().parents[3]


def scores(right: int, n: int) -> dict[str, Any]:
    share = right / n
    return {
        "n": n,
        "accuracy": share,
        "accuracy_interval": [share - 0.01, share + 0.01],
        "balanced_accuracy": 0.4582,
        "macro_f1": 0.4644,
        "never_predicted": [],
    }


def a_result(row: str = "maastricht-cnn1", **changed: Any) -> dict[str, Any]:
    return {
        "row": row,
        "changes": [],
        "epochs": 40.0,
        "epochs_wanted": 40,
        "finished": True,
        "seconds": 1234.4,
        "metric": None,
        "environment": {"machine": "2 cores, X", "threads": 1, "gpu": None, "commit": "abc1234"},
        "test_evaluations": 1,
        "val": scores(1750, 3589),
        "test": scores(1729, 3589),
        "clean": scores(1400, 3035),
        "leak": {**scores(25912, 32298), "learned_n": 28709, "learned_accuracy": 0.8423},
        **changed,
    }


def put(runs: Path, result: dict[str, Any]) -> Path:
    folder = runs / result["row"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def cells(page: str, row: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{row}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_in_docs_is_what_the_results_beside_it_give() -> None:
    page = ROOT / "docs" / "papers.md"
    results = papers_page.read_results(page.with_suffix(""))
    assert page.read_text(encoding="utf-8") == papers_page.page(results, page.with_suffix("")), (
        "run `mien papers table` again"
    )


def test_the_page_about_leaks_gives_the_numbers_of_the_runs() -> None:
    text = (ROOT / "docs" / "concepts" / "leaks.md").read_text(encoding="utf-8")
    results = papers_page.read_results(ROOT / "docs" / "papers")
    assert text == papers_page.with_leaks(text, results), "run `mien papers table` again"
    if cnn1 := results.get("maastricht-cnn1"):
        for measured in (cnn1["leak"], cnn1["test"]):
            assert f"{100 * measured['accuracy']:.2f} %" in text


def test_the_files_beside_the_page_are_small_and_show_no_face() -> None:
    files = [path for path in (ROOT / "docs" / "papers").iterdir() if not path.name.startswith(".")]
    known = {f"{row}{end}" for row in claims.rows() for end in (".json", "-curves.png", "-confusion.png")}
    assert {path.name for path in files} <= known
    assert max((path.stat().st_size for path in files), default=0) <= papers_page.MAX_PICTURE_BYTES


def test_a_row_that_was_run_shows_its_numbers(tmp_path: Path) -> None:
    put(tmp_path / "runs", a_result())
    papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md")
    assert cells((tmp_path / "papers.md").read_text(), "maastricht-cnn1") == [
        "`maastricht-cnn1`",
        "80 %",
        "48.17 % on PrivateTest",
        "**48.17 % (47.2-49.2)**",
        "45.8 %",
        "46.4 %",
        "46.1 %",
        "40",
        "2 cores, X, 1 thread",
        "1,234",
        "abc1234",
        "[json](papers/maastricht-cnn1.json)",
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"epochs": 17.2, "finished": False}, "17.2 of 40"),
        ({"epochs": 32.0}, "32 (stopped itself)"),
        ({"epochs": 5.0, "changes": ["run.epochs=5 (40)"]}, "5 of 40"),
    ],
    ids=["unfinished", "stopped early", "shortened"],
)
def test_a_row_not_run_in_full_says_how_far_it_ran(changed: dict[str, Any], says: str) -> None:
    page = papers_page.page({"maastricht-cnn1": a_result(**changed)}, Path("papers"))
    assert cells(page, "maastricht-cnn1")[7] == says
    told = "`maastricht-cnn1`: does not follow its recipe: run.epochs=5 (40)."
    assert (told in page) == ("changes" in changed)


def test_rows_without_a_run_say_why(tmp_path: Path) -> None:
    page = papers_page.page({}, tmp_path)
    assert cells(page, "maastricht-cnn1")[3] == "not run yet"
    assert cells(page, "maastricht-googlenet")[3].startswith("needs ImageNet weights")
    assert cells(page, "cs230-hybrid-128")[3] == "not run yet: for a GPU"
    assert cells(page, "cs230-human-trained")[3] == "a person; no network to train"
    assert all(len(cells(page, row)) == len(papers_page.COLUMNS) for row in claims.rows())


def test_a_network_of_landmarks_shows_its_error_on_each_source(tmp_path: Path) -> None:
    def errors(mean: float) -> dict[str, Any]:
        return {"n": 224, "error": mean, "error_interval": [mean - 0.002, mean + 0.002], "failures": 0.01}

    test = [{"source": "lfpw", **errors(0.0391)}, {"source": "ytf", **errors(0.0496)}]
    result = a_result("maastricht-xception", metric="point-error", val=errors(0.04), test=test)
    put(tmp_path / "runs", result | {"clean": None, "leak": None})
    papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md")
    shown = cells((tmp_path / "papers.md").read_text(), "maastricht-xception")
    error = "error of the points: lfpw **3.91 % (3.7-4.1)**, ytf **4.96 % (4.8-5.2)**"
    assert shown[3:8] == [error, "", "", "", "40"]


def test_a_vote_says_of_how_many() -> None:
    result = a_result("auc-ensemble", epochs=0, epochs_wanted=0, leak=None)
    assert cells(papers_page.page({"auc-ensemble": result}, Path("papers")), "auc-ensemble")[7] == "7 votes"
    by_views = a_result("auc-five-layer-views", epochs=0, epochs_wanted=0, leak=None)
    page = papers_page.page({"auc-five-layer-views": by_views}, Path("papers"))
    assert cells(page, "auc-five-layer-views")[7] == "10 views"


def test_the_rows_without_a_number_are_counted_by_what_they_wait_for() -> None:
    run = ("maastricht-cnn1", "cs230-hybrid-128", "khanzada-vgg16")
    found, n = papers_page.tally({name: {} for name in run}), len(claims.rows())
    assert found.startswith(f"3 of {n} rows have a score; the others need a run (")
    assert sum(map(int, re.findall(r"\((\d+)\)", found))) == n - 3
    for text in ("a GPU (1)", "other data (1)", "people (6)", "a recipe that no paper prints (2)"):
        assert text in found
    assert f"\n{papers_page.tally({})}.\n" in papers_page.page({}, Path("papers"))
    assert papers_page.tally({name: {} for name in claims.rows()}) == f"{n} of {n} rows have a score"


def test_second_evaluations_and_classes_never_named_are_told() -> None:
    test = scores(1729, 3589) | {"never_predicted": ["disgust"]}
    page = papers_page.page({"maastricht-cnn1": a_result(test_evaluations=2, test=test)}, Path("papers"))
    assert "`maastricht-cnn1`: never predicts disgust; PrivateTest opened 2 times." in page


def test_the_table_takes_over_small_images_and_keeps_faces_and_predictions_back(tmp_path: Path) -> None:
    folder = put(tmp_path / "runs", a_result())
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    for name, pixels in {"curves.png": noise // 250, "confusion-test.png": noise}.items():
        Image.fromarray(pixels).save(folder / name)
    for name in ("examples-test.png", "predictions-test.csv"):
        (folder / name).write_bytes(b"people")
    papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md")
    names = {path.name for path in (tmp_path / "papers").iterdir()}
    assert names == {"maastricht-cnn1.json", "maastricht-cnn1-curves.png"}
    assert "[curves](papers/maastricht-cnn1-curves.png), [json]" in (tmp_path / "papers.md").read_text()


def test_results_that_were_taken_over_stay_when_their_run_is_gone(tmp_path: Path) -> None:
    put(tmp_path / "runs", a_result())
    papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md")
    first = (tmp_path / "papers.md").read_text()
    assert papers_page.write_page(tmp_path / "none", tmp_path / "papers.md")[1] is None
    assert (tmp_path / "papers.md").read_text() == first


def test_a_run_whose_test_rows_are_closed_is_not_shown(tmp_path: Path) -> None:
    put(tmp_path / "runs", a_result(test=None, clean=None, leak=None))
    with pytest.raises(MienError, match=r"no results in .*runs or .*papers; first: mien papers run --all"):
        papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md")


def test_the_table_of_the_leak_is_written_between_its_marks(tmp_path: Path) -> None:
    (tmp_path / "concepts").mkdir()
    leaks = tmp_path / "concepts" / "leaks.md"
    leaks.write_text("before\n<!-- mien papers table: begin -->\nold\n<!-- end -->\nafter\n")
    put(tmp_path / "runs", a_result())
    assert papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md")[1] == leaks
    lines = leaks.read_text().splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
    assert lines[-3] == ("| `maastricht-cnn1` | 80 % | 48.17 % | 80.23 % (79.2-81.2) | 48.17 % (47.2-49.2) |")
