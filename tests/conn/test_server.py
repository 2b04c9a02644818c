"""The server on a virtual clock: requests, access, deadlines, and clients that misbehave."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from svcmgr import PROTOCOL, errors
from svcmgr.conn import frame as wire
from svcmgr.conn.access import Access
from svcmgr.conn.frame import encode
from svcmgr.conn.server import ServerSpec
from svcmgr.conn.session import State
from svcmgr.conn.transport import Address, LinkOptions
from svcmgr.conn.verbs import CallContext, Verb
from tests.conn.rig import VERBS, Rig, rig
from tests.kit.conformance import Recorder
from tests.kit.vloop import run, turns, until

HELLO = encode(wire.Hello(PROTOCOL, "raw"))


@asynccontextmanager
async def raw(r: Rig, *first: bytes) -> AsyncIterator[Recorder]:
    """A client that sends what it is told to."""
    client = Recorder()
    await r.network.dial(Address.parse("mem:d"), client, LinkOptions(max_frame=100_000_000))
    for data in first:
        client.opened_link.send(data)
    yield client
    client.opened_link.abort()
    await turns()


async def last_fault(client: Recorder) -> wire.Fault:
    await until(lambda: any(isinstance(frame, wire.Fault) for frame in client.frames))
    (fault,) = [frame for frame in client.frames if isinstance(frame, wire.Fault)]
    return fault


@pytest.mark.parametrize(
    ("verb", "params", "error", "field"),
    [
        ("nonsense", None, errors.UnknownVerb, None),
        ("echo", {"text": 5}, errors.BadInput, "$.text"),
        ("echo", {"times": "x"}, errors.BadInput, "$.times"),
        ("echo", [1], errors.BadInput, "$"),
        ("sleep", None, errors.BadInput, "$"),
        ("never", {"a": 1}, errors.BadInput, "$"),
        ("fail", None, errors.InternalError, None),
        ("wrong", None, errors.InternalError, None),
    ],
)
def test_requests_that_fail_are_answered_with_a_typed_error(verb: str, params: Any, error: type, field: Any) -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            with pytest.raises(error) as caught:
                await connection.call(verb, params)
            assert caught.value.details.get("field") == field
            assert "Traceback" not in caught.value.message
            assert "our bug" not in caught.value.message
            assert len(r.errors) == (error is errors.InternalError)

    run(history())


@pytest.mark.parametrize(("access", "allowed"), [(Access.READ, False), (Access.ADMIN, True)])
def test_admin_verbs_need_admin_access(access: Access, allowed: bool) -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve(access=lambda peer: access)
            connection = await r.up()
            assert (await connection.call("who"))[1] == access.name
            if allowed:
                assert await connection.call("admin") == "done"
            else:
                with pytest.raises(errors.NotPermitted):
                    await connection.call("admin")

    run(history())


def _broken(peer: object) -> Access:
    raise KeyError("no such user")


@pytest.mark.parametrize("rule", [lambda peer: None, _broken])
def test_who_has_no_access_is_told_so_and_not_served(rule: Any) -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(access=rule)
            connection = r.connection()
            connection.connect(1)
            await asyncio.sleep(0.5)
            assert isinstance(connection.last_error, errors.NotPermitted)
            assert r.events == []
            connection.disconnect()
            await asyncio.sleep(2)
            assert server.statistics()["refused_access"] > 0
            assert server.statistics()["connections"] == 0

    run(history())


def test_the_caller_sets_the_deadline_and_the_verb_caps_it() -> None:
    async def history() -> None:
        async with rig() as r:
            cancelled: list[float] = []

            async def work(request: None, ctx: CallContext) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.append(r.clock.monotonic() - start)

            verbs = {"free": Verb(work), "capped": Verb(work, deadline=2.0), "who": VERBS["who"]}
            server = await r.serve(verbs, default_deadline=50)
            connection = await r.up(keepalive=0)
            start = r.clock.monotonic()
            with pytest.raises(errors.DeadlineExceeded):
                await connection.call("capped", timeout=10)
            with pytest.raises((errors.FrameTimeout, errors.DeadlineExceeded)):
                await connection.call("free", timeout=5)
            connection.cast("free")
            await asyncio.sleep(60)
            assert cancelled == pytest.approx([2, 7, 57], abs=0.001)
            assert server.statistics()["timeouts"] == 3
            assert (await connection.call("who", timeout=3))[2] == pytest.approx(r.clock.monotonic() + 3)

    run(history())


def test_a_handlers_own_timeout_is_not_the_deadline() -> None:
    async def history() -> None:
        async with rig() as r:

            async def work(request: None, ctx: CallContext) -> None:
                raise TimeoutError("its own")

            await r.serve({"v": Verb(work)})
            connection = await r.up()
            with pytest.raises(errors.InternalError):
                await connection.call("v")

    run(history())


def test_a_handler_whose_work_was_cancelled_by_others_is_answered() -> None:
    async def history() -> None:
        async with rig() as r:

            async def work(request: None, ctx: CallContext) -> None:
                inner = asyncio.get_running_loop().create_future()
                inner.cancel()
                await inner

            server = await r.serve({"v": Verb(work)})
            connection = await r.up()
            with pytest.raises(errors.InternalError):
                await connection.call("v")
            assert server.statistics()["in_flight"] == 0

    run(history())


def test_handlers_are_cancelled_when_their_caller_is_gone() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            connection = await r.up()
            calls = [asyncio.ensure_future(connection.call("never")) for _ in range(3)]
            await turns()
            assert server.statistics()["in_flight"] == 3
            connection.disconnect()
            await turns(20)
            assert server.statistics()["in_flight"] == 0
            assert len(asyncio.all_tasks()) == 1
            assert all(isinstance(call.exception(), errors.Disconnected) for call in calls)

    run(history())


def test_answers_may_overtake_each_other() -> None:
    async def history() -> None:
        async with rig() as r:
            await r.serve()
            connection = await r.up()
            slow = asyncio.ensure_future(connection.call("sleep", 2.0))
            await turns()
            assert await connection.call("echo") == "nothing"
            assert not slow.done()
            assert await slow == "slept"

    run(history())


def test_who_says_nothing_is_closed_at_the_hello_deadline() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(hello_timeout=5)
            start = r.clock.monotonic()
            async with raw(r) as client:
                fault = await last_fault(client)
                assert (fault.id, fault.code) == (0, "protocol")
                assert r.clock.monotonic() - start == pytest.approx(5, abs=0.01)
                client.opened_link.hold()
                await until(lambda: server.statistics()["connections"] == 0)
            assert server.statistics()["protocol_faults"] == 1

    run(history())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x80\x00\x00\x00", "frame-too-large"),
        (b"GET / HTTP/1.1\r\n\r\n", "frame-too-large"),
        (b"\x00\x00\x00\x02\xff\xff", "protocol"),
        (encode(wire.Call(1, "echo", None)), "protocol"),
        (encode(wire.Hello(99, "future")), "protocol"),
        (HELLO + HELLO, "protocol"),
        (HELLO + encode(wire.Call(1, "never", None)) + b"\x00\x00\x00\x00", "protocol"),
    ],
)
def test_what_is_not_the_protocol_is_answered_with_the_reason_and_closed(data: bytes, code: str) -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            async with raw(r, data) as client:
                fault = await last_fault(client)
                assert (fault.id, fault.code) == (0, code)
                await until(lambda: client.error)
            other = await r.up()
            assert await other.call("echo") == "nothing"
            assert server.statistics()["protocol_faults"] == 1

    run(history())


def test_half_a_frame_is_not_held_for_ever() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(stall_timeout=3)
            async with raw(r, HELLO + struct.pack(">I", 10_000_000) + b"\x94") as client:
                start = r.clock.monotonic()
                for _ in range(50):  # a byte now and then does not help
                    await asyncio.sleep(0.1)
                    client.opened_link.send(b"\x01")
                    if client.frames[1:]:
                        break
                assert (await last_fault(client)).code == "protocol"
                assert r.clock.monotonic() - start == pytest.approx(3, abs=0.11)
            assert server.statistics()["connections"] == 0

    run(history())


def test_connections_over_the_cap_are_told_so() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(max_connections=3)
            for _ in range(3):
                await r.up()
            late = r.connection()
            late.connect(1)
            await asyncio.sleep(1)
            assert isinstance(late.last_error, errors.TooManyConnections)
            r.connections[0].disconnect()
            await until(lambda: late.state is State.UP)
            assert server.statistics()["refused_full"] > 0
            assert server.statistics()["connections"] == 3

    run(history())


def test_a_flood_does_not_pile_up() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(max_connections=3)
            clients = [Recorder() for _ in range(50)]
            for client in clients:
                await r.network.dial(Address.parse("mem:d"), client, LinkOptions())
                client.opened_link.hold()  # never hangs up
            await turns()
            assert server.statistics()["connections"] <= 7
            await asyncio.sleep(10)
            assert server.statistics()["connections"] == 0  # none of them said hello
            for client in clients:
                client.opened_link.abort()

    run(history())


def test_who_does_not_read_is_not_read_from_and_then_closed() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(write_high=100_000, slow_after=10)
            async with raw(r, HELLO) as client:
                await turns()
                client.opened_link.hold()
                for number in range(1, 1000):
                    client.opened_link.send(encode(wire.Call(number, "large", 50_000)))
                await asyncio.sleep(1)
                assert server.statistics()["calls"] < 10  # the rest waits at the client's side
                start = r.clock.monotonic()
                client.opened_link.send(b"")
                await until(lambda: server.statistics()["connections"] == 0, within=20)
                assert r.clock.monotonic() - start == pytest.approx(9, abs=0.1)
            assert server.statistics()["slow_readers"] == 1

    run(history())


def test_who_reads_in_the_end_gets_everything() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(write_high=100_000, max_in_flight=500)
            async with raw(r, HELLO) as client:
                await turns()
                client.opened_link.hold()
                for number in range(1, 101):
                    client.opened_link.send(encode(wire.Call(number, "large", 50_000)))
                await asyncio.sleep(5)
                client.opened_link.go_on()
                await until(lambda: len(client.frames) == 101)
            assert server.statistics()["slow_readers"] == 0

    run(history())


def test_events_nobody_reads_end_at_the_hard_cap_at_once() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve(write_high=10_000, write_cap=1_000_000)
            good = await r.up()
            await good.call("subscribe", "t")
            async with raw(r, HELLO, encode(wire.Call(1, "subscribe", "t"))) as client:
                await turns(20)
                client.opened_link.hold()
                sent = 0
                while server.statistics()["slow_readers"] == 0:
                    assert server.publish("t", b"x" * 10_000) >= 1
                    sent += 1
                    await turns(3)
                assert 90 < sent < 120
            await until(lambda: len(r.events) == sent + 1)  # who reads lost nothing
            assert good.state is State.UP

    run(history())


def test_events_larger_than_a_peer_takes_are_left_out_for_it() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            connection = await r.up(limits=wire.Limits(max_frame=2000))
            await connection.call("subscribe", "t")
            assert server.publish("t", "x" * 3000) == 0
            assert server.statistics()["events_dropped"] == 1
            assert server.publish("t", "x") == 1

    run(history())


def test_closing_lets_the_last_answers_out_and_cancels_the_rest() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            connection = await r.up()
            answered = asyncio.ensure_future(connection.call("large", 500_000))
            waiting = asyncio.ensure_future(connection.call("never"))
            await until(lambda: server.statistics()["calls"] == 2, step=0)
            assert not answered.done()
            await server.aclose()
            await server.aclose()
            assert len(await answered) == 500_000
            with pytest.raises(errors.Disconnected):
                await waiting
            assert connection.state is State.CONNECTING

    run(history())


def test_closing_does_not_wait_for_who_does_not_read() -> None:
    async def history() -> None:
        async with rig() as r:
            server = await r.serve()
            async with raw(r, HELLO, encode(wire.Call(1, "large", 500_000))) as client:
                client.opened_link.hold()
                await turns(20)
                start = r.clock.monotonic()
                await server.aclose()
                assert r.clock.monotonic() - start <= 1.0

    run(history())


def test_details_that_cannot_travel_do_not_hide_the_error() -> None:
    async def history() -> None:
        async with rig() as r:

            def work(request: None, ctx: CallContext) -> None:
                raise errors.Busy("cannot do it: busy", thing=object())

            def wordy(request: None, ctx: CallContext) -> None:
                raise errors.Busy("cannot do it: " + "x" * 5000)

            await r.serve({"v": Verb(work), "w": Verb(wordy)})
            connection = await r.up(limits=wire.Limits(max_frame=2000))
            with pytest.raises(errors.Busy):
                await connection.call("v")
            with pytest.raises(errors.Busy):
                await connection.call("w")

    run(history())


@pytest.mark.parametrize("fields", [{"write_cap": 1}, {"max_connections": 0}, {"max_in_flight": 0}])
def test_specs_that_cannot_work_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(errors.BadInput):
        ServerSpec("mem:x", **fields)
