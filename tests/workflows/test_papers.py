"""The papers' rows as data, the run of one of them, and the pages that follow from the results."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.errors import DataError, MienError, RecipeError
from mien.workflows import papers, papers_page

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = json.loads((ROOT / "tests" / "core" / "reference_metrics.json").read_text())
RECIPES = ROOT / "src" / "mien" / "recipes"

# --- the rows


def test_every_row_says_all_that_a_reader_needs() -> None:
    for row in papers.rows().values():
        assert row.paper in papers.papers(), row.name
        for fact in (row.what, row.published, row.on, row.holds, row.source):
            assert fact, row.name
        assert row.recipe or row.why, f"{row.name} has neither a recipe nor a reason"
        assert row.kind == "network" or not row.recipe, row.name
        assert row.spec or row.kind != "network" or "quoted" in row.holds, row.name


@pytest.mark.parametrize(
    ("paper", "people", "others"),
    [
        ("cs230", 2, 7),
        ("auc", 0, 13),
        ("khanzada", 1, 21),
        ("cs231n", 3, 4),
        ("chmura", 0, 2),
        ("maastricht", 0, 12),
    ],
)
def test_no_row_of_a_paper_is_forgotten(paper: str, people: int, others: int) -> None:
    kinds = [row.kind == "human" for row in papers.rows().values() if row.paper == paper]
    assert (sum(kinds), len(kinds) - sum(kinds)) == (people, others)


def test_every_recipe_of_a_paper_has_its_row_and_every_row_its_recipe() -> None:
    shipped = {path.stem for path in RECIPES.glob("*.toml")}
    named = {row.recipe for row in papers.rows().values() if row.recipe}
    assert named - shipped == set()
    assert {name for name in shipped - named if name.split("-")[0] in papers.papers()} == set()


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ("maastricht-cnn1", "maastricht_cnn1_40ep|privatetest_3589"),
        ("maastricht-cnn2", "maastricht_cnn2_40ep|privatetest_3589"),
        ("maastricht-cnn3", "maastricht_cnn3_40ep|privatetest_3589"),
        ("maastricht-googlenet", "maastricht_googlenet_10ep|privatetest_3589"),
        ("chmura-cnn", "chmura_owncnn"),
        ("cs230-base-64", "cs230_base64"),
    ],
)
def test_what_holds_is_what_the_committed_predictions_give(row: str, entry: str) -> None:
    scores = PUBLISHED[entry]
    found = papers.row(row)
    assert found.holds.startswith(f"{scores['accuracy']:.2%}".replace("%", " %"))
    assert f"{scores['correct']:,}" in found.note + found.holds
    assert f"macro F1 {100 * scores['macro_f1']:.1f} %" in found.note + found.holds


@pytest.mark.parametrize("row", ["maastricht-cnn1-20-epochs", "maastricht-cnn4"])
def test_the_leaking_figure_is_what_the_committed_predictions_give(row: str) -> None:
    key = {"maastricht-cnn4": "maastricht_cnn4_40ep(commit ccef0a7)"}.get(
        row, "maastricht_cnn1_20ep(commit ab23986)"
    )
    assert f"{100 * PUBLISHED[f'{key}|all_32298']['accuracy']:.2f} % on all" in papers.row(row).note


@pytest.mark.parametrize(
    ("row", "right", "n"),
    [("cs230-human-untrained", 57, 100), ("cs230-human-trained", 63, 100), ("cs231n-human", 190, 300)],
)
def test_the_intervals_of_the_human_figures_are_wilsons(row: str, right: int, n: int) -> None:
    """By the formula of Wilson 1927, written out again."""
    z, p = 1.959964, right / n
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    printed = [float(x) for x in re.findall(r"\d+\.\d", papers.row(row).holds)]
    assert printed == pytest.approx([100 * low, 100 * high], abs=0.11)


def test_an_unknown_row_is_answered_with_the_nearest() -> None:
    with pytest.raises(MienError, match="no row named 'mastricht-cnn1'; did you mean 'maastricht-cnn1'"):
        papers.row("mastricht-cnn1")


def test_all_leaves_out_what_needs_more_than_fer2013() -> None:
    names = {row.name for row in papers.chosen([], True)}
    assert {"maastricht-cnn1", "cs231n-distilled", "chmura-cnn"} <= names
    assert not {"maastricht-googlenet", "maastricht-face", "cs230-human-trained"} & names
    order = [row.name for row in papers.chosen([], True)]
    assert order.index("cs231n-final") < order.index("cs231n-distilled")


@pytest.mark.parametrize(
    ("names", "everything", "text"),
    [
        ([], False, "give rows, such as maastricht-cnn1, or --all"),
        (["chmura-cnn"], True, "give rows, such as maastricht-cnn1, or --all"),
        (["maastricht-face"], False, "'maastricht-face' cannot be trained: the code that cut the faces"),
    ],
    ids=["nothing", "both", "untrainable"],
)
def test_a_choice_that_cannot_be_run_is_refused(names: list[str], everything: bool, text: str) -> None:
    with pytest.raises(MienError, match=re.escape(text)):
        papers.chosen(names, everything)


# --- the pages


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
        "environment": {"machine": "2 cores, X", "threads": 1, "gpu": None, "commit": "abc1234"},
        "look": 1,
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
    known = {f"{row}{end}" for row in papers.rows() for end in (".json", "-curves.png", "-confusion.png")}
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
    assert cells(page, "cs230-human-trained")[3] == "a person: mien trains none"
    assert all(len(cells(page, row)) == len(papers_page.COLUMNS) for row in papers.rows())


def test_second_looks_and_classes_never_named_are_told() -> None:
    test = scores(1729, 3589) | {"never_predicted": ["disgust"]}
    page = papers_page.page({"maastricht-cnn1": a_result(look=2, test=test)}, Path("papers"))
    assert "`maastricht-cnn1`: never predicts disgust; PrivateTest opened 2 times." in page


def test_the_table_takes_over_small_pictures_and_keeps_faces_and_predictions_back(tmp_path: Path) -> None:
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
    assert papers_page.write_page(tmp_path / "none", tmp_path / "papers.md") == (1, None)
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
    assert papers_page.write_page(tmp_path / "runs", tmp_path / "papers.md") == (1, leaks)
    lines = leaks.read_text().splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
    assert lines[-3] == ("| `maastricht-cnn1` | 80 % | 48.17 % | 80.23 % (79.2-81.2) | 48.17 % (47.2-49.2) |")


# --- a run

pytest.importorskip("torch", reason="needs the train extra")

from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.workflows import papers_run
from mien.workflows.papers_run import PaperSettings, run_row

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
    path = folder / "test-looks.log"
    return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.mark.train
def test_a_run_leaves_scores_figures_one_look_and_the_score_as_the_paper_took_it(data: Path) -> None:
    row = papers.row("maastricht-cnn1")
    result = run_row(row, settings(data))
    folder = data.parent / "runs" / row.name
    for name in ("curves", "confusion-val", "confusion-test", "examples-test"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width > 600, name
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(result))
    assert (result["epochs"], result["epochs_wanted"], result["finished"]) == (2, 40, True)
    assert "run.epochs=2 (40)" in result["changes"]
    assert not any("store" in change for change in result["changes"])
    assert str(data) not in json.dumps(result)
    assert (result["look"], looks(folder)) == (1, 1)
    assert result["clean"] is None  # nobody searched this data set for copies
    predicted = (folder / "predictions-test.csv").read_text().splitlines()[1:]
    right = sum(line.split(",")[1] == line.split(",")[2] for line in predicted)
    assert result["test"]["accuracy"] == right / len(predicted)
    net = papers_run.load_trained(folder, papers_run.pick_device("cpu"))
    together = bars().take(bars().split != 1)
    right = int((net.logits(together.images).argmax(1) == together.labels).sum())
    assert (result["leak"]["n"], result["leak"]["accuracy"]) == (72, right / 72)
    assert result["leak"]["learned_n"] == 48
    assert run_row(row, settings(data)) == json.loads(json.dumps(result))
    assert looks(folder) == 1  # the second command only reads


class StoppedError(Exception):
    """The run is interrupted."""


@pytest.mark.train
def test_an_unfinished_run_is_scored_as_far_as_it_is_and_goes_on_afterwards(data: Path) -> None:
    row, asked = papers.row("cs230-base-64"), settings(data)

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
def test_a_pupil_whose_teacher_is_not_trained_says_what_to_do_first(data: Path) -> None:
    asked = settings(data, overrides=())
    text = f"{asked.runs / 'cs231n-final'} is not trained yet; first: mien papers run cs231n-final"
    with pytest.raises(RecipeError, match=re.escape(text)):
        run_row(papers.row("cs231n-distilled"), asked)


@pytest.mark.train
def test_other_data_than_those_learned_from_are_refused(data: Path) -> None:
    row = papers.row("cs230-base-64")
    run_row(row, settings(data, open_test=False))
    write_store(bars(72), data.parent / "other.h5")
    with pytest.raises(DataError, match="learned from other data; give that file with --data"):
        run_row(row, settings(data.parent / "other.h5", runs=data.parent / "runs"))


def test_changes_of_place_are_no_changes_of_the_recipe() -> None:
    asked = papers_run.read_recipe("maastricht-cnn1")
    moved = papers_run.read_recipe("maastricht-cnn1", ["data.store=x.h5", "run.threads=7"])
    other = papers_run.read_recipe("maastricht-cnn1", ["optim.lr=0.5", "run.epochs=3"])
    assert papers_run.changes(asked, moved) == []
    assert papers_run.changes(asked, other) == ["optim.lr=0.5 (0.0001)", "run.epochs=3 (40)"]
