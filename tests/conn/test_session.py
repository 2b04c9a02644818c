"""The client's engine: every rule of the connection machine, without a loop."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from svcmgr import PROTOCOL, errors
from svcmgr.conn import effects as fx
from svcmgr.conn import frame as wire
from svcmgr.conn.events import Connected, Disconnected, Hung, Peer, Pushed, Recovered
from svcmgr.conn.machine import TABLE, Act, Input, State
from svcmgr.conn.retry import Retry
from svcmgr.conn.session import Session, SessionSpec

PEER = Peer(7, 0, 0)
HELLO = wire.Hello(PROTOCOL, "server")
SPEC = SessionSpec("mem:x", "test", keepalive=10, hung_after=30, retry=Retry(jitter=0))
ERROR = errors.Disconnected("cannot go on: it broke")


class NoJitter:
    def random(self) -> float:
        return 0.0


def make(spec: SessionSpec = SPEC) -> Session:
    return Session(spec, NoJitter())


def make_up(spec: SessionSpec = SPEC, now: float = 0.0, incarnation: int = 1) -> Session:
    session = make(spec)
    session.handle(fx.Connect(incarnation), now)
    session.handle(fx.LinkOpened(session.attempt, PEER), now)
    session.handle(HELLO, now)
    assert session.state is State.UP
    return session


def told(effects: list[fx.Effect]) -> list[object]:
    return [effect.event for effect in effects if isinstance(effect, fx.Tell)]


def kinds(effects: list[fx.Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def test_connect_dials_greets_and_tells() -> None:
    session = make()
    assert session.handle(fx.Connect(3), 0.0) == [fx.Dial(1)]
    (sent,) = session.handle(fx.LinkOpened(1, PEER), 0.0)
    assert sent == fx.Send(wire.Hello(PROTOCOL, "test", 3))
    assert session.handle(HELLO, 0.5) == [fx.Tell(Connected(3, PEER))]
    assert (session.state, session.since) == (State.UP, 0.5)


def test_connect_is_idempotent_for_one_incarnation() -> None:
    session = make()
    session.handle(fx.Connect(1), 0.0)
    assert session.handle(fx.Connect(1), 0.0) == []
    session = make_up()
    assert session.handle(fx.Connect(1), 0.0) == []
    assert session.state is State.UP


def test_a_new_incarnation_drops_the_old_link_and_its_calls() -> None:
    session = make_up()
    session.call("v", None, 5, 0.0, "token")
    effects = session.handle(fx.Connect(2), 1.0)
    assert kinds(effects) == [fx.Drop, fx.Settle, fx.Dial, fx.Tell]
    assert told(effects)[0].incarnation == 1  # the old one ended, not the new one
    assert session.incarnation == 2


def test_attempts_back_off_and_a_new_incarnation_starts_anew() -> None:
    session = make()
    session.handle(fx.Connect(1), 0.0)
    waits, now = [], 0.0
    for _ in range(16):
        session.handle(fx.LinkLost(session.attempt, ERROR), now)
        waits.append(round(session.next_deadline - now, 3))
        now = session.next_deadline
        assert kinds(session.handle(fx.Tick(), now)) == [fx.Dial]
    assert waits[:3] == [0.01, 0.016, 0.026]
    assert waits[-1] == 2.0
    session.handle(fx.Connect(2), now)
    session.handle(fx.LinkLost(session.attempt, ERROR), now)
    assert session.next_deadline - now == pytest.approx(0.01)


def test_a_link_that_flaps_does_not_reset_the_back_off_but_one_that_lasted_does() -> None:
    session = make_up()
    session.handle(fx.LinkLost(session.attempt, ERROR), 0.1)
    first = session.next_deadline - 0.1
    session.handle(fx.Tick(), 1.0)
    session.handle(fx.LinkOpened(session.attempt, PEER), 1.0)
    session.handle(HELLO, 1.0)
    session.handle(fx.LinkLost(session.attempt, ERROR), 1.1)
    assert session.next_deadline - 1.1 > first
    session.handle(fx.Tick(), 2.0)
    session.handle(fx.LinkOpened(session.attempt, PEER), 2.0)
    session.handle(HELLO, 2.0)
    session.handle(fx.LinkLost(session.attempt, ERROR), 60.0)
    assert session.next_deadline - 60.0 == pytest.approx(first)


def test_the_late_end_of_an_old_incarnation_changes_nothing() -> None:
    session = make()
    session.handle(fx.Connect(1), 0.0)
    old = session.attempt
    session.handle(fx.LinkOpened(old, PEER), 0.0)
    session.handle(HELLO, 0.0)
    session.handle(fx.Disconnect(), 1.0)
    session.handle(fx.Connect(2), 1.0)
    session.handle(fx.LinkOpened(session.attempt, PEER), 1.0)
    session.handle(HELLO, 1.0)
    assert session.handle(fx.LinkLost(old, ERROR), 1.1) == []
    assert session.handle(fx.LinkOpened(old, PEER), 1.1) == []
    assert session.state is State.UP
    assert session.statistics()["stale_events"] == 2


def test_loss_fails_all_calls_at_once_with_a_typed_error_each() -> None:
    session = make_up()
    for token in "abc":
        session.call("v", None, math.inf, 0.0, token)
    effects = session.handle(fx.LinkLost(session.attempt, ERROR), 1.0)
    settled = [effect for effect in effects if isinstance(effect, fx.Settle)]
    assert [effect.token for effect in settled] == ["a", "b", "c"]
    assert len({id(effect.outcome) for effect in settled}) == 3
    assert all(type(effect.outcome) is errors.Disconnected for effect in settled)
    assert told(effects) == [Disconnected(1, ERROR)]
    assert session.in_flight == 0


def test_each_call_has_its_own_exact_deadline() -> None:
    session = make_up(SessionSpec("mem:x", "t", keepalive=0))
    session.call("slow", None, 600.0, 0.0, "slow")
    session.call("fast", None, 0.25, 0.0, "fast")
    assert session.next_deadline == 0.25
    assert session.handle(fx.Tick(), 0.2499) == []
    (settle,) = session.handle(fx.Tick(), 0.25)
    assert settle.token == "fast"
    assert isinstance(settle.outcome, errors.FrameTimeout)
    assert session.next_deadline == 600.0
    assert [effect.token for effect in session.handle(fx.Tick(), 600.0)] == ["slow"]


def test_a_late_answer_is_dropped_and_counted() -> None:
    session = make_up()
    call = session.call("v", None, 1.0, 0.0, "token")
    session.handle(fx.Tick(), 1.0)
    assert session.handle(wire.Reply(call.id, msgspec.Raw(b"\xc0")), 1.1) == []
    given_up = session.call("v", None, 1.0, 2.0, "token")
    session.give_up(given_up.id)
    assert session.handle(wire.Fault(given_up.id, "busy", "cannot"), 2.1) == []
    assert session.statistics()["late_answers"] == 2
    assert session.state is State.UP


def test_answers_settle_their_call() -> None:
    session = make_up()
    first, second = (session.call("v", None, 9, 0.0, token) for token in "ab")
    (settle,) = session.handle(wire.Reply(second.id, msgspec.Raw(b"\x01")), 0.0)
    assert (settle.token, bytes(settle.outcome)) == ("b", b"\x01")
    (settle,) = session.handle(wire.Fault(first.id, "busy", "cannot do it", {"self": 1, "message": 2}), 0.0)
    assert settle.token == "a"
    assert type(settle.outcome) is errors.Busy
    assert settle.outcome.details == {"self": 1, "message": 2}


def test_limits_in_flight_are_the_smaller_of_both_sides() -> None:
    session = make(SessionSpec("mem:x", "t", limits=wire.Limits(max_in_flight=5)))
    session.handle(fx.Connect(1), 0.0)
    session.handle(fx.LinkOpened(session.attempt, PEER), 0.0)
    session.handle(wire.Hello(PROTOCOL, "s", 0, 1000, 2), 0.0)
    session.call("v", None, 1, 0, None)
    session.call("v", None, 1, 0, None)
    with pytest.raises(errors.TooManyCalls):
        session.call("v", None, 1, 0, None)


def test_calls_and_casts_need_a_connection() -> None:
    session = make()
    for use in (lambda: session.call("v", None, 1, 0, None), lambda: session.cast("v", None)):
        with pytest.raises(errors.Disconnected):
            use()


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_a_timeout_must_be_positive(timeout: float) -> None:
    with pytest.raises(errors.BadInput):
        make_up().call("v", None, timeout, 0, None)


def test_the_timeout_is_told_to_the_server_rounded_up() -> None:
    session = make_up()
    assert session.call("v", None, 0.0001, 0, None).timeout_ms == 1
    assert session.call("v", None, 600, 0, None).timeout_ms == 600_000
    assert session.call("v", None, math.inf, 0, None).timeout_ms == 0


def test_silence_is_asked_about_then_told_and_its_end_too() -> None:
    session = make_up()
    assert session.next_deadline == 10
    assert session.handle(fx.Tick(), 10.0) == [fx.Send(wire.Ping(1))]
    assert session.next_deadline == 30
    assert told(session.handle(fx.Tick(), 30.0)) == [Hung(1, 30.0)]
    assert session.state is State.STALE
    assert session.next_deadline == math.inf  # nothing more to ask: one ping is unanswered
    assert told(session.handle(wire.Pong(1), 99.0)) == [Recovered(1)]
    assert session.state is State.UP
    assert session.next_deadline == 109


def test_traffic_postpones_the_ping() -> None:
    session = make_up()
    session.handle(wire.Event("t", msgspec.Raw(b"\xc0")), 8.0)
    assert session.handle(fx.Tick(), 10.0) == []
    assert session.next_deadline == 18


def test_a_late_ping_is_given_its_time() -> None:
    session = make_up()
    assert kinds(session.handle(fx.Tick(), 500.0)) == [fx.Send]  # we were suspended, not the peer
    assert session.next_deadline == 520


def test_calls_still_go_out_and_expire_while_stale() -> None:
    session = make_up()
    session.handle(fx.Tick(), 10.0)
    session.handle(fx.Tick(), 30.0)
    session.call("v", None, 5, 31.0, "token")
    assert [effect.token for effect in session.handle(fx.Tick(), 36.0)] == ["token"]


def test_no_hello_ends_the_attempt_not_the_wish() -> None:
    session = make()
    session.handle(fx.Connect(1), 0.0)
    session.handle(fx.LinkOpened(1, PEER), 0.0)
    assert session.next_deadline == 5.0
    assert kinds(session.handle(fx.Tick(), 5.0)) == [fx.Drop]
    assert session.state is State.CONNECTING
    assert isinstance(session.last_error, errors.FrameTimeout)
    assert kinds(session.handle(fx.Tick(), session.next_deadline)) == [fx.Dial]


@pytest.mark.parametrize(
    "frame",
    [
        wire.Hello(PROTOCOL + 1, "future"),
        wire.Reply(1, msgspec.Raw(b"\xc0")),
        wire.Event("t", msgspec.Raw(b"\xc0")),
        wire.Fault(0, "not-permitted", "cannot serve you"),
        wire.Fault(1, "busy", "cannot"),
    ],
)
def test_a_wrong_first_frame_ends_the_attempt(frame: wire.Frame) -> None:
    session = make()
    session.handle(fx.Connect(1), 0.0)
    session.handle(fx.LinkOpened(1, PEER), 0.0)
    assert kinds(session.handle(frame, 0.1)) == [fx.Drop]
    assert session.state is State.CONNECTING
    assert session.last_error is not None


@pytest.mark.parametrize("frame", [HELLO, wire.Reply(99, msgspec.Raw(b"\xc0")), wire.Fault(0, "slow-reader", "x")])
def test_misbehaviour_of_an_up_peer_ends_the_link(frame: wire.Frame) -> None:
    session = make_up()
    effects = session.handle(frame, 1.0)
    assert kinds(effects) == [fx.Drop, fx.Tell]
    assert session.state is State.CONNECTING


def test_a_client_serves_nothing_but_says_so() -> None:
    session = make_up()
    (sent,) = session.handle(wire.Call(4, "v", msgspec.Raw(b"\xc0")), 0.0)
    assert (sent.frame.id, sent.frame.code) == (4, errors.UnknownVerb.code)
    assert session.handle(wire.Cast("v", msgspec.Raw(b"\xc0")), 0.0) == []
    assert session.handle(wire.Ping(5), 0.0) == [fx.Send(wire.Pong(5))]


def test_events_are_told_with_the_incarnation() -> None:
    session = make_up(incarnation=4)
    (event,) = told(session.handle(wire.Event("topic", msgspec.Raw(b"\x07")), 0.0))
    assert (event.incarnation, event.topic, bytes(event.payload)) == (4, "topic", b"\x07")
    assert isinstance(event, Pushed)


def test_terminated_means_for_ever() -> None:
    session = make_up()
    assert kinds(session.handle(fx.Terminate(), 1.0)) == [fx.Drop, fx.Tell]
    assert session.handle(fx.Terminate(), 2.0) == []
    assert session.handle(fx.Disconnect(), 2.0) == []
    assert session.next_deadline == math.inf
    with pytest.raises(errors.IllegalTransition):
        session.handle(fx.Connect(2), 3.0)
    assert session.state is State.CLOSED


@pytest.mark.parametrize(
    "fields", [{"keepalive": -1}, {"keepalive": 5, "hung_after": 5}, {"hello_timeout": 0}, {"limits": wire.Limits(10)}]
)
def test_specs_that_cannot_work_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(errors.BadInput):
        SessionSpec("mem:x", "t", **fields)


def test_news_for_the_owner_comes_last_in_every_cell() -> None:
    tells = {Act.TELL_CONNECTED, Act.TELL_DISCONNECTED, Act.TELL_HUNG, Act.TELL_RECOVERED}
    for cell in TABLE.cells.values():
        assert not any(act in tells for act in cell.effects[:-1])


def test_every_state_can_be_left_and_every_input_is_used() -> None:
    assert {state for state, _ in TABLE.cells} == set(State)
    assert {what for _, what in TABLE.cells} == set(Input)
    for state in State:
        assert TABLE.accepts(state, Input.DISCONNECT)
        assert TABLE.accepts(state, Input.TERMINATE)


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, in whatever order: facts pair up, calls end once, nothing illegal is stepped."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(SPEC, random.Random(1))
        self.now = 0.0
        self.linked: int | None = None
        self.up: int | None = None
        self.open_calls: set[int] = set()
        self.tokens = 0

    def feed(self, event: object) -> None:
        for effect in self.session.handle(event, self.now):
            if isinstance(effect, fx.Settle):
                self.open_calls.remove(effect.token)  # once, and only what was asked
            elif isinstance(effect, fx.Drop):
                self.linked = None
            elif isinstance(effect, fx.Dial):
                assert self.linked is None
                self.linked = effect.attempt
            elif isinstance(effect, fx.Tell):
                self.check(effect.event)

    def check(self, event: object) -> None:
        if isinstance(event, Connected):
            assert self.up is None
            self.up = event.incarnation
        elif isinstance(event, Disconnected):
            assert self.up == event.incarnation
            self.up = None
        else:
            assert self.up == event.incarnation

    @rule(incarnation=st.integers(1, 3))
    def connect(self, incarnation: int) -> None:
        self.feed(fx.Connect(incarnation))

    @rule()
    def disconnect(self) -> None:
        self.feed(fx.Disconnect())

    @rule(off=st.integers(0, 3))
    def opened(self, off: int) -> None:
        # The driver opens a link once for each dial; old ones may come late.
        if off or (self.linked is not None and self.session.peer is None):
            self.feed(fx.LinkOpened(self.session.attempt - off, PEER))

    @rule(off=st.integers(0, 3))
    def lost(self, off: int) -> None:
        if off or self.linked is not None:
            self.feed(fx.LinkLost(self.session.attempt - off, ERROR))

    @precondition(lambda self: self.session.peer is not None)
    @rule(
        frame=st.sampled_from(
            [HELLO, HELLO, wire.Pong(1), wire.Ping(2), wire.Event("t", msgspec.Raw(b"\xc0")), wire.Fault(0, "x", "y")]
        )
    )
    def frame(self, frame: wire.Frame) -> None:
        self.feed(frame)

    @precondition(lambda self: self.session.state in (State.UP, State.STALE))
    @rule(timeout=st.floats(0.1, 50))
    def call(self, timeout: float) -> None:
        self.tokens += 1
        try:
            self.session.call("v", None, timeout, self.now, self.tokens)
        except errors.TooManyCalls:
            return
        self.open_calls.add(self.tokens)

    @precondition(lambda self: self.session.state in (State.UP, State.STALE))
    @rule(call_id=st.integers(1, 20))
    def answer(self, call_id: int) -> None:
        self.feed(wire.Reply(call_id, msgspec.Raw(b"\xc0")))

    @rule(seconds=st.floats(0.001, 40))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.session.next_deadline <= end:
            self.now = max(self.now, self.session.next_deadline)
            self.feed(fx.Tick())
            assert self.session.next_deadline > self.now  # a tick at its time leaves nothing due
        self.now = end

    @invariant()
    def facts_agree_with_the_state(self) -> None:
        assert (self.up is not None) == (self.session.state in (State.UP, State.STALE))
        assert len(self.open_calls) == self.session.in_flight
        if self.session.state is State.IDLE:
            assert self.session.next_deadline == math.inf
            assert self.linked is None


AnyHistory.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyHistory = AnyHistory.TestCase
