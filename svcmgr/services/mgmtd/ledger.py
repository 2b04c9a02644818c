"""Writing to the store as the primary: every batch under the guard that the lease is still ours.

Batches are committed one after the other, and the lease is extended in between, never at the same time: so the guard is
simply the revision that the lease was written at last, and a batch whose guard fails proves that somebody else wrote
the lease. Retries follow :mod:`store.retry`; the lock is free while one waits, so that the lease can be extended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from svcmgr.errors import SvcmgrError
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.store import keys
from svcmgr.services.mgmtd.store.faults import StoreConflict, StoreFull, StoreUncertain
from svcmgr.services.mgmtd.store.protocol import Batch, Same, Store, Write
from svcmgr.services.mgmtd.store.retry import Patience, again
from svcmgr.services.mgmtd.store.splitting import split


class Ledger:
    """One for each open store.

    ``chance`` gives a float in [0, 1). ``alarm`` is told of an error each time that a whole round of tries was in vain,
    and of every StoreUncertain, after which memory and store may differ.
    """

    def __init__(
        self,
        store: Store,
        patience: Callable[[], Patience],
        chance: Callable[[], float],
        alarm: Callable[[SvcmgrError], None],
    ) -> None:
        self.store = store
        self.writes = 0
        self._patience = patience
        self._chance = chance
        self._alarm = alarm
        self._pen = asyncio.Lock()
        self._guard: Same | None = None

    async def write_lease(self, write: Write, expected: int, *, ours: bool) -> int:
        """Write the lease, if it is still at revision ``expected``; the revision it has then.

        ``ours``: we own what is written. Raises StoreConflict, and as the store.
        """
        async with self._pen:
            try:
                revision = await self.store.commit(Batch((write,), (Same(keys.LEASE, expected),)))
            except (StoreConflict, StoreUncertain, asyncio.CancelledError) as error:
                self._guard = None  # what is there now is another's, or not known
                if isinstance(error, StoreUncertain):
                    self._alarm(error)
                raise
            self._guard = Same(keys.LEASE, revision) if ours else None
            self.writes += 1
            return revision

    def adopt_lease(self, revision: int | None) -> None:
        """The lease at this revision is ours; None: it is not."""
        self._guard = None if revision is None else Same(keys.LEASE, revision)

    async def write(self, writes: Sequence[Write], last: Sequence[Write] = ()) -> None:
        """Carry out all writes while the lease is ours, ``last`` in the last batch.

        Raises:
            NotPrimary: it is not. What was written before stays; ``last`` was not written.
            StoreFull: at once, since waiting does not help.
            StoreUncertain: at once; only a new start knows what is stored.
            SvcmgrError: the last error, when patience is at its end.
        """
        for batch in split(writes, (_PLACE,), last, self.store.limits):
            await self._commit(batch)

    async def _commit(self, batch: Batch) -> None:
        failures = 0
        while True:
            try:
                return await self._once(batch)
            except (StoreFull, NotPrimary):
                raise
            except StoreUncertain as error:
                self._alarm(error)
                raise
            except SvcmgrError as error:
                failures += 1
                next_try = again(self._patience(), failures, error, self._chance())
                if next_try is None:
                    raise
                if next_try.alarm:
                    self._alarm(error)
            await asyncio.sleep(next_try.delay_s)

    async def _once(self, batch: Batch) -> None:
        async with self._pen:
            if self._guard is None:
                raise NotPrimary("cannot write: the lease is not ours; ask the primary", primary=None)
            try:
                await self.store.commit(Batch(batch.writes, (self._guard,)))
            except StoreConflict as error:
                self._guard = None
                raise NotPrimary("cannot write: another mgmtd took the lease; ask the primary", primary=None) from error
            self.writes += 1


#: Stands for the guard when sizes are counted; revisions take no more room than this one.
_PLACE = Same(keys.LEASE, 2**63)
