"""Census, fsck, export and import, on memory and SQLite."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from svcmgr.errors import AlreadyExists, BadInput, Busy, Unsupported
from svcmgr.services.mgmtd.store import (
    KEY_MAX,
    VALUE_MAX,
    Batch,
    Limits,
    MemoryStore,
    Put,
    SqliteStore,
    Store,
    StoreConflict,
    dump,
    fsck,
    keys,
    quarantine,
    quarantined,
    records,
    restore,
    take,
)
from tests.kit.clusterdata import NOW, cluster, config, one_of_each, store_all
from tests.kit.conformance_store import content

ETCD = Limits(operations=128, size=3 << 19)
Body = Callable[[Store], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def on_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a coroutine with a new store."""

    async def run(body: Body) -> None:
        store: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "store.db")
        try:
            await body(store)
        finally:
            await store.aclose()

    return lambda body: asyncio.run(run(body))


async def census(store: Store, **options: bool):
    async with store.snapshot() as snapshot:
        return await take(snapshot, **options)


async def lines(store: Store) -> list[bytes]:
    return list(dump.export(await census(store, events=True), NOW))


def test_an_empty_store_is_sound(on_store):
    async def body(store):
        report = await fsck(store, repair=True, utc=NOW)
        assert (report.sound, report.records, report.bad, report.odd, report.moved) == (True, {}, (), (), 0)

    on_store(body)


def test_every_kind_of_record_is_counted_and_found(on_store):
    async def body(store):
        await store_all(store, one_of_each())
        report = await fsck(store, repair=False, utc=NOW)
        assert report.sound
        assert report.odd == ()
        assert report.records == {
            "lease": 1, "routing-version": 1, "node": 1, "chain": 1, "chain-table": 1, "config": 3, "universal-tags": 1,
            "target": 2, "event": 1,
        }  # fmt: skip
        found = await census(store)
        assert found.all(records.Event) == {}, "the log is not loaded unless it is asked for"
        assert [one.version for one in found.all(records.Config).values() if one.node_type == "STORAGE"] == [2, 1]
        assert found.one(records.RoutingVersion) == records.RoutingVersion(17)

    on_store(body)


BAD = {
    keys.node(3): b"\xc1\x01garbage",
    keys.node(4): records.encode(records.Node(5, 2)),
    keys.chain(8): b"",
    keys.chain(9): records.encode(records.Chain(9, 1, (records.ChainTarget(500, 1), records.ChainTarget(101, 1)))),
    keys.ROUTING_VERSION: b"\xc1\x02\xc1",
    b"OTHR" + b"x" * (KEY_MAX - 4): b"of nobody",
    b"a": b"of nobody",
    b"QUAs": b"v" * VALUE_MAX,
    keys.config("META", 7): records.encode(records.Config("META", 7, "x", records.sha256_of("y"))),
}


def test_what_is_bad_goes_to_quarantine_as_it_is(on_store):
    async def body(store):
        await store_all(store, one_of_each())
        good = await content(store)
        for key, value in BAD.items():
            await store.commit(Batch((Put(key, value),)))
        good.pop(keys.ROUTING_VERSION)
        before = await fsck(store, repair=False, utc=NOW)
        assert (len(before.bad), before.moved, before.sound) == (len(BAD), 0, False)
        assert any("target 101 is in chain 7" in bad for bad in before.bad), "it names what it contradicts"
        assert len(await content(store)) == len(good) + len(BAD), "without repair nothing changes"
        after = await fsck(store, repair=True, utc=NOW)
        assert (after.moved, after.sound) == (len(BAD), True)
        reasons = await quarantined(store)
        assert {reason.key for reason in reasons} == set(BAD)
        assert all(reason.why and reason.utc == NOW for reason in reasons)
        left = await content(store)
        kept = [value for key, value in left.items() if key.startswith(keys.QUARANTINE)]
        assert sorted(kept) == sorted(BAD.values())
        assert {key: value for key, value in left.items() if not key.startswith((keys.QUARANTINE, keys.REASON))} == good
        again = await fsck(store, repair=True, utc=NOW)
        assert (again.bad, again.moved, again.quarantined, again.sound) == ((), 0, len(BAD), True)

    on_store(body)


def test_one_key_can_go_bad_twice(on_store):
    async def body(store):
        for value in (b"one", b"two"):
            await store.commit(Batch((Put(keys.node(1), value),)))
            await fsck(store, repair=True, utc=NOW)
        assert len(await quarantined(store)) == 2

    on_store(body)


def test_an_entry_mended_meanwhile_is_not_moved(on_store):
    async def body(store):
        await store.commit(Batch((Put(keys.node(1), b"bad"),)))
        found = await census(store)
        await store_all(store, [records.Node(1, 2)])
        with pytest.raises(StoreConflict):
            await quarantine(store, found.bad, NOW)
        assert (await fsck(store, repair=True, utc=NOW)).bad == ()

    on_store(body)


def test_a_newer_record_refuses_the_whole_and_stays(on_store):
    async def body(store):
        newer = b"\xc1" + bytes([records.FORMAT + 1]) + b"\xa6future"
        await store.commit(Batch((Put(keys.node(1), b"bad"), Put(keys.node(2), newer))))
        before = await content(store)
        with pytest.raises(Unsupported):
            await fsck(store, repair=True, utc=NOW)
        assert await content(store) == before

    on_store(body)


def test_odd_things_are_told_and_kept(on_store):
    async def body(store):
        await store_all(store, [
            records.Chain(1, 1, (records.ChainTarget(1, 1),)), records.ChainTable(1, 1, (1, 2, 3)),
            records.Target(1, 77), records.Target(2, 77),
        ])  # fmt: skip
        report = await fsck(store, repair=True, utc=NOW)
        assert (report.sound, report.moved, len(report.odd)) == (True, 0, 4)
        assert len(await content(store)) == 4

    on_store(body)


def test_d05_an_export_makes_the_same_store_elsewhere(on_store):
    async def body(store):
        await store_all(store, [one_of_each()[0], *cluster(300, nodes=20), *one_of_each()[5:9]])
        text = await lines(store)
        other = MemoryStore(limits=ETCD)
        await restore(other, dump.read(text), replace=False, utc=NOW)
        assert await content(other) == await content(store)
        again = await lines(other)
        assert again[1:-1] == text[1:-1]
        await restore(store, dump.read(again), replace=True, utc=NOW)
        assert await content(store) == await content(other)

    on_store(body)


def test_an_import_does_not_mix_with_what_is_there(on_store):
    async def body(store):
        await store_all(store, one_of_each())
        exported = dump.read(await lines(store))
        await store_all(store, [records.Node(99, 2)])
        before = await content(store)
        with pytest.raises(AlreadyExists):
            await restore(store, exported, replace=False, utc=NOW)
        assert await content(store) == before
        await restore(store, exported, replace=True, utc=NOW)
        before.pop(keys.node(99))
        assert await content(store) == before

    on_store(body)


class Breaking(MemoryStore):
    """Carries out a number of commits, then no more."""

    left = 0

    async def commit(self, batch: Batch) -> int:
        if not self.left:
            raise Busy("cannot commit: the test says so")
        self.left -= 1
        return await super().commit(batch)


def test_an_import_that_was_cut_short_is_no_cluster():
    async def body():
        source = MemoryStore()
        await store_all(source, cluster(200, nodes=20))
        exported = dump.read(await lines(source))
        cut = 0
        for commits in range(1, 100):
            store = Breaking(limits=ETCD)
            store.left = commits
            try:
                await restore(store, exported, replace=False, utc=NOW)
            except Busy:
                cut += 1
                with pytest.raises(Busy):
                    await census(store)
                store.left = 1000
                with pytest.raises(AlreadyExists):
                    await restore(store, exported, replace=False, utc=NOW)
                await restore(store, exported, replace=True, utc=NOW)
            assert await content(store) == await content(source)
        assert 5 < cut < 98

    asyncio.run(body())


def test_an_export_refuses_what_it_would_lose(on_store):
    async def body(store):
        await store.commit(Batch((Put(keys.node(1), b"bad"),)))
        with pytest.raises(BadInput):
            await lines(store)

    on_store(body)


def exported(what: Iterable[records.Record]) -> list[bytes]:
    async def body() -> list[bytes]:
        store = MemoryStore()
        await store_all(store, what)
        return await lines(store)

    return asyncio.run(body())


def signed(text: list[bytes]) -> list[bytes]:
    """``text`` with a footer that fits it."""
    digest = hashlib.sha256(b"".join(text)).hexdigest()
    return [*text, b'{"records":%d,"sha256":"%s"}\n' % (len(text) - 1, digest.encode())]


def test_an_export_that_was_changed_is_refused():
    text = exported(one_of_each())
    assert len(dump.read(text).puts) == len(one_of_each())
    assert dump.read(signed(text[:-1])).puts == dump.read(text).puts, "signing does what the export does"
    for number in range(len(text)):
        for wrong in (text[:number], text[:number] + text[number + 1 :], [*text[:number], text[number][:-2]]):
            with pytest.raises(BadInput):
                dump.read(wrong)
    flipped = b"".join(text).replace(b"10001", b"10002", 1).splitlines(keepends=True)
    with pytest.raises(BadInput):
        dump.read(flipped)


NODE_LINE = b'{"kind":"node","record":{"node_id":1,"type":2}}\n'


@pytest.mark.parametrize("body", [
    [NODE_LINE, NODE_LINE],
    [b'{"kind":"node","record":{"node_id":2,"type":2}}\n', NODE_LINE],
    [b'{"kind":"node","record":{"node_id":0,"type":2}}\n'],
    [b'{"kind":"node","record":{"node_id":4294967296,"type":2}}\n'],
    [b'{"kind":"node","record":{"node_id":1,"type":2,"more":1}}\n'],
    [b'{"kind":"target","record":{"target_id":18446744073709551616,"node_id":1}}\n'],
    [b'{"kind":"nodes","record":{"node_id":1,"type":2}}\n'],
    [b'{"kind":"importing","record":{"sha256":"x","started":1}}\n'],
    [b'{"kind":"node"}\n'],
    [b"\n"],
    [b"\xff\n"],
    [b"[" * 100_000 + b"\n"],
    [b'{"kind":"universal-tags","record":{"universal_id":"' + "ä".encode() * 200 + b'"}}\n'],
    [b'{"kind":"config","record":{"node_type":"META","version":1,"content":"x","sha256":"' + b"0" * 64 + b'"}}\n'],
    [b'{"kind":"chain","record":{"chain_id":1,"version":1,"targets":[{"target_id":1,"state":1}]}}\n',
     b'{"kind":"chain","record":{"chain_id":2,"version":1,"targets":[{"target_id":1,"state":1}]}}\n'],
    [b" " * (dump.LINE_MAX + 1)],
])  # fmt: skip
def test_an_export_with_bad_records_is_refused_although_its_digest_fits(body):
    header = exported([])[0]
    assert dump.read(signed([header, NODE_LINE])).puts
    with pytest.raises(BadInput):
        dump.read(signed([header, *body]))


@pytest.mark.parametrize("text", [[], [b""], [b"{}\n"], [b"garbage\n"] * 3])
def test_what_is_no_export(text):
    with pytest.raises(BadInput):
        dump.read(text)


def test_a_newer_export_is_refused():
    header = exported([])[0].replace(b'"format":1', b'"format":2')
    with pytest.raises(Unsupported):
        dump.read(signed([header]))


def test_a_value_too_large_for_a_store_is_refused():
    huge = config("META", 1, "x" * VALUE_MAX)
    header = exported([])[0]
    line = b'{"kind":"config","record":%s}\n' % msgspec.json.encode(huge)
    with pytest.raises(BadInput):
        dump.read(signed([header, line]))
