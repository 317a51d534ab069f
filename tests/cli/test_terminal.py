"""What commands show beside their output."""

import io
import sys

import pytest

from mien.cli.terminal import progress_bar


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
