"""Links inside one process, with faults to order: for tests on a virtual clock.

A :class:`MemoryNetwork` holds the names that are listened on; there is no global one. Frames really are
encoded and decoded, in order, after the delay of the network's :class:`FaultPlan`.
"""

from __future__ import annotations

import asyncio
from collections import deque

import attrs

from svcmgr.conn.events import Peer
from svcmgr.conn.frame import FrameDecoder
from svcmgr.conn.retry import Rng
from svcmgr.conn.transport import Address, HandlerFactory, LinkHandler, LinkOptions
from svcmgr.errors import AlreadyExists, BadInput, ConnectionFault, Disconnected


@attrs.frozen
class FaultPlan:
    """What goes wrong. ``delay`` and ``jitter`` in seconds, one way; ``loss`` is the chance that a frame is lost.

    A unix stream loses nothing; loss is here to test that engines do not depend on that.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    refuse: bool = False

    def __attrs_post_init__(self) -> None:
        if self.delay < 0 or self.jitter < 0 or not 0 <= self.loss <= 1:
            raise BadInput(f"cannot use {self}: delay and jitter not under 0, loss from 0 to 1")


class MemoryNetwork:
    """A transport for ``mem:name`` addresses. ``plan`` may be changed at any time."""

    def __init__(self, plan: FaultPlan | None = None, *, rng: Rng | None = None, peer: Peer | None = None) -> None:
        self.plan = plan or FaultPlan()
        self.rng = rng
        self.peer = peer or Peer(1, 0, 0)
        self.frozen: set[str] = set()
        self._listeners: dict[str, MemoryListener] = {}
        self._links: set[MemoryLink] = set()

    async def dial(self, address: Address, handler: LinkHandler, options: LinkOptions) -> None:
        """See :meth:`svcmgr.conn.transport.Transport.dial`."""
        if self.plan.delay:
            await asyncio.sleep(self.plan.delay)
        listener = self._listeners.get(address.place)
        if listener is None or self.plan.refuse:
            raise Disconnected(f"cannot connect to {address}: nobody listens there", address=str(address))
        near = MemoryLink(self, address.place, handler, options)
        far = MemoryLink(self, address.place, listener.factory(), listener.options)
        near.other, far.other = far, near
        self._links |= {near, far}
        far.handler.opened(far)
        near.handler.opened(near)

    async def listen(self, address: Address, factory: HandlerFactory, options: LinkOptions) -> MemoryListener:
        """See :meth:`svcmgr.conn.transport.Transport.listen`."""
        if address.place in self._listeners:
            raise AlreadyExists(f"cannot listen on {address}: somebody does already", address=str(address))
        listener = MemoryListener(self, address, factory, options)
        self._listeners[address.place] = listener
        return listener

    def cut(self, name: str) -> None:
        """End every link of ``name`` as if its process had died."""
        for link in [link for link in self._links if link.name == name]:
            link.die("cut")

    def freeze(self, name: str) -> None:
        """From now on nothing arrives on links of ``name``, in either direction, until :meth:`thaw`."""
        self.frozen.add(name)

    def thaw(self, name: str) -> None:
        """What was held back arrives now."""
        self.frozen.discard(name)
        for link in [link for link in self._links if link.name == name]:
            link.wake()

    def forget_listener(self, name: str) -> None:
        """For :class:`MemoryListener`."""
        self._listeners.pop(name, None)

    def forget_link(self, link: MemoryLink) -> None:
        """For :class:`MemoryLink`."""
        self._links.discard(link)

    def transit(self) -> float | None:
        """Seconds the next frame takes; None if it is lost."""
        chance = self.rng.random if self.rng else lambda: 0.5
        if self.plan.loss and chance() < self.plan.loss:
            return None
        return self.plan.delay + self.plan.jitter * chance()


class MemoryListener:
    """A name that is listened on."""

    def __init__(self, network: MemoryNetwork, address: Address, factory: HandlerFactory, options: LinkOptions) -> None:
        self.address = address
        self.factory = factory
        self.options = options
        self._network = network
        self._closed = False

    def close(self) -> None:
        """See :meth:`svcmgr.conn.transport.Listener.close`."""
        if not self._closed:
            self._closed = True
            self._network.forget_listener(self.address.place)


class MemoryLink:
    """One end. What it was sent waits in ``_inbox`` with the time of its arrival; None is the end of file."""

    other: MemoryLink

    def __init__(self, network: MemoryNetwork, name: str, handler: LinkHandler, options: LinkOptions) -> None:
        self.name = name
        self.handler = handler
        self.peer = network.peer
        self._network = network
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder(options.max_frame)
        self._inbox: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.Handle | None = None
        self._last_arrival = 0.0
        self._unread = 0
        self._held = False
        self._closing = False
        self._dead = False
        self._choked = False

    @property
    def backlog(self) -> int:
        return self.other._unread

    def send(self, data: bytes) -> None:
        if self._closing or self._dead:
            return
        self.other._accept(data)
        if not self._choked and self.backlog > self._options.write_high:
            self._choked = True
            self._loop.call_soon(self._tell_choked)

    def hold(self) -> None:
        self._held = True

    def go_on(self) -> None:
        self._held = False
        self.wake()

    def close(self, linger: float = 0.0) -> None:
        if self._closing or self._dead:
            return
        self._closing = True
        self.other._accept(None)
        if linger > 0:
            self._loop.call_later(linger, self.die, "closed")
        else:
            self._loop.call_soon(self.die, "closed")

    def abort(self) -> None:
        self._closing = True
        self._loop.call_soon(self.die, "aborted")

    def die(self, why: str) -> None:
        """The end of this link, now; the other side sees end of file after what is on its way."""
        if self._dead:
            return
        self._dead = True
        if self._timer is not None:
            self._timer.cancel()
        self._network.forget_link(self)
        self.other._accept(None)
        self._inbox.clear()
        self.handler.closed(Disconnected(f"cannot go on: the connection ended ({why})"))

    def wake(self) -> None:
        """Deliver what has arrived; come back for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._inbox or self._held or self._dead or self.name in self._network.frozen:
            return
        self._timer = self._loop.call_at(max(self._inbox[0][0], self._loop.time()), self._arrive)

    def _accept(self, data: bytes | None) -> None:
        if self._dead:
            return
        transit = self._network.transit() if data is not None else self._network.plan.delay
        if transit is None:
            return
        # Never before what was sent earlier: a stream keeps its order.
        self._last_arrival = max(self._last_arrival, self._loop.time() + transit)
        self._inbox.append((self._last_arrival, data))
        self._unread += len(data) if data is not None else 0
        if self._timer is None:
            self.wake()

    def _arrive(self) -> None:
        self._timer = None
        _, data = self._inbox.popleft()
        if data is None:
            self.die("end of file")
            return
        self._unread -= len(data)
        self.other._maybe_drained()
        if not self._closing:
            self._deliver(data)
        if not self._dead:
            self.wake()

    def _deliver(self, data: bytes) -> None:
        if self._decoder.fault is not None:
            return  # the handler was told
        try:
            frames = self._decoder.feed(data)
        except ConnectionFault as error:
            self.handler.garbled(error)
            return
        self.handler.received(frames, self._decoder.unfinished)
        if self._decoder.fault is not None and not self._dead:
            self.handler.garbled(self._decoder.fault)

    def _tell_choked(self) -> None:
        if not self._dead:
            self.handler.choked()

    def _maybe_drained(self) -> None:
        if self._choked and not self._dead and self.backlog <= self._options.write_high // 4:
            self._choked = False
            self.handler.drained()
