"""The server: accepts connections on one address and answers calls from a table of verbs.

Handlers of one connection run concurrently and may be answered in any order. When a connection ends, its
handlers are cancelled: nobody waits for the answer. A handler that must go on writes down its intent first
and leaves the work to somebody who lives longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from svcmgr.clock import Clock
from svcmgr.conn.events import Peer
from svcmgr.conn.frame import MAX_FRAME, MIN_FRAME, Event, Limits, encode
from svcmgr.conn.inbound import InboundSpec
from svcmgr.conn.served import ServedLink
from svcmgr.conn.transport import Address, LinkOptions, Listener, Transport, resolve
from svcmgr.conn.verbs import Access, Verb, VerbTable
from svcmgr.errors import BadInput

#: How long :meth:`Server.aclose` waits for peers to take their last answers.
CLOSE_GRACE = 1.0


def _log_error(verb: str, error: BaseException) -> None:
    logging.getLogger(__name__).error("verb %s failed", verb, exc_info=error)


def everyone_may_do_all(peer: Peer) -> Access | None:
    """The access rule when the mode of the socket file is the only guard."""
    return Access.ADMIN


@attrs.frozen
class ServerSpec:
    """What a server is made from. Durations in seconds, sizes in bytes.

    Attributes:
        access: what a peer may do; None refuses the connection.
        write_high: a peer that leaves more than this unread is not read from, and closed after ``slow_after``.
        write_cap: a peer that leaves more than this unread is closed at once.
        default_deadline: of calls whose caller names none.
        hello_timeout: how long a peer may be connected without a hello.
        stall_timeout: how long a frame may take from its first byte to its last.
        on_error: told of every exception of a handler that is not a SvcmgrError, with the verb.
        transport: needed for ``mem:`` addresses.
    """

    address: str
    name: str = "server"
    incarnation: int = 0
    access: Callable[[Peer], Access | None] = everyone_may_do_all
    max_connections: int = 256
    max_in_flight: int = 64
    max_frame: int = MAX_FRAME
    write_high: int = 1024 * 1024
    write_cap: int = 64 * 1024 * 1024
    slow_after: float = 10.0
    default_deadline: float = 600.0
    hello_timeout: float = 5.0
    stall_timeout: float = 10.0
    socket_mode: int = 0o600
    on_error: Callable[[str, BaseException], None] = _log_error
    transport: Transport | None = None

    def __attrs_post_init__(self) -> None:
        if self.write_cap < self.write_high or min(self.max_connections, self.max_in_flight) < 1:
            raise BadInput(
                f"cannot serve {self.address}: write_cap must not be under write_high, and max_connections and "
                "max_in_flight must be at least 1"
            )
        if self.max_frame < MIN_FRAME:
            raise BadInput(f"cannot serve {self.address}: max_frame must be at least {MIN_FRAME}")


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
