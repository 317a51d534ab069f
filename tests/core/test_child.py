"""Processes that this one talks with: silent for too long they are ended, at rest they are not."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.core import child
from mien.core.child import Child, ChildPool

ECHO = """
import sys

def echo():
    for line in sys.stdin.buffer:
        if line != b"silence\\n":
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    (tmp_path / "echoing.py").write_text(ECHO)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(child, "TICK_S", 0.02)
    import echoing

    function: Callable[[], None] = echoing.echo
    return function


def answer(one: Child, line: bytes) -> bytes:
    one.to.write(line)
    one.to.flush()
    return one.back.readline()


def test_a_process_that_is_silent_for_long_is_ended_and_one_that_rests_is_not(echo) -> None:
    one = Child(echo, limit_s=0.2)
    assert answer(one, b"begun\n") == b"begun\n"
    with one.limited():
        assert answer(one, b"again\n") == b"again\n"
    time.sleep(0.5)
    assert one.is_well()
    begin = time.monotonic()
    with one.limited():
        assert answer(one, b"silence\n") == b""
    assert time.monotonic() - begin >= 0.2
    assert one.close() != 0
    assert (one.was_stuck, one.was_costly, one.is_well()) == (True, True, False)


def test_a_pool_keeps_a_process_for_a_thread_replaces_it_when_it_ended_and_starts_none_when_closed(
    echo,
) -> None:
    class Pool(ChildPool[Child]):
        def ask(self, line: bytes) -> bytes:
            return self._threads.submit(lambda: answer(self._child(), line)).result()

        def start_late(self) -> None:
            self._child()

    with Pool(lambda: Child(echo), 1, "echo") as pool:
        assert [pool.ask(b"1\n"), pool.ask(b"2\n")] == [b"1\n", b"2\n"]
        (first,) = pool.children
        first.close()
        assert pool.ask(b"3\n") == b"3\n"
        (second,) = pool.children
        assert second is not first
    assert not second.is_well()
    with pytest.raises(EOFError):
        pool.start_late()
