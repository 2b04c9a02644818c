"""The embedded store: one SQLite file in WAL mode, which survives kill -9 and loss of power.

One thread writes (:mod:`sqlitewriter`), two read; the event loop never waits for the disk. A snapshot is a read
transaction on a connection of its own. Several processes may have the file open; SQLite's lock orders their writes.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from svcmgr.background import outlast
from svcmgr.errors import AlreadyExists, StorageFailed
from svcmgr.services.mgmtd.store import sqlitefile
from svcmgr.services.mgmtd.store.faults import StoreClosed, StoreOverloaded
from svcmgr.services.mgmtd.store.protocol import (
    PAGE_BYTES,
    PAGE_ENTRIES,
    Batch,
    Entry,
    Limits,
    Page,
    Span,
    check_batch,
    check_key,
    check_page,
)
from svcmgr.services.mgmtd.store.sqlitefile import translated
from svcmgr.services.mgmtd.store.sqlitewriter import Writer, within

T = TypeVar("T")

LIMITS = Limits(operations=100_000, size=16 << 20)
#: Snapshots at once; each is a connection with three descriptors, and hinders the log from being emptied.
SNAPSHOTS_MAX = 32
_READERS, _IDLE_MAX = 2, 4


class SqliteStore:
    """Made by :meth:`open`."""

    limits = LIMITS

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._writer = Writer(connection, path)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix=f"store-reader:{path.name}")
        self._idle: list[sqlite3.Connection] = []
        self._snapshots = 0
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """Open the file, or make it.

        Raises:
            NotPermitted: others than its owner could read or write it.
            StoreCorrupt: it is damaged, or not a store.
            Unsupported: a newer version wrote it.
            StoreLocked: another process keeps its lock for longer than five seconds.
            StorageFailed: it cannot be made, read or written.
        """
        opening = asyncio.get_running_loop().run_in_executor(None, _open, path)
        connection = await _outcome(opening, undo=sqlite3.Connection.close)
        return cls(path, connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[_Snapshot]:
        self._check_open()
        if self._snapshots >= SNAPSHOTS_MAX:
            raise StoreOverloaded(f"cannot read the store {self._path}: {SNAPSHOTS_MAX} snapshots of it are open")
        self._snapshots += 1
        try:
            idle = self._idle.pop() if self._idle else None
            connection, revision = await self._read(_begin, self._path, idle, undo=lambda begun: begun[0].close())
            try:
                snapshot = _Snapshot(self._path, connection, revision, self._read)
                yield snapshot
            finally:
                snapshot.open = False
                self._let_go(connection)
        finally:
            self._snapshots -= 1

    async def commit(self, batch: Batch) -> int:
        self._check_open()
        check_batch(batch, LIMITS)
        return await asyncio.wrap_future(self._writer.submit(batch))

    async def backup(self, path: Path) -> None:
        """Write a copy of one moment to the new file ``path``; commits go on meanwhile.

        Raises:
            AlreadyExists: there is something of that name.
            StorageFailed, StoreFull: it cannot be written; nothing of it is left.
        """
        self._check_open()
        await self._read(_backup, self._path, path)

    async def aclose(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._readers.shutdown()
        self._writer.close()

    def _let_go(self, connection: sqlite3.Connection) -> None:
        if not self._closed and len(self._idle) < _IDLE_MAX:
            connection.execute("ROLLBACK")
            self._idle.append(connection)
        else:
            connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"cannot use the store {self._path}: it is closed")

    async def _read(self, function: Callable[..., T], *args: object, undo: Callable[[T], None] | None = None) -> T:
        self._check_open()
        return await _outcome(asyncio.get_running_loop().run_in_executor(self._readers, function, *args), undo)


class _Snapshot:
    def __init__(self, path: Path, connection: sqlite3.Connection, revision: int, read: _Read) -> None:
        self._path = path
        self._connection = connection
        self._read = read
        self.revision = revision
        self.open = True

    async def get(self, key: bytes) -> Entry | None:
        self._check_open()
        check_key(key)
        return await self._read(_get, self._path, self._connection, key)

    async def scan(self, span: Span, limit: int = PAGE_ENTRIES) -> Page:
        self._check_open()
        check_page(limit)
        return await self._read(_scan, self._path, self._connection, span, limit)

    def _check_open(self) -> None:
        if not self.open:
            raise StoreClosed("cannot read the snapshot: its context has ended")


class _Read(Protocol):
    async def __call__(self, function: Callable[..., T], *args: object) -> T: ...


async def _outcome(doing: asyncio.Future[T], undo: Callable[[T], None] | None) -> T:
    """What a thread returns. If the waiting is cancelled, the thread still comes to its end first, as its connection is
    no other's until then; and ``undo`` gets what nobody takes any more."""
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await outlast(doing)
        if undo and not doing.exception():
            undo(doing.result())
        raise


def _open(path: Path) -> sqlite3.Connection:
    sqlitefile.prepare(path)
    connection = sqlitefile.connect(path)
    try:
        sqlitefile.inspect(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(path: Path, idle: sqlite3.Connection | None) -> tuple[sqlite3.Connection, int]:
    connection = idle or sqlitefile.connect(path)
    try:
        with translated(path, "read"):
            connection.execute("BEGIN")  # the first read fixes what the transaction sees
            (revision,) = connection.execute("SELECT revision FROM state").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, revision


def _get(path: Path, connection: sqlite3.Connection, key: bytes) -> Entry | None:
    with translated(path, "read"):
        row = connection.execute("SELECT key, value, revision FROM entry WHERE key = ?", (key,)).fetchone()
    return Entry(*row) if row else None


def _scan(path: Path, connection: sqlite3.Connection, span: Span, limit: int) -> Page:
    where, bounds = within(span)
    question = f"SELECT key, value, revision FROM entry WHERE {where} ORDER BY key LIMIT ?"  # noqa: S608
    found: list[Entry] = []
    size = 0
    with translated(path, "read"):
        rows = connection.execute(question, (*bounds, limit + 1))
        for row in rows:
            if len(found) == limit or size >= PAGE_BYTES:
                rows.close()
                return Page(tuple(found), more=True)
            found.append(Entry(*row))
            size += len(row[0]) + len(row[1])
    return Page(tuple(found), more=False)


def _backup(path: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise AlreadyExists(f"cannot write a backup to {target}: it exists; give a new name", path=str(target))
    try:
        sqlitefile.copy(path, target)
    except FileExistsError as error:
        raise AlreadyExists(f"cannot write a backup to {target}: it exists; give a new name") from error
    except OSError as error:
        raise StorageFailed(
            f"cannot write a backup to {target}: {error.strerror} (errno {error.errno})", path=str(target)
        ) from error
