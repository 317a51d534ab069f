"""The service over real sockets, with clients that do not behave."""

import json
import os
import re
import socket
import time
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
httpx = pytest.importorskip("httpx", reason="needs httpx")
uvicorn = pytest.importorskip("uvicorn", reason="needs mien[web]")

from mien.cli.server import LAST_WORDS_S
from mien.web.app import make_app
from mien.web.jobs import Jobs
from mien.web.settings import Settings
from mien.web.sockets import TimedProtocol

HEAD = b"%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def listen(monkeypatch, tiny_home, folder):
    """``listen(client_timeout_s=0.5)`` serves in a thread; gives host and port."""
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    running = []

    def start(**settings):
        app = make_app(Settings(**{"model": "tiny", **settings}))
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="websockets-sansio",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=LAST_WORDS_S,
        )
        server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread))
        return listener.getsockname()

    def end():
        for server, thread in running:
            server.should_exit = True
            thread.join()

    start.end = end
    yield start
    end()


def open_to(place, sent=b""):
    client = socket.create_connection(place, 60)
    client.sendall(sent)
    return client


def answer_to(client):
    """All bytes until the server ends the connection."""
    parts = []
    with closing(client):
        try:
            while part := client.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
    return b"".join(parts)


def ask_forever(client):
    while True:
        client.sendall((HEAD % b"GET /openapi.json" + b"\r\n") * 100)


def assert_cut_off_by(client, place, after_s):
    """``client`` has been waited for long enough to give way to the next connection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.web.sockets.GRACE", 0.0)
        assert is_well(place)
    client.settimeout(after_s)
    with suppress(ConnectionResetError):
        assert client.recv(1) == b""


def open_files():
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    names = set()
    for link in folder.iterdir():
        with suppress(OSError):
            names.add(os.readlink(link))
    return names


def held_bytes(place):
    text = httpx.get("http://{}:{}/metrics".format(*place), timeout=60).text
    return float(re.search(r"^mien_held_bytes (\S+)$", text, re.MULTILINE)[1])


def is_well(place):
    return httpx.get("http://{}:{}/healthz".format(*place), timeout=60).status_code == 200


def test_dawdling_clients_are_cut_off(listen):
    place = listen(client_timeout_s=0.5)
    silent = open_to(place)
    slow_head = open_to(place, HEAD % b"GET /healthz")
    slow_body = open_to(place, HEAD % b"POST /v1/read" + b"Content-Length: 9\r\n\r\nhalf")
    assert answer_to(silent) == b""
    assert answer_to(slow_head) == b""
    answer = answer_to(slow_body)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"too_slow"' in answer
    assert is_well(place)


def test_a_second_request_that_dawdles_is_cut_off_too(listen):
    place = listen(client_timeout_s=0.5)
    whole = HEAD % b"GET /healthz" + b"\r\n"
    assert answer_to(open_to(place, whole + whole[:20])).count(b"HTTP/1.1 200 ") == 1


def test_a_client_that_takes_no_answer_is_cut_off(listen):
    place = listen(client_timeout_s=0.5)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(60)
    client.connect(place)
    with closing(client), pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask_forever(client)
    assert is_well(place)


def test_a_connection_too_many_is_turned_away_and_the_others_stay(listen):
    place = listen(max_sockets=2)
    with closing(open_to(place)) as first, closing(open_to(place)):
        answer = answer_to(open_to(place))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After" in answer
        first.sendall(HEAD % b"GET /healthz" + b"Connection: close\r\n\r\n")
        assert answer_to(first).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [b"NONSENSE\r\n\r\n", HEAD % b"POST /v1/read" + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n"],
    ids=["request line", "chunk"],
)
def test_what_is_no_http_is_told_in_the_shape_of_every_error(listen, sent):
    place = listen()
    answer = answer_to(open_to(place, sent))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Content-Type: application/json\r\n" in answer
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body == {"error": {"code": "bad_request", "message": "this is not an HTTP/1.1 request"}}
    assert is_well(place)


def test_where_connections_run_out_the_client_waited_for_the_longest_gives_way(listen):
    place = listen(max_sockets=2, client_timeout_s=600)
    first = open_to(place, HEAD % b"POST /v1/read" + b"Content-Length: 9\r\n\r\nhalf")
    with closing(first), closing(open_to(place)) as second:
        assert_cut_off_by(first, place, after_s=60)
        second.sendall(HEAD % b"GET /healthz" + b"Connection: close\r\n\r\n")
        assert answer_to(second).startswith(b"HTTP/1.1 200 ")


def test_clients_that_send_slowly_take_nobodys_place(listen, face_png, clip_mp4):
    place = listen(max_requests=1, max_jobs=1)
    slow = [
        open_to(place, HEAD % b"POST %s" % path + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
        for path in [b"/v1/read"] * 3 + [b"/v1/watch"] * 3
    ]
    address = "http://{}:{}".format(*place)
    assert httpx.post(f"{address}/v1/read", content=face_png, timeout=60).status_code == 200
    assert httpx.post(f"{address}/v1/watch", content=clip_mp4, timeout=60).status_code == 202
    for client in slow:
        client.close()


def test_images_of_a_form_stay_in_memory_while_they_come(listen):
    place = listen()
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + bytes(3 * 2**20)
    head = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
    assert is_well(place)
    before = open_files()
    with closing(open_to(place, HEAD % b"POST /v1/read" + head + form)):
        while held_bytes(place) < len(form):
            time.sleep(0.01)
        assert [name for name in open_files() - before if name.startswith("/")] == []


def test_a_client_that_leaves_in_the_middle_of_a_video_leaves_no_file(listen, folder):
    place = listen()
    head = HEAD % b"POST /v1/watch" + b"Content-Length: 100000\r\n\r\n"
    with closing(open_to(place, head + b"x" * 50_000)):
        while not any(path.stat().st_size for path in folder.rglob("video")):
            time.sleep(0.01)
    while any(folder.rglob("video")):
        time.sleep(0.01)
    assert is_well(place)


def test_a_live_socket_outlasts_the_patience_for_requests(listen, face_png):
    connect = pytest.importorskip("websockets.sync.client").connect
    host, port = listen(client_timeout_s=3)
    with connect(f"ws://{host}:{port}/v1/live", subprotocols=["mien-v1"]) as live:
        for _ in range(5):
            time.sleep(0.8)  # an image each while, for longer than the patience
            live.send(face_png)
            assert '"track":1' in live.recv(60).replace(" ", "")


def test_a_stream_of_rows_ends_with_the_service(listen, monkeypatch, caplog):
    """An endless answer would be cut off after some seconds, with a traceback in the log."""
    made, begin = [], Jobs.__init__
    monkeypatch.setattr(Jobs, "__init__", lambda self, *rest: (made.append(self), begin(self, *rest))[1])
    place = listen()
    assert is_well(place)
    job = made[0].new()
    job.state = "running"
    made[0].enqueue(job)
    asked = HEAD % f"GET /v1/watch/{job.id}/rows".encode() + b"Accept: application/x-ndjson\r\n\r\n"
    client = open_to(place, asked)
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    listen.end()
    assert answer_to(client).endswith(b"0\r\n\r\n")
    assert caplog.text == ""
