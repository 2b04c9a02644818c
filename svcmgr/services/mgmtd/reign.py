"""One term as primary: the cluster in memory, and the way by which it changes.

Whoever changes something holds ``lock`` from deciding until it is applied, so no decision rests on what is not so any
more. Changes are stored first, then applied, then told. If storing fails nothing was changed; once it has begun it goes
to its end, also when the caller is gone, because nobody can call a commit back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from svcmgr.background import outlast
from svcmgr.services.mgmtd import recording
from svcmgr.services.mgmtd.bell import Bell
from svcmgr.services.mgmtd.changes import Change, Origin, quiet, visible
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.journal import Journal
from svcmgr.services.mgmtd.ledger import Ledger
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.store.protocol import Write


@attrs.define
class Reign:
    """Begins when the cluster is loaded under ``epoch``, and ends with the lease."""

    epoch: int
    cluster: Cluster
    journal: Journal
    ledger: Ledger
    bell: Bell
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def carry_out(self, changes: Sequence[Change], origin: Origin, now: Moment, *, bump: bool = False) -> None:
        """Store, apply and tell. The caller holds the lock.

        The routing version goes up if something that clients see is stored, or if ``bump`` says so; otherwise what
        they see waits for the next time it does.

        Raises:
            NotPrimary, SvcmgrError: see :meth:`Ledger.write`; nothing was changed.
        """
        writes = [write for change in changes if (write := recording.write(change)) is not None]
        bump = bump or any(visible(change) and recording.write(change) is not None for change in changes)
        if not writes and not bump:
            self.journal.note(changes, origin, now, self.cluster.version)
            self.cluster.apply(changes)
            return
        doing = asyncio.ensure_future(self._store(changes, origin, now, writes, bump))
        await outlast(doing)
        await doing

    def carry_out_quiet(self, changes: Sequence[Change]) -> None:
        """Apply what needs neither lock nor store."""
        assert all(map(quiet, changes))
        self.cluster.apply(changes)

    async def _store(
        self, changes: Sequence[Change], origin: Origin, now: Moment, writes: list[Write], bump: bool
    ) -> None:
        version = self.cluster.version + bump
        before = self.journal.last
        self.journal.note(changes, origin, now, version)
        noted = self.journal.last - before
        events = self.journal.writes()
        try:
            await self.ledger.write([*writes, *events], [recording.version(version)] if bump else [])
        except BaseException:
            self.journal.retract(noted)
            raise
        self.journal.written(len(events))
        self.cluster.apply(changes)
        if bump:
            self.cluster.advance(version)
        self.bell.ring()

    async def flush(self) -> None:
        """Write events that wait, and delete those that are too old. The caller holds the lock."""
        events, old = self.journal.writes(), self.journal.surplus()
        if events or old:
            await self.ledger.write([*events, *old])
            self.journal.written(len(events))
            self.journal.trimmed(len(old))
            self.bell.ring()
