"""The pandas and the R block of the page about studies give the table that is worked by hand."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mien.core.timeline import columns
from mien.workflows.rows.event_files import EVENT_COLUMNS
from mien.workflows.video.many import COLUMNS as INDEX_COLUMNS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "studies.md"
NAMES = ("participant", *columns(("happy", "neutral")))


def rows_of(path: Path, participant: str, happy: list[float | None]) -> None:
    """A frame each second, ``None`` without a face."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        for time_s, value in enumerate(happy):
            face = {} if value is None else {"track": 1, "label": "happy", "p_smooth_happy": value}
            writer.writerow({"participant": participant, "time_s": time_s, "frame": time_s, **face})


def code_of(page: str, library: str, module_at: Any) -> str:
    """The block of a page that uses the library."""
    blocks = module_at("tests/docs/snippets.py").blocks(page)
    (code,) = [one.code for one in blocks if library in one.code]
    return str(code)


def in_pandas(page: str, module_at: Any) -> list[str]:
    pytest.importorskip("pandas", reason="the block is of pandas")
    return [sys.executable, "-W", "error", "-c", code_of(page, "import pandas", module_at)]


def in_r(page: str, module_at: Any) -> list[str]:
    rscript = shutil.which("Rscript") or pytest.skip("needs R")
    known = subprocess.run(
        [rscript, "-e", "library(dplyr); library(readr)"], capture_output=True, check=False
    )
    if known.returncode:
        pytest.skip("needs R's dplyr and readr")
    return [rscript, "-e", code_of(page, "library(dplyr)", module_at)]


@pytest.mark.parametrize("command", [in_pandas, in_r])
def test_a_block_gives_the_table_worked_by_hand(command: Any, module_at: Any, tmp_path: Path) -> None:
    words = command(PAGE.read_text(encoding="utf-8"), module_at)
    rows_of(tmp_path / "rows/day-1/a.mp4.csv", "007", [0.1, 0.1, 0.5, None, 0.7, 0.2, 0.2])
    rows_of(tmp_path / "rows/b.mp4.csv", "8", [0.4, 0.6, 0.5, 0.5, 0.3, 0.3, 0.9])
    rows_of(tmp_path / "rows/c.mp4.csv", "9", [None] * 7)
    (tmp_path / "rows/b.mp4.events.csv").write_text(",".join(EVENT_COLUMNS) + "\n8,1,0,7,happy,0.5,0,0\n")
    index = "".join(f"{who},{who}.mp4,{who}.mp4.csv,7,1,7,\n" for who in ("007", "8", "9"))
    (tmp_path / "rows/index.csv").write_text(",".join(INDEX_COLUMNS) + "\n" + index)
    spans = [("baseline", 0, 2), ("joke", 2, 5), ("news", 5, 7)]
    told = "".join(f"{who},{what},{start},{end}\n" for who in ("007", "8", "9") for what, start, end in spans)
    (tmp_path / "stimuli.csv").write_text("participant,stimulus,start_s,end_s\n" + told)
    subprocess.run(words, cwd=tmp_path, check=True, timeout=120)
    with (tmp_path / "table.csv").open(newline="") as file:
        table = {(row["participant"], row["stimulus"]): row["happy"] for row in csv.DictReader(file)}
    wanted = {("007", "joke"): 0.5, ("007", "news"): 0.1, ("8", "joke"): -0.2 / 3, ("8", "news"): 0.1}
    assert {key: float(value) for key, value in table.items() if value} == pytest.approx(wanted)
    assert {key for key, value in table.items() if not value} == {("9", "joke"), ("9", "news")}
