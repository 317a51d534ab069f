import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from mien.web.folders import own_folder

HOLD = """
import sys
from pathlib import Path
from mien.web.folders import own_folder
with own_folder(Path(sys.argv[1])) as folder:
    (folder / "job").mkdir()
    (folder / "job" / "video").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path):
    """Another process that holds a folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process, tmp_path / os.path.basename(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_a_folder_is_private_and_goes_with_its_server(tmp_path):
    with own_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "video").write_bytes(b"x")
    with pytest.raises(RuntimeError), own_folder(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_server_goes_when_the_next_starts(tmp_path, server):
    process, left = server
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "job" / "video").exists()
    with own_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_the_folder_of_a_living_server_stays(tmp_path, server):
    _, held = server
    with own_folder(tmp_path):
        assert (held / "job" / "video").exists()


def test_what_is_no_servers_folder_stays(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "lock").touch()
    (tmp_path / "mien-serve-link").symlink_to(precious)
    (tmp_path / "mien-serve-file").touch()
    (tmp_path / "mien-serve-other").mkdir()  # without a lock
    with own_folder(tmp_path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "mien-serve-file",
        "mien-serve-link",
        "mien-serve-other",
        "precious",
    ]
    assert (precious / "lock").exists()
