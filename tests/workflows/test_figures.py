"""Figures: what is drawn, how it is written, and what is left behind when it cannot be."""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mien.core.calibration import softmax
from mien.core.metrics import risk_coverage
from mien.core.scores import Scores, score
from mien.errors import MienError, MissingExtraError
from mien.workflows import figure_style, figures

NAMES = ("angry", "happy", "sad")
HISTORY = [
    {
        "epoch": float(e),
        "train_loss": 1.8 / e,
        "val_loss": 2 / e,
        "train_accuracy": 1 - 0.7 / e,
        "val_accuracy": [0.3, 0.6, 0.5][e - 1],
        "lr": 0.1 / e,
    }
    for e in (1, 2, 3)
]


def predictions(temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)  # no one is sad
    logits = rng.normal(size=(300, 3)) * [1, 1, 0] + 2 * np.eye(3)[labels] - [0, 0, 9]
    return softmax(logits, temperature), labels


def scores(temperature: float = 1.0) -> Scores:
    return score(*predictions(temperature), NAMES)


def examples(path: object, n: int = 300, seed: int = 1) -> object:
    """Faces of noise, but for one gray value that says which row each is."""
    probs, labels = (part[:n] for part in predictions())
    images = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(n) // 256, np.arange(n) % 256
    return figures.examples_figure(images, labels, probs, NAMES, path)


DRAWINGS = {
    "confusion": lambda path: figures.confusion_figure(scores(), path),
    "curves": lambda path: figures.curves_figure(HISTORY, path),
    "calibration": lambda path: figures.calibration_figure(scores(0.3), scores(), 1.4, path),
    "risk coverage": lambda path: figures.risk_coverage_figure({"one": risk_coverage(*predictions())}, path),
    "examples": lambda path: examples(path),
}


@pytest.fixture(params=DRAWINGS.values(), ids=DRAWINGS.keys())
def draw(request):
    return request.param


@pytest.fixture
def drawn(monkeypatch):
    """The figures in place of their files."""
    kept = []
    monkeypatch.setattr(figure_style, "save", lambda figure, path: kept.append(figure))
    return kept


def texts(figure) -> list[str]:
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def test_each_figure_replaces_the_old_file_by_a_readable_png_of_sensible_size(draw, tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    assert draw(path) == path
    assert os.listdir(tmp_path) == ["figure.png"]
    assert 10_000 < path.stat().st_size < 1_000_000
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert 700 <= image.width <= 2600
        assert 400 <= image.height <= 1400
        assert len(np.unique(np.asarray(image.convert("L")))) > 20  # not blank


def test_no_text_is_smaller_than_nine_points(draw, drawn):
    from matplotlib.text import Text

    draw("unused.png")
    assert min(t.get_fontsize() for t in drawn[0].findobj(Text) if t.get_text()) >= 9


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    text = f"{path} cannot be written: no space left on device"
    with pytest.raises(MienError, match=re.escape(text)):
        DRAWINGS["risk coverage"](path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["figure.png"]


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "absent" / "figure.png"
    with pytest.raises(MienError, match=re.escape(f"{path} cannot be written: no such file or directory")):
        DRAWINGS["risk coverage"](path)


def test_without_matplotlib_the_error_says_what_to_install(draw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = 'drawing figures needs matplotlib; run: pip install "mien[data]"'
    with pytest.raises(MissingExtraError, match=re.escape(text)):
        draw(tmp_path / "figure.png")
    assert os.listdir(tmp_path) == []


def test_importing_loads_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    code = (
        "import sys; from mien.workflows import figures; first = 'matplotlib' in sys.modules;"
        "figures.curves_figure([{'epoch': 1, 'lr': 0.1}], sys.argv[1]);"
        "print(first, 'matplotlib.figure' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "figure.png")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.split() == ["False", "True", "False"], run.stderr


def test_a_confusion_cell_lies_in_the_row_of_its_true_class(drawn):
    figures.confusion_figure(scores(), "unused.png")
    counts, percent = drawn[0].axes
    confusion = np.array(scores().confusion)
    assert confusion[0, 1] != confusion[1, 0]
    cell = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in counts.texts}
    assert (cell[0, 1], cell[1, 0]) == (str(confusion[0, 1]), str(confusion[1, 0]))
    cell = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in percent.texts}
    assert cell[0, 1] == f"{100 * confusion[0, 1] / confusion[0].sum():.0f}"
    assert (cell[2, 0], cell[2, 2]) == ("·", "·")  # a class without rows divides by nothing
    assert [t.get_text() for t in counts.get_yticklabels()] == list(NAMES)


def test_the_confusion_title_states_intervals_and_classes_never_read(drawn):
    figures.confusion_figure(scores(), "unused.png")
    got = scores()
    low, high = (100 * end for end in got.accuracy_interval)
    title = drawn[0].get_suptitle()
    assert f"300 images · accuracy {100 * got.accuracy:.1f} % ({low:.1f}–{high:.1f})" in title
    assert title.endswith("never read: sad")


def test_curves_name_the_best_validation_epoch(drawn):
    figures.curves_figure(HISTORY, "unused.png")
    assert "accuracy: best 60.00 % at epoch 2" in texts(drawn[0])


@pytest.mark.parametrize(
    ("loss", "more", "height", "scale"),
    [
        ("squared", {"val_failures": 0.5}, "mean error, % of the outer eye distance", 100),
        ("l2-svm", {}, "mean cross-entropy", 1),
    ],
)
def test_losses_of_two_units_have_an_axis_each(drawn, loss, more, height, scale):
    figures.curves_figure([line | more for line in HISTORY], "unused.png", loss)
    training, validation, *_ = drawn[0].axes
    assert [training.get_ylabel(), validation.get_ylabel()] == [f"mean loss, {loss}", height]
    assert [line.get_ydata()[0] for line in training.lines] == [1.8]
    assert [line.get_ydata()[0] for line in validation.lines] == [scale * 2.0]


def test_curves_skip_what_the_history_lacks(drawn):
    rows = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.5, "val_loss": 1.8, "lr": None}]
    figures.curves_figure(rows, "unused.png")
    (loss,) = drawn[0].axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[1, 2.0], [2, 1.5]], [[2, 1.8]]]


def shown_rows(figure) -> tuple[list[int], list[int]]:
    """Which rows are on the left, and which on the right."""
    sides = [[ax.images[0].get_array() for ax in side.axes if ax.images] for side in figure.subfigs]
    return tuple([int(face[0, 0]) * 256 + int(face[0, 1]) for face in faces] for faces in sides)


def test_examples_have_the_right_answers_on_the_left_and_name_truth_and_answer_on_the_right(drawn):
    examples("unused.png")
    probs, labels = predictions()
    right, wrong = shown_rows(drawn[0])
    guess = probs.argmax(1)
    assert (len(set(right)), len(set(wrong))) == (15, min(15, int((guess != labels).sum())))
    assert (guess[right] == labels[right]).all()
    assert (guess[wrong] != labels[wrong]).all()
    titles = [ax.get_title() for ax in drawn[0].subfigs[1].axes if ax.images]
    assert titles == [
        f"is {NAMES[labels[i]]}\nread {NAMES[guess[i]]} {100 * probs[i].max():.0f} %" for i in wrong
    ]


def test_the_same_examples_are_drawn_each_time_and_few_faces_leave_places_empty(drawn):
    for n in (300, 300, 7):
        examples("unused.png", n)
    assert shown_rows(drawn[0]) == shown_rows(drawn[1])
    assert sum(map(len, shown_rows(drawn[2]))) == 7


def test_the_calibration_figure_states_temperature_and_errors(drawn):
    before, after = scores(0.3), scores()
    figures.calibration_figure(before, after, 1.4, "unused.png")
    assert f"before (T = 1): ECE {100 * before.ece:.1f} % · NLL {before.nll:.3f}" in texts(drawn[0])
    assert f"after (T = 1.4): ECE {100 * after.ece:.1f} % · NLL {after.nll:.3f}" in texts(drawn[0])


def test_several_models_share_a_risk_coverage_figure_and_a_legend_whatever_they_are_called(drawn):
    curve, names = risk_coverage(*predictions()), ["wide", "_small", "a$b$"]
    figures.risk_coverage_figure(dict.fromkeys(names, curve), "unused.png")
    named = drawn[0].axes[0].get_legend().get_texts()
    assert [text.get_text() for text in named] == names
    assert not any(text.get_parse_math() for text in named)


@pytest.mark.parametrize(
    "history", [[], [{"epoch": 1}], [{"train_loss": 1.0}]], ids=["empty", "no value", "no epoch"]
)
def test_a_history_without_anything_to_draw_is_refused(history):
    with pytest.raises(MienError, match="history must hold epochs with a loss, an accuracy or lr; train for"):
        figures.curves_figure(history, "unused.png")


@pytest.mark.parametrize("n", [0, 6])
def test_too_few_or_many_risk_coverage_curves_are_refused(n):
    curve = risk_coverage(*predictions())
    with pytest.raises(MienError, match=f"risk-coverage figure needs 1 to 5 curves, got {n}"):
        figures.risk_coverage_figure({str(i): curve for i in range(n)}, "unused.png")
