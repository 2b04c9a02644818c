"""A link over ZeroMQ messages: frames in, pieces out, and the other way (pieces.py tells the rules).

It knows no ZeroMQ: what carries the messages is a :class:`Wire`, one at each end.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Protocol

from svcmgr.conn.events import Peer
from svcmgr.conn.frame import FrameDecoder
from svcmgr.conn.transport import LinkHandler, LinkOptions
from svcmgr.conn.zeromq import pieces
from svcmgr.conn.zeromq.pieces import Inflow, Kind, Outflow
from svcmgr.errors import ConnectionFault, Disconnected, ProtocolFault

#: Seconds that a peer has to take what waits for it when we close, and then to hang up. Both are far more than a
#: peer that is well needs.
FLUSH_GRACE = 10.0
END_GRACE = 1.0


class Wire(Protocol):
    """What carries the messages of one link."""

    def put(self, message: bytes) -> None:
        """Send it; never waits, never raises."""
        ...

    def leave(self) -> bool:
        """End the connection once all that was put has gone out. False: only the peer can see to that."""
        ...

    def cut(self) -> None:
        """End the connection now."""
        ...


class Stage(enum.Enum):
    """How far the end of a link has come; only in this order."""

    OPEN = enum.auto()
    FLUSHING = enum.auto()
    ENDING = enum.auto()
    CLOSED = enum.auto()


class ZmqLink:
    """One open connection: a :class:`svcmgr.conn.transport.Link`. Its maker calls ``handler.opened``."""

    def __init__(self, wire: Wire, handler: LinkHandler, options: LinkOptions, peer: Peer, window: int) -> None:
        self.peer = peer
        self._wire = wire
        self._handler = handler
        self._write_high = options.write_high
        self._loop = asyncio.get_running_loop()
        self._stage = Stage.OPEN
        self._decoder = FrameDecoder(options.max_frame)
        self._outflow = Outflow(window)
        self._inflow = Inflow()
        self._holding = False
        self._held = bytearray()
        self._held_cost = 0
        self._ended = False
        self._choked = False
        self._linger = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- for the user of the link

    @property
    def backlog(self) -> int:
        return self._outflow.waiting

    def send(self, data: bytes) -> None:
        if self._stage is not Stage.OPEN:
            return
        self._put(self._outflow.put(data))
        if not self._choked and self.backlog > self._write_high:
            self._choked = True
            self._handler.choked()

    def hold(self) -> None:
        if self._stage is Stage.OPEN:
            self._holding = True

    def go_on(self) -> None:
        if self._holding:
            self._holding = False
            self._loop.call_soon(self._release)

    def close(self, linger: float = 0.0) -> None:
        if self._stage is not Stage.OPEN:
            return
        self._stage = Stage.FLUSHING
        self._linger = linger
        self._timer = self._loop.call_later(FLUSH_GRACE, self._time_out)
        self._holding = False
        self._release()  # to see the peer hang up
        self._end_if_flushed()

    def abort(self) -> None:
        if self._stage is not Stage.CLOSED:
            self._finish()
            self._wire.cut()
            self._loop.call_soon(self._tell_closed, "aborted")

    # --- for the wire

    def arrived(self, message: bytes) -> None:
        """A message of the peer, after its OPEN."""
        if self._stage is Stage.CLOSED or self._decoder.fault is not None:
            return
        try:
            kind = pieces.kind_of(message)
            if kind is Kind.PIECE:
                self._take(message)
            elif kind is Kind.CREDIT:
                self._put(self._outflow.credit(pieces.total_of(message)))
                self._after_credit()
            elif kind is Kind.END:
                self._end_seen()
            else:
                raise ProtocolFault("cannot accept a second OPEN")
        except ConnectionFault as error:
            self._garble(error)

    def refuse(self, error: ConnectionFault) -> None:
        """What the peer sent is nothing that :meth:`arrived` could take."""
        if self._stage is not Stage.CLOSED and self._decoder.fault is None:
            self._garble(error)

    def lost(self, why: str) -> None:
        """The connection has ended, and all messages of it have arrived."""
        if self._stage is not Stage.CLOSED:
            self._finish()
            self._tell_closed(why)

    # --- reading

    def _take(self, message: bytes) -> None:
        cost = self._inflow.came(len(message) - 1)
        if self._holding or self._held:
            self._held += memoryview(message)[1:]
            self._held_cost += cost
        else:
            self._deliver(memoryview(message)[1:], cost)

    def _deliver(self, data: memoryview | bytearray, cost: int) -> None:
        if self._stage is Stage.OPEN:  # later our last word is said
            frames = self._decoder.feed(data)
            self._handler.received(frames, self._decoder.unfinished)
            if self._decoder.fault is not None:
                self._handler.garbled(self._decoder.fault)
        credit = self._inflow.take(cost)
        if credit is not None:
            self._put([credit])

    def _release(self) -> None:
        if self._holding or self._stage is Stage.CLOSED:
            return
        held, self._held, cost, self._held_cost = self._held, bytearray(), self._held_cost, 0
        try:
            if held:
                self._deliver(held, cost)
        except ConnectionFault as error:
            self._garble(error)
        if self._ended:
            self._end_seen()

    def _end_seen(self) -> None:
        if self._holding or self._held:
            self._ended = True
        elif self._stage is not Stage.CLOSED:
            self._finish()
            self._wire.cut()
            self._tell_closed("end of file")

    def _garble(self, error: ConnectionFault) -> None:
        self._decoder.fault = error
        self._handler.garbled(error)

    # --- writing

    def _put(self, messages: list[bytes]) -> None:
        for message in messages:
            if self._stage is not Stage.CLOSED:
                self._wire.put(message)

    def _after_credit(self) -> None:
        if self._choked and self.backlog <= self._write_high // 4:
            self._choked = False
            self._handler.drained()
        self._end_if_flushed()

    def _end_if_flushed(self) -> None:
        if self._stage is not Stage.FLUSHING or self._outflow.waiting:
            return
        self._stage = Stage.ENDING
        if not self._linger and self._wire.leave():
            self._finish()
            self._loop.call_soon(self._tell_closed, "closed")
            return
        self._put([pieces.END])
        self._stop_timer()
        if self._stage is Stage.ENDING:  # the wire may have ended it
            self._timer = self._loop.call_later(max(self._linger, END_GRACE), self._time_out)

    # --- the end

    def _time_out(self) -> None:
        self._timer = None
        self.abort()

    def _finish(self) -> None:
        self._stage = Stage.CLOSED
        self._stop_timer()
        self._outflow.clear()
        self._held.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell_closed(self, why: str) -> None:
        self._handler.closed(Disconnected(f"cannot go on: the connection ended ({why})"))
