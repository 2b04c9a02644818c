"""What mgmtd wants of a store: ordered keys, reads of one moment, and batches that happen whole or not at all.

Theory of operation. The protocol is what etcd, SQLite and a dict in memory can all do:

- *Revisions.* A batch that writes raises the store's revision by at least one and leaves it on each entry it wrote.
  Revisions never go back, not after a restart either. Revision 0 is before everything: an absent key has it.
- *Snapshots.* All reads of a snapshot see the store at one revision, however many pages they take.
- *Batches.* A batch is a set of checks and a set of writes. If every check holds, all writes happen at one revision;
  otherwise nothing does, and it is a StoreConflict. This is etcd's ``Txn`` without an else branch.

Optimistic transactions on top are serializable: who read at revision R, and at commit time checks that each key it
read is :class:`Same` and that no key in a range it scanned is newer than R (:class:`NoneNewer`), decides as if it had
read at the moment of the commit. A key that left a range is found by its own Same, since etcd's range compare sees only
keys that are there (etcd-io/etcd: server/etcdserver/txn, ``applyCompare``).

A key may be written once in a batch (etcd refuses a second ``Put``), so the order of the writes does not matter.

Sizes. Keys and values have the same bounds in every store, so that the content of one can move to another. Operations
and bytes of a batch are the store's own (:class:`Limits`); ``splitting`` cuts what is larger. etcd counts checks and
writes each against ``--max-txn-ops`` (128) and the whole against ``--max-request-bytes`` (1.5 MiB); the overhead of one
operation in its protobuf frame is below 64 bytes beside key and value.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.store.faults import StoreConflict

#: Bytes. A value is the text of a configuration at most; 1 MiB leaves etcd's request room for the rest of a batch.
KEY_MAX, VALUE_MAX = 1024, 1 << 20
#: What is counted for an operation beside its key and value, bytes.
OP_OVERHEAD = 64
#: Most bytes of keys and values in a page before it ends; the entry that passes it is still in.
PAGE_BYTES = 4 << 20
PAGE_ENTRIES = 1000


@attrs.frozen
class Entry:
    """A key that is there. ``revision`` is that of the batch that wrote it last."""

    key: bytes
    value: bytes
    revision: int


@attrs.frozen
class Span:
    """The keys from ``start`` (in) to ``end`` (out); an ``end`` of None is the end of all keys."""

    start: bytes = b""
    end: bytes | None = None

    def __contains__(self, key: bytes) -> bool:
        return key >= self.start and (self.end is None or key < self.end)


def prefixed(prefix: bytes) -> Span:
    """All keys that begin with ``prefix``."""
    stem = prefix.rstrip(b"\xff")
    return Span(prefix, stem[:-1] + bytes([stem[-1] + 1]) if stem else None)


@attrs.frozen
class Page:
    """Some entries in key order. ``more``: the span holds keys after the last of them."""

    entries: tuple[Entry, ...]
    more: bool


@attrs.frozen
class Same:
    """The entry of ``key`` has this revision; 0 says that the key is absent."""

    key: bytes
    revision: int


@attrs.frozen
class Holds:
    """``key`` is there and has this value."""

    key: bytes
    value: bytes


@attrs.frozen
class NoneNewer:
    """Of the keys that are in ``span`` now, none was written after ``revision``. Keys deleted since are not seen."""

    span: Span
    revision: int


@attrs.frozen
class Put:
    """Write ``value``, whether the key is there or not."""

    key: bytes
    value: bytes


@attrs.frozen
class Delete:
    """Remove the key, if it is there."""

    key: bytes


Check = Same | Holds | NoneNewer
Write = Put | Delete


@attrs.frozen
class Batch:
    """Writes that happen together, if all checks hold."""

    writes: tuple[Write, ...] = ()
    checks: tuple[Check, ...] = ()


@attrs.frozen
class Limits:
    """What one batch may have: checks, writes (each up to ``operations``), and bytes by :func:`weight` in all."""

    operations: int
    size: int


class Snapshot(Protocol):
    """The store at one moment. Raises StoreClosed after its end, StoreLocked, StoreCorrupt, StorageFailed."""

    @property
    def revision(self) -> int:
        """The revision all reads see."""
        ...

    async def get(self, key: bytes) -> Entry | None:
        """The entry, or None if there is none. BadInput: no key can be so."""
        ...

    async def scan(self, span: Span, limit: int = PAGE_ENTRIES) -> Page:
        """The first entries of ``span``: at most ``limit``, and fewer when they are large (PAGE_BYTES)."""
        ...


class Store(Protocol):
    """An open store."""

    @property
    def limits(self) -> Limits:
        """What one batch may have."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """The store as it is now, until the context ends. Keep it short: a store cannot tidy up behind it."""
        ...

    async def commit(self, batch: Batch) -> int:
        """Carry out ``batch``; the revision after it. When this returns, the batch survives a loss of power.

        A commit that is cancelled may still happen.

        Raises:
            StoreConflict: a check does not hold.
            BadInput: the batch is over a limit, has an impossible key, or writes a key twice.
            StoreFull, StoreLocked, StoreOverloaded, StoreClosed, StoreCorrupt, StorageFailed: nothing was written.
            StoreUncertain: it is not known.
        """
        ...

    async def aclose(self) -> None:
        """Wait for commits under way, then let go of everything. May be called again."""
        ...


async def walk(snapshot: Snapshot, span: Span, page: int = PAGE_ENTRIES) -> AsyncIterator[tuple[Entry, ...]]:
    """All entries of ``span`` in key order, a page at a time; ``page`` is the most entries of one."""
    more = True
    while more:
        found = await snapshot.scan(span, page)
        if found.entries:
            yield found.entries
            span = Span(found.entries[-1].key + b"\0", span.end)
        more = found.more


def weight(operation: Check | Write) -> int:
    """Bytes that an operation counts for."""
    match operation:
        case NoneNewer(span=span):
            return len(span.start) + len(span.end or b"") + OP_OVERHEAD
        case Put(key=key, value=value) | Holds(key=key, value=value):
            return len(key) + len(value) + OP_OVERHEAD
    return len(operation.key) + OP_OVERHEAD


def conflict(check: Check) -> StoreConflict:
    """The error of a check that does not hold."""
    if isinstance(check, Same | Holds):
        return StoreConflict(f"cannot commit: key {check.key!r} has changed; read again and decide again")
    return StoreConflict(f"cannot commit: keys from {check.span.start!r} on have changed; read again and decide again")


def check_key(key: bytes) -> None:
    """Raises BadInput."""
    if not 0 < len(key) <= KEY_MAX:
        raise BadInput(f"cannot use a key of {len(key)} bytes: it has 1 to {KEY_MAX}", size=len(key), limit=KEY_MAX)


def check_page(limit: int) -> None:
    """Raises BadInput."""
    if limit < 1:
        raise BadInput(f"cannot scan pages of {limit} entries: give 1 or more", limit=limit)


def check_batch(batch: Batch, limits: Limits) -> None:
    """Raises BadInput: over a limit, an impossible key, or a key written twice."""
    operations = max(len(batch.writes), len(batch.checks))
    if operations > limits.operations:
        raise BadInput(
            f"cannot commit {operations} operations at once: this store takes {limits.operations}; split the batch",
            limit=limits.operations,
        )
    size = _checked_weight(batch.checks) + _checked_weight(batch.writes)
    if size > limits.size:
        raise BadInput(
            f"cannot commit {size} bytes at once: this store takes {limits.size}; split the batch", limit=limits.size
        )
    if len({write.key for write in batch.writes}) != len(batch.writes):
        raise BadInput("cannot commit a batch that writes a key twice: leave the last write only")


def _checked_weight(operations: Iterable[Check | Write]) -> int:
    total = 0
    for operation in operations:
        if not isinstance(operation, NoneNewer):
            check_key(operation.key)
        if isinstance(operation, Put) and len(operation.value) > VALUE_MAX:
            raise BadInput(
                f"cannot store a value of {len(operation.value)} bytes: the most is {VALUE_MAX}", limit=VALUE_MAX
            )
        total += weight(operation)
    return total
