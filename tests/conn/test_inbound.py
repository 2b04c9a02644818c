"""The server's engine: what a client may do, and what every breach leads to."""

from __future__ import annotations

import math

import msgspec
import pytest

from svcmgr import PROTOCOL
from svcmgr.conn import frame as wire
from svcmgr.conn.inbound import TABLE, Close, GoOn, Hold, Inbound, InboundSpec, Input, Send, Serve, State
from svcmgr.errors import FrameTooLarge, ProtocolFault, SlowReader, TooManyCalls

RAW = msgspec.Raw(b"\xc0")
HELLO = wire.Hello(PROTOCOL, "client", 0, 5000, 8)
SPEC = InboundSpec("server", limits=wire.Limits(max_in_flight=2))


def serving() -> Inbound:
    engine = Inbound(SPEC, 0.0)
    assert engine.handle(HELLO) == []
    assert engine.state is State.SERVING
    return engine


def closes(effects: list[object], error: type[Exception]) -> bool:
    return [type(effect) for effect in effects] == [Close] and type(effects[0].error) is error  # type: ignore[attr-defined]


def test_nothing_said_is_closed_at_the_hello_deadline() -> None:
    engine = Inbound(SPEC, 100.0)
    assert engine.next_deadline == 105.0
    assert engine.tick(104.9) == []
    assert closes(engine.tick(105.0), ProtocolFault)
    assert engine.next_deadline == math.inf


@pytest.mark.parametrize("frame", [wire.Call(1, "v", RAW), wire.Cast("v", RAW), wire.Ping(1), wire.Pong(1)])
def test_the_hello_comes_first(frame: wire.Frame) -> None:
    assert closes(Inbound(SPEC, 0.0).handle(frame), ProtocolFault)


def test_another_protocol_is_refused() -> None:
    assert closes(Inbound(SPEC, 0.0).handle(wire.Hello(PROTOCOL + 1, "c")), ProtocolFault)


@pytest.mark.parametrize("frame", [HELLO, wire.Reply(1, RAW), wire.Fault(1, "x", "y"), wire.Event("t", RAW)])
def test_what_a_client_must_not_send_ends_it(frame: wire.Frame) -> None:
    engine = serving()
    assert closes(engine.handle(frame), ProtocolFault)
    assert engine.handle(wire.Ping(1)) == []  # nothing is served after that


def test_calls_over_the_limit_are_answered_with_a_fault_and_the_rest_goes_on() -> None:
    engine = serving()
    calls = [wire.Call(number, "v", RAW) for number in (1, 2, 3)]
    assert engine.handle(calls[0]) == [Serve(calls[0])]
    assert engine.handle(calls[1]) == [Serve(calls[1])]
    (sent,) = engine.handle(calls[2])
    assert isinstance(sent, Send)
    assert (sent.frame.id, sent.frame.code) == (3, TooManyCalls.code)
    engine.answered(1)
    assert engine.handle(calls[2]) == [Serve(calls[2])]
    assert engine.refused_calls == 1


def test_an_id_in_flight_may_not_be_used_again() -> None:
    engine = serving()
    engine.handle(wire.Call(1, "v", RAW))
    assert closes(engine.handle(wire.Call(1, "v", RAW)), ProtocolFault)


def test_pings_are_answered() -> None:
    assert serving().handle(wire.Ping(9)) == [Send(wire.Pong(9))]


def test_half_a_frame_has_a_deadline_that_more_halves_do_not_move() -> None:
    engine = serving()
    engine.received(100, 0, 50.0)
    engine.received(200, 0, 55.0)
    assert engine.next_deadline == 60.0
    assert closes(engine.tick(60.0), ProtocolFault)
    engine = serving()
    engine.received(100, 0, 50.0)
    engine.received(10, 1, 55.0)  # that one was completed; this is another
    assert engine.next_deadline == 65.0
    engine.received(0, 1, 56.0)
    assert engine.next_deadline == math.inf


def test_a_slow_reader_is_held_then_closed() -> None:
    engine = serving()
    assert engine.choked(5.0) == [Hold()]
    assert engine.drained() == [GoOn()]
    assert engine.next_deadline == math.inf
    engine.choked(20.0)
    assert engine.tick(29.9) == []
    assert closes(engine.tick(30.0), SlowReader)
    assert engine.drained() == []


def test_a_peer_that_does_not_even_read_the_hello_is_closed() -> None:
    assert closes(Inbound(SPEC, 0.0).choked(0.0), SlowReader)


def test_overflow_and_garbage_close() -> None:
    assert closes(serving().overflowed(10**9), SlowReader)
    assert closes(serving().garbled(FrameTooLarge("cannot accept it")), FrameTooLarge)


def test_the_peers_limit_is_known_after_its_hello() -> None:
    assert Inbound(SPEC, 0.0).peer_max_frame == wire.MAX_FRAME
    assert serving().peer_max_frame == 5000


def test_every_state_knows_breach_and_loss() -> None:
    for state in State:
        assert TABLE.accepts(state, Input.BREACH)
        assert TABLE.accepts(state, Input.LOST)
