"""A store in memory, for tests, simulations and a mgmtd that is told to forget.

The entries are a dict beside a sorted list of its keys. Snapshots share them: a commit copies both first if a snapshot
is open on them, so that a store nobody reads just now is changed in place.
"""

from __future__ import annotations

import bisect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from svcmgr.services.mgmtd.store.faults import StoreClosed
from svcmgr.services.mgmtd.store.protocol import (
    PAGE_BYTES,
    PAGE_ENTRIES,
    Batch,
    Check,
    Entry,
    Holds,
    Limits,
    NoneNewer,
    Page,
    Put,
    Span,
    Write,
    check_batch,
    check_key,
    check_page,
    conflict,
)

LIMITS = Limits(operations=100_000, size=16 << 20)


@attrs.define
class _Content:
    entries: dict[bytes, Entry] = attrs.field(factory=dict)
    keys: list[bytes] = attrs.field(factory=list)
    revision: int = 0
    readers: int = 0

    def copy(self) -> _Content:
        return _Content(dict(self.entries), list(self.keys), self.revision)

    def within(self, span: Span) -> range:
        """Where the keys of ``span`` are in ``keys``."""
        end = len(self.keys) if span.end is None else bisect.bisect_left(self.keys, span.end)
        return range(bisect.bisect_left(self.keys, span.start), end)

    def holds(self, check: Check) -> bool:
        if isinstance(check, NoneNewer):
            newer = (self.entries[self.keys[i]].revision > check.revision for i in self.within(check.span))
            return not any(newer)
        entry = self.entries.get(check.key)
        if isinstance(check, Holds):
            return entry is not None and entry.value == check.value
        return check.revision == (entry.revision if entry else 0)

    def apply(self, write: Write) -> None:
        there = write.key in self.entries
        if isinstance(write, Put):
            self.entries[write.key] = Entry(write.key, write.value, self.revision)
            if not there:
                bisect.insort(self.keys, write.key)
        elif there:
            del self.entries[write.key]
            del self.keys[bisect.bisect_left(self.keys, write.key)]


class Memory:
    """What memory stores hold. It outlives them, as a file does: make another store on it to reopen, or to share it."""

    def __init__(self) -> None:
        self.content = _Content()

    def commit(self, batch: Batch) -> int:
        """Raises StoreConflict."""
        for check in batch.checks:
            if not self.content.holds(check):
                raise conflict(check)
        if batch.writes:
            if self.content.readers:
                self.content = self.content.copy()
            self.content.revision += 1
            for write in batch.writes:
                self.content.apply(write)
        return self.content.revision


class MemoryStore:
    """A store on a :class:`Memory`. ``limits`` may be those of another store, to see how a caller splits."""

    def __init__(self, memory: Memory | None = None, limits: Limits = LIMITS) -> None:
        self._memory = memory or Memory()
        self._limits = limits
        self._closed = False

    @property
    def limits(self) -> Limits:
        return self._limits

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[_Snapshot]:
        self._check_open()
        content = self._memory.content
        content.readers += 1
        snapshot = _Snapshot(content)
        try:
            yield snapshot
        finally:
            snapshot.open = False
            content.readers -= 1

    async def commit(self, batch: Batch) -> int:
        self._check_open()
        check_batch(batch, self._limits)
        return self._memory.commit(batch)

    async def aclose(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("cannot use the store: it is closed")


class _Snapshot:
    def __init__(self, content: _Content) -> None:
        self._content = content
        self.revision = content.revision
        self.open = True

    async def get(self, key: bytes) -> Entry | None:
        self._check_open()
        check_key(key)
        return self._content.entries.get(key)

    async def scan(self, span: Span, limit: int = PAGE_ENTRIES) -> Page:
        self._check_open()
        check_page(limit)
        where = self._content.within(span)
        found: list[Entry] = []
        size = 0
        for index in where[:limit]:
            found.append(self._content.entries[self._content.keys[index]])
            size += len(found[-1].key) + len(found[-1].value)
            if size >= PAGE_BYTES:
                break
        return Page(tuple(found), more=len(found) < len(where))

    def _check_open(self) -> None:
        if not self.open:
            raise StoreClosed("cannot read the snapshot: its context has ended")
