"""Where a daemon's configuration comes from, and what happens when it is asked for again.

A daemon knows an id; the volfile server knows the text. The first fetch decides whether the daemon can start at all.
Later ones (SIGHUP, verb ``reconfigure``) apply a text only when its checksum changed, one at a time, and a failure
leaves the configuration in force as it is. A daemon without a volfile is asked to read its own files again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import attrs

from svcmgr.clock import Clock
from svcmgr.conn import Connected, Connection, ConnEvent, ConnSpec
from svcmgr.errors import ConnectionFault, ReconfigureFailed
from svcmgr.services.daemonkit.exits import one_line
from svcmgr.services.wire import Configured, VolfileReply, VolfileRequest

#: How long to try to reach the volfile server. It is local and is up before its daemons: this covers its restart only.
CONNECT_PATIENCE_S = 1.0
FETCH_TIMEOUT_S = 10.0


@attrs.frozen
class Volfile:
    """A fetched configuration. ``checksum`` is whatever the server computes; compare it, never parse it."""

    id: str
    text: str
    checksum: str


async def fetch(address: str, volfile_id: str, clock: Clock) -> Volfile:
    """Ask the server at ``address`` (a conn address, ``unix:/path``) for ``volfile_id``.

    Raises:
        ConnectionFault: nobody answered within CONNECT_PATIENCE_S, or the connection failed later.
        SvcmgrError: what the server refused with; an unknown id is a BadInput.
    """
    up = asyncio.Event()

    def notify(event: ConnEvent) -> None:
        if isinstance(event, Connected):
            up.set()

    spec = ConnSpec(address=address, name="volfile server")
    connection = Connection(spec, clock=clock, rng=random.Random(), notify=notify)  # noqa: S311 - jitter
    connection.init()
    connection.connect(1)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                await up.wait()
        if not up.is_set():
            raise ConnectionFault(
                f"cannot reach the volfile server at {address} within {CONNECT_PATIENCE_S:g} s: {connection.last_error}"
            )
        reply = await connection.call("volfile", VolfileRequest(volfile_id), timeout=FETCH_TIMEOUT_S, type=VolfileReply)
    finally:
        await connection.term()
    return Volfile(volfile_id, reply.text, reply.checksum)


class Configuration:
    """The configuration in force.

    ``fetch`` answers the volfile as the server has it now, None where the daemon has none; ``apply`` is the daemon's
    ``configure`` hook.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Volfile | None]],
        apply: Callable[[Volfile | None], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self.fetch = fetch
        self._apply = apply
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self.facts = Configured()

    async def apply(self, volfile: Volfile | None) -> None:
        """Hand ``volfile`` to the daemon; what the daemon raises passes through and changes no facts."""
        await self._apply(volfile)
        self.facts = Configured(
            result="configured",
            at=self._clock.utc(),
            checksum=volfile.checksum if volfile else None,
            count=self.facts.count + 1,
        )

    async def reconfigure(self) -> Configured:
        """Fetch again, and apply if it changed.

        Raises:
            ReconfigureFailed: the server or the daemon's hook refused; the configuration in force stays.
        """
        async with self._one_at_a_time:
            try:
                volfile = await self.fetch()
                if volfile is not None and volfile.checksum == self.facts.checksum:
                    self._note("unchanged")
                else:
                    await self.apply(volfile)
            except Exception as error:
                self._note("failed", one_line(error))
                raise ReconfigureFailed(
                    f"cannot reconfigure: {one_line(error)}; the configuration in force stays",
                    cause=getattr(error, "code", type(error).__name__),
                ) from error
            return self.facts

    def _note(self, result: str, error: str = "") -> None:
        before = self.facts
        self.facts = Configured(result, before.at, before.checksum, before.count, error)
