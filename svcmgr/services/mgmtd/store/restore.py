"""Carry out an import: into an empty store, or in place of what is there.

An import may need many batches. The first one leaves a mark (:class:`records.Importing`), the last one takes it away,
and each checks that the mark is its own. A store with a mark is refused by everyone who loads it, so an import that was
cut short is no half cluster; it is done again with ``replace``.
"""

from __future__ import annotations

from collections.abc import Sequence

from svcmgr.errors import AlreadyExists
from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.dump import Dump
from svcmgr.services.mgmtd.store.protocol import Batch, Delete, NoneNewer, Put, Same, Span, Store, Write, walk
from svcmgr.services.mgmtd.store.splitting import split

_ALL = Span()


async def restore(store: Store, dump: Dump, *, replace: bool, utc: float) -> int:
    """Write the records of ``dump``; the revision afterwards. No mgmtd may run on the store.

    Args:
        replace: remove all that is there, the quarantine too.

    Raises:
        AlreadyExists: the store is not empty, and ``replace`` is not given. Nothing was written.
        StoreConflict: somebody else writes. StoreFull, StorageFailed and others of the store: what was written is
            marked as unfinished; import again with ``replace``.
    """
    async with store.snapshot() as snapshot:
        there = [entry.key async for entries in walk(snapshot, _ALL) for entry in entries]
        known = await snapshot.get(keys.IMPORTING)
        seen = snapshot.revision
    if there and not replace:
        raise AlreadyExists(
            f"cannot import: the store holds {len(there)} entries already; import with --replace to remove them",
            entries=len(there),
        )
    mark = Put(keys.IMPORTING, records.encode(records.Importing(dump.sha256, utc)))
    untouched = NoneNewer(_ALL, seen)
    revision = await store.commit(Batch((mark,), (Same(mark.key, known.revision if known else 0), untouched)))
    for batch in split(_writes(there, dump), [Same(mark.key, revision)], [Delete(mark.key)], store.limits):
        after = await store.commit(batch)
    return after


def _writes(there: Sequence[bytes], dump: Dump) -> list[Write]:
    coming = {put.key for put in dump.puts}
    gone: list[Write] = [Delete(key) for key in there if key not in coming and key != keys.IMPORTING]
    return [*gone, *dump.puts]
