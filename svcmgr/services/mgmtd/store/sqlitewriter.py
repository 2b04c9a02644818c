"""The one thread that writes a SQLite store.

Commits queue for it. What waits when it is free goes into one transaction of SQLite, so that many callers share one
fsync; each batch still has a revision of its own, is checked against what those before it wrote, and is answered only
when the transaction is durable. If that fails, it fails for all of them.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path

import attrs

from svcmgr.errors import SvcmgrError
from svcmgr.services.mgmtd.store.faults import StoreClosed, StoreConflict, StoreOverloaded, StoreUncertain
from svcmgr.services.mgmtd.store.protocol import Batch, Check, Holds, NoneNewer, Put, Span, conflict
from svcmgr.services.mgmtd.store.sqlitefile import translate

#: Batches that may wait, and writes after which a transaction takes no further batch.
QUEUE_MAX, GROUP_WRITES = 1024, 10_000


@attrs.frozen
class _Job:
    batch: Batch
    result: Future[int]


class Writer:
    """Owns ``connection``. ``submit`` and ``close`` are for one thread, the rest happens in the writer's own."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._broken: StoreUncertain | None = None
        self._thread = threading.Thread(target=self._run, name=f"store-writer:{path.name}")
        self._thread.start()

    def submit(self, batch: Batch) -> Future[int]:
        """The revision after ``batch``, in time. Raises StoreClosed, StoreOverloaded."""
        if self._closed:
            raise StoreClosed(f"cannot write to the store {self._path}: it is closed")
        if self._jobs.qsize() >= QUEUE_MAX:
            raise StoreOverloaded(f"cannot write to the store {self._path}: {QUEUE_MAX} batches wait already")
        job = _Job(batch, Future())
        self._jobs.put(job)
        return job.result

    def close(self) -> None:
        """Blocks until what was submitted is done and the thread has ended. May be called again."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while job := self._jobs.get():
                group, last = self._gather(job)
                self._carry_out([one for one in group if one.result.set_running_or_notify_cancel()])
                if last:
                    return
        finally:
            self._connection.close()

    def _gather(self, job: _Job) -> tuple[list[_Job], bool]:
        """What waits now, beginning with ``job``; and whether nothing comes after it."""
        group = [job]
        writes = len(job.batch.writes)
        while writes < GROUP_WRITES:
            try:
                another = self._jobs.get_nowait()
            except queue.Empty:
                break
            if another is None:
                return group, True
            group.append(another)
            writes += len(another.batch.writes)
        return group, False

    def _carry_out(self, group: list[_Job]) -> None:
        try:
            if self._broken:
                raise self._broken
            outcomes = self._transaction(group)
        except sqlite3.Error as error:
            fault = translate(error, self._path, "write to")
            if isinstance(fault, StoreUncertain):
                self._broken = fault  # what the kernel dropped it does not write again; a new start reads what is there
            self._fail(group, fault)
        except Exception as error:  # ours to hand on, not to die of: the next group has its own chance
            self._fail(group, error)
        else:
            for job, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, SvcmgrError):
                    job.result.set_exception(outcome)
                else:
                    job.result.set_result(outcome)

    @staticmethod
    def _fail(group: list[_Job], error: Exception) -> None:
        for job in group:
            job.result.set_exception(error)

    def _transaction(self, group: list[_Job]) -> list[int | StoreConflict]:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            (before,) = execute("SELECT revision FROM state").fetchone()
            revision = before
            outcomes: list[int | StoreConflict] = []
            for job in group:
                if failed := next((check for check in job.batch.checks if not self._holds(check)), None):
                    outcomes.append(conflict(failed))
                    continue
                if job.batch.writes:
                    revision += 1
                    self._write(job.batch, revision)
                outcomes.append(revision)
            if revision != before:
                execute("UPDATE state SET revision = ?", (revision,))
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself rolls back after some errors
                execute("ROLLBACK")
            raise
        return outcomes

    def _holds(self, check: Check) -> bool:
        execute = self._connection.execute
        if isinstance(check, NoneNewer):
            where, bounds = within(check.span)
            question = f"SELECT 1 FROM entry WHERE {where} AND revision > ? LIMIT 1"  # noqa: S608
            return execute(question, (*bounds, check.revision)).fetchone() is None
        row = execute("SELECT revision, value FROM entry WHERE key = ?", (check.key,)).fetchone()
        if isinstance(check, Holds):
            return row is not None and row[1] == check.value
        return bool(check.revision == (row[0] if row else 0))

    def _write(self, batch: Batch, revision: int) -> None:
        puts = [(write.key, write.value, revision) for write in batch.writes if isinstance(write, Put)]
        gone = [(write.key,) for write in batch.writes if not isinstance(write, Put)]
        if puts:
            self._connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", puts)
        if gone:
            self._connection.executemany("DELETE FROM entry WHERE key = ?", gone)


def within(span: Span) -> tuple[str, tuple[bytes, ...]]:
    """The condition of SQL for the keys of ``span``, which has no data in it, and the values it wants."""
    if span.end is None:
        return "key >= ?", (span.start,)
    return "key >= ? AND key < ?", (span.start, span.end)
