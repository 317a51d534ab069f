import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")

from mien.web.errors import RefusedError
from mien.web.limits import Gate, Turns, client_of


def test_one_client_cannot_take_every_place():
    gate = Gate(16, "requests")
    entered = [gate.enter("greedy") for _ in range(14)]
    for one in entered:
        one.__enter__()
    with pytest.raises(RefusedError, match="14 requests are already in progress"), gate.enter("greedy"):
        pass
    with gate.enter("first"), gate.enter("second"):
        assert gate.n_inside == 16
        with pytest.raises(RefusedError, match="16 requests are already in progress"), gate.enter("third"):
            pass
    for one in entered:
        one.__exit__(None, None, None)
    assert gate.n_inside == 0


def at_work(clients, turns, order, go):
    """A task a client, which writes its name into ``order`` at its turn, and keeps that until ``go``."""

    async def work(client):
        async with turns.turn(client):
            order.append(client)
            await go.wait()

    return [asyncio.create_task(work(client)) for client in clients]


def test_clients_that_wait_take_turns():
    async def run():
        turns, order, go = Turns(1), [], asyncio.Event()
        tasks = at_work("aaaabcb", turns, order, go)
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*tasks)
        return "".join(order)

    assert asyncio.run(run()) == "aabcaba"


def test_who_leaves_while_waiting_leaves_its_turn_to_the_next():
    async def run():
        turns, order, go = Turns(1), [], asyncio.Event()
        tasks = at_work("abcd", turns, order, go)
        await asyncio.sleep(0)
        tasks[1].cancel()
        go.set()
        await asyncio.sleep(0)  # a gives its turn to the next
        tasks[2].cancel()  # who may just have got it
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(60), turns.turn("e"):
            return order[0], order[-1]

    assert asyncio.run(run()) == ("a", "d")


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_address_or_the_half_of_it_that_one_owner_has(host, client):
    assert client_of(SimpleNamespace(client=SimpleNamespace(host=host))) == client
    assert client_of(SimpleNamespace(client=None)) == ""
