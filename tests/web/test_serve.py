"""`mien serve`: the command, and a process of its own."""

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from socket import create_server

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
httpx = pytest.importorskip("httpx", reason="needs httpx")

from typer.main import get_command
from typer.testing import CliRunner

from mien.cli import serve as command
from mien.cli import server
from mien.cli.main import app
from mien.web.settings import Settings

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEED_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("mien", run_name="__main__", alter_sys=True)
"""


def test_the_help_tells_the_default_of_every_limit():
    defaults, units = Settings(), {"": 1, "MiB": 2**20}
    names = {
        "max_seconds": "max_video_s",
        "upload_timeout": "upload_timeout_s",
        "client_timeout": "client_timeout_s",
        "keep_rows": "keep_rows_s",
    }
    options = {one.name: one for one in get_command(command.app).params}
    limits = {name: one.show_default for name, one in options.items() if one.metavar in ("N", "S")}
    assert len(limits) == 16
    for name, shown in limits.items():
        number, _, unit = shown.partition(" ")
        field = names.get(name, name.replace("_seconds", "_s"))
        assert int(number.replace(",", "")) * units[unit] == getattr(defaults, field), name


@pytest.fixture
def mien_serve(monkeypatch, tiny_home):
    """``mien_serve("--port", "0")`` does all but serve, and returns what was said and the exit code."""
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.setenv(server.SETTINGS, "")
    monkeypatch.setattr(server, "run", lambda config, listener: None)

    def run(*arguments: str):
        return CliRunner().invoke(app, ["serve", "--model", "tiny", *arguments], prog_name="mien")

    return run


@pytest.fixture
def start(tiny_home, folder):
    """Starts ``python -W error -m mien serve --port 0``; gives the process and its address."""
    processes = []

    def make():
        variables = {
            **os.environ,
            "MIEN_HOME": str(tiny_home),
            "TMPDIR": str(folder),
            "PYTHONPATH": str(SOURCE),
        }
        arguments = [
            sys.executable,
            "-W",
            "error",
            "-c",
            HEED_CTRL_C,
            "serve",
            "--port",
            "0",
            "--model",
            "tiny",
        ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(arguments, env=variables, **pipes))
        said = processes[-1].stdout.readline()
        return processes[-1], re.fullmatch(
            r"mien serves at (http://127.0.0.1:\d+)   \(Ctrl-C ends it\)\n", said
        )[1]

    yield make
    for process in processes:
        process.kill()
        process.communicate()


def test_it_says_where_it_is_answers_and_ends_with_ctrl_c(start, folder, face_png):
    process, address = start()
    answer = httpx.post(f"{address}/v1/read", content=face_png, timeout=60).json()
    assert len(answer["images"][0]["faces"]) == 1
    process.send_signal(signal.SIGINT)
    assert (process.wait(60), process.stderr.read()) == (130, "mien: stopped\n")
    assert list(folder.glob(".mien-*")) == []


def test_sigterm_ends_it_well(start, folder):
    process, address = start()
    assert httpx.get(f"{address}/healthz", timeout=60).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert (process.wait(60), process.stderr.read()) == (0, "")
    assert list(folder.glob(".mien-*")) == []


def test_a_refused_socket_is_no_error_of_the_service(start):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    process, address = start()
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws{address.removeprefix('http')}/v1/live", origin="https://elsewhere.example")
    process.send_signal(signal.SIGTERM)
    assert (process.wait(60), process.stderr.read()) == (0, "")


def test_a_killed_service_leaves_its_files_only_until_the_next_starts(start, folder, clip_mp4):
    process, address = start()
    httpx.post(f"{address}/v1/watch", content=clip_mp4, timeout=60)
    process.kill()
    process.wait()
    (left,) = folder.glob(".mien-*")
    assert any(left.rglob("rows.jsonl")) or any(left.rglob("video"))
    _, address = start()
    assert httpx.get(f"{address}/healthz", timeout=60).status_code == 200
    assert left not in folder.glob(".mien-*")


def test_the_token_is_in_the_part_of_the_address_that_a_browser_keeps(mien_serve, monkeypatch):
    monkeypatch.setenv("MIEN_TOKEN", "a-secret-token")
    assert re.search(r"http://127.0.0.1:\d+/#token=a-secret-token ", mien_serve("--port", "0").stdout)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--token", "short"], "mien: invalid settings of the service: token: must be 8 to 256 letters"),
        (["--model", "tinny"], "mien: no model named 'tinny'; did you mean 'tiny'"),
        (["--detector", "one-stag"], "mien: no detector named 'one-stag'; did you mean 'one-stage'?"),
        (["--detector", "no.such:Finder"], "mien: detector 'no.such:Finder' cannot be imported"),
        (["--device", "cup"], "mien: no device named 'cup'; did you mean 'cpu'?"),
        (["--max-faces", "0"], "max_faces: input should be greater than or equal to 1"),
        (
            ["--allow-host", "foo.example:8443"],
            "hosts: must be names without scheme and port, such as faces.ex",
        ),
        (["--allow-host", "https://bar.example/"], "hosts: must be names without scheme and port"),
        (["--port", "{taken}"], "mien: cannot listen on 127.0.0.1, port {taken}: address already in use"),
        (["--host", "no.such.host.invalid"], "mien: cannot listen on no.such.host.invalid, port 8000: "),
    ],
    ids=[
        "token",
        "model",
        "detector",
        "own-detector",
        "device",
        "limit",
        "name-port",
        "name-site",
        "port",
        "host",
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_served(mien_serve, arguments, says):
    with closing(create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        result = mien_serve(*(one.format(taken=port) for one in arguments))
    assert (result.stdout, result.exit_code) == ("", 2)
    assert says.format(taken=port) in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_that_cannot_be_run_is_told_before_the_address(mien_serve, tiny_with):
    whole = Path(tiny_with()).read_bytes()
    model = Path(tiny_with(sha256=sha256(whole[:-30]).hexdigest()))
    model.write_bytes(whole[:-30])
    result = mien_serve("--port", "0", "--model", str(model))
    assert (result.stdout, result.exit_code, result.stderr.count("\n")) == ("", 2, 1)
    assert "is not a network that ONNX Runtime can run" in result.stderr


OWN = """
class Finder:
    n_built = 0

    def __init__(self, settings):
        Finder.n_built += 1

    def find(self, image):
        return []
"""


def test_a_detector_of_ones_own_is_built_once_before_the_service_listens(mien_serve, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("counted.py").write_text(OWN)
    found = []

    def begin_and_end(config, listener):
        from starlette.testclient import TestClient

        from mien.core.own_code import load_own

        finder = load_own("counted.py:Finder", "detector")
        found.append(finder.n_built)
        with TestClient(config.loaded_app):
            found.append(finder.n_built)

    monkeypatch.setattr(server, "run", begin_and_end)
    result = mien_serve("--port", "0", "--detector", "counted.py:Finder")
    assert (result.exit_code, found) == (0, [1, 1])


@pytest.mark.parametrize(
    ("arguments", "warns"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--token", "a-secret-token"], False),
        (["--host", "localhost"], False),
    ],
    ids=["open", "token", "local"],
)
def test_an_open_address_without_a_token_is_warned_of(mien_serve, arguments, warns):
    result = mien_serve("--port", "0", *arguments)
    assert result.exit_code == 0
    assert ("everyone who reaches this machine may use it" in result.stderr) is warns


def test_a_message_may_be_somewhat_larger_than_an_image_and_no_more(mien_serve, monkeypatch):
    from mien.web.engine import LIVE_BYTES

    loaded = []
    monkeypatch.setattr(server, "run", lambda config, listener: loaded.append(config))
    mien_serve("--port", "0")
    assert LIVE_BYTES < loaded[0].ws_max_size <= 2 * LIVE_BYTES


def test_every_limit_has_an_option():
    from mien.web.settings import Settings

    options = set(re.findall(r'"(\w+)": \w+', Path(command.__file__).read_text("utf-8")))
    assert set(Settings.model_fields) <= options


def test_without_the_extra_the_pip_line_is_told(mien_serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    result = mien_serve()
    assert (result.exit_code, result.stderr) == (
        2,
        'mien: mien serve needs fastapi; run: pip install "mien[web]"\n',
    )


def test_the_service_starts_where_the_c_library_has_no_such_setting(monkeypatch, tiny_home):
    import ctypes

    from mien.web.app import served
    from mien.web.settings import VARIABLE

    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    monkeypatch.setenv(VARIABLE, '{"model": "tiny"}')
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert served().title == "mien"
