"""What every store of mgmtd must do, as code. A store that passes here fits everything above it.

A check gets ``make``, which opens a store on the same data each time it is called, and closes what it opened. The data
is new for every check.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd.store import (
    KEY_MAX,
    VALUE_MAX,
    Batch,
    Check,
    Delete,
    Entry,
    Holds,
    NoneNewer,
    Patience,
    Put,
    Same,
    Span,
    Store,
    StoreClosed,
    StoreConflict,
    Transaction,
    Write,
    prefixed,
    split,
    transact,
    walk,
)

Open = Callable[[], Awaitable[Store]]
Maker = Callable[[], Awaitable[Store]]
Checker = Callable[[Maker], Awaitable[None]]


async def check_store(opener: Callable[[], Open]) -> None:
    """Run every check. ``opener`` gives, for new data each time, what opens a store on them."""
    for check in CHECKS:
        await run_check(check, opener())


async def run_check(check: Checker, open_store: Open) -> None:
    """Run one check; every store it opens is closed."""
    async with AsyncExitStack() as stack:

        async def make() -> Store:
            store = await open_store()
            stack.push_async_callback(store.aclose)
            return store

        await check(make)


def put(**values: str) -> tuple[Write, ...]:
    return tuple(Put(key.encode(), value.encode()) for key, value in values.items())


ALL = Span()


async def content(store: Store, span: Span = ALL) -> dict[bytes, bytes]:
    async with store.snapshot() as snapshot:
        return {entry.key: entry.value async for page in walk(snapshot, span) for entry in page}


async def entry(store: Store, key: bytes) -> Entry | None:
    async with store.snapshot() as snapshot:
        return await snapshot.get(key)


async def work(store: Store, body: Callable[[Transaction], Awaitable[object]]) -> None:
    rng = random.Random(1)
    await transact(store, body, Patience(), rng.random, lambda error: None)


async def check_put_get_delete(make: Maker) -> None:
    store = await make()
    assert await content(store) == {}
    first = await store.commit(Batch(put(a="1", b="")))
    assert await entry(store, b"a") == Entry(b"a", b"1", first)
    assert await entry(store, b"b") == Entry(b"b", b"", first)
    second = await store.commit(Batch((Put(b"a", b"2"), Delete(b"b"), Delete(b"never"))))
    assert second > first
    assert await entry(store, b"a") == Entry(b"a", b"2", second)
    assert await entry(store, b"b") is None


async def check_revisions_rise_over_a_reopening(make: Maker) -> None:
    store = await make()
    seen = [await store.commit(Batch(put(a=str(n)))) for n in range(3)]
    seen.append(await store.commit(Batch((Delete(b"a"),))))
    await store.aclose()
    store = await make()
    seen.append(await store.commit(Batch(put(b="x"))))
    assert seen == sorted(set(seen))
    async with store.snapshot() as snapshot:
        assert snapshot.revision == seen[-1]


async def check_a_batch_without_writes_only_checks(make: Maker) -> None:
    store = await make()
    revision = await store.commit(Batch(put(a="1")))
    assert await store.commit(Batch((), (Same(b"a", revision),))) == revision
    with pytest.raises(StoreConflict):
        await store.commit(Batch((), (Same(b"a", revision + 1),)))


async def check_compares(make: Maker) -> None:
    store = await make()
    old = await store.commit(Batch(put(a="1", b="1")))
    new = await store.commit(Batch(put(b="2")))
    holding: list[Check] = [
        Same(b"a", old), Same(b"b", new), Same(b"absent", 0), Holds(b"b", b"2"),
        NoneNewer(Span(b"a", b"b"), old), NoneNewer(Span(), new), NoneNewer(Span(b"x", None), 0),
    ]  # fmt: skip
    failing: list[Check] = [
        Same(b"a", new), Same(b"a", 0), Same(b"b", old), Same(b"absent", old), Holds(b"b", b"1"), Holds(b"absent", b""),
        NoneNewer(Span(b"a", b"c"), old), NoneNewer(Span(b"b", None), old), NoneNewer(Span(), old),
    ]  # fmt: skip
    await store.commit(Batch((), tuple(holding)))
    for check in failing:
        with pytest.raises(StoreConflict):
            await store.commit(Batch(put(c="x"), (*holding, check)))
        assert await content(store) == {b"a": b"1", b"b": b"2"}, check


async def check_deleted_and_written_again_is_another_entry(make: Maker) -> None:
    store = await make()
    old = await store.commit(Batch(put(a="1")))
    await store.commit(Batch((Delete(b"a"),)))
    await store.commit(Batch(put(a="1")))
    with pytest.raises(StoreConflict):
        await store.commit(Batch(put(b="x"), (Same(b"a", old),)))


async def check_order_and_spans(make: Maker) -> None:
    keys = [b"\0", b"\0\0", b"\0\1", b"A", b"AB", b"a", b"a\0", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff\0"]
    store = await make()
    shuffled = random.Random(1).sample(keys, len(keys))
    await store.commit(Batch(tuple(Put(key, b"v") for key in shuffled)))
    assert list(await content(store)) == keys
    assert list(await content(store, prefixed(b"a"))) == [b"a", b"a\0", b"a\xff", b"a\xff\xff"]
    assert list(await content(store, prefixed(b"a\xff"))) == [b"a\xff", b"a\xff\xff"]
    assert list(await content(store, prefixed(b"\xff"))) == [b"\xff", b"\xff\xff\0"]
    assert list(await content(store, Span(b"A", b"a"))) == [b"A", b"AB"]
    assert list(await content(store, Span(b"a", b"a"))) == []
    assert list(await content(store, Span(b"b", b"a"))) == []


async def check_pages(make: Maker) -> None:
    store = await make()
    await store.commit(Batch(tuple(Put(b"k%03d" % n, b"v") for n in range(100))))
    async with store.snapshot() as snapshot:
        for size in (1, 7, 50, 100, 101):
            pages = [page async for page in walk(snapshot, Span(), size)]
            assert [entry.key for page in pages for entry in page] == [b"k%03d" % n for n in range(100)]
            assert all(1 <= len(page) <= size for page in pages)
        page = await snapshot.scan(Span(), 100)
        assert (len(page.entries), page.more) == (100, False)
        assert (await snapshot.scan(Span(), 99)).more
        with pytest.raises(BadInput):
            await snapshot.scan(Span(), 0)


async def check_large_values_make_small_pages(make: Maker) -> None:
    store = await make()
    for n in range(12):
        await store.commit(Batch((Put(b"k%02d" % n, b"v" * VALUE_MAX),)))
    async with store.snapshot() as snapshot:
        page = await snapshot.scan(Span())
        assert page.more
        assert 0 < len(page.entries) < 12
        assert sum([len(page) async for page in walk(snapshot, Span())]) == 12


async def check_bounds_of_keys_and_values(make: Maker) -> None:
    store = await make()
    await store.commit(Batch((Put(b"k" * KEY_MAX, b"v" * VALUE_MAX),)))
    found = await entry(store, b"k" * KEY_MAX)
    assert found is not None
    assert found.value == b"v" * VALUE_MAX
    for write in (Put(b"", b"v"), Put(b"k" * (KEY_MAX + 1), b"v"), Put(b"k", b"v" * (VALUE_MAX + 1)), Delete(b"")):
        with pytest.raises(BadInput):
            await store.commit(Batch((Put(b"other", b"v"), write)))
    for key in (b"", b"k" * (KEY_MAX + 1)):
        with pytest.raises(BadInput):
            await entry(store, key)
        with pytest.raises(BadInput):
            await store.commit(Batch((), (Same(key, 0),)))
    assert list(await content(store)) == [b"k" * KEY_MAX]


async def check_limits(make: Maker) -> None:
    store = await make()
    most = store.limits.operations
    await store.commit(Batch(tuple(Put(b"%d" % n, b"") for n in range(most))))
    assert len(await content(store)) == most
    with pytest.raises(BadInput):
        await store.commit(Batch(tuple(Put(b"x%d" % n, b"") for n in range(most + 1))))
    with pytest.raises(BadInput):
        await store.commit(Batch((), tuple(Same(b"x%d" % n, 0) for n in range(most + 1))))
    count = store.limits.size // VALUE_MAX + 1
    with pytest.raises(BadInput):
        await store.commit(Batch(tuple(Put(b"x%d" % n, b"v" * VALUE_MAX) for n in range(count))))
    with pytest.raises(BadInput):
        await store.commit(Batch((Put(b"x", b"1"), Delete(b"x"))))
    assert len(await content(store)) == most


async def check_snapshots_stand_still(make: Maker) -> None:
    store, other = await make(), await make()
    await store.commit(Batch(tuple(Put(b"k%03d" % n, b"old") for n in range(50))))
    async with store.snapshot() as snapshot:
        seen = list((await snapshot.scan(Span(), 10)).entries)
        await store.commit(Batch((Put(b"k015", b"new"), Put(b"k020x", b"new"), Delete(b"k030"))))
        await other.commit(Batch((Put(b"k040", b"new"),)))
        async for page in walk(snapshot, Span(seen[-1].key + b"\0"), 7):
            seen += page
        assert [(entry.key, entry.value) for entry in seen] == [(b"k%03d" % n, b"old") for n in range(50)]
        assert all(entry.revision <= snapshot.revision for entry in seen)
        found = await snapshot.get(b"k015")
        assert found is not None
        assert found.value == b"old"
    assert len(await content(store)) == 50
    assert (await content(store))[b"k040"] == b"new"


async def check_scans_under_writers(make: Maker) -> None:
    """Two writers move 1 from key to key; whoever scans sees the sum unchanged."""
    store, other = await make(), await make()
    keys = [b"k%02d" % n for n in range(20)]
    await store.commit(Batch(tuple(Put(key, b"100") for key in keys)))
    done = asyncio.Event()

    async def move(mover: Store, seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(30):
            source, target = rng.sample(keys, 2)

            async def body(transaction: Transaction, source: bytes = source, target: bytes = target) -> None:
                transaction.put(source, b"%d" % (int(await transaction.get(source) or 0) - 1))
                transaction.put(target, b"%d" % (int(await transaction.get(target) or 0) + 1))

            await work(mover, body)

    async def watch() -> int:
        scans = 0
        while not done.is_set():
            async with store.snapshot() as snapshot:
                pages = [page async for page in walk(snapshot, Span(), 3)]
            assert sum(int(entry.value) for page in pages for entry in page) == 2000
            scans += 1
            await asyncio.sleep(0)
        return scans

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        async with asyncio.TaskGroup() as movers:
            movers.create_task(move(store, 1))
            movers.create_task(move(other, 2))
        done.set()
    assert watching.result() > 0


async def check_no_lost_update(make: Maker) -> None:
    async def count(store: Store) -> None:
        async def body(transaction: Transaction) -> None:
            value = int(await transaction.get(b"counter") or 0)
            await asyncio.sleep(0)
            transaction.put(b"counter", b"%d" % (value + 1))

        for _ in range(10):
            await work(store, body)

    stores = [await make(), await make()]
    await asyncio.gather(*(count(store) for store in stores * 2))
    assert await content(stores[0]) == {b"counter": b"40"}


async def check_no_write_skew(make: Maker) -> None:
    """Each may leave if the other stays. Both read both, then both commit."""
    stores = [await make(), await make()]
    await stores[0].commit(Batch(put(a="here", b="here")))
    results = await _both(stores, lambda n: _leave(b"ab"[n : n + 1]))
    assert sorted(results) == [False, True]
    assert sorted((await content(stores[0])).values()) == [b"gone", b"here"]


async def check_no_phantom(make: Maker) -> None:
    """Each adds its key if the range is empty; each finds it empty; one adds."""
    stores = [await make(), await make()]

    def add_first(number: int) -> Callable[[Transaction], Awaitable[None]]:
        async def body(transaction: Transaction) -> None:
            if not await transaction.scan(prefixed(b"p")):
                transaction.put(b"p%d" % number, b"first")

        return body

    assert sorted(await _both(stores, add_first)) == [False, True]
    assert len(await content(stores[0])) == 1


async def check_a_key_that_left_the_range_is_noticed(make: Maker) -> None:
    store = await make()
    await store.commit(Batch(put(p1="x", p2="x")))
    async with store.snapshot() as snapshot:
        transaction = Transaction(snapshot)
        assert len(await transaction.scan(prefixed(b"p"))) == 2
        transaction.put(b"count", b"2")
    await store.commit(Batch((Delete(b"p1"),)))
    with pytest.raises(StoreConflict):
        await store.commit(transaction.batch())


def _leave(own: bytes) -> Callable[[Transaction], Awaitable[None]]:
    async def body(transaction: Transaction) -> None:
        here = [key for key in (b"a", b"b") if await transaction.get(key) == b"here"]
        if len(here) == 2:
            transaction.put(own, b"gone")

    return body


async def _both(stores: list[Store], bodies: Callable[[int], Callable[[Transaction], Awaitable[None]]]) -> list[bool]:
    """Let two transactions read, then commit them at once; who was successful."""
    batches = []
    async with stores[0].snapshot() as first, stores[1].snapshot() as second:
        for number, snapshot in enumerate((first, second)):
            transaction = Transaction(snapshot)
            await bodies(number)(transaction)
            batches.append(transaction.batch())
    commits = (store.commit(batch) for store, batch in zip(stores, batches, strict=True))
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert all(isinstance(result, int | StoreConflict) for result in results), results
    return [isinstance(result, int) for result in results]


async def check_a_transaction_sees_its_own_writes(make: Maker) -> None:
    store = await make()
    await store.commit(Batch(put(p1="1", p2="2", q="3")))
    async with store.snapshot() as snapshot:
        transaction = Transaction(snapshot)
        transaction.put(b"p0", b"0")
        transaction.put(b"p2", b"22")
        transaction.delete(b"p1")
        assert await transaction.scan(prefixed(b"p")) == [(b"p0", b"0"), (b"p2", b"22")]
        assert [await transaction.get(key) for key in (b"p0", b"p1", b"q")] == [b"0", None, b"3"]
    await store.commit(transaction.batch())
    assert await content(store) == {b"p0": b"0", b"p2": b"22", b"q": b"3"}


async def check_commits_at_once_are_all_kept(make: Maker) -> None:
    store = await make()
    revisions = await asyncio.gather(*(store.commit(Batch((Put(b"%d" % n, b"v"),))) for n in range(200)))
    assert len(set(revisions)) == 200
    assert len(await content(store)) == 200


async def check_of_many_at_once_one_wins(make: Maker) -> None:
    stores = [await make(), await make()]
    batches = [Batch((Put(b"lease", b"%d" % n),), (Same(b"lease", 0),)) for n in range(20)]
    commits = (stores[n % 2].commit(batch) for n, batch in enumerate(batches))
    results = await asyncio.gather(*commits, return_exceptions=True)
    winners = [n for n, result in enumerate(results) if isinstance(result, int)]
    assert len(winners) == 1
    assert all(isinstance(result, StoreConflict) for n, result in enumerate(results) if n not in winners)
    assert await content(stores[1]) == {b"lease": b"%d" % winners[0]}


async def check_two_stores_on_the_same_data(make: Maker) -> None:
    store, other = await make(), await make()
    revision = await store.commit(Batch(put(a="1")))
    assert await entry(other, b"a") == Entry(b"a", b"1", revision)
    assert await other.commit(Batch(put(a="2"), (Same(b"a", revision),))) > revision
    assert await content(store) == {b"a": b"2"}


async def check_reopen(make: Maker) -> None:
    store = await make()
    revision = await store.commit(Batch(put(a="1", b="2")))
    await store.aclose()
    store = await make()
    assert await content(store) == {b"a": b"1", b"b": b"2"}
    assert await entry(store, b"a") == Entry(b"a", b"1", revision)


async def check_closed(make: Maker) -> None:
    store = await make()
    async with store.snapshot() as snapshot:
        pass
    for question in (snapshot.get(b"a"), snapshot.scan(Span())):
        with pytest.raises(StoreClosed):
            await question
    pending = [asyncio.ensure_future(store.commit(Batch((Put(b"%d" % n, b"v"),)))) for n in range(10)]
    await asyncio.sleep(0)
    await store.aclose()
    assert len({await one for one in pending}) == 10, "what was asked for before is carried out"
    await store.aclose()
    with pytest.raises(StoreClosed):
        await store.commit(Batch(put(a="1")))
    with pytest.raises(StoreClosed):
        async with store.snapshot():
            pass
    assert len(await content(await make())) == 10


async def check_closing_under_a_snapshot(make: Maker) -> None:
    store = await make()
    await store.commit(Batch(put(a="1")))
    async with store.snapshot() as snapshot:
        await snapshot.get(b"a")
        await store.aclose()
    assert await content(await make()) == {b"a": b"1"}


async def check_cancelled_reads_and_commits_leave_it_sound(make: Maker) -> None:
    store = await make()
    for batch in split([Put(b"k%04d" % n, b"v" * 100) for n in range(1000)], (), (), store.limits):
        await store.commit(batch)

    async def read() -> None:
        await content(store)

    async def write() -> None:
        await store.commit(Batch(put(a="x", b="x")))

    for turns in range(12):
        tasks = [asyncio.ensure_future(read()), asyncio.ensure_future(write())]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await store.commit(Batch(put(a="y", b="y")))
    found = await content(store)
    assert (len(found), found[b"a"], found[b"b"]) == (1002, b"y", b"y")


async def check_against_a_model(make: Maker) -> None:
    """A long random history, compared with a dict after every step."""
    rng = random.Random(20)
    model: dict[bytes, Entry] = {}
    store = await make()
    keys = [bytes(rng.choices(b"\0aB\xff", k=rng.randint(1, 3))) for _ in range(25)]
    for step in range(150):
        batch = _random_batch(rng, keys, model)
        good = all(_holds(check, model) for check in batch.checks)
        try:
            revision = await store.commit(batch)
        except StoreConflict:
            assert not good, (step, batch)
        else:
            assert good, (step, batch)
            _apply(batch, model, revision)
        if rng.random() < 0.05:
            await store.aclose()
            store = await make()
        async with store.snapshot() as snapshot:
            seen = [one async for page in walk(snapshot, Span(), rng.randint(1, 9)) for one in page]
        assert seen == [model[key] for key in sorted(model)]


def _random_batch(rng: random.Random, keys: list[bytes], model: dict[bytes, Entry]) -> Batch:
    writes = tuple(
        Put(key, rng.randbytes(rng.randint(0, 5))) if rng.random() < 0.7 else Delete(key)
        for key in dict.fromkeys(rng.choices(keys, k=rng.randint(0, 4)))
    )
    newest = max((entry.revision for entry in model.values()), default=0)
    checks: list[Check] = []
    for key in rng.choices(keys, k=rng.randint(0, 2)):
        known = model.get(key)
        revision = known.revision if known else 0
        checks.append(Same(key, revision if rng.random() < 0.8 else rng.randint(0, newest)))
        if known and rng.random() < 0.5:
            checks.append(Holds(key, known.value))
    if rng.random() < 0.3:
        start, end = sorted(rng.sample(keys, 2))
        checks.append(NoneNewer(Span(start, end), rng.choice([newest, rng.randint(0, newest)])))
    return Batch(writes, tuple(checks))


def _holds(check: Check, model: dict[bytes, Entry]) -> bool:
    match check:
        case Same(key, revision):
            return (model[key].revision if key in model else 0) == revision
        case Holds(key, value):
            return key in model and model[key].value == value
        case NoneNewer(span, revision):
            return not any(key in span and entry.revision > revision for key, entry in model.items())


def _apply(batch: Batch, model: dict[bytes, Entry], revision: int) -> None:
    for write in batch.writes:
        if isinstance(write, Put):
            model[write.key] = Entry(write.key, write.value, revision)
        else:
            model.pop(write.key, None)


CHECKS: tuple[Checker, ...] = tuple(
    value for name, value in list(globals().items()) if name.startswith("check_") and name != "check_store"
)
