"""The connection object on a virtual clock: a whole client against a whole server."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from svcmgr import errors
from svcmgr.conn.client import ConnSpec
from svcmgr.conn.events import Connected, ConnEvent, Disconnected, Hung, Pushed, Recovered
from svcmgr.conn.frame import Limits, decode_value
from svcmgr.conn.memory import FaultPlan
from svcmgr.conn.session import State
from tests.conn.rig import Rig, rig
from tests.kit.vloop import run, turns, until


def kinds(events: list[ConnEvent]) -> list[type]:
    return [type(event) for event in events]


async def outcome(awaitable: Any) -> tuple[Any, float]:
    """The result or the error, and when it came."""
    loop = asyncio.get_running_loop()
    try:
        result = await awaitable
    except errors.SvcmgrError as error:
        result = error
    return result, loop.time()


def test_a_call_is_answered() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            assert await connection.call("echo", {"text": "ab", "times": 2}, type=str) == "abab"
            assert await connection.call("echo") == "nothing"
            assert await connection.call("ping") is None
            assert connection.statistics()["calls"] == 3
            assert connection.attempts == 1

    run(history())


@pytest.mark.parametrize("timeout", [0.001, 0.25, 10.0, 600.0])
def test_the_frame_timeout_is_exact(timeout: float) -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up(frame_timeout=timeout, keepalive=0)
            r.network.freeze("d")
            start = r.clock.monotonic()
            result, when = await outcome(connection.call("ping"))
            assert isinstance(result, errors.FrameTimeout)
            assert when - start == pytest.approx(timeout, abs=1e-6)
            assert connection.state is State.UP

    run(history())


def test_each_call_in_flight_has_its_own_timeout() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up(keepalive=0)
            start = r.clock.monotonic()
            waits = [600.0, 1.0, 30.0, 0.5]
            results = await asyncio.gather(*(outcome(connection.call("never", timeout=w)) for w in waits))
            assert [round(when - start, 6) for _, when in results] == waits
            # The server's own deadline is the same instant: either side may be first to say it.
            assert all(isinstance(r, (errors.FrameTimeout, errors.DeadlineExceeded)) for r, _ in results)

    run(history())


def test_a_late_answer_is_dropped_and_counted() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            r.network.freeze("d")
            with pytest.raises(errors.FrameTimeout):
                await connection.call("echo", timeout=2)
            r.network.thaw("d")
            assert await connection.call("echo", {"text": "next"}) == "next"
            assert connection.statistics()["late_answers"] == 1

    run(history())


def test_a_call_that_is_cancelled_is_given_up() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await connection.call("sleep", 3.0)
            assert connection.statistics()["in_flight"] == 0
            await asyncio.sleep(3)
            assert connection.statistics()["late_answers"] == 1

    run(history())


def test_all_calls_in_flight_fail_at_once_when_the_peer_dies() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            calls = [asyncio.ensure_future(outcome(connection.call("never"))) for _ in range(20)]
            await asyncio.sleep(1)
            r.network.cut("d")
            start = r.clock.monotonic()
            results = await asyncio.gather(*calls)
            assert all(isinstance(result, errors.Disconnected) and when == start for result, when in results)
            assert kinds(r.events) == [Connected, Disconnected]

    run(history())


def test_a_daemon_that_starts_later_is_found_soon() -> None:
    async def history() -> float:
        async with rig() as r:
            connection = r.connection()
            connection.connect(1)
            await asyncio.sleep(0.2)
            assert connection.state is State.CONNECTING
            assert isinstance(connection.last_error, errors.Disconnected)
            await r.serve()
            start = r.clock.monotonic()
            await until(lambda: connection.state is State.UP)
            return r.clock.monotonic() - start

    assert run(history()) < 0.2


def test_attempts_are_bounded_over_a_long_absence() -> None:
    async def history() -> int:
        async with rig() as r:
            connection = r.connection()
            connection.connect(1)
            await asyncio.sleep(3600)
            return connection.attempts

    assert 1800 < run(history()) < 2600  # about one in 1.75 s


def test_disconnect_stops_everything_at_once() -> None:
    async def history() -> None:
        async with rig() as r:
            connection = r.connection()
            connection.connect(1)
            await asyncio.sleep(1)
            connection.disconnect()
            connection.disconnect()
            attempts = connection.attempts
            await asyncio.sleep(100)
            assert connection.attempts == attempts
            assert connection.state is State.IDLE

    run(history())


def test_calls_fail_with_a_typed_error_when_not_connected() -> None:
    async def history() -> None:
        async with rig() as r:
            connection = r.connection()
            for _ in range(2):
                with pytest.raises(errors.Disconnected):
                    await connection.call("echo")
                with pytest.raises(errors.Disconnected):
                    connection.cast("echo")
                connection.connect(1)

    run(history())


def test_our_own_disconnect_fails_calls_and_is_told() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            call = asyncio.ensure_future(outcome(connection.call("never")))
            await turns()
            connection.disconnect()
            assert kinds(r.events) == [Connected, Disconnected]
            assert isinstance((await call)[0], errors.Disconnected)

    run(history())


def test_a_stopped_daemon_is_hung_and_recovers() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up(keepalive=2, hung_after=5)
            r.network.freeze("d")
            start = r.clock.monotonic()
            await until(lambda: connection.state is State.STALE, within=10)
            assert r.clock.monotonic() - start == pytest.approx(5, abs=0.01)
            await asyncio.sleep(1000)
            assert connection.statistics()["pings"] == 1  # a stopped peer's buffer is not filled
            r.network.thaw("d")
            await until(lambda: connection.state is State.UP)
            assert kinds(r.events) == [Connected, Hung, Recovered]
            await asyncio.sleep(100)
            assert connection.state is State.UP

    run(history())


def test_an_idle_connection_stays_up_for_a_day() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            await asyncio.sleep(86000)
            assert connection.state is State.UP
            assert kinds(r.events) == [Connected]

    run(history(), timeout=90000)


def test_the_late_end_of_the_old_incarnation_does_not_touch_the_new_one() -> None:
    async def history() -> None:
        async with rig(plan=FaultPlan(delay=0.05)) as r:
            old = await r.serve()
            connection = await r.up(incarnation=1)
            old.stop_accepting()
            r.network.cut("d")  # noticed 0.05 s later by the client
            await r.serve()
            connection.connect(2)
            await asyncio.sleep(1)
            assert connection.state is State.UP
            assert [(type(e), e.incarnation) for e in r.events] == [(Connected, 1), (Disconnected, 1), (Connected, 2)]

    run(history())


def test_a_link_that_opens_after_disconnect_is_not_kept() -> None:
    async def history() -> None:
        async with rig(plan=FaultPlan(delay=1.0)) as r:
            server = await r.serve()
            connection = r.connection()
            connection.connect(1)
            await asyncio.sleep(0.5)
            connection.disconnect()
            await asyncio.sleep(10)
            assert r.events == []
            assert server.statistics()["connections"] == 0

    run(history())


def test_the_owner_may_turn_round_in_the_middle_of_the_news() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            seen: list[ConnEvent] = []

            def notify(event: ConnEvent) -> None:
                seen.append(event)
                if isinstance(event, Pushed):
                    connection.disconnect()
                elif isinstance(event, Disconnected) and event.incarnation == 1:
                    connection.connect(event.incarnation + 1)

            connection = r.connection(notify)
            connection.connect(1)
            await until(lambda: connection.state is State.UP)
            await connection.call("subscribe", "t")
            server.publish("t", 1)
            server.publish("t", 2)  # in the same read perhaps; must not be told after the disconnect
            await until(lambda: connection.state is State.UP and len(seen) > 3)
            assert kinds(seen) == [Connected, Pushed, Disconnected, Connected]
            assert seen[-1].incarnation == 2

    run(history())


def test_events_reach_those_who_subscribed() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            connection = await r.up()
            assert server.publish("t", {"n": 0}) == 0
            await connection.call("subscribe", "t")
            assert server.publish("t", {"n": 1}) == 1
            assert server.publish("other", {"n": 2}) == 0
            await until(lambda: len(r.events) == 2)
            pushed = r.events[1]
            assert isinstance(pushed, Pushed)
            assert (pushed.topic, decode_value(pushed.payload, dict, "it")) == ("t", {"n": 1})
            await connection.call("unsubscribe", "t")
            assert server.publish("t", {"n": 3}) == 0
            await connection.call("subscribe", "t")
            connection.disconnect()
            await turns(20)
            assert server.publish("t", {"n": 4}) == 0
            assert server.statistics()["subscriptions"] == 0

    run(history())


def test_casts_are_carried_out_and_not_answered() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            connection = await r.up()
            for verb in ("echo", "fail", "nonsense", "sleep"):
                connection.cast(verb)
            await until(lambda: server.statistics()["casts"] == 4)
            assert [verb for verb, _ in r.errors] == ["fail"]
            assert await connection.call("echo") == "nothing"

    run(history())


def test_the_limit_of_calls_in_flight_is_ours_to_tell() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve(max_in_flight=3)
            connection = await r.up()
            calls = [asyncio.ensure_future(connection.call("sleep", 1.0)) for _ in range(3)]
            await turns()
            with pytest.raises(errors.TooManyCalls):
                await connection.call("echo")
            await asyncio.gather(*calls)
            assert await connection.call("echo") == "nothing"

    run(history())


def test_what_is_too_large_for_the_peer_is_not_sent() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve(max_frame=2000)
            connection = await r.up(limits=Limits(max_frame=3000))
            with pytest.raises(errors.FrameTooLarge):
                await connection.call("echo", {"text": "x" * 3000})
            with pytest.raises(errors.FrameTooLarge):
                await connection.call("large", 5000)  # the answer; the server says so
            with pytest.raises(errors.BadInput):
                await connection.call("echo", object())
            assert await connection.call("echo") == "nothing"
            assert connection.statistics()["in_flight"] == 0

    run(history())


def test_a_peer_that_does_not_read_is_not_sent_more_without_end() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            r.network.freeze("d")
            big = {"text": "x" * 1_000_000}
            for _ in range(17):
                connection.cast("echo", big)
            with pytest.raises(errors.SlowReader):
                connection.cast("echo", big)

    run(history())


def test_answers_of_the_wrong_type_are_the_peers_fault() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            with pytest.raises(errors.ProtocolFault):
                await connection.call("echo", type=int)
            assert connection.state is State.UP

    run(history())


def test_a_lossy_network_costs_only_the_calls_that_were_lost() -> None:
    async def history() -> None:
        import random

        async with rig(rng=random.Random(2)) as r:
            await r.serve()
            connection = await r.up(keepalive=0)
            r.network.plan = FaultPlan(loss=0.3, delay=0.01)
            results = [(await outcome(connection.call("echo", timeout=0.5)))[0] for _ in range(60)]
            assert {type(result) for result in results} == {str, errors.FrameTimeout}
            r.network.plan = FaultPlan()
            assert await connection.call("echo") == "nothing"

    run(history())


def test_term_ends_it_for_ever_and_leaves_nothing_running() -> None:
    async def history() -> None:
        async with rig(plan=FaultPlan(delay=5.0)) as r:
            connection = r.connection()
            connection.connect(1)
            await asyncio.sleep(1)
            await connection.term()
            await connection.term()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            with pytest.raises(errors.IllegalTransition):
                connection.connect(2)

    run(history())


def test_init_checks_and_does_nothing_else() -> None:
    async def history() -> None:
        async with rig() as r:
            connection = r.connection()
            connection.init()
            connection.init()
            await turns()
            assert (connection.state, connection.attempts) == (State.IDLE, 0)
            with pytest.raises(errors.BadInput):
                r.connection(frame_timeout=0).init()
            with pytest.raises(errors.BadInput):
                _bad(r, "unix:relative").init()
            with pytest.raises(errors.BadInput):
                _bad(r, "unix:/" + "x" * 200).connect(1)

    run(history())


def _bad(r: Rig, address: str) -> Any:
    from svcmgr.conn.client import Connection

    return Connection(ConnSpec(address), clock=r.clock, rng=None, notify=r.events.append)  # type: ignore[arg-type]


def test_no_timeout_means_none() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve(default_deadline=math.inf)
            connection = await r.up()
            assert await connection.call("sleep", 50_000.0, timeout=math.inf) == "slept"

    run(history())
