import asyncio
import io
import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from PIL import Image
from starlette.websockets import WebSocketDisconnect

from mien.core.child import child_command
from mien.core.images import ImageLimits, open_image
from mien.errors import ImageError, ImageTooLargeError
from mien.web.bodies import Upload
from mien.web.decode_worker import DecodeLimits, main
from mien.web.decoding import CostlyError, Lane
from mien.web.engine import Engine
from mien.web.settings import Settings

LIMITS = DecodeLimits(max_bytes=10**7, max_pixels=4_000_000, max_cpu_s=60)


def upload(side, kind="PNG"):
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, kind)
    return file.getvalue()


@pytest.fixture
def lane():
    """``lane(max_cpu_s=1)`` makes a lane with one process."""
    lanes = []

    def make(**limits):
        lanes.append(Lane(replace(LIMITS, **limits), 1, 4))
        return lanes[-1]

    yield make
    for one in lanes:
        one.close()


@pytest.fixture
def engine(monkeypatch, tiny_home):
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    engine = Engine(Settings(model="tiny"))
    yield engine
    engine.close()


def test_a_program_without_a_python_decodes_in_its_own_process(lane, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    made = lane(max_pixels=100)
    assert asyncio.run(made.decode(upload(10))).shape == (10, 10, 3)
    with pytest.raises(ImageTooLargeError):
        asyncio.run(made.decode(upload(11)))
    assert made.children == []


def process_of(lane):
    (child,) = lane.children
    return child.process


def outcome(decode, data):
    """Pixels as a list, or class and text of the error."""
    try:
        return decode(data).tolist()
    except ImageError as error:
        return type(error), str(error)


def test_images_and_errors_are_those_of_the_library(lane, face_png):
    lane, limits = lane(), ImageLimits(LIMITS.max_bytes, LIMITS.max_pixels)
    broken = [b"", b"no image", face_png[:-100], upload(2001)]
    for data in (face_png, upload(9, "JPEG"), *broken, upload(3, "GIF")):
        given = outcome(lambda data: asyncio.run(lane.decode(data)), data)
        assert given == outcome(lambda data: open_image(data, limits), data)
    assert len(lane.children) == 1


def test_an_image_that_takes_too_much_computing_ends_its_process_and_the_next_is_unpacked(lane):
    lane = lane(max_cpu_s=0.1, max_pixels=50_000_000)
    with pytest.raises(CostlyError):
        asyncio.run(lane.decode(upload(7000)))
    assert asyncio.run(lane.decode(upload(3))).shape == (3, 3, 3)


def test_a_process_that_is_stuck_is_ended(lane, monkeypatch):
    for name in ("TICK_S", "STUCK_S", "STUCK"):
        monkeypatch.setattr(f"mien.core.child.{name}", 0.0)
    with pytest.raises(CostlyError):
        asyncio.run(lane().decode(upload(3)))


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_process_that_the_system_ends_is_replaced(lane, monkeypatch, when):
    lane = lane()
    asyncio.run(lane.decode(upload(3)))
    process_of(lane).kill()
    process_of(lane).wait()
    if when == "during":
        with monkeypatch.context() as unseen:
            unseen.setattr(type(lane.children[0]), "is_well", lambda self: True)
            with pytest.raises(ImageError, match="crashed the decoder"):
                asyncio.run(lane.decode(upload(3)))
    assert asyncio.run(lane.decode(upload(3))).shape == (3, 3, 3)


def test_the_process_may_take_so_much_memory_and_writes_no_dump(lane):
    resource = pytest.importorskip("resource")
    lane = lane()
    asyncio.run(lane.decode(upload(3)))
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs Linux")
    most = resource.prlimit(process_of(lane).pid, resource.RLIMIT_AS)[0]
    assert 17 * LIMITS.max_pixels < most < 2**31
    assert resource.prlimit(process_of(lane).pid, resource.RLIMIT_CORE) == (0, 0)


def test_no_process_outlives_the_service(serve, face_png):
    client = serve()
    client.post("/v1/read", content=face_png)
    process = process_of(client.app_state["service"].engine.quick)
    client.__exit__(None, None, None)
    client.__exit__ = lambda *_: None
    assert process.returncode is not None


def test_the_process_ends_when_nobody_speaks_to_it_any_more():
    command = child_command(main, '{"max_bytes": 9, "max_pixels": 9, "max_cpu_s": 9}')
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_what_takes_long_to_unpack_holds_up_nothing_that_does_not(engine, face_png):
    async def run():
        go, begun = asyncio.Event(), []

        async def slow(data):
            begun.append(data)
            await go.wait()
            raise CostlyError

        engine.slow.decode = slow
        large = [asyncio.create_task(engine.read_or_tell(Upload("large", upload(2900)))) for _ in range(20)]
        while not begun:
            await asyncio.sleep(0.01)
        image = await engine.read(Upload("small", face_png))
        assert not any(one.done() for one in large)
        go.set()
        return len(image.faces), {one.error.code for one in await asyncio.gather(*large)}

    assert asyncio.run(run()) == (1, {"too_costly"})


def test_an_image_that_is_too_costly_is_told_so_by_its_name(serve, monkeypatch):
    client = serve()
    engine = client.app_state["service"].engine

    async def decode(_):
        raise CostlyError

    monkeypatch.setattr(engine.slow, "decode", decode)
    response = client.post("/v1/read", content=upload(2900))
    assert (response.status_code, response.json()["error"]["code"]) == (422, "too_costly")
    assert "more than 10 s of CPU time" in response.json()["error"]["message"]


def test_a_camera_whose_image_is_too_costly_is_told_so_and_given_up(serve, monkeypatch, face_png):
    client = serve()

    async def decode(_):
        raise CostlyError

    monkeypatch.setattr(client.app_state["service"].engine.live, "decode", decode)
    with client.websocket_connect("ws://127.0.0.1:8000/v1/live") as socket:
        socket.send_bytes(face_png)
        assert socket.receive_json()["error"]["code"] == "too_costly"
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    assert ended.value.code == 1008


def test_the_slow_lane_tells_what_is_too_large_for_the_service(engine):
    with pytest.raises(ImageTooLargeError, match="more than the limit of 50,000,000"):
        asyncio.run(engine.read(Upload("large", upload(7100))))


def test_an_image_whose_client_has_gone_is_not_read(monkeypatch):
    from mien.web.routes import unless_gone

    class Gone:
        async def receive(self):
            return {"type": "http.disconnect"}

    async def run():
        ended = asyncio.Event()

        async def work():
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        with pytest.raises(Exception, match="disconnected before its answer"):
            await unless_gone(Gone(), work())
        await asyncio.wait_for(ended.wait(), 60)

    asyncio.run(run())
