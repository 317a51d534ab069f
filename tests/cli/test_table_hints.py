"""What an error about a table advises."""

from pathlib import Path

import pytest

from mien.cli.hints import other_command


def test_a_table_of_events_is_not_sent_to_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coded.csv").write_text("a,b\n")
    monkeypatch.chdir(tmp_path)
    assert other_command("agreement", "coded.csv") == ""
    assert "mien data import csv" in other_command("read", "coded.csv")
