"""Read, decide, write: serializable on any store, by checking at commit time that what was read still holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from svcmgr.errors import SvcmgrError
from svcmgr.services.mgmtd.store.faults import StoreUncertain
from svcmgr.services.mgmtd.store.protocol import (
    Batch,
    Check,
    Delete,
    NoneNewer,
    Put,
    Same,
    Snapshot,
    Span,
    Store,
    Write,
    walk,
)
from svcmgr.services.mgmtd.store.retry import Patience, again

T = TypeVar("T")


class Transaction:
    """Reads of one snapshot, which are remembered, and writes, which it sees itself at once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._read: dict[bytes, int] = {}
        self._scanned: dict[Span, None] = {}
        self._writes: dict[bytes, Write] = {}

    async def get(self, key: bytes) -> bytes | None:
        """The value of ``key``, or None."""
        if key in self._writes:
            return _value(self._writes[key])
        entry = await self._snapshot.get(key)
        self._read[key] = entry.revision if entry else 0
        return entry.value if entry else None

    async def scan(self, span: Span) -> list[tuple[bytes, bytes]]:
        """Keys and values of all of ``span``, in key order. For small ranges: each key found costs a check."""
        found: dict[bytes, bytes] = {}
        async for entries in walk(self._snapshot, span):
            for entry in entries:
                self._read[entry.key] = entry.revision
                found[entry.key] = entry.value
        self._scanned[span] = None
        for key, write in self._writes.items():
            if key in span:
                found.pop(key, None)
                if isinstance(write, Put):
                    found[key] = write.value
        return sorted(found.items())

    def put(self, key: bytes, value: bytes) -> None:
        """Write it with the commit."""
        self._writes[key] = Put(key, value)

    def delete(self, key: bytes) -> None:
        """Remove it with the commit."""
        self._writes[key] = Delete(key)

    def batch(self) -> Batch:
        """What to commit. Reads alone need no check: they were of one moment."""
        checks: list[Check] = [Same(key, revision) for key, revision in self._read.items()]
        checks += [NoneNewer(span, self._snapshot.revision) for span in self._scanned]
        return Batch(tuple(self._writes.values()), tuple(checks) if self._writes else ())


def _value(write: Write) -> bytes | None:
    return write.value if isinstance(write, Put) else None


async def transact(
    store: Store,
    body: Callable[[Transaction], Awaitable[T]],
    patience: Patience,
    chance: Callable[[], float],
    alarm: Callable[[SvcmgrError], None],
) -> T:
    """Run ``body`` and commit what it wrote; run it again on new reads when somebody else was faster.

    Args:
        chance: a random float in [0, 1), for the jitter of the delays.
        alarm: is told the error each time that a whole round of tries was in vain.

    Raises:
        SvcmgrError: the last error, when ``patience`` is at its end; any error of ``body`` itself.
        StoreUncertain: at once. Running ``body`` on what it may have written already could do its work twice.
    """
    failures = 0
    while True:
        try:
            async with store.snapshot() as snapshot:
                transaction = Transaction(snapshot)
                result = await body(transaction)
            if (batch := transaction.batch()).writes:
                await store.commit(batch)
            return result
        except SvcmgrError as error:
            failures += 1
            next_try = again(patience, failures, error, chance())
            if next_try is None or isinstance(error, StoreUncertain):
                raise
            if next_try.alarm:
                alarm(error)
        await asyncio.sleep(next_try.delay_s)
