"""The ``mien`` command itself: help without loading anything, errors as one line and an exit code."""

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mien as package
from mien.cli import main
from mien.cli.terminal import bar, printable
from mien.errors import MienError

IMPORTED = """
import json, sys
sys.argv = ["mien", *sys.argv[1:]]
from mien.cli.main import main
try:
    main()
except SystemExit:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} | set(sys.modules))))
"""
SLOW = {
    "numpy",
    "onnxruntime",
    "PIL",
    "rich",
    "torch",
    "h5py",
    "pyarrow",
    "logging",
    "mien.cli.read",
    "mien.core",
}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["raed"]], ids=" ".join)
def test_the_door_loads_nothing_slow(arguments: list[str], tmp_path: Path) -> None:
    source = str(Path(package.__file__).parents[1])
    command = [sys.executable, "-W", "error", "-c", IMPORTED, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": source}, capture_output=True, text=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "mien.cli.main" in loaded
    assert loaded & SLOW == set()


def every_command() -> Iterator[list[str]]:
    yield []
    group = main.typer.main.get_command(main.app)
    for name in main.COMMANDS:
        yield [name]
        yield from ([name, below] for below in getattr(group.get_command(None, name), "commands", ()))


@pytest.mark.parametrize("command", list(every_command()), ids=lambda c: " ".join(c) or "mien")
def test_help_fits_80_columns_and_ends_with_examples(command: list[str], mien) -> None:
    result = mien(*command, "--help")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "--install-completion" not in result.stdout
    assert "╭" not in result.stdout  # Rich's panels, which take as long to load as all the rest
    assert f"mien {' '.join(command)}".strip() in result.stdout.partition("Example")[2]


@pytest.mark.parametrize("command", [c for c in every_command() if c], ids=" ".join)
@pytest.mark.parametrize(
    ("arguments", "empty"),
    [
        ([""], "the argument behind '{last}'"),
        (["--", ""], "the argument behind '--'"),
        (["--out", ""], "the argument behind '--out'"),
        (["--out="], "the value of --out"),
    ],
    ids=["argument", "behind-dashes", "option", "option-with-sign"],
)
def test_an_empty_argument_is_not_the_current_folder(
    command: list[str], arguments: list[str], empty: str, mien
) -> None:
    result = mien(*command, *arguments)
    said = empty.format(last=command[-1])
    assert result.stderr == f"mien: {said} is empty; give one (is a variable of the shell unset?)\n"
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file from anyone")
@pytest.mark.parametrize("arguments", [["landmarks", "a.png", "--annotate"], ["page", "--out"]], ids=" ".join)
def test_a_folder_that_takes_no_file_is_told_as_everywhere(arguments: list[str], mien) -> None:
    result = mien(*arguments, "/proc/x")
    assert result.exit_code == 2
    assert result.stderr.startswith("mien: /proc/x cannot be written: folder /proc ")


def test_a_file_behind_dashes_may_end_with_an_equals_sign(mien) -> None:
    assert "'--out=' does not exist" in mien("read", "--", "--out=").stderr


def test_help_lists_every_command_with_its_line(mien) -> None:
    lines = [line.split(maxsplit=1) for line in mien("--help").stdout.splitlines()]
    for name, entry in main.COMMANDS.items():
        assert [name, entry.summary] in lines


def test_the_version_is_the_package_s(mien) -> None:
    assert mien("--version").stdout == f"mien {package.__version__}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_a_full_disk_under_standard_output_is_one_line(argument: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mien", argument]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "mien: no space left on device\n")


def test_an_unknown_command_names_the_nearest(mien) -> None:
    result = mien("raed", "x.png")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("mien: no command named 'raed'; did you mean 'read'? (known: ")
    assert result.stderr.count("\n") == 1


def test_an_unknown_option_says_where_help_is(mien) -> None:
    result = mien("read", "--jsno", "x.png")
    assert result.exit_code == 2
    assert "Try 'mien read -h' for help." in result.stderr
    assert "--json" in result.stderr


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every command end in ``error``."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(main.TyperGroup, "invoke", fail)


def stopped_import() -> ImportError:
    """What ``import onnxruntime`` raises where Ctrl-C meets it."""
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MienError("expected a, got b; do c"), 2, "mien: expected a, got b; do c\n"),
        (MienError("no file 'a\x1b[31mb'"), 2, "mien: no file 'a?[31mb'\n"),
        (MienError("two mistakes:\n  one\n  two"), 2, "mien: two mistakes:\n  one\n  two\n"),
        (PermissionError(13, "Permission denied", "out/a.png"), 2, "mien: permission denied: out/a.png\n"),
        (OSError(28, "No space left on device"), 2, "mien: no space left on device\n"),
        (KeyboardInterrupt(), 130, "mien: stopped\n"),
        (stopped_import(), 130, "mien: stopped\n"),
        (BrokenPipeError(), 0, ""),
    ],
    ids=[
        "error",
        "escape sequence",
        "several lines",
        "permission",
        "disk full",
        "interrupt",
        "interrupted import",
        "pipe",
    ],
)
def test_an_error_becomes_a_line_and_an_exit_code(error, code, text, mien, monkeypatch) -> None:
    raising(monkeypatch, error)
    result = mien("models")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", text)


def test_a_mistake_in_the_program_is_not_hidden(mien, monkeypatch) -> None:
    raising(monkeypatch, ZeroDivisionError("bug"))
    assert isinstance(mien("models").exception, ZeroDivisionError)


def test_verbose_shows_where_an_error_arose(mien) -> None:
    result = mien("-v", "models", "tinny")
    assert result.exit_code == 2
    assert "Traceback (most recent call last):" in result.stderr
    assert "\nmien: no model named 'tinny'; did you mean 'tiny'? (known: " in result.stderr
    assert "Traceback" not in mien("models", "tinny").stderr


@pytest.mark.parametrize(
    ("flags", "shown"), [([], ["careful"]), (["-v"], ["careful", "detail"])], ids=["", "-v"]
)
def test_the_log_goes_to_stderr_once(flags, shown, mien, monkeypatch) -> None:
    import mien.core.model_store as store

    def log_and_list() -> dict[str, Path]:
        logging.getLogger("mien.core.model_store").warning("careful")
        logging.getLogger("mien.core.model_store").debug("detail")
        return {}

    monkeypatch.setattr(store, "list_models", log_and_list)
    mien("models")
    lines = [line for line in mien(*flags, "models").stderr.splitlines() if "mien.core.model_store" in line]
    assert [line.rpartition(": ")[2] for line in lines] == shown


def test_a_closed_pipe_is_silent(process, photos) -> None:
    (photos / "more" / "broken.png").unlink()  # its line may come before the pipe is closed
    with process("read", "photos", "--model", "tiny", "--json") as running:
        assert running.stdout.readline().startswith(b'{"path"')
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0


def test_output_still_in_a_buffer_meets_the_closed_pipe_silently(mien, monkeypatch) -> None:
    flushed = []

    class Closed(io.StringIO):
        def flush(self) -> None:
            flushed.append(True)
            if len(flushed) == 1:
                raise BrokenPipeError

    monkeypatch.setattr(main.TyperGroup, "invoke", lambda *_: monkeypatch.setattr(sys, "stdout", Closed()))
    result = mien("models")
    assert flushed
    assert (result.exit_code, result.stderr) == (0, "")


ANOTHER_CTRL_C = """
import os, signal, sys, threading, time
from mien.cli.main import main

def press():
    threading.main_thread().join()  # until Python waits for its other threads, at its end
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=press).start()
main()
"""


def test_an_import_that_fails_of_itself_is_no_interrupt(mien, monkeypatch) -> None:
    raising(monkeypatch, ImportError("no such library"))
    assert isinstance(mien("models").exception, ImportError)


def test_another_ctrl_c_while_python_ends_is_no_traceback() -> None:
    source = str(Path(package.__file__).parents[1])
    command = [sys.executable, "-c", ANOTHER_CTRL_C, "--version"]
    done = subprocess.run(command, env={"PYTHONPATH": source}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_says_so_in_one_line(process, tmp_path) -> None:
    import signal

    with process("read", "-", "--model", "tiny", stdin=subprocess.PIPE) as running:
        assert b"most likely" in running.stdout.readline()
        time.sleep(1)  # the model is loaded; now it waits for an image
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
        assert running.stderr.read() == b"mien: stopped\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b.png", "a b.png"),
        ("ü 写真.png", "ü 写真.png"),
        ("a\x1b[31mb\x07\x9b", "a?[31mb??"),
        ("two\nlines\ttab\r", "two?lines?tab?"),
        ("gnp.\u202etxt", "gnp.?txt"),
        ("a\udcff", "a\udcff"),
    ],
    ids=["plain", "unicode", "escape", "lines", "right to left", "stray byte"],
)
def test_what_would_steer_a_terminal_is_replaced(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0, "    "),
        (1, "████"),
        (0.5, "██  "),
        (0.25 + 1 / 32, "█▏  "),
        (1.2, "████"),
        (-1, "    "),
        (0.01, "    "),
    ],
)
def test_a_bar_fills_by_eighths(fraction: float, text: str, monkeypatch) -> None:
    monkeypatch.setattr("mien.cli.terminal._shows_blocks", lambda: True)
    assert bar(fraction, 4) == text


def test_a_bar_is_plain_where_the_terminal_has_no_blocks(monkeypatch) -> None:
    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    assert bar(0.5, 4) == "##  "


@pytest.mark.parametrize("name", main.COMMANDS)
def test_device_names_one_device_in_every_command_and_devices_several(name: str) -> None:
    def options(command) -> set[str]:
        below = [options(one) for one in getattr(command, "commands", {}).values()]
        return {name for parameter in command.params for name in parameter.opts}.union(*below)

    group = main.typer.main.get_command(main.app)
    found = options(group.get_command(None, name))
    assert ("--devices" in found) == (name == "train")
    assert "--devices" not in found or "--device" in found


@pytest.mark.parametrize("old", [["--devices", "cpu"], ["--devices=cpu"]], ids=" ".join)
def test_the_old_name_of_device_still_works_and_is_not_shown(old: list[str], mien) -> None:
    pytest.importorskip("h5py", reason="needs the data extra")
    by_new_name = mien("evaluate", "gone", "gone.h5", "--device", "cpu")
    assert by_new_name.stderr.startswith("mien: ")
    assert mien("evaluate", "gone", "gone.h5", *old).stderr == by_new_name.stderr
    assert "--devices" not in mien("evaluate", "--help").stdout


@pytest.mark.parametrize("old", ["--to", "--parquet"])
def test_the_old_names_of_out_still_work_but_in_watch_where_to_is_a_time(old: str, mien) -> None:
    by_new_name = mien("report", "gone", "--out", "page.txt")
    assert by_new_name.stderr.startswith("mien: ")
    assert mien("report", "gone", old, "page.txt").stderr == by_new_name.stderr
    assert old not in mien("report", "--help").stdout
    assert "a time is given as 90" in mien("watch", "gone.mp4", "--to", "page.txt").stderr


@pytest.mark.parametrize("old", ["--patience", "--upload", "--keep"])
def test_the_old_names_of_the_timeouts_of_serve_still_work(old: str, mien) -> None:
    pytest.importorskip("fastapi", reason="needs the serve extra")
    new = {"--patience": "--client-timeout", "--upload": "--upload-timeout", "--keep": "--keep-rows"}[old]
    by_new_name = mien("serve", new, "soon")
    assert f"Invalid value for '{new}'" in by_new_name.stderr
    assert mien("serve", old, "soon").stderr == by_new_name.stderr
    assert f"{old} " not in mien("serve", "--help").stdout


@pytest.mark.parametrize("out", [["--out=~/page.html"], ["-o", "~/page.html"]], ids=" ".join)
def test_a_path_that_no_shell_has_read_may_begin_at_home(out: list[str], mien, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert mien("page", *out).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
