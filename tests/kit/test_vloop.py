"""The virtual loop itself."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from svcmgr.clock import Clock
from tests.kit.vloop import START, SleepsForever, VirtualClock, run, turns, until


def test_time_jumps_to_exactly_the_deadline() -> None:
    async def history() -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []
        for delay in (600.0, 0.1, 1 / 3):
            loop.call_at(START + delay, lambda: seen.append(loop.time()))
        await asyncio.sleep(86000)
        return seen

    assert run(history()) == [START + 0.1, START + 1 / 3, START + 600.0]


def test_everybody_asleep_for_ever_raises_and_names_the_place() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SleepsForever, match=r"test_vloop\.py"):
        run(stuck())


def test_a_history_that_never_ends_is_ended() -> None:
    async def periodic() -> None:
        while True:  # noqa: ASYNC110 - the history under test
            await asyncio.sleep(1)

    with pytest.raises(TimeoutError, match="100 virtual seconds"):
        run(periodic(), timeout=100)


def test_the_clock_shares_the_time_base_of_the_loop() -> None:
    async def history() -> tuple[float, float, float]:
        clock: Clock = VirtualClock()
        utc = clock.utc()
        await asyncio.sleep(5)
        return clock.monotonic() - START, clock.utc() - utc, asyncio.get_running_loop().time() - START

    assert run(history()) == (5.0, 5.0, 5.0)


def test_threads_are_waited_for_without_time_passing() -> None:
    async def history() -> float:
        release = threading.Event()
        asyncio.get_running_loop().call_soon(release.set)
        assert await asyncio.to_thread(release.wait, 10)
        return asyncio.get_running_loop().time()

    assert run(history()) == START


def test_sockets_that_are_ready_come_before_timers() -> None:
    async def history() -> bytes:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            there.send(b"x")
            async with asyncio.timeout(0.001):
                return await loop.sock_recv(here, 10)

    assert run(history()) == b"x"


def test_what_a_callback_raises_is_not_lost() -> None:
    async def history() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await turns()

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(history())


def test_turns_and_until() -> None:
    async def history() -> float:
        done: list[int] = []
        loop = asyncio.get_running_loop()
        loop.call_soon(done.append, 1)
        await turns(2)
        assert done == [1]
        loop.call_later(0.5, done.append, 2)
        await until(lambda: len(done) == 2)
        with pytest.raises(AssertionError):
            await until(lambda: False, within=1)
        return loop.time() - START

    assert run(history()) == pytest.approx(1.5, abs=0.01)
