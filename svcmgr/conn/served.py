"""One connection of a server: the driver around :class:`svcmgr.conn.inbound.Inbound`."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable
from typing import Any, Protocol

from svcmgr.clock import Clock
from svcmgr.conn import inbound as ib
from svcmgr.conn.access import Access
from svcmgr.conn.alarm import Alarm
from svcmgr.conn.frame import CONNECTION_FAULT_ID, Call, Cast, Fault, Frame, Reply, encode
from svcmgr.conn.terms import ServerSpec
from svcmgr.conn.transport import Link
from svcmgr.conn.verbs import CallContext, Verb, VerbTable
from svcmgr.errors import (
    BadInput,
    ConnectionFault,
    DeadlineExceeded,
    FrameTooLarge,
    InternalError,
    NotPermitted,
    SlowReader,
    SvcmgrError,
    TooManyConnections,
)

#: How long a refused peer has to read the reason before the socket is closed under it.
LAST_WORDS = 1.0


class Keeper(Protocol):
    """What a served link needs of its server."""

    spec: ServerSpec
    clock: Clock
    verbs: VerbTable
    inbound_spec: ib.InboundSpec
    counts: dict[str, int]
    closed: bool

    def admit(self, link: ServedLink) -> int:
        """Take a link into the set; gives how many there are now, those that are being refused included."""
        ...

    def forget(self, link: ServedLink) -> None:
        """The link is gone."""
        ...

    def subscribe(self, link: ServedLink, topic: str) -> None:
        """From now on events of ``topic`` go to ``link``."""
        ...

    def unsubscribe(self, link: ServedLink, topic: str) -> None:
        """They do no longer."""
        ...

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Own a handler's task until it ends."""
        ...


class ServedLink:
    """Handler of one accepted link; also what handlers subscribe through."""

    def __init__(self, server: Keeper) -> None:
        self.topics: set[str] = set()
        self.gone = asyncio.Event()
        self._server = server
        self._engine = ib.Inbound(server.inbound_spec, server.clock.monotonic())
        self._alarm = Alarm(self._ring)
        self._link: Link | None = None
        self._access = Access.READ
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Calls being served."""
        return len(self._engine.in_flight)

    @property
    def refused_calls(self) -> int:
        """Calls over the limit in flight."""
        return self._engine.refused_calls

    # --- callbacks of the link

    def opened(self, link: Link) -> None:
        self._link = link
        if self._server.closed:
            link.abort()  # was on its way when the server closed
            return
        limit = self._server.spec.max_connections
        present = self._server.admit(self)
        if present > limit:
            self._server.counts["refused_full"] += 1
            if present > 2 * limit:
                link.abort()  # a flood: no time for words
                return
            self._refuse(TooManyConnections(f"cannot serve: {limit} connections are open, the limit", limit=limit))
            return
        access = self._access_of(link)
        if access is None:
            self._server.counts["refused_access"] += 1
            self._refuse(NotPermitted(f"cannot serve: {link.peer} has no access here", uid=link.peer.uid))
            return
        self._access = access
        link.send(encode(self._engine.greeting()))
        self._alarm.at(self._engine.next_deadline)

    def _access_of(self, link: Link) -> Access | None:
        try:
            return self._server.spec.access(link.peer)
        except Exception as error:  # a broken rule must not let anybody in, nor end the server
            self._server.spec.on_error("access", error)
            return None

    def received(self, frames: list[Frame], unfinished: int) -> None:
        for frame in frames:
            effects = self._engine.handle(frame)
            for effect in effects:
                self._perform(effect)
        if unfinished or frames:
            self._engine.received(unfinished, len(frames), self._server.clock.monotonic() if unfinished else 0.0)
        self._alarm.at(self._engine.next_deadline)

    def garbled(self, error: ConnectionFault) -> None:
        self._run(self._engine.garbled(error))

    def choked(self) -> None:
        self._run(self._engine.choked(self._server.clock.monotonic()))

    def drained(self) -> None:
        self._run(self._engine.drained())

    def closed(self, error: SvcmgrError) -> None:
        self._engine.lost()
        self._alarm.cancel()
        self._server.counts["refused_calls"] += self._engine.refused_calls
        self._cancel_handlers()
        self._server.forget(self)
        self.gone.set()

    # --- for the server

    def close(self) -> None:
        """End it in good order."""
        self._engine.lost()
        self._cancel_handlers()
        if self._link is not None:
            self._link.close()

    def abort(self) -> None:
        """End it now."""
        if self._link is not None:
            self._link.abort()

    def push(self, data: bytes) -> bool:
        """Send an encoded event; False if the peer does not take frames of that size or is closed."""
        if self._engine.state is ib.State.CLOSED or len(data) - 4 > self._engine.peer_max_frame:
            self._server.counts["events_dropped"] += 1
            return False
        self._server.counts["events_sent"] += 1
        self._write(data)
        return True

    def subscribe(self, topic: str) -> None:
        if self._engine.state is not ib.State.CLOSED:
            self.topics.add(topic)
            self._server.subscribe(self, topic)

    def unsubscribe(self, topic: str) -> None:
        self.topics.discard(topic)
        self._server.unsubscribe(self, topic)

    # --- effects

    def _ring(self, now: float) -> None:
        self._run(self._engine.tick(now))

    def _run(self, effects: list[ib.Effect]) -> None:
        for effect in effects:
            self._perform(effect)
        self._alarm.at(self._engine.next_deadline)

    def _perform(self, effect: ib.Effect) -> None:
        assert self._link is not None
        if type(effect) is ib.Serve:
            self._serve(effect.request)
        elif type(effect) is ib.Send:
            self._send(effect.frame)
        elif type(effect) is ib.Hold:
            self._link.hold()
        elif type(effect) is ib.GoOn:
            self._link.go_on()
        elif type(effect) is ib.Close:
            self._refuse(effect.error)

    def _refuse(self, error: SvcmgrError) -> None:
        assert self._link is not None
        self._engine.lost()
        self._cancel_handlers()
        if isinstance(error, SlowReader):
            self._server.counts["slow_readers"] += 1
            self._link.abort()  # it does not read; nothing can be said to it
            return
        if not isinstance(error, (NotPermitted, TooManyConnections)):
            self._server.counts["protocol_faults"] += 1
        self._link.send(fault_bytes(CONNECTION_FAULT_ID, error, self._engine.peer_max_frame))
        self._link.close(LAST_WORDS)

    def _send(self, frame: Frame) -> None:
        self._write(encode(frame, self._engine.peer_max_frame))

    def _write(self, data: bytes) -> None:
        assert self._link is not None
        self._link.send(data)
        if self._link.backlog > self._server.spec.write_cap:
            self._run(self._engine.overflowed(self._link.backlog))

    # --- calls

    def _serve(self, request: Call | Cast) -> None:
        is_call = type(request) is Call
        self._server.counts["calls" if is_call else "casts"] += 1
        try:
            verb, params = self._server.verbs.admit(request.verb, request.params, self._access)
            context = self._context(request, verb)
            result = verb.handler(params, context)
        except Exception as error:  # whatever a handler raises is answered; the server goes on
            self._answer_error(request, error)
            return
        if inspect.isawaitable(result):
            self._spawn(request, result, context.deadline)
        else:
            self._answer(request, result)

    def _context(self, request: Call | Cast, verb: Verb) -> CallContext:
        timeout = request.timeout_ms / 1000 if isinstance(request, Call) else 0.0
        timeout = timeout or self._server.spec.default_deadline
        timeout = min(timeout, math.inf if verb.deadline is None else verb.deadline)
        deadline = None if timeout == math.inf else self._server.clock.monotonic() + timeout
        assert self._link is not None
        return CallContext(request.verb, self._link.peer, self._access, deadline, self)

    def _spawn(self, request: Call | Cast, work: Awaitable[Any], deadline: float | None) -> None:
        task = asyncio.get_running_loop().create_task(
            self._wait_for(request, work, deadline), name=f"verb:{request.verb}"
        )
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._ended(task, request, work))
        self._server.adopt(task)

    def _ended(self, task: asyncio.Task[None], request: Call | Cast, work: Awaitable[Any]) -> None:
        self._tasks.discard(task)
        if isinstance(request, Call) and request.id in self._engine.in_flight:
            # Not by us: what it waited for was cancelled. Its caller must not wait for nothing.
            self._answer_error(request, RuntimeError(f"the handler of {request.verb!r} was cancelled"))
        if inspect.iscoroutine(work):
            work.close()  # cancelled before its first step, it would complain that nobody awaited it

    async def _wait_for(self, request: Call | Cast, work: Awaitable[Any], deadline: float | None) -> None:
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                result = await work
        except Exception as error:  # as in _serve
            self._answer_error(request, self._too_late(request) if limit.expired() else error)
        else:
            self._answer(request, result)

    def _too_late(self, request: Call | Cast) -> SvcmgrError:
        self._server.counts["timeouts"] += 1
        return DeadlineExceeded(f"cannot finish {request.verb!r} in time: its deadline has passed")

    def _answer(self, request: Call | Cast, result: Any) -> None:
        if type(request) is not Call:
            return
        if self._engine.state is ib.State.CLOSED:
            self._engine.answered(request.id)
            return
        try:
            self._send(Reply(request.id, result))
        except FrameTooLarge as error:
            self._answer_error(request, error)
        except BadInput as error:  # the result, hence our fault
            self._answer_error(request, TypeError(error.message))
        else:
            self._engine.answered(request.id)

    def _answer_error(self, request: Call | Cast, error: Exception) -> None:
        self._server.counts["faults"] += 1
        if isinstance(request, Call):
            self._engine.answered(request.id)
            if self._engine.state is not ib.State.CLOSED:
                told = error if isinstance(error, SvcmgrError) else _internal(request.verb)
                self._write(fault_bytes(request.id, told, self._engine.peer_max_frame))
        if not isinstance(error, SvcmgrError):
            self._server.counts["internal_errors"] += 1
            self._server.spec.on_error(request.verb, error)

    def _cancel_handlers(self) -> None:
        me = asyncio.current_task()
        self._engine.in_flight.clear()
        for task in self._tasks:
            if task is not me:
                task.cancel()


def _internal(verb: str) -> InternalError:
    return InternalError(f"cannot serve {verb!r}: an internal error; the server's log has it")


def fault_bytes(call_id: int, error: SvcmgrError, max_frame: int) -> bytes:
    """The error as an encoded fault; details that cannot be sent are left out, a huge message is cut."""
    try:
        return encode(Fault(call_id, error.code, error.message, error.details), max_frame)
    except (BadInput, FrameTooLarge):
        # At most 4 bytes for each character: this fits into MIN_FRAME.
        return encode(Fault(call_id, error.code, error.message[:200]), max_frame)
