"""The server's end of one connection, as an engine.

Theory of operation. A server trusts no client: every way to hold its memory or its slots has a limit and a
deadline. The states are those of ``TABLE``:

    GREETING   accepted; the client has ``hello_timeout`` to say hello, and nothing else is allowed first
    SERVING    calls are served
    CHOKED     the client does not read fast enough: we hold more than the high-water mark for it. Nothing is
               read from it meanwhile, and after ``slow_after`` seconds it is closed (:class:`SlowReader`)
    CLOSED     for ever

A frame that has begun must be whole within ``stall_timeout``, so half frames do not pile up. Calls over
``max_in_flight`` are answered with a fault; the connection goes on. What breaks the protocol gets a fault
with id 0, which says why, and is closed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from svcmgr import PROTOCOL, errors
from svcmgr.conn import frame as wire
from svcmgr.errors import ProtocolFault, SlowReader, SvcmgrError
from svcmgr.fsm import Table, to


class State(enum.Enum):
    """Where the server's end of a connection is."""

    GREETING = "greeting"
    SERVING = "serving"
    CHOKED = "choked"
    CLOSED = "closed"


class Input(enum.Enum):
    """What can happen to it."""

    GREETED = enum.auto()
    CHOKE = enum.auto()
    DRAINED = enum.auto()
    BREACH = enum.auto()
    LOST = enum.auto()


class Act(enum.Enum):
    """What it then does."""

    HOLD = enum.auto()
    GO_ON = enum.auto()
    CLOSE = enum.auto()


TABLE: Table[State, Input, Act] = Table(
    "served-connection",
    State.GREETING,
    {
        (State.GREETING, Input.GREETED): to(State.SERVING),
        (State.GREETING, Input.CHOKE): to(State.CLOSED, Act.CLOSE),
        (State.GREETING, Input.BREACH): to(State.CLOSED, Act.CLOSE),
        (State.GREETING, Input.LOST): to(State.CLOSED),
        (State.SERVING, Input.CHOKE): to(State.CHOKED, Act.HOLD),
        (State.SERVING, Input.BREACH): to(State.CLOSED, Act.CLOSE),
        (State.SERVING, Input.LOST): to(State.CLOSED),
        (State.CHOKED, Input.DRAINED): to(State.SERVING, Act.GO_ON),
        (State.CHOKED, Input.BREACH): to(State.CLOSED, Act.CLOSE),
        (State.CHOKED, Input.LOST): to(State.CLOSED),
        (State.CLOSED, Input.CHOKE): to(State.CLOSED),
        (State.CLOSED, Input.DRAINED): to(State.CLOSED),
        (State.CLOSED, Input.BREACH): to(State.CLOSED),
        (State.CLOSED, Input.LOST): to(State.CLOSED),
    },
)


class Send(msgspec.Struct, frozen=True):
    """Send this frame."""

    frame: wire.Frame


class Serve(msgspec.Struct, frozen=True):
    """Carry out this call and answer it (:meth:`Inbound.answered`), or this cast."""

    request: wire.Call | wire.Cast


class Hold(msgspec.Struct, frozen=True):
    """Stop reading from the client."""


class GoOn(msgspec.Struct, frozen=True):
    """Read from the client again."""


class Close(msgspec.Struct, frozen=True):
    """Send a connection fault with this error as far as the client reads, then close."""

    error: SvcmgrError


Effect = Send | Serve | Hold | GoOn | Close


@attrs.frozen
class InboundSpec:
    """What the engine must know; durations in seconds."""

    name: str
    incarnation: int = 0
    limits: wire.Limits = attrs.field(factory=wire.Limits)
    hello_timeout: float = 5.0
    stall_timeout: float = 10.0
    slow_after: float = 10.0


class Inbound:
    """The engine. Starts when the connection was accepted."""

    def __init__(self, spec: InboundSpec, now: float) -> None:
        self.spec = spec
        self.state = TABLE.initial
        self.hello: wire.Hello | None = None
        self.in_flight: set[int] = set()
        self.refused_calls = 0
        self._hello_by = now + spec.hello_timeout
        self._whole_by = math.inf
        self._drained_by = math.inf

    def greeting(self) -> wire.Hello:
        """Our hello, to be sent at once."""
        limits = self.spec.limits
        return wire.Hello(PROTOCOL, self.spec.name, self.spec.incarnation, limits.max_frame, limits.max_in_flight)

    @property
    def peer_max_frame(self) -> int:
        """The largest body the client accepts."""
        return self.hello.max_frame if self.hello else wire.MAX_FRAME

    @property
    def next_deadline(self) -> float:
        """When to :meth:`tick` at the latest; ``math.inf`` for never."""
        if self.state is State.CLOSED:
            return math.inf
        return min(self._hello_by, self._whole_by, self._drained_by)

    def tick(self, now: float) -> list[Effect]:
        """Act on the deadlines that have come."""
        if now >= self._hello_by:
            return self._breach(ProtocolFault(f"cannot serve: no hello within {self.spec.hello_timeout:g} s"))
        if now >= self._whole_by:
            return self._breach(
                ProtocolFault(f"cannot serve: a frame was begun and not whole within {self.spec.stall_timeout:g} s")
            )
        if now >= self._drained_by:
            return self._breach(
                SlowReader(f"cannot serve: what was asked for was not read within {self.spec.slow_after:g} s")
            )
        return []

    def handle(self, frame: wire.Frame) -> list[Effect]:
        """Take one frame of the client; give what must be done, in order."""
        if self.state is State.CLOSED:
            return []
        if self.state is State.GREETING and type(frame) is not wire.Hello:
            return self._breach(ProtocolFault("cannot serve: the first frame is not a hello"))
        return _HANDLERS[type(frame)](self, frame)

    def received(self, unfinished: int, whole: int, now: float) -> None:
        """After a read: ``whole`` frames were completed by it, ``unfinished`` bytes of the next are held."""
        if not unfinished:
            self._whole_by = math.inf
        elif whole or self._whole_by == math.inf:
            self._whole_by = now + self.spec.stall_timeout

    def answered(self, call_id: int) -> None:
        """The call was answered, or nobody will answer it."""
        self.in_flight.discard(call_id)

    def choked(self, now: float) -> list[Effect]:
        """More than the high-water mark waits to be read by the client."""
        self._drained_by = now + self.spec.slow_after
        return self._step(Input.CHOKE, SlowReader("cannot serve: not even a hello is read"))

    def drained(self) -> list[Effect]:
        """The client has caught up."""
        self._drained_by = math.inf
        return self._step(Input.DRAINED)

    def overflowed(self, size: int) -> list[Effect]:
        """``size`` bytes wait to be read by the client, which is over the hard cap."""
        return self._breach(SlowReader(f"cannot serve: {size} bytes wait to be read", size=size))

    def garbled(self, error: SvcmgrError) -> list[Effect]:
        """The decoder gave up."""
        return self._breach(error)

    def lost(self) -> None:
        """The link is gone."""
        self._step(Input.LOST)

    def _on_hello(self, hello: wire.Hello) -> list[Effect]:
        if self.state is not State.GREETING:
            return self._breach(ProtocolFault("cannot serve: a second hello"))
        if hello.protocol != PROTOCOL:
            return self._breach(
                ProtocolFault(
                    f"cannot serve protocol version {hello.protocol}: we speak {PROTOCOL}; update the older side",
                    protocol=PROTOCOL,
                )
            )
        self.hello = hello
        self._hello_by = math.inf
        return self._step(Input.GREETED)

    def _on_call(self, call: wire.Call) -> list[Effect]:
        if call.id in self.in_flight:
            return self._breach(ProtocolFault(f"cannot serve: call id {call.id} is in flight already"))
        if len(self.in_flight) >= self.spec.limits.max_in_flight:
            self.refused_calls += 1
            text = f"cannot serve call {call.id}: {len(self.in_flight)} calls of this connection are in flight already"
            return [Send(wire.Fault(call.id, errors.TooManyCalls.code, text, {"limit": len(self.in_flight)}))]
        self.in_flight.add(call.id)
        return [Serve(call)]

    def _on_cast(self, cast: wire.Cast) -> list[Effect]:
        return [Serve(cast)]

    def _on_ping(self, ping: wire.Ping) -> list[Effect]:
        return [Send(wire.Pong(ping.nonce))]

    def _on_pong(self, pong: wire.Pong) -> list[Effect]:
        return []

    def _on_nonsense(self, frame: wire.Frame) -> list[Effect]:
        return self._breach(ProtocolFault(f"cannot serve: a client must not send a {type(frame).__name__.lower()}"))

    def _breach(self, error: SvcmgrError) -> list[Effect]:
        return self._step(Input.BREACH, error)

    def _step(self, what: Input, error: SvcmgrError | None = None) -> list[Effect]:
        cell = TABLE.step(self.state, what)
        self.state = cell.state
        effects: list[Effect] = []
        for act in cell.effects:
            if act is Act.CLOSE:
                assert error is not None
                effects.append(Close(error))
            else:
                effects.append(Hold() if act is Act.HOLD else GoOn())
        return effects


_HANDLERS: dict[type, Callable[[Inbound, Any], list[Effect]]] = {
    wire.Hello: Inbound._on_hello,
    wire.Call: Inbound._on_call,
    wire.Cast: Inbound._on_cast,
    wire.Ping: Inbound._on_ping,
    wire.Pong: Inbound._on_pong,
    wire.Reply: Inbound._on_nonsense,
    wire.Fault: Inbound._on_nonsense,
    wire.Event: Inbound._on_nonsense,
}
