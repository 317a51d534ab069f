"""Files appear whole or not at all, and what a killed process left is swept."""

import copy
import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mien.core import files
from mien.core.files import atomic_write, temporary_folder
from mien.core.locks import sole
from mien.core.outputs import check_output, check_output_folder
from mien.errors import ImageError, MienError, MissingExtraError, OutputError, VideoError


@pytest.fixture(autouse=True)
def another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a run of its own, which sweeps."""
    monkeypatch.setattr(files, "_swept", set())


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def killed(code: str, folder: Path) -> None:
    """Run Python code that says when it is ready, and kill it then."""
    command = [sys.executable, "-c", f"{code}\n  print('ready', flush=True); import time; time.sleep(60)"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)


def test_a_file_is_there_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "a.txt"
    for target in ("there/old.txt", "there/new.txt"):  # the second one leads to nothing yet
        (tmp_path / "there" / "old.txt").write_text("old")
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with atomic_write(link) as temporary:
            temporary.write_text("new")
        assert link.is_symlink()
        assert (tmp_path / target).read_text() == "new"


def test_a_file_and_its_folder_are_on_the_disk_before_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        told.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        told.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert told == [temporary.name, "renamed", tmp_path.name]


def test_what_a_killed_writer_left_is_gone_at_the_next_write(tmp_path: Path) -> None:
    code = (
        "from mien.core.files import atomic_write\nwith atomic_write('a.txt') as t:\n  t.write_text('half')"
    )
    killed(code, tmp_path)
    assert len(names(tmp_path)) == 1
    with atomic_write(tmp_path / "b.txt") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["b.txt"]


def test_what_a_living_writer_writes_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_write(tmp_path / "a.txt") as first:
        first.write_text("one")
        monkeypatch.setattr(files, "_swept", set())  # as another process would
        with atomic_write(tmp_path / "b.txt") as second:
            second.write_text("two")
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_a_folder_in_use_is_private_and_stays_and_so_does_what_a_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / ".mien-link").symlink_to(tmp_path / "precious")
    with temporary_folder(tmp_path) as held:
        assert held.stat().st_mode & 0o077 == 0
        monkeypatch.setattr(files, "_swept", set())  # as another process would
        with temporary_folder(tmp_path):
            assert held.is_dir()
    assert names(tmp_path) == [".mien-link", "precious"]


def test_files_of_others_that_are_called_alike_stay(tmp_path: Path) -> None:
    (tmp_path / ".mienrc").write_text("mine")
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == [".mienrc", "a.txt"]


def test_a_folder_that_a_kill_left_is_gone_at_the_next_one(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom mien.core.files import temporary_folder\n"
        "with temporary_folder(Path('.')) as t:\n  (t / 'x').write_text('half')"
    )
    killed(code, tmp_path)
    assert len(names(tmp_path)) == 1
    with temporary_folder(tmp_path) as folder:
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == []


def test_a_file_that_must_not_be_replaced_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OutputError, match=r"a\.txt cannot be written: file exists"):  # noqa: SIM117
        with atomic_write(tmp_path / "a.txt", replace=False) as temporary:
            temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ValueError("database or disk is full"),
    ],
    ids=["of the system", "of a library", "of a database"],
)
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OutputError) as raised:  # noqa: SIM117
        with atomic_write(tmp_path / "a.txt"):
            raise error
    assert str(raised.value) == f"{tmp_path / 'a.txt'} cannot be written: no space left on device"
    assert raised.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_errors_about_other_files_and_of_other_kinds_pass(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"^no frame of 'http"), atomic_write(tmp_path / "a.txt"):
        raise VideoError("no frame of 'http://a/s.mp4' can be decoded: input/output error")
    with pytest.raises(FileNotFoundError, match="missing"), atomic_write(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()
    with pytest.raises(ValueError, match="no card"), atomic_write(tmp_path / "a.txt"):
        raise ValueError("no card")
    assert names(tmp_path) == []


def test_one_process_holds_a_lock_and_the_other_is_told_who(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with sole(lock) as other:
        assert other == ""
        with sole(lock) as other:
            assert other.startswith(f"process {os.getpid()} on ")
    assert names(tmp_path) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    killed(
        "from pathlib import Path\nfrom mien.core.locks import sole\nwith sole(Path('lock')) as other:",
        tmp_path,
    )
    assert names(tmp_path) == ["lock"]
    with sole(tmp_path / "lock") as other:
        assert other == ""
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("folder", "folder cannot be written: it is a folder; name a file"),
        ("none/a.csv", r"a\.csv cannot be written: there is no folder .*none; make it first"),
        ("file/a.csv", r"a\.csv cannot be written: there is no folder .*file; make it first"),
        ("x" * 256, "cannot be written: file name too long"),
        ("zero\0", "cannot be written: embedded null"),
        ("pipe", "pipe cannot be written: it is a pipe or a device; name a file"),
    ],
)
def test_a_file_that_cannot_be_is_told_before_the_work(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MienError, match=text):
        check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["pipe", "folder"])
def test_what_is_no_file_is_never_replaced_by_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(OutputError, match=rf"{name} cannot be written: it is a"),
        atomic_write(tmp_path / name),
    ):
        pass
    assert names(tmp_path) == ["folder", "pipe"]
    assert not (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("file", "file cannot be written: it is a file; name a folder"),
        ("file/below/it", r"it cannot be written: .*file is a file; name a folder"),
        ("x" * 256, "cannot be written: file name too long"),
    ],
)
def test_a_folder_that_cannot_be_is_told_before_the_work(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MienError, match=text):
        check_output_folder(tmp_path / name)


def test_outputs_that_can_be_are_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("old")
    for name in ("there.csv", "new.csv", "x" * 255, tmp_path / "a.csv"):
        check_output(name)
    for folder in ("new/folder/below", ".", tmp_path):
        check_output_folder(folder)
    assert names(tmp_path) == ["there.csv"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file from anyone")
def test_a_folder_that_takes_no_file_in_spite_of_its_permissions_is_told() -> None:
    """As on a network share that does not trust root; root alone gets so far in /proc."""
    refused = r"cannot be written: folder /proc (takes no file \(.+\)|is not writable)$"
    with pytest.raises(OutputError, match=rf"/proc/a\.csv {refused}"):
        check_output("/proc/a.csv")
    with pytest.raises(OutputError, match=rf"/proc/runs {refused}"):
        check_output_folder("/proc/runs")


def test_a_folder_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may all
    with pytest.raises(OutputError, match=r"a\.csv cannot be written: folder .* is not writable"):
        check_output(tmp_path / "a.csv")
    with pytest.raises(OutputError, match=r"runs cannot be written: folder .* is not writable"):
        check_output_folder(tmp_path / "runs")


@pytest.mark.parametrize(
    "error",
    [
        MissingExtraError("drawing figures", "matplotlib", "data"),
        OutputError("faces.csv", "No space left on device", 28),
        OutputError("faces.csv", "it is a folder; name a file"),
        ImageError("faces.png does not exist; check the path"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_in_another_process(error: MienError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        for name in ("errno", "strerror", "filename"):
            assert getattr(again, name, None) == getattr(error, name, None)
