"""The client's end of a connection, as an engine: it decides, the driver does.

Theory of operation. :class:`Session` holds the state of one connection object over its whole life: attempts,
hellos, calls in flight, silence. The driver feeds it what happened (:meth:`Session.handle`) and carries out
the effects it gets back, in order; it also ticks it at ``next_deadline``. The states are those of ``TABLE``:

    IDLE        nobody wants a connection
    CONNECTING  an attempt is under way, or the wait before the next one
    UP          hellos were exchanged; calls may be made
    STALE       as UP, but the peer is silent although it was asked (SIGSTOP, a busy loop, a deadlock)
    CLOSED      for ever

Every dial has a number, the *attempt*. The driver gives it back with everything that comes from that link; a
number that is not the current one belongs to a link that was dropped, and is counted and ignored. That is why
the end of an old process, noticed late, cannot take the new one offline.

Facts for the owner (``Tell``) are the last effects of their list: the owner may call back into the
connection at once, and nothing decided earlier is left to do.

Keepalive. A ping goes out after ``keepalive`` seconds of silence. The peer is hung when it has been silent
for ``hung_after`` and that ping has had at least ``hung_after - keepalive`` to be answered: if we ourselves
were suspended, the ping is late and so is the verdict. Only one ping is unanswered at any time, since a local
stream does not lose bytes; more would only fill the buffer of a stopped peer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from svcmgr import PROTOCOL, errors
from svcmgr.conn import effects as fx
from svcmgr.conn import frame as wire
from svcmgr.conn.calls import Calls
from svcmgr.conn.effects import Effect
from svcmgr.conn.events import Connected, Disconnected, Hung, Peer, Pushed, Recovered
from svcmgr.conn.machine import TABLE, Act, Input, State
from svcmgr.conn.retry import Retry, Rng
from svcmgr.errors import BadInput, ProtocolFault, SvcmgrError

__all__ = ["TABLE", "Session", "SessionSpec", "State"]


@attrs.frozen
class SessionSpec:
    """What a session must know. Durations in seconds; ``keepalive`` 0 means no pings."""

    address: str
    name: str
    limits: wire.Limits = attrs.field(factory=wire.Limits)
    keepalive: float = 10.0
    hung_after: float = 30.0
    hello_timeout: float = 5.0
    retry: Retry = attrs.field(factory=Retry)

    def __attrs_post_init__(self) -> None:
        if self.keepalive < 0 or (self.keepalive and not self.hung_after > self.keepalive):
            raise BadInput(
                f"cannot watch {self.address}: hung_after ({self.hung_after:g} s) must be over keepalive "
                f"({self.keepalive:g} s), and keepalive not under 0"
            )
        if not self.hello_timeout > 0 or self.limits.max_in_flight < 1 or self.limits.max_frame < wire.MIN_FRAME:
            raise BadInput(
                f"cannot use {self.address}: hello_timeout must be over 0, max_in_flight at least 1 and "
                f"max_frame at least {wire.MIN_FRAME}"
            )


class Session:
    """The engine. ``since`` and all times are monotonic seconds."""

    def __init__(self, spec: SessionSpec, rng: Rng, now: float = 0.0) -> None:
        self.spec = spec
        self.state = TABLE.initial
        self.since = now
        self.last_error: SvcmgrError | None = None
        self.incarnation = 0
        self.attempt = 0
        self.peer: Peer | None = None
        self.peer_hello: wire.Hello | None = None
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._rng = rng
        self._calls = Calls(spec.limits.max_in_flight)
        self._failures = 0
        self._up_at = -math.inf
        self._heard_at = now
        self._ping_at: float | None = None
        self._retry_at = math.inf
        self._hello_by = math.inf

    # --- the owner's requests

    def call(self, verb: str, params: Any, timeout: float, now: float, token: Any) -> wire.Call:
        """Enter a call and give the frame to send. ``token`` comes back with the outcome.

        Raises:
            Disconnected: the connection is not up.
            TooManyCalls: the limit of calls in flight, ours or the peer's, is reached.
            BadInput: a timeout that is not a positive number of seconds.
        """
        self._require_up(f"call {verb!r}")
        if not timeout > 0:
            raise BadInput(f"cannot call {verb!r}: a timeout of {timeout} s; it must be over 0")
        pending = self._calls.open(verb, now, timeout, token)
        self.counts["calls"] += 1
        return wire.Call(pending.id, verb, params, 0 if timeout == math.inf else max(1, math.ceil(timeout * 1000)))

    def cast(self, verb: str, params: Any) -> wire.Cast:
        """The frame for a request without answer. Raises Disconnected."""
        self._require_up(f"cast {verb!r}")
        self.counts["casts"] += 1
        return wire.Cast(verb, params)

    def give_up(self, call_id: int) -> None:
        """The caller does not wait any longer; its answer will count as late. Idempotent."""
        self._calls.close(call_id)

    def _require_up(self, what: str) -> None:
        if self.state is not State.UP and self.state is not State.STALE:
            why = f": {self.last_error}" if self.last_error else ""
            raise errors.Disconnected(
                f"cannot {what}: the connection to {self.spec.address} is {self.state.value}{why}",
                state=self.state.value,
            )

    @property
    def in_flight(self) -> int:
        """Calls waiting for their answer."""
        return len(self._calls)

    @property
    def next_deadline(self) -> float:
        """When to tick at the latest; ``math.inf`` for never."""
        deadline = self._calls.next_deadline
        if self.state is State.CONNECTING:
            return min(deadline, self._retry_at, self._hello_by)
        if self.state is State.UP and self.spec.keepalive:
            return min(deadline, self._silence_deadline())
        return deadline

    def statistics(self) -> dict[str, int]:
        """Counters since the object was made; docs/wire-protocol.md names them."""
        return {**self.counts, "in_flight": self.in_flight}

    # --- what happened

    def handle(self, event: Any, now: float) -> list[Effect]:
        """Take an event of this module or a frame from the current link; give what must be done, in order."""
        return _HANDLERS[type(event)](self, event, now)

    def _connect(self, event: fx.Connect, now: float) -> list[Effect]:
        wanted = self.state in (State.CONNECTING, State.UP, State.STALE)
        if wanted and event.incarnation == self.incarnation:
            return []
        reason = errors.Disconnected(
            f"cannot keep the connection to incarnation {self.incarnation} of {self.spec.address}: "
            f"incarnation {event.incarnation} took its place"
        )
        self._failures = 0
        effects = self._step(Input.CONNECT, now, reason if wanted else None)
        self.incarnation = event.incarnation
        return effects

    def _disconnect(self, event: fx.Disconnect | fx.Terminate, now: float) -> list[Effect]:
        what = Input.TERMINATE if isinstance(event, fx.Terminate) else Input.DISCONNECT
        reason = None
        if self.state in (State.UP, State.STALE):
            reason = errors.Disconnected(f"cannot go on with {self.spec.address}: disconnected by its owner")
        return self._step(what, now, reason)

    def _opened(self, event: fx.LinkOpened, now: float) -> list[Effect]:
        if self._is_stale(event.attempt):
            return []
        self.peer = event.peer
        return self._step(Input.OPENED, now)

    def _lost(self, event: fx.LinkLost, now: float) -> list[Effect]:
        return [] if self._is_stale(event.attempt) else self._fail(event.error, now)

    def _is_stale(self, attempt: int) -> bool:
        stale = attempt != self.attempt
        self.counts["stale_events"] += stale
        return stale

    def _fail(self, error: SvcmgrError, now: float) -> list[Effect]:
        # A link that was up for a while starts the back-off anew; one that flaps does not.
        if self.state is not State.CONNECTING and now - self._up_at >= self.spec.retry.cap:
            self._failures = 0
        return self._step(Input.LOST, now, error)

    def _tick(self, event: fx.Tick, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for call in self._calls.expire(now):
            self.counts["timeouts"] += 1
            effects.append(fx.Settle(call.token, self._timeout_error(call.verb, call.timeout)))
        if self.state is State.CONNECTING:
            effects += self._tick_connecting(now)
        elif self.state is State.UP and self.spec.keepalive and now >= self._silence_deadline():
            effects += self._tick_silent(now)
        return effects

    def _tick_connecting(self, now: float) -> list[Effect]:
        if now >= self._retry_at:
            return self._step(Input.RETRY, now)
        if now >= self._hello_by:
            return self._fail(
                errors.FrameTimeout(
                    f"cannot connect to {self.spec.address}: no hello within {self.spec.hello_timeout:g} s; "
                    "something listens there but does not answer"
                ),
                now,
            )
        return []

    def _tick_silent(self, now: float) -> list[Effect]:
        if self._ping_at is None:
            self._ping_at = now
            self.counts["pings"] += 1
            return [fx.Send(wire.Ping(self.counts["pings"]))]
        return self._step(Input.SILENT, now)

    def _silence_deadline(self) -> float:
        if self._ping_at is None:
            return self._heard_at + self.spec.keepalive
        return max(self._heard_at + self.spec.hung_after, self._ping_at + (self.spec.hung_after - self.spec.keepalive))

    # --- frames

    def _heard(self, now: float) -> list[Effect]:
        self._heard_at = now
        self._ping_at = None
        return self._step(Input.HEARD, now) if self.state is State.STALE else []

    def _on_hello(self, hello: wire.Hello, now: float) -> list[Effect]:
        if self.state is not State.CONNECTING:
            return self._misbehaved("a second hello", now)
        if hello.protocol != PROTOCOL:
            return self._misbehaved(f"protocol version {hello.protocol}, we speak {PROTOCOL}: update the older", now)
        self.peer_hello = hello
        self._calls.limit = min(self.spec.limits.max_in_flight, hello.max_in_flight)
        self._up_at = now
        self._heard(now)
        return self._step(Input.GREETED, now)

    def _on_reply(self, reply: wire.Reply, now: float) -> list[Effect]:
        return self._answered(reply.id, reply.result, now)

    def _on_fault(self, fault: wire.Fault, now: float) -> list[Effect]:
        error = errors.from_wire(fault.code, fault.message, fault.details)
        if fault.id == wire.CONNECTION_FAULT_ID:
            return self._fail(error, now)
        return self._answered(fault.id, error, now)

    def _answered(self, call_id: int, outcome: msgspec.Raw | SvcmgrError, now: float) -> list[Effect]:
        if self.state is State.CONNECTING or not self._calls.was_issued(call_id):
            return self._misbehaved(f"an answer to call {call_id}, which was not asked", now)
        call = self._calls.close(call_id)
        effects = self._heard(now)
        if call is None:
            self.counts["late_answers"] += 1
            return effects
        return [fx.Settle(call.token, outcome), *effects]

    def _on_event(self, event: wire.Event, now: float) -> list[Effect]:
        if self.state is State.CONNECTING:
            return self._misbehaved("an event before its hello", now)
        self.counts["events"] += 1
        return [*self._heard(now), fx.Tell(Pushed(self.incarnation, event.topic, event.payload))]

    def _on_ping(self, ping: wire.Ping, now: float) -> list[Effect]:
        return [fx.Send(wire.Pong(ping.nonce)), *self._heard(now)]

    def _on_pong(self, pong: wire.Pong, now: float) -> list[Effect]:
        return self._heard(now)

    def _on_call(self, call: wire.Call, now: float) -> list[Effect]:
        fault = wire.Fault(call.id, errors.UnknownVerb.code, "cannot serve a call: a client has no verbs")
        return [fx.Send(fault), *self._heard(now)]

    def _on_cast(self, cast: wire.Cast, now: float) -> list[Effect]:
        return self._heard(now)

    def _misbehaved(self, what: str, now: float) -> list[Effect]:
        return self._fail(ProtocolFault(f"cannot go on with {self.spec.address}: it sent {what}"), now)

    # --- the table and its acts

    def _step(self, what: Input, now: float, reason: SvcmgrError | None = None) -> list[Effect]:
        cell = TABLE.step(self.state, what)
        if cell.state is not self.state:
            self.state, self.since = cell.state, now
        if reason is not None:
            self.last_error = reason
        effects: list[Effect] = []
        for act in cell.effects:
            effects += _ACTS[act](self, now)
        return effects

    def _dial(self, now: float) -> list[Effect]:
        self.attempt += 1
        self.counts["attempts"] += 1
        self._retry_at = math.inf
        self._hello_by = now + self.spec.hello_timeout
        return [fx.Dial(self.attempt)]

    def _greet(self, now: float) -> list[Effect]:
        limits = self.spec.limits
        return [fx.Send(wire.Hello(PROTOCOL, self.spec.name, self.incarnation, limits.max_frame, limits.max_in_flight))]

    def _wait(self, now: float) -> list[Effect]:
        self._retry_at = now + self.spec.retry.delay(self._failures, self._rng)
        self._failures += 1
        return []

    def _drop(self, now: float) -> list[Effect]:
        self.attempt += 1  # so that nothing from the old link counts
        self.peer = self.peer_hello = None
        self._retry_at = self._hello_by = math.inf
        return [fx.Drop()]

    def _fail_calls(self, now: float) -> list[Effect]:
        return [fx.Settle(call.token, self._lost_error(call.verb)) for call in self._calls.clear()]

    def _tell_connected(self, now: float) -> list[Effect]:
        self.counts["connects"] += 1
        assert self.peer is not None
        return [fx.Tell(Connected(self.incarnation, self.peer))]

    def _tell_disconnected(self, now: float) -> list[Effect]:
        self.counts["disconnects"] += 1
        assert self.last_error is not None
        return [fx.Tell(Disconnected(self.incarnation, self.last_error))]

    def _tell_hung(self, now: float) -> list[Effect]:
        self.counts["hung"] += 1
        return [fx.Tell(Hung(self.incarnation, now - self._heard_at))]

    def _tell_recovered(self, now: float) -> list[Effect]:
        return [fx.Tell(Recovered(self.incarnation))]

    def _timeout_error(self, verb: str, timeout: float) -> SvcmgrError:
        return errors.FrameTimeout(
            f"cannot get an answer to {verb!r} from {self.spec.address} within {timeout:g} s; "
            "the call may still be carried out",
            verb=verb,
            timeout_s=timeout,
        )

    def _lost_error(self, verb: str) -> SvcmgrError:
        return errors.Disconnected(
            f"cannot get an answer to {verb!r}: {self.last_error}; the call may or may not have been carried out",
            verb=verb,
        )


_COUNTS = (
    *("attempts", "connects", "disconnects", "calls", "casts", "events", "timeouts"),
    *("late_answers", "stale_events", "pings", "hung"),
)

_HANDLERS: dict[type, Callable[[Session, Any, float], list[Effect]]] = {
    wire.Reply: Session._on_reply,
    wire.Fault: Session._on_fault,
    wire.Event: Session._on_event,
    wire.Pong: Session._on_pong,
    wire.Ping: Session._on_ping,
    wire.Hello: Session._on_hello,
    wire.Call: Session._on_call,
    wire.Cast: Session._on_cast,
    fx.Tick: Session._tick,
    fx.LinkOpened: Session._opened,
    fx.LinkLost: Session._lost,
    fx.Connect: Session._connect,
    fx.Disconnect: Session._disconnect,
    fx.Terminate: Session._disconnect,
}

_ACTS: dict[Act, Callable[[Session, float], list[Effect]]] = {
    Act.DIAL: Session._dial,
    Act.GREET: Session._greet,
    Act.WAIT: Session._wait,
    Act.DROP: Session._drop,
    Act.FAIL_CALLS: Session._fail_calls,
    Act.TELL_CONNECTED: Session._tell_connected,
    Act.TELL_DISCONNECTED: Session._tell_disconnected,
    Act.TELL_HUNG: Session._tell_hung,
    Act.TELL_RECOVERED: Session._tell_recovered,
}
