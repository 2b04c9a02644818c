"""The server: accepts connections on one address and answers calls from a table of verbs.

Handlers of one connection run concurrently and may be answered in any order. When a connection ends, its
handlers are cancelled: nobody waits for the answer. A handler that must go on writes down its intent first
and leaves the work to somebody who lives longer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from svcmgr.clock import Clock
from svcmgr.conn.frame import Event, Limits, encode
from svcmgr.conn.inbound import InboundSpec
from svcmgr.conn.resolve import resolve
from svcmgr.conn.served import ServedLink
from svcmgr.conn.terms import ServerSpec
from svcmgr.conn.transport import Address, LinkOptions, Listener
from svcmgr.conn.verbs import Verb, VerbTable

__all__ = ["CLOSE_GRACE", "Server", "ServerSpec"]

#: How long :meth:`Server.aclose` waits for peers to take their last answers.
CLOSE_GRACE = 1.0


class Server:
    """One listening address. Use ``start`` and ``aclose``, or ``async with``."""

    def __init__(self, spec: ServerSpec, verbs: Mapping[str, Verb], *, clock: Clock) -> None:
        self.spec = spec
        self.clock = clock
        self.verbs = VerbTable({"ping": Verb(lambda request, ctx: None), **verbs})
        self.inbound_spec = InboundSpec(
            name=spec.name,
            incarnation=spec.incarnation,
            limits=Limits(spec.max_frame, spec.max_in_flight),
            hello_timeout=spec.hello_timeout,
            stall_timeout=spec.stall_timeout,
            slow_after=spec.slow_after,
        )
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._listener: Listener | None = None
        self._links: set[ServedLink] = set()
        self._topics: dict[str, set[ServedLink]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    async def start(self) -> None:
        """Listen. Raises AlreadyExists or StorageFailed (see Transport.listen), BadInput for a bad address."""
        address = Address.parse(self.spec.address)
        transport = self.spec.transport or resolve(address)
        options = LinkOptions(self.spec.max_frame, self.spec.write_high, self.spec.socket_mode)
        self._listener = await transport.listen(address, lambda: ServedLink(self), options)

    @property
    def address(self) -> str:
        """Where it listens, a port that the kernel chose included; what was asked for while it does not listen."""
        return str(self._listener.address) if self._listener is not None else self.spec.address

    def stop_accepting(self) -> None:
        """Give the address back; connections go on. Idempotent."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def aclose(self) -> None:
        """Stop accepting, cancel handlers, let peers take their last answers for CLOSE_GRACE, close. Idempotent."""
        self.closed = True
        self.stop_accepting()
        for link in tuple(self._links):
            link.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE):
                await self._all_gone()
        for link in tuple(self._links):
            link.abort()
        await self._all_gone()
        # A handler may close its own server; it cannot wait for itself.
        handlers = self._tasks - {asyncio.current_task()}
        if handlers:
            await asyncio.wait(handlers)

    async def _all_gone(self) -> None:
        for link in tuple(self._links):
            await link.gone.wait()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def publish(self, topic: str, payload: Any) -> int:
        """Send an event to every connection that subscribed to ``topic``; gives how many that were.

        Raises BadInput if the payload cannot be encoded.
        """
        links = self._topics.get(topic)
        if not links:
            return 0
        data = encode(Event(topic, payload))
        self.counts["published"] += 1
        return sum(link.push(data) for link in tuple(links))

    def statistics(self) -> dict[str, int]:
        """Counters since the start, and how many connections, calls and subscriptions there are now."""
        return {
            **self.counts,
            "refused_calls": self.counts["refused_calls"] + sum(link.refused_calls for link in self._links),
            "connections": len(self._links),
            "in_flight": sum(link.in_flight for link in self._links),
            "subscriptions": sum(len(links) for links in self._topics.values()),
        }

    # --- for ServedLink

    def admit(self, link: ServedLink) -> int:
        """Take a link into the set; gives how many there are now, those that are being refused included."""
        self.counts["accepted"] += 1
        self._links.add(link)
        return len(self._links)

    def forget(self, link: ServedLink) -> None:
        """The link is gone."""
        self._links.discard(link)
        for topic in link.topics:
            self._topics[topic].discard(link)
            if not self._topics[topic]:
                del self._topics[topic]

    def subscribe(self, link: ServedLink, topic: str) -> None:
        """See :class:`svcmgr.conn.verbs.CallContext`."""
        self._topics.setdefault(topic, set()).add(link)

    def unsubscribe(self, link: ServedLink, topic: str) -> None:
        """See :class:`svcmgr.conn.verbs.CallContext`."""
        links = self._topics.get(topic, set())
        links.discard(link)
        if not links:
            self._topics.pop(topic, None)

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Own a handler's task until it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_COUNTS = (
    *("accepted", "refused_full", "refused_access", "calls", "casts", "faults", "internal_errors", "timeouts"),
    *("refused_calls", "protocol_faults", "slow_readers", "published", "events_sent", "events_dropped"),
)
