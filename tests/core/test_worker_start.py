"""Processes that read for others: what Ctrl-C does while they start."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.core import reading_pool
from mien.core.child import child_command
from mien.web import decode_worker as image_worker
from mien.workflows.video import decode_worker as video_worker


@pytest.mark.parametrize(
    "function", [reading_pool.work, image_worker.main, video_worker.main], ids=["bulk", "web", "video"]
)
def test_ctrl_c_while_a_process_imports_is_left_to_the_parent(
    function: Callable[[], None], tmp_path: Path
) -> None:
    path = tmp_path.joinpath(*function.__module__.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    (tmp_path / "mien" / "__init__.py").touch()
    press = "import signal\nsignal.raise_signal(signal.SIGINT)\n"
    path.write_text(f"{press}def {function.__name__}(): print('begun')\n")
    *command, _ = child_command(function)
    command.append(json.dumps([str(tmp_path), *sys.path]))
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("begun\n", "")


def test_modules_of_the_current_folder_do_not_stand_for_those_of_python(tmp_path: Path) -> None:
    for name in ("signal", "json"):
        (tmp_path / f"{name}.py").write_text("print('of the folder')")
    command = child_command(video_worker.main, "no setup")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, "JSONDecodeError" in done.stderr) == ("", True)
