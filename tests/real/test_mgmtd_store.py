"""The SQLite store on true files: killed, full, read-only, locked, damaged, foreign, and shared by processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from svcmgr.errors import AlreadyExists, NotPermitted, StorageFailed, Unsupported
from svcmgr.services.mgmtd.store import (
    Batch,
    Patience,
    Put,
    SqliteStore,
    StoreCorrupt,
    StoreFull,
    StoreLocked,
    StoreUncertain,
    Transaction,
    sqlitefile,
    transact,
)
from tests.kit.clusterdata import one_of_each, store_all
from tests.kit.conformance_store import content

WRITER = """
import asyncio, sys
from pathlib import Path
from svcmgr.services.mgmtd.store import Batch, Delete, Put, SqliteStore

async def write(store, lane, number):
    # Each batch replaces a group of five keys by another five, and counts.
    old = [Delete(b"%d/%d/%d" % (lane, number - 1, n)) for n in range(5)]
    new = [Put(b"%d/%d/%d" % (lane, number, n), b"%d" % number * 50) for n in range(5)]
    await store.commit(Batch((*old, *new, Put(b"count/%d" % lane, b"%d" % number))))
    print(lane, number, flush=True)

async def run(store, lane, number):
    while True:
        number += 1
        await write(store, lane, number)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        for lane, number in enumerate(map(int, sys.argv[2:])):
            group.create_task(run(store, lane, number))

asyncio.run(main())
"""
LANES, KILLS = 3, 15


@contextmanager
def writer(path: Path, counts: list[int]) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", WRITER, str(path), *map(str, counts)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def look(path: Path) -> dict[bytes, bytes]:
    async def body() -> dict[bytes, bytes]:
        store = await SqliteStore.open(path)
        try:
            return await content(store)
        finally:
            await store.aclose()

    return asyncio.run(body())


def write(path: Path, *puts: Put) -> int:
    async def body() -> int:
        store = await SqliteStore.open(path)
        try:
            return await store.commit(Batch(puts))
        finally:
            await store.aclose()

    return asyncio.run(body())


def test_kill_9_loses_nothing_acknowledged_and_leaves_nothing_half(tmp_path):
    """Fifteen times: three lanes commit as fast as they can, and are killed at a chance moment."""
    path = tmp_path / "store.db"
    rng = random.Random(4)
    counts = [0] * LANES
    total = 0
    for _ in range(KILLS):
        said = list(counts)
        with writer(path, counts) as process:
            assert process.stdout is not None
            stop_after = rng.randint(1, 120)
            for number, line in enumerate(process.stdout, 1):
                if number == stop_after:
                    process.send_signal(signal.SIGKILL)
                words = line.split()
                if len(words) == 2 and line.endswith("\n"):
                    said[int(words[0])] = int(words[1])
        assert process.returncode == -signal.SIGKILL
        found = look(path)
        for lane in range(LANES):
            count = int(found.get(b"count/%d" % lane, b"0"))
            assert count - said[lane] in (0, 1), "all that was acknowledged, and at most the one under way"
            group = {key: value for key, value in found.items() if key.startswith(b"%d/" % lane)}
            whole = {b"%d/%d/%d" % (lane, count, n): b"%d" % count * 50 for n in range(5)}
            assert group == (whole if count else {}), "a batch is there as a whole, and what it replaced is gone"
            total += count - counts[lane]
            counts[lane] = count
    assert total > 100


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "svcmgr-test", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["/bin/umount", str(where)], check=True)


def test_a_full_disk_refuses_and_keeps_what_is_there(small):
    async def body() -> None:
        store = await SqliteStore.open(small / "store.db")
        try:
            kept = 0
            batches = [Batch((Put(b"%03d" % n, b"x" * 65536), Put(b"last", b"%d" % n))) for n in range(100)]
            with contextlib.suppress(StoreFull):
                while kept < len(batches):
                    await store.commit(batches[kept])
                    kept += 1
            assert 5 < kept < 32
            found = await content(store)
            assert len(found) == kept + 1
            assert found[b"last"] == b"%d" % (kept - 1), "nothing of the refused batch is there"
            (small / "rest").write_bytes(b"")
            with pytest.raises(StoreFull):
                await store.commit(Batch((Put(b"more", b"x" * 200_000),)))
            with pytest.raises(StoreFull):
                await store.backup(small / "copy.db")
            assert sorted(os.listdir(small)) == ["rest", "store.db", "store.db-shm", "store.db-wal"]
        finally:
            await store.aclose()

    asyncio.run(body())
    assert len(look(small / "store.db")) > 5


def test_a_disk_with_room_again_takes_writes_again(small):
    async def body() -> None:
        store = await SqliteStore.open(small / "store.db")
        try:
            (small / "fill").write_bytes(b"x" * (os.statvfs(small).f_bavail * 4096 - 300_000))
            with pytest.raises(StoreFull):
                await store.commit(Batch((Put(b"a", b"x" * 400_000),)))
            (small / "fill").unlink()
            await store.commit(Batch((Put(b"a", b"x" * 400_000),)))
        finally:
            await store.aclose()

    asyncio.run(body())
    assert list(look(small / "store.db")) == [b"a"]


def test_no_room_for_a_new_store_leaves_nothing(small):
    (small / "fill").write_bytes(b"x" * (os.statvfs(small).f_bavail * 4096 - 8192))
    with pytest.raises(StorageFailed):
        look(small / "store.db")
    assert os.listdir(small) == ["fill"]


def test_a_read_only_file_system_is_said_at_once(small):
    write(small / "store.db", Put(b"a", b"1"))
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(small)], check=True)
    for name in ("store.db", "new.db"):
        with pytest.raises(StorageFailed):
            look(small / name)
    subprocess.run(["/bin/mount", "-o", "remount,rw", str(small)], check=True)
    assert look(small / "store.db") == {b"a": b"1"}


class FailingSync(sqlite3.Connection):
    """Commits, and then says that the disk failed while it did."""

    def execute(self, statement, *values):
        done = super().execute(statement, *values)
        if statement == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return done


def test_after_a_failed_sync_nobody_is_told_that_anything_was_written(tmp_path):
    path = tmp_path / "store.db"
    write(path, Put(b"a", b"1"))

    async def body() -> None:
        store = SqliteStore(path, sqlite3.connect(path, factory=FailingSync, check_same_thread=False))
        for _ in range(2):
            with pytest.raises(StoreUncertain):
                await store.commit(Batch((Put(b"a", b"2"),)))
        runs = []

        async def count(transaction: Transaction) -> None:
            runs.append(await transaction.get(b"a"))
            transaction.put(b"a", b"3")

        with pytest.raises(StoreUncertain):
            await transact(store, count, Patience(), random.Random(1).random, lambda error: None)
        assert runs == [b"2"], "a transaction whose end is not known is not run again"
        await store.aclose()

    asyncio.run(body())
    assert look(path) == {b"a": b"2"}, "what was uncertain was there, and nothing was tried after it"


def test_locked_by_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlitefile, "BUSY_S", 0.2)
    path = tmp_path / "store.db"
    write(path, Put(b"a", b"1"))

    async def body() -> None:
        store = await SqliteStore.open(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreLocked):
                await store.commit(Batch((Put(b"a", b"2"),)))
            assert await content(store) == {b"a": b"1"}, "readers do not wait for writers"
            with pytest.raises(StoreLocked):
                await SqliteStore.open(path)
            writing = asyncio.ensure_future(retried(store))
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
        await writing
        assert await content(store) == {b"a": b"3"}
        await store.aclose()

    async def retried(store: SqliteStore) -> None:
        async def change(transaction: Transaction) -> None:
            transaction.put(b"a", b"3")

        await transact(store, change, Patience(), random.Random(1).random, lambda error: None)

    asyncio.run(body())


def test_while_a_writer_waits_the_loop_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlitefile, "BUSY_S", 0.5)
    path = tmp_path / "store.db"

    async def body() -> int:
        store = await SqliteStore.open(path)
        turns = 0
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.ensure_future(store.commit(Batch((Put(b"a", b"2"),))))
            while not writing.done():
                await asyncio.sleep(0.001)
                turns += 1
        assert isinstance(writing.exception(), StoreLocked)
        await store.aclose()
        return turns

    assert asyncio.run(body()) > 50


def damaged(path: Path, damage: Callable[[bytes], bytes]) -> None:
    async def body() -> None:
        store = await SqliteStore.open(path)
        await store_all(store, one_of_each())
        for number in range(50):
            await store.commit(Batch(tuple(Put(b"%d/%d" % (number, n), b"x" * 500) for n in range(20))))
        await store.aclose()

    asyncio.run(body())
    path.write_bytes(damage(path.read_bytes()))


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: b"garbage", lambda data: random.Random(1).randbytes(len(data)),
    lambda data: data[:50], lambda data: data[: len(data) // 2], lambda data: data[:-4096],
    lambda data: data[:8192] + b"\0" * 4096 + data[12288:], lambda data: data[:100] + b"\xff" * 200 + data[300:],
    lambda data: b"SQLite format 3\0" + b"\0" * (len(data) - 16),
], ids=["empty", "garbage", "noise", "header", "half", "short", "zeroed page", "root page", "only magic"])  # fmt: skip
def test_damage_is_found_at_the_opening_and_left_as_it_is(tmp_path, damage):
    path = tmp_path / "store.db"
    damaged(path, damage)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt):
        look(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("statement", [
    "PRAGMA application_id = 7",
    "DROP TABLE entry",
    "CREATE TRIGGER foreign_code AFTER INSERT ON entry BEGIN DELETE FROM entry; END",
    "CREATE TABLE more (x)",
    "DELETE FROM state",
])  # fmt: skip
def test_a_database_that_is_no_store(tmp_path, statement):
    path = tmp_path / "store.db"
    write(path, Put(b"a", b"1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(statement)
    with pytest.raises(StoreCorrupt):
        look(path)


def test_a_newer_file_is_refused(tmp_path):
    path = tmp_path / "store.db"
    write(path, Put(b"a", b"1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"PRAGMA user_version = {sqlitefile.FORMAT + 1}")
    with pytest.raises(Unsupported):
        look(path)


def test_only_its_owner_may_read_the_store(tmp_path):
    path = tmp_path / "store.db"

    async def body() -> None:
        before = os.umask(0)
        try:
            store = await SqliteStore.open(path)
            await store.commit(Batch((Put(b"a", b"1"),)))
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
            assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
            await store.backup(tmp_path / "copy.db")
            assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
            await store.aclose()
        finally:
            os.umask(before)

    asyncio.run(body())


def test_a_store_that_others_could_touch_is_refused(tmp_path):
    path = tmp_path / "store.db"
    write(path, Put(b"a", b"1"))
    for mode in (0o644, 0o660, 0o602):
        path.chmod(mode)
        with pytest.raises(NotPermitted):
            look(path)
    path.chmod(0o600)
    os.chown(path, 1234, -1)
    with pytest.raises(NotPermitted):
        look(path)
    os.chown(path, os.geteuid(), -1)
    assert look(path) == {b"a": b"1"}
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotPermitted):
        look(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(NotPermitted):
        look(path)


def test_the_log_of_a_lost_store_is_not_thrown_away(tmp_path):
    path = tmp_path / "store.db"
    (tmp_path / "store.db-wal").write_bytes(b"commits")
    (tmp_path / "store.db-wal").chmod(0o600)
    with pytest.raises(StoreCorrupt):
        look(path)
    assert (tmp_path / "store.db-wal").read_bytes() == b"commits"
    assert not path.exists()


def test_no_directory_for_it(tmp_path):
    with pytest.raises(StorageFailed):
        look(tmp_path / "missing" / "store.db")


def test_a_backup_under_writers_is_of_one_moment(tmp_path):
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"

    async def body() -> None:
        store = await SqliteStore.open(path)
        await store.commit(Batch(tuple(Put(b"%04d" % n, b"0") for n in range(500))))
        done = asyncio.Event()

        async def turn() -> None:
            number = 0
            while not done.is_set():
                number += 1
                await store.commit(Batch(tuple(Put(b"%04d" % n, b"%d" % number) for n in range(500))))

        async with asyncio.TaskGroup() as group:
            group.create_task(turn())
            for number in range(3):
                await store.backup(tmp_path / f"copy{number}.db")
            done.set()
        with pytest.raises(AlreadyExists):
            await store.backup(tmp_path / "copy0.db")
        await store.aclose()

    asyncio.run(body())
    for number in range(3):
        found = look(tmp_path / f"copy{number}.db")
        assert len(found) == 500
        assert len(set(found.values())) == 1
    shutil.copy(tmp_path / "copy0.db", copy)
    copy.chmod(0o600)
    assert write(copy, Put(b"more", b"1")) > 1, "a backup is a store, by itself one file"


COUNTER = """
import asyncio, random, sys
from pathlib import Path
from svcmgr.services.mgmtd.store import Patience, SqliteStore, transact

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    async def body(transaction):
        transaction.put(b"counter", b"%d" % (int(await transaction.get(b"counter") or 0) + 1))
    for _ in range(25):
        await transact(store, body, Patience(), random.random, print)
    await store.aclose()

asyncio.run(main())
"""


def test_several_processes_make_and_use_one_store(tmp_path):
    path = tmp_path / "store.db"
    argv = [sys.executable, "-c", COUNTER, str(path)]
    processes = [subprocess.Popen(argv) for _ in range(3)]
    try:
        assert [process.wait(50) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert look(path) == {b"counter": b"75"}
    assert os.listdir(tmp_path) == ["store.db"], "nothing of the making is left"
