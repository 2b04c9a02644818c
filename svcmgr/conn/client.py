"""The connection object: the driver around :class:`svcmgr.conn.session.Session`.

One object for the whole life of a service: ``init`` once, then ``connect`` and ``disconnect`` as its process
comes and goes, ``term`` at the end. ``connect`` and ``disconnect`` do not wait; what happens is told by
``notify``, synchronously on the loop. ``notify`` may call back into the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import attrs

from svcmgr.clock import Clock
from svcmgr.conn import effects as fx
from svcmgr.conn.alarm import Alarm
from svcmgr.conn.events import ConnEvent
from svcmgr.conn.frame import MAX_FRAME, Frame, Limits, decode_value, encode
from svcmgr.conn.resolve import resolve
from svcmgr.conn.retry import Retry, Rng
from svcmgr.conn.session import Session, SessionSpec, State
from svcmgr.conn.transport import Address, Link, LinkOptions, Transport
from svcmgr.errors import BadInput, ConnectionFault, ProtocolFault, SlowReader, SvcmgrError

#: Bytes a peer may leave unread before we refuse to send it more.
WRITE_CAP = 16 * 1024 * 1024


@attrs.frozen
class ConnSpec:
    """What a connection is made from. Durations in seconds.

    Attributes:
        frame_timeout: of calls that name no timeout of their own.
        keepalive: silence after which the peer is pinged; 0 switches the watch off.
        hung_after: silence after which it counts as hung; must be over ``keepalive``.
        hello_timeout: how long one attempt may take.
        transport: needed for ``mem:`` and ``tcp:`` addresses.
    """

    address: str
    name: str = "client"
    frame_timeout: float = 10.0
    keepalive: float = 10.0
    hung_after: float = 30.0
    hello_timeout: float = 5.0
    retry: Retry = attrs.field(factory=Retry)
    limits: Limits = attrs.field(factory=Limits)
    transport: Transport | None = None


class Connection:
    """A connection to one address that comes and goes. Not thread-safe: belongs to one loop."""

    def __init__(self, spec: ConnSpec, *, clock: Clock, rng: Rng, notify: Callable[[ConnEvent], None]) -> None:
        self.spec = spec
        self._clock = clock
        self._notify = notify
        self._session = Session(_session_spec(spec), rng, clock.monotonic())
        self._alarm = Alarm(self._ring)
        self._address: Address | None = None
        self._transport: Transport | None = None
        self._link: Link | None = None
        self._attempts: set[asyncio.Task[None]] = set()

    # --- facts

    @property
    def state(self) -> State:
        """Where it is."""
        return self._session.state

    @property
    def since(self) -> float:
        """Since when, in monotonic seconds."""
        return self._session.since

    @property
    def last_error(self) -> SvcmgrError | None:
        """What ended the last link or attempt; stays after a later success."""
        return self._session.last_error

    @property
    def attempts(self) -> int:
        """Dials since the object was made."""
        return self._session.counts["attempts"]

    def statistics(self) -> dict[str, int]:
        """Counters since the object was made, and the calls in flight now."""
        return self._session.statistics()

    # --- the owner's verbs

    def init(self) -> None:
        """Check the address and find its transport; no I/O. Idempotent. Raises BadInput."""
        if self._address is None:
            if not self.spec.frame_timeout > 0:
                raise BadInput(f"cannot use {self.spec.address}: frame_timeout must be over 0")
            address = Address.parse(self.spec.address)
            self._transport = self.spec.transport or resolve(address)
            self._address = address

    def connect(self, incarnation: int) -> None:
        """Want a connection to this incarnation of the process: one attempt at once, then with back-off.

        Idempotent for one incarnation. For another one, the present link is dropped first.

        Raises:
            BadInput: the address is unusable.
            IllegalTransition: after ``term``.
        """
        self.init()
        self._feed(fx.Connect(incarnation))

    def disconnect(self) -> None:
        """Want none: stop attempts, drop the link, fail the calls in flight. Idempotent."""
        self._feed(fx.Disconnect())

    async def term(self) -> None:
        """Disconnect for ever, and return when nothing of it runs. Idempotent."""
        self._feed(fx.Terminate())
        if self._attempts:
            await asyncio.wait(set(self._attempts))

    async def call(
        self,
        verb: str,
        params: Any = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - also sent to the peer; asyncio.timeout cannot
        type: Any = Any,
    ) -> Any:
        """Ask and wait for the answer, decoded as ``type``.

        Args:
            timeout: the frame timeout of this call in seconds; None takes the connection's; math.inf is none.

        Raises:
            Disconnected: not connected, or the connection ended before the answer.
            FrameTimeout: no answer in time.
            TooManyCalls: the limit of calls in flight is reached.
            SlowReader: the peer does not read, and WRITE_CAP bytes wait for it.
            FrameTooLarge: the request is over the peer's limit.
            BadInput: the request cannot be encoded.
            ProtocolFault: the answer does not fit ``type``.
            SvcmgrError: what the peer answered, as the class of its code.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        now = self._clock.monotonic()
        timeout = self.spec.frame_timeout if timeout is None else timeout
        frame = self._session.call(verb, params, timeout, now, future)
        try:
            self._send(frame)
            self._alarm.at(now + timeout)
            outcome = await future
        finally:
            self._session.give_up(frame.id)
        if isinstance(outcome, SvcmgrError):
            raise outcome
        return decode_value(outcome, type, f"the answer to {verb!r}", ProtocolFault)

    def cast(self, verb: str, params: Any = None) -> None:
        """Ask without an answer. Raises Disconnected, SlowReader, FrameTooLarge, BadInput."""
        self._send(self._session.cast(verb, params))

    # --- the driver

    def _feed(self, event: Any) -> None:
        self._perform(self._session.handle(event, self._clock.monotonic()))
        self._alarm.at(self._session.next_deadline)

    def _ring(self, now: float) -> None:
        self._perform(self._session.handle(fx.Tick(), now))
        self._alarm.at(self._session.next_deadline)

    def _perform(self, effects: list[fx.Effect]) -> None:
        attempt = self._session.attempt
        for effect in effects:
            if self._session.attempt != attempt:
                return  # the owner, told of something, went another way; only further news is left out
            _PERFORMERS[type(effect)](self, effect)

    def _dial(self, effect: fx.Dial) -> None:
        handler = _Handler(self, effect.attempt)
        task = asyncio.get_running_loop().create_task(self._attempt(handler), name=f"dial:{self.spec.address}")
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _attempt(self, handler: _Handler) -> None:
        assert self._transport is not None
        assert self._address is not None
        options = LinkOptions(self.spec.limits.max_frame)
        try:
            await self._transport.dial(self._address, handler, options)
        except SvcmgrError as error:
            self._feed(fx.LinkLost(handler.attempt, error))

    def _drop(self, effect: fx.Drop) -> None:
        self._alarm.cancel()
        for task in self._attempts:
            if task is not asyncio.current_task():
                task.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _send_effect(self, effect: fx.Send) -> None:
        try:
            self._send(effect.frame)
        except SlowReader as error:
            # It asks (pings, calls) and does not read the answers.
            self.link_lost(self._session.attempt, error)

    def _send(self, frame: Frame) -> None:
        hello = self._session.peer_hello
        data = encode(frame, hello.max_frame if hello else MAX_FRAME)
        if self._link is None:
            return
        if self._link.backlog > WRITE_CAP:
            raise SlowReader(
                f"cannot send to {self.spec.address}: {self._link.backlog} bytes wait for it to read",
                size=self._link.backlog,
            )
        self._link.send(data)

    def _settle(self, effect: fx.Settle) -> None:
        if not effect.token.done():
            effect.token.set_result(effect.outcome)

    def _tell(self, effect: fx.Tell) -> None:
        self._notify(effect.event)

    # --- for the handler of the current link

    def is_current(self, attempt: int) -> bool:
        """Whether that attempt is still the one that counts."""
        return attempt == self._session.attempt

    def link_opened(self, attempt: int, link: Link) -> None:
        """The dial succeeded."""
        if not self.is_current(attempt):
            link.abort()
        else:
            self._link = link
        self._feed(fx.LinkOpened(attempt, link.peer))

    def link_received(self, attempt: int, frames: list[Frame]) -> None:
        """Frames came; those after a change of mind are thrown away."""
        session = self._session
        now = self._clock.monotonic()
        for frame in frames:
            if attempt != session.attempt:
                session.counts["stale_events"] += 1
                return
            self._perform(session.handle(frame, now))
        self._alarm.at(session.next_deadline)

    def link_lost(self, attempt: int, error: SvcmgrError) -> None:
        """The link ended or misbehaved."""
        self._feed(fx.LinkLost(attempt, error))


class _Handler:
    """Callbacks of one link, marked with its attempt."""

    def __init__(self, connection: Connection, attempt: int) -> None:
        self.attempt = attempt
        self._connection = connection

    def opened(self, link: Link) -> None:
        self._connection.link_opened(self.attempt, link)

    def received(self, frames: list[Frame], unfinished: int) -> None:
        self._connection.link_received(self.attempt, frames)

    def garbled(self, error: ConnectionFault) -> None:
        self._connection.link_lost(self.attempt, error)

    def choked(self) -> None:
        """The peer does not read: its silence, and the calls' deadlines, tell."""

    def drained(self) -> None:
        """See ``choked``."""

    def closed(self, error: SvcmgrError) -> None:
        self._connection.link_lost(self.attempt, error)


_PERFORMERS: dict[type, Callable[[Connection, Any], None]] = {
    fx.Settle: Connection._settle,
    fx.Tell: Connection._tell,
    fx.Send: Connection._send_effect,
    fx.Dial: Connection._dial,
    fx.Drop: Connection._drop,
}


def _session_spec(spec: ConnSpec) -> SessionSpec:
    return SessionSpec(
        address=spec.address,
        name=spec.name,
        limits=spec.limits,
        keepalive=spec.keepalive,
        hung_after=spec.hung_after,
        hello_timeout=spec.hello_timeout,
        retry=spec.retry,
    )
