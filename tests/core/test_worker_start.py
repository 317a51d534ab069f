"""Processes that read for others: what Ctrl-C does while they start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mien.core import reading_pool
from mien.workflows.video import decoding


@pytest.mark.parametrize(
    ("start", "module", "function"),
    [
        (reading_pool.START, "core/reading_pool.py", "work"),
        (decoding.START, "workflows/video/decode_worker.py", "main"),
    ],
    ids=["images", "video"],
)
def test_ctrl_c_while_a_process_imports_is_left_to_the_parent(
    start: str, module: str, function: str, tmp_path: Path
) -> None:
    path = tmp_path / "mien" / module
    path.parent.mkdir(parents=True)
    (tmp_path / "mien" / "__init__.py").touch()
    press = "import signal\nsignal.raise_signal(signal.SIGINT)\n"
    path.write_text(f"{press}def {function}(): print('begun')\n")
    command = [sys.executable, "-c", start, json.dumps([str(tmp_path), *sys.path])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("begun\n", "")
