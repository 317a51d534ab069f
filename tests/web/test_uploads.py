import asyncio

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from starlette.requests import Request

from mien.web.errors import STATUSES, RefusedError, code_of
from mien.web.uploads import BodyLimits, UploadGate

PATIENT = BodyLimits(max_bytes=10**6, client_timeout_s=3600, max_s=3600, flag="--max-bytes")


def request_of(receive, **headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


def sends(*chunks, then_s=0.0):
    """A client that sends these chunks, more than which is to come if ``then_s`` is waited for the rest."""
    left = list(chunks)

    async def receive():
        if not left:
            await asyncio.sleep(then_s)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or then_s > 0}

    return receive


async def refused(gate, receive):
    with pytest.raises(RefusedError) as caught, gate.body(request_of(receive)) as body:
        await body.request.body()
    return caught.value


def test_a_body_that_comes_too_slowly_is_given_up():
    async def run():
        return await refused(UploadGate(BodyLimits(1000, 0.01, 3600, ""), 1000), sends(then_s=3600))

    error = asyncio.run(run())
    assert "arrived too slowly" in str(error)
    assert STATUSES[code_of(error)] == 408


def on_a_clock(monkeypatch, limits, bodies):
    """What comes of a body of which a chunk arrives each second."""
    now = 0.0

    async def receive():
        nonlocal now
        now += 1
        await asyncio.sleep(0)  # the loop looks at its clock
        return {"type": "http.request", "body": bodies.pop(), "more_body": bool(bodies)}

    async def read():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: now, raising=False)
        with UploadGate(limits, 10**6).body(request_of(receive)) as body:
            return len(await body.request.body())

    return asyncio.run(read())


def test_a_body_that_keeps_the_pace_may_take_longer_than_the_patience(monkeypatch):
    assert on_a_clock(monkeypatch, BodyLimits(10**6, 1.5, 3600, ""), [b"x" * 20_000] * 3) == 60_000


def test_a_body_that_keeps_the_pace_must_still_be_whole_in_time(monkeypatch):
    with pytest.raises(RefusedError, match="arrived too slowly"):
        on_a_clock(monkeypatch, BodyLimits(10**6, 1.5, 4.5, ""), [b"x" * 20_000] * 6)


@pytest.mark.parametrize("told", ["1001", "-1", "many", "²"])
def test_a_body_that_says_that_it_is_too_large_is_not_begun(told):
    async def run():
        gate = UploadGate(BodyLimits(1000, 1, 1, "--max-bytes"), 1000)
        with gate.body(request_of(sends(b""), content_length=told)):
            pass

    with pytest.raises(RefusedError, match=r"more than 1,000 bytes; .*--max-bytes"):
        asyncio.run(run())


def test_where_room_runs_out_the_body_that_came_the_longest_gives_way():
    async def run():
        gate = UploadGate(PATIENT, most_bytes=10**6)
        old, younger = (
            asyncio.create_task(refused(gate, sends(b"x" * 400_000, then_s=3600))) for _ in range(2)
        )
        await asyncio.sleep(0.01)
        assert gate.n_bytes == 800_000
        with gate.body(request_of(sends(b"x" * 300_000))) as body:
            assert len(await body.request.body()) == 300_000
            error = await old
            assert not younger.done()
            assert gate.n_bytes == 700_000
        younger.cancel()
        await asyncio.gather(younger, return_exceptions=True)
        return error, gate.n_bytes

    error, n_bytes = asyncio.run(run())
    assert (code_of(error), n_bytes) == ("busy", 0)
    assert "was the slowest" in str(error)


def test_whole_bodies_keep_their_room_and_the_new_one_is_refused():
    async def run():
        gate = UploadGate(PATIENT, most_bytes=10**6)
        with gate.body(request_of(sends(b"x" * 900_000))) as body:
            await body.request.body()
            error = await refused(gate, sends(b"x" * 200_000, b""))
            return code_of(error), gate.n_bytes

    assert asyncio.run(run()) == ("busy", 900_000)


def test_one_body_always_fits():
    async def run():
        with UploadGate(PATIENT, most_bytes=1).body(request_of(sends(b"x" * 10**6))) as body:
            return len(await body.request.body())

    assert asyncio.run(run()) == 10**6
