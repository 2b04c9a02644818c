"""Carry out an import: into an empty store, or in place of what is there.

An import may need many batches. The first one leaves a mark (:class:`records.Importing`), the last one takes it away,
and each checks that the mark is its own. A store with a mark is refused by everyone who loads it, so an import that was
cut short is no half cluster; it is done again with ``replace``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import attrs
import msgspec

from svcmgr.errors import AlreadyExists
from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.dump import Dump
from svcmgr.services.mgmtd.store.faults import StoreCorrupt
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


async def with_lease_released(store: Store, dump: Dump) -> Dump:
    """``dump`` with its lease given up, under an epoch that is no lower than any that ``store`` has seen.

    The lease of an export is that of another time. Released, it makes nobody wait; a mgmtd that runs on the store after
    all finds that it lost the lease, and loads what was imported; and no epoch comes twice. Each epoch costs a commit,
    so the revision bounds them, too, where the lease in the store is lost or damaged.

    Raises:
        Unsupported: a newer mgmtd wrote the lease in ``store``. Others as the store.
    """
    async with store.snapshot() as snapshot:
        entry = await snapshot.get(keys.LEASE)
        floor = snapshot.revision
    if entry is not None:
        with contextlib.suppress(StoreCorrupt):
            floor = max(floor, _lease(entry.key, entry.value).epoch)
    return attrs.evolve(dump, puts=tuple(_released(put, floor) if put.key == keys.LEASE else put for put in dump.puts))


def _released(put: Put, floor: int) -> Put:
    lease = _lease(put.key, put.value)
    return Put(put.key, records.encode(msgspec.structs.replace(lease, epoch=max(lease.epoch, floor), released=True)))


def _lease(key: bytes, value: bytes) -> records.Lease:
    lease = records.decode(key, value)
    assert isinstance(lease, records.Lease)
    return lease


def _writes(there: Sequence[bytes], dump: Dump) -> list[Write]:
    coming = {put.key for put in dump.puts}
    gone: list[Write] = [Delete(key) for key in there if key not in coming and key != keys.IMPORTING]
    return [*gone, *dump.puts]
