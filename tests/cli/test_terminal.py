"""What commands show beside their output."""

import io
import sys

import pytest

from mien.cli.progress import progress_bar
from mien.cli.terminal import text_console
from mien.cli.training_bar import training_bar


@pytest.mark.parametrize("rows", [True, False], ids=["rows", "talk"])
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "file"])
def test_a_bar_takes_only_talk_on_a_terminal_for_its_own(rows: bool, is_terminal: bool, monkeypatch) -> None:
    pytest.importorskip("rich", reason="needs rich")
    monkeypatch.setenv("FORCE_COLOR", "1")  # stderr counts as a terminal
    out = io.StringIO()
    out.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdout", out)
    with progress_bar(rows=rows):
        assert (sys.stdout is out) == (rows or not is_terminal)
    assert sys.stdout is out


def test_a_label_of_others_is_printed_as_it_is_and_a_closed_pipe_is_told(capsys, monkeypatch) -> None:
    pytest.importorskip("rich", reason="needs rich")
    from rich.table import Table

    table = Table(title="rest [/x]")
    table.add_column("angry [hot]")
    table.add_row("neutral [/rest] :smile: \x1b[31m")
    text_console().print(table)
    shown = capsys.readouterr().out
    for part in ("rest [/x]", "angry [hot]", "neutral [/rest] :smile: ?[31m"):
        assert part in shown

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        text_console().print(table)


def test_the_name_of_a_file_is_no_markup_in_a_bar() -> None:
    pytest.importorskip("rich", reason="needs rich")
    with progress_bar("description", "rate", quiet=True) as progress:
        progress.add_task("scoring [/rest].h5", rate="[hot]")
        (description, rate) = [column(progress.tasks[0]).plain for column in progress.columns]
    assert (description, rate) == ("scoring [/rest].h5", "[hot]")


def test_a_bar_has_the_columns_that_are_named_and_fields_of_its_task(monkeypatch) -> None:
    pytest.importorskip("rich", reason="needs rich")
    from rich.console import Console

    with progress_bar("description", "bar", "count", "rate") as progress:
        progress.add_task("reading", completed=3, total=12, rate="4.5 images/s")
        console = Console(file=io.StringIO(), width=80)
        console.print(progress.get_renderable())
    shown = console.file.getvalue().split()
    assert (shown[0], shown[2:]) == ("reading", ["3/12", "4.5", "images/s"])


def test_a_log_of_training_tells_what_goes_before_the_first_step(capsys, monkeypatch) -> None:
    pytest.importorskip("onnxscript", reason="needs the train extra")
    from mien.workflows.train import TrainProgress

    monkeypatch.setattr("mien.cli.progress.LINES_EVERY_S", 0.0)
    with training_bar() as report:
        report(TrainProgress(512, 28559, 0.0, 0.0, 0.0, preparing="teachers"))
        report(TrainProgress(1, 40, 0.1, 1.95, 210.4))
        report(TrainProgress(40, 40, 4.0, 1.2, 210.4), name="other")
    assert [line.split("  ") for line in capsys.readouterr().err.splitlines()] == [
        ["teachers", "512/28,559"],
        ["epoch 0.1", "1/40", "210 faces/s", "loss 1.95"],
        ["other epoch 4.0", "40/40", "scoring"],
    ]


def test_a_pause_for_scoring_does_not_double_the_time_left(monkeypatch) -> None:
    pytest.importorskip("rich", reason="needs rich")
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with progress_bar("left") as progress:
        bar = progress.add_task("epoch", total=10_000)
        for step in range(1, 401):
            now[0] = step + 25.0 * (step > 398)  # a step a second, and a pause before the last two
            progress.update(bar, completed=step)
        assert progress.tasks[0].time_remaining == pytest.approx(9_600, rel=0.15)


def test_what_is_printed_above_a_bar_is_shown_as_it_is(capsys):
    with progress_bar("description") as bar:
        bar.console.print("trial 3  failed: no label [/rest] or [red] :smile:")
    assert capsys.readouterr().err == "trial 3  failed: no label [/rest] or [red] :smile:\n"
