"""The lease, the store's faults and the workers against whole mgmtds, on the virtual clock."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from svcmgr.errors import BadInput, StorageFailed
from svcmgr.services.mgmtd.errors import (
    ClientSessionNotFound,
    ClientSessionVersionStale,
    InvalidConfigVersion,
    NotPrimary,
)
from svcmgr.services.mgmtd.store import Batch, Delete, Put, StoreFull, StoreUncertain, dump, keys, restore, take
from tests.kit.mgmtds import FaultyStore, One, memory, serving
from tests.kit.vloop import until
from tests.kit.world import virtual


def shared(store: FaultyStore) -> FaultyStore:
    """Another way to the same store, with faults of its own."""
    return FaultyStore(store._store)


# --- the lease ----------------------------------------------------------------------------------------------------


@virtual
async def test_L10_a_deposed_primary_stores_nothing():
    store = memory()
    async with serving(store) as one:
        async with store.snapshot() as snapshot:
            entry = await snapshot.get(keys.LEASE)
        await store.commit(Batch((Put(keys.LEASE, entry.value),)))  # somebody wrote it
        with pytest.raises(NotPrimary):
            await one.register(2)
        async with store.snapshot() as snapshot:
            assert await snapshot.get(keys.node(2)) is None


@virtual
async def test_L11_without_a_store_it_serves_until_it_trusts_its_lease_no_more():
    async with serving() as one:
        await asyncio.sleep(5.0)
        left = one.mgmtd.leasing.remaining_s()
        one.store.away()
        await asyncio.sleep(left - 20.5)
        assert await one.call("nodes")
        await asyncio.sleep(1.0)
        with pytest.raises(NotPrimary) as error:
            await one.call("nodes")
        assert error.value.details["primary"] is None
        one.store.back()
        await one.primary()
        assert (await one.answer("nodes")).epoch == 1, "nobody else was primary"


@virtual
async def test_L13_L14_who_is_primary():
    store = memory()
    second = One(shared(store), node=2)
    async with second.mgmtd.running():
        await second.primary()
        async with One(store).mgmtd.running() as _:
            pass
        one = One(store)
        async with one.mgmtd.running():
            await asyncio.sleep(1.0)
            assert (await one.call("primary")).node == 2
            with pytest.raises(NotPrimary) as error:
                await one.call("nodes")
            assert error.value.details["primary"] == 2
            second.store.away()  # it cannot extend its lease any more
            one.store.fault = lambda batch: StorageFailed("cannot write")
            await asyncio.sleep(75.0)
            told = await one.call("primary")
            assert (told.node, told.last) == (0, 2)
            one.store.back()


@virtual
async def test_L15_L17_L21_another_takes_over_and_every_answer_says_under_which_epoch():
    store = memory()
    one = One(shared(store), node=1)
    async with one.mgmtd.running():
        await one.primary()
        await one.register(7)
        await one.call("extend-session", client="x", version=1)
        version = one.version
        two = One(shared(store), node=2)
        async with two.mgmtd.running():
            one.store.away()
            await until(two.serves, within=100.0, step=0.1)
            assert not one.serves()
            assert (await two.answer("nodes")).epoch == 2
            assert two.version == version + 1
            assert (await two.node(2)).status == "PRIMARY_MGMTD"
            assert (await two.node(1)).status == "HEARTBEAT_CONNECTING"
            told = await two.call("sessions")
            assert (told.sessions, told.bootstrapping) == ([], True), "S07"
            await asyncio.sleep(121.0)
            assert not (await two.call("sessions")).bootstrapping
            one.store.back()


@virtual
async def test_L18_a_load_that_fails_is_tried_again():
    store = memory()
    failures = [StorageFailed("cannot write")]

    def fault(batch):
        version = any(write.key == keys.ROUTING_VERSION for write in batch.writes)
        return failures.pop() if version and failures else None

    store.fault = fault
    one = One(store)
    one.mgmtd.settings = attrs.evolve(one.mgmtd.settings, retry_times_on_txn_errors=0, retry_max_count=0)
    async with one.mgmtd.running():
        await asyncio.sleep(1.0)
        with pytest.raises(NotPrimary):
            await one.call("nodes")
        await asyncio.sleep(10.0)
        assert (await one.call("nodes")).nodes


@virtual
async def test_L19_of_two_that_race_one_is_primary():
    store = memory()
    one, two = One(shared(store), node=1), One(shared(store), node=2)
    async with one.mgmtd.running(), two.mgmtd.running():
        await asyncio.sleep(30.0)
        assert [one.serves(), two.serves()].count(True) == 1


@virtual
async def test_a_primary_that_ends_gives_its_lease_back():
    store = memory()
    async with serving(shared(store), node=1):
        pass
    start = asyncio.get_running_loop().time()
    async with serving(shared(store), node=2) as two:
        assert asyncio.get_running_loop().time() - start < 1.0
        assert (await two.answer("primary")).epoch == 2


@virtual
async def test_a_store_that_hangs_does_not_keep_mgmtd_from_ending():
    store = memory()
    one = One(store)
    async with one.mgmtd.running():
        await one.primary()
        store.hang = True
        start = one.clock.monotonic()
    assert one.clock.monotonic() - start == pytest.approx(6.0)


@virtual
async def test_the_lease_is_released_by_an_operator():
    store = memory()
    one, two = One(shared(store), node=1), One(shared(store), node=2)
    async with one.mgmtd.running():
        await one.primary()
        async with two.mgmtd.running():
            await asyncio.sleep(1.0)
            with pytest.raises(NotPrimary):
                await two.call("release-lease")
            info = await one.call("lease")
            assert (info.owner, info.trusted, info.epoch) == (1, True, 1)
            assert (await one.call("release-lease")).owner == 0
            await until(two.serves, within=61.0, step=0.1)
            assert (await two.call("lease")).owner == 2
            assert (await one.call("primary")).node == 2
            await one.call("release-lease", force=True)
            await until(lambda: one.serves() or two.serves(), within=100.0, step=0.1)
            assert not (one.serves() and two.serves())


@virtual
async def test_who_waits_for_news_hears_that_we_are_not_primary_any_more():
    async with serving() as one:
        waiting = asyncio.ensure_future(one.call("watch", version=one.version))
        await asyncio.sleep(0)
        await one.call("release-lease")
        with pytest.raises(NotPrimary):
            await waiting


# --- the store ----------------------------------------------------------------------------------------------------


@virtual
async def test_D01_a_store_that_fails_three_times_is_tried_again():
    async with serving() as one:
        faults = [StorageFailed("cannot write")] * 3
        one.store.fault = lambda batch: faults.pop() if faults else None
        before = one.version
        await one.register(2)
        assert (one.version, faults) == (before + 1, [])


@virtual
async def test_D02_a_commit_of_unknown_outcome_is_done_once():
    async with serving() as one:
        faults = [StorageFailed("cannot say whether it was written")]
        one.store.after = lambda batch: faults.pop() if faults else None
        before = one.version
        await one.register(2)
        assert one.version == before + 1
        (found,) = (await one.call("events", kind="node", id="2")).events
        assert found.version == before + 1


@virtual
async def test_a_full_store_refuses_at_once_and_changes_nothing():
    async with serving() as one:
        one.store.fault = lambda batch: StoreFull("cannot write: no space")
        before = one.version
        with pytest.raises(StoreFull):
            await one.register(2)
        assert (one.version, (await one.call("nodes", ids=[2])).nodes) == (before, [])
        one.store.back()
        await one.register(2)
        assert [event.seq for event in (await one.call("events")).events] == [1, 2]


@virtual
async def test_a_caller_who_goes_away_leaves_nothing_half_done():
    async with serving() as one:
        calling = asyncio.ensure_future(one.register(2))
        await asyncio.sleep(0)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        async with one.store.snapshot() as snapshot:
            stored = await snapshot.get(keys.node(2))
        known = 2 in one.mgmtd.reign().cluster.nodes
        assert (stored is not None) == known


@virtual
async def test_operations_at_once_each_see_what_the_others_did():
    async with serving() as one:
        outcomes = await asyncio.gather(*(one.register(2) for _ in range(5)), return_exceptions=True)
        assert sum(outcome is None for outcome in outcomes) == 1
        await asyncio.gather(
            *(one.call("set-node-tags", node=2, tags=[{"key": f"k{i}"}]) for i in range(20)),
        )
        assert len((await one.node(2)).tags) == 20


@virtual
async def test_bad_records_are_left_out_named_and_moved_away():
    store = memory()
    async with serving(store) as one:
        await one.register(2, 3)
    await store.commit(Batch((Put(keys.node(2), b"\x01garbage"), Put(b"ODD", b"x"))))
    async with serving(store) as one:
        assert [info.app.node for info in (await one.call("nodes")).nodes] == [1, 3]
        found = await one.call("fsck")
        assert [finding.quarantined for finding in found.findings if finding.key] == [True, True]
        assert (await one.call("fsck")).findings == []


@virtual
async def test_a_store_of_a_newer_version_is_not_touched():
    store = memory()
    async with serving(store) as one:
        await one.register(2)
    async with store.snapshot() as snapshot:
        value = (await snapshot.get(keys.node(2))).value
    newer = value[:1] + bytes([value[1] + 1]) + value[2:]
    await store.commit(Batch((Put(keys.node(2), newer),)))
    one = One(store)
    async with one.mgmtd.running():
        await asyncio.sleep(30.0)
        with pytest.raises(NotPrimary):
            await one.call("nodes")
    async with store.snapshot() as snapshot:
        assert (await snapshot.get(keys.node(2))).value == newer


@virtual
async def test_a_lease_that_is_lost_or_damaged_lets_no_epoch_return():
    for damage in (Delete(keys.LEASE), Put(keys.LEASE, b"garbage")):
        store = memory()
        async with serving(store) as one:
            await one.register(2)
        await store.commit(Batch((damage,)))
        async with serving(store) as one:
            assert (await one.answer("nodes")).epoch > 1


@virtual
async def test_when_nobody_knows_what_is_stored_only_a_new_start_helps():
    store = memory()
    async with serving(store) as one:
        reasons: list[str] = []
        one.mgmtd._seams = attrs.evolve(one.mgmtd._seams, fatal=reasons.append)
        before = one.version
        store.after = lambda batch: StoreUncertain("cannot say whether it was written")
        with pytest.raises(StoreUncertain):
            await one.register(2)
        assert (one.version, len(reasons)) == (before, 1)
        store.after = lambda batch: None
    async with serving(store) as one:
        assert (await one.node(2)).type == "STORAGE"


@virtual
async def test_D05_what_is_exported_is_the_same_cluster_elsewhere():
    store, other = memory(), memory()
    async with serving(store) as one:
        await one.register(2, 3)
        await one.call("set-node-tags", node=3, tags=[{"key": "rack", "value": "7"}])
        await one.call("set-chains", chains=[{"chain": 1, "targets": [21, 31], "keep_order": True}])
        await one.call("set-chain-table", table=1, chains=[1], desc="d")
        await one.call("set-config", type="META", content="a = 1\n")
    async with store.snapshot() as snapshot:
        lines = list(dump.export(await take(snapshot, events=True), 5.0))
    await restore(other, dump.read(lines), replace=False, utc=6.0)
    digests = []
    for each in (store, other):
        async with serving(each) as one:
            digests.append((await one.call("routing")).routing.digest)
            assert (await one.call("config", type="META")).version == 1
            told = (await one.call("events")).events
            assert [event.kind for event in told].count("lease") == 2
            assert len(told) == 8
    assert digests[0] == digests[1]


# --- events -------------------------------------------------------------------------------------------------------


@virtual
async def test_events_tell_what_happened_why_and_through_whom():
    async with serving() as one:
        await one.register(2)
        await one.beat(2)
        await asyncio.sleep(80.0)
        told = (await one.call("events", kind="node", id="2")).events
        assert [(event.cause, event.by) for event in told] == [
            ("operation", "register-node of tester"),
            ("heartbeat", "node 2"),
            ("timeout", "check-heartbeats"),
        ]
        assert "HEARTBEAT_FAILED" in told[-1].what
        since = await one.call("events", since=told[1].seq)
        assert [event.seq for event in since.events] == [told[2].seq]


@virtual
async def test_events_outlive_a_restart_and_go_on_counting():
    store = memory()
    async with serving(store) as one:
        await one.register(*range(2, 9))
    async with serving(store) as one:
        await one.register(9)
        told = (await one.call("events")).events
        assert [event.seq for event in told] == list(range(1, 11))


@virtual
async def test_each_election_is_an_event_and_versions_are_found_by_their_id():
    store = memory()
    for _ in range(2):
        async with serving(store) as one:
            await one.call("set-config", type="META", content="a = 1\n", desc="again")
    async with serving(store) as one:
        await one.call("set-config", type="META", content="a = 2\n")
        elected = (await one.call("events", kind="lease")).events
        assert [(event.id, event.cause, event.what) for event in elected] == [
            (epoch, "election", "node 1 is primary") for epoch in ("1", "2", "3")
        ]
        told = (await one.call("events", kind="config", id="META")).events
        assert [event.id for event in told] == [f"META {number}" for number in range(1, len(told) + 1)]
        assert len(told) >= 2
        assert (await one.call("events", kind="config", id="META 1")).events == told[:1]
        assert (await one.call("events", kind="config", id="MET")).events == []


@virtual
async def test_old_events_go():
    async with serving() as one:
        one.mgmtd.reign().journal._kept = 3
        await one.register(*range(2, 12))
        await asyncio.sleep(5.0)
        told = await one.call("events", since=1)
        assert ([event.seq for event in told.events], told.lost, told.next) == ([9, 10, 11], 7, 11)


@virtual
async def test_waiting_for_an_event():
    async with serving() as one:
        (won,) = (await one.call("events")).events
        waiting = asyncio.ensure_future(one.call("events", since=won.seq, wait_s=30.0))
        await asyncio.sleep(1.0)
        await one.register(2)
        assert [event.kind for event in (await waiting).events] == ["node"]
        for bad in ({"kind": "moon"}, {"limit": 0}, {"since": -1}, {"wait_s": -1.0}):
            with pytest.raises(BadInput):
                await one.call("events", **bad)


# --- workers ------------------------------------------------------------------------------------------------------


@virtual
async def test_W01_a_changed_interval_counts_from_the_next_round():
    async with serving() as one:
        await one.register(2)
        await one.call("set-config", type="MGMTD", content='heartbeat_fail_interval = "20s"\n')
        await one.beat(2)
        await asyncio.sleep(31.0)
        assert (await one.node(2)).status == "HEARTBEAT_FAILED"
        assert (await one.node(1)).config_version == 1


@virtual
async def test_W02_who_is_not_primary_writes_nothing():
    store = memory()
    async with serving(shared(store), node=1):
        two = One(shared(store), node=2)
        async with two.mgmtd.running():
            await asyncio.sleep(100.0)
        assert two.store.commits == 0


@virtual
async def test_S06_S10_sessions_end():
    async with serving() as one:
        await one.call("set-universal-tags", universal_id="h", tags=[{"key": "a"}])
        told = await one.call("extend-session", client="x", version=1, universal_id="h")
        assert [tag.key for tag in told.tags] == ["a"]
        await one.call("extend-session", client="y", version=1)
        with pytest.raises(ClientSessionVersionStale):
            await one.call("extend-session", client="y", version=1)
        assert (await one.call("close-session", client="y")).client == "y"
        with pytest.raises(ClientSessionNotFound):
            await one.call("close-session", client="y")
        (info,) = (await one.call("sessions")).sessions
        assert (info.client, [tag.key for tag in info.tags]) == ("x", ["a"])
        await asyncio.sleep(1211.0)
        assert (await one.call("sessions")).sessions == []


@virtual
async def test_S09_tags_of_a_host():
    store = memory()
    async with serving(store) as one:
        assert (await one.call("universal-tags", universal_id="nobody")).tags == []
        with pytest.raises(BadInput):
            await one.call("set-universal-tags", universal_id="", tags=[])
        await one.call("set-universal-tags", universal_id="h", tags=[{"key": "a", "value": "1"}])
    async with serving(store) as one:
        (tag,) = (await one.call("universal-tags", universal_id="h")).tags
        assert (tag.key, tag.value) == ("a", "1")
        await one.call("set-universal-tags", universal_id="h", tags=[{"key": "a"}], mode="REMOVE")
        assert any(isinstance(write, Delete) for batch in store.batches for write in batch.writes)


# --- configuration ------------------------------------------------------------------------------------------------


@virtual
async def test_G01_G02_versions():
    store = memory()
    async with serving(store) as one:
        assert {info.version for info in (await one.call("config-versions")).versions} == {0}
        for text in ("a", "b"):
            await one.call("set-config", type="META", content=f"{text} = 1\n", author="me", desc=text)
    async with serving(store) as one:
        assert (await one.call("config", type="META")).content == "b = 1\n"
        assert await one.call("config", type="META", version=2) is None
        assert (await one.call("config", type="META", version=1, exact=True)).author == "me"
        with pytest.raises(InvalidConfigVersion):
            await one.call("config", type="META", version=9, exact=True)
        with pytest.raises(InvalidConfigVersion):
            await one.call("config", type="META", version=9)
        assert [info.version for info in (await one.call("config-versions", type="META")).versions] == [1, 2]


@virtual
async def test_G06_a_text_that_mgmtd_cannot_use_is_refused():
    async with serving() as one:
        for text in ("lease_lenth = 5\n", 'lease_length = "1s"\n', "lease_length =\n"):
            with pytest.raises(BadInput) as error:
                await one.call("set-config", type="MGMTD", content=text)
            assert error.value.details["line"] == 1
        assert (await one.call("config", type="MGMTD", version=0, exact=True)).version == 0


@virtual
async def test_G07_G09_rollback_and_the_same_again():
    async with serving() as one:
        for text in ("a", "b"):
            await one.call("set-config", type="META", content=f"{text} = 1\n")
        assert (await one.call("set-config", type="META", content="b = 1\n")).version == 2
        dry = await one.call("rollback-config", type="META", version=1, dry_run=True)
        assert dry.version == 3
        info = await one.call("rollback-config", type="META", version=1)
        assert (info.version, info.content, info.origin) == (3, "a = 1\n", "rollback of 2 to 1")
        assert (await one.call("set-config", type="META", content="a = 1\n", force=True)).version == 4


@virtual
async def test_G06_a_text_that_is_no_toml_is_refused_for_every_type():
    async with serving() as one:
        with pytest.raises(BadInput) as error:
            await one.call("set-config", type="META", content="a = \n")
        assert error.value.details["line"] == 1


@virtual
async def test_a_template_is_offered_as_the_text_of_each_node():
    async with serving() as one:
        await one.register(2, 3)
        await one.call("set-node-tags", node=2, tags=[{"key": "rack", "value": "r7"}])
        text = 'host = "{{ node.hostname }}"\nrack = "{{ tag "rack" }}"\n'
        await one.call("set-config", type="STORAGE", content=text)
        assert (await one.beat(2)).config.content == 'host = "h2"\nrack = "r7"\n'
        assert (await one.beat(3)).config is None, "it has no rack"
        assert (await one.call("config", type="STORAGE")).content == text
