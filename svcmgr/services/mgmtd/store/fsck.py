"""Check a whole store, and move what is bad out of the way.

A bad entry goes to the quarantine as it is (``QUAR``), with the reason beside it (``QWHY``); nothing is thrown away.
Entry and reason move in one batch that checks that the entry is still the one that was judged.
"""

from __future__ import annotations

import hashlib

import attrs

from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.census import Bad, take
from svcmgr.services.mgmtd.store.protocol import (
    KEY_MAX,
    Batch,
    Delete,
    Entry,
    Put,
    Same,
    Store,
    prefixed,
    walk,
)

_WHY_MAX = 1000


@attrs.frozen
class Report:
    """What was found. ``moved`` of the ``bad`` ones are in quarantine now; ``quarantined`` were there before."""

    revision: int
    records: dict[str, int]
    bad: tuple[str, ...]
    odd: tuple[str, ...]
    moved: int
    quarantined: int

    @property
    def sound(self) -> bool:
        """Nothing bad is left among the records."""
        return len(self.bad) == self.moved


async def fsck(store: Store, *, repair: bool, utc: float) -> Report:
    """Check all of ``store``; with ``repair`` move what is bad to the quarantine.

    Raises:
        Unsupported: a newer mgmtd wrote something; nothing was changed.
        StoreConflict: an entry changed meanwhile; what was moved before stays moved.
        Busy, StoreFull, StoreLocked, StoreCorrupt, StorageFailed: as the store.
    """
    async with store.snapshot() as snapshot:
        census = await take(snapshot, events=True)
    moved = 0
    if repair:
        moved = await quarantine(store, census.bad, utc)
    return Report(
        census.revision,
        census.counts(),
        tuple(f"{records.named(bad.entry.key)}: {bad.why}" for bad in census.bad),
        tuple(census.odd),
        moved,
        census.quarantined,
    )


async def quarantine(store: Store, found: list[Bad], utc: float) -> int:
    """Move these entries away, each with its reason; how many. Raises StoreConflict and as the store."""
    for bad in found:
        entry = bad.entry
        place = _place(entry)
        reason = records.Reason(entry.key, bad.why[:_WHY_MAX], utc)
        writes = (
            Put(keys.quarantined(keys.QUARANTINE, place, entry.revision), entry.value),
            Put(keys.quarantined(keys.REASON, place, entry.revision), records.encode(reason)),
            Delete(entry.key),
        )
        await store.commit(Batch(writes, (Same(entry.key, entry.revision),)))
    return len(found)


async def quarantined(store: Store) -> list[records.Reason]:
    """What is in quarantine: from where, why and since when. Raises as the store."""
    async with store.snapshot() as snapshot:
        return [
            records.decode_reason(entry.key, entry.value)
            async for entries in walk(snapshot, prefixed(keys.REASON))
            for entry in entries
        ]


def _place(entry: Entry) -> bytes:
    """The old key, or its digest where the new one would be too long."""
    room = KEY_MAX - keys.PREFIX_LENGTH - 8
    return entry.key if len(entry.key) <= room else hashlib.sha256(entry.key).digest()
