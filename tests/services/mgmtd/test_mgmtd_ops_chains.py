"""Targets, chains, tables and routing against a whole mgmtd, on the virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from svcmgr.errors import BadInput, Busy
from svcmgr.services.mgmtd.errors import (
    ChainNotFound,
    InvalidChainTable,
    InvalidRoutingInfoVersion,
    TargetExisted,
    TargetNotFound,
)
from tests.kit.mgmtds import One, memory, serving
from tests.kit.world import virtual

#: Longer than a round of the chain updater.
ROUND = 1.1


async def made(one: One, *targets: int, chain: int = 1, keep_order: bool = False) -> None:
    """A chain of targets on nodes by their tens, all SERVING and UPTODATE."""
    for node in sorted({id // 10 for id in targets} - set(one.mgmtd.reign().cluster.nodes)):
        await one.register(node)
    await one.call("set-chains", chains=[{"chain": chain, "targets": list(targets), "keep_order": keep_order}])
    await all_report(one, *((id, "UPTODATE") for id in targets))
    await asyncio.sleep(ROUND)


async def all_report(one: One, *states: tuple[int, str]) -> None:
    nodes: dict[int, list[tuple[int, str, int, int]]] = {}
    for id, state in states:
        nodes.setdefault(id // 10, []).append((id, state, 0, 0))
    for node, targets in nodes.items():
        await one.beat(node, targets=targets)


async def report(one: One, *states: tuple[int, str]) -> str:
    """Nodes tell; the chain one round later."""
    await all_report(one, *states)
    await asyncio.sleep(ROUND)
    return await one.chain(1)


@virtual
async def test_C01_a_new_chain_is_created_and_serves_when_all_were_heard():
    async with serving() as one:
        before = one.version
        (info,) = (await one.call("set-chains", chains=[{"chain": 1, "targets": [21, 31]}])).chains
        assert (info.version, info.status, one.version) == (1, "CREATED", before + 1)
        await one.register(2, 3)
        assert await report(one, (21, "ONLINE")) == "21:Cn 31:Cx"
        assert await report(one, (31, "ONLINE")) == "21:Sn 31:Sn"
        assert await one.chain_version(1) == 2


@virtual
async def test_C02_the_same_again_writes_nothing():
    async with serving() as one:
        await one.call("set-chains", chains=[{"chain": 1, "targets": [21, 31]}])
        commits = one.store.commits
        for targets in ([21, 31], [31, 21]):
            await one.call("set-chains", chains=[{"chain": 1, "targets": targets}])
        assert one.store.commits == commits


@pytest.mark.parametrize(
    "chains",
    [
        [(1, [101, 103])],
        [(1, [101])],
        [(2, [101, 201])],
        [(2, [201, 201])],
        [(2, [])],
        [(0, [201])],
        [],
        [(4, [401]), (4, [402])],
    ],
)
def test_C03_C05_chains_that_contradict_are_refused_whole(chains):
    @virtual
    async def history():
        async with serving() as one:
            await one.call("set-chains", chains=[{"chain": 1, "targets": [101, 102]}])
            before = one.version
            with pytest.raises(InvalidChainTable):
                await one.call("set-chains", chains=[{"chain": id, "targets": targets} for id, targets in chains])
            assert (one.version, list(one.mgmtd.reign().cluster.chains)) == (before, [1])

    history()


@virtual
async def test_C07_a_chain_that_nobody_ever_reported_stays_created():
    async with serving() as one:
        await one.call("set-chains", chains=[{"chain": 1, "targets": [21, 31]}])
        await asyncio.sleep(140.0)
        assert await one.chain(1) == "21:Cx 31:Cx"
        await one.register(2)
        assert await report(one, (21, "ONLINE")) == "21:Sn 31:Ox"


@virtual
async def test_C09_C13_versions_of_a_table():
    async with serving() as one:
        chains = [{"chain": id, "targets": [10 * id]} for id in (1, 2, 3)]
        await one.call("set-chains", chains=chains)

        async def put(*ids, desc=""):
            commits = one.store.commits
            info = await one.call("set-chain-table", table=1, chains=list(ids), desc=desc)
            return info.version, one.store.commits - commits

        assert await put(1, 2) == (1, 1)
        assert await put(1, 2, 3) == (2, 1)
        assert await put(1, 2, 3) == (2, 0)
        assert await put(1, 2, 3, desc="d") == (3, 1)
        assert await put(1, 2, 3) == (3, 0)
        all_ = (await one.call("chain-tables", version=-1)).tables
        assert [(info.version, info.chains, info.desc) for info in all_] == [
            (1, [1, 2], ""),
            (2, [1, 2, 3], ""),
            (3, [1, 2, 3], "d"),
        ]
        assert (await one.call("chains", table=1)).chains[0].tables == [1]


@virtual
async def test_C10_C11_tables_that_cannot_be():
    async with serving() as one:
        await one.call("set-chains", chains=[{"chain": 1, "targets": [1, 2]}, {"chain": 2, "targets": [3, 4, 5]}])
        with pytest.raises(ChainNotFound):
            await one.call("set-chain-table", table=1, chains=[9])
        for table, chains in ((1, []), (1, [1, 2]), (1, [1, 1]), (0, [1])):
            with pytest.raises(InvalidChainTable):
                await one.call("set-chain-table", table=table, chains=chains)


@virtual
async def test_T01_T02_T03_reports_under_an_older_chain_are_ignored():
    async with serving() as one:
        await made(one, 21, 31)
        assert await one.chain_version(1) == 2
        await one.beat(2, targets=[(21, "ONLINE", 1, 0)])
        assert (await one.chain(1)).startswith("21:Su")
        for seen in (2, 3, 0):
            await one.beat(2, targets=[(21, "ONLINE", seen, 0)])
            assert (await one.chain(1)).startswith("21:Sn")
            await one.beat(2, targets=[(21, "UPTODATE", 0, 0)])
        assert await report(one, (21, "OFFLINE")) == "31:Su 21:Ox"


@virtual
async def test_T05_a_target_times_out_alone():
    async with serving() as one:
        await made(one, 21, 22)
        for _ in range(9):
            await one.beat(2, targets=[(22, "UPTODATE", 0, 0)])
            await asyncio.sleep(8.0)
        assert await one.chain(1) == "22:Su 21:Ox"
        assert (await one.node(2)).status == "HEARTBEAT_CONNECTED"


@virtual
async def test_T06_R03_how_full_a_target_is_raises_nothing():
    async with serving() as one:
        await made(one, 21)
        await asyncio.sleep(5.0)
        before, commits = one.version, one.store.commits
        await one.beat(2, targets=[(21, "UPTODATE", 0, 77)])
        await one.call("extend-session", client="x", version=1)
        await one.call("set-config", type="META", content="a = 1\n")
        await asyncio.sleep(6.0)
        assert one.version == before
        assert one.store.commits == commits + 2, "the configuration, and the lease"
        (info,) = (await one.call("targets", chain=1)).targets
        assert info.used == 77


@virtual
async def test_T07_P22_targets_that_no_chain_has_are_orphans_of_their_node():
    async with serving() as one:
        await one.register(2)
        await one.beat(2, targets=[(99, "ONLINE", 0, 5)])
        (info,) = (await one.call("orphans")).targets
        assert (info.target, info.node, info.used) == (99, 2, 5)
        await one.beat(2)
        assert (await one.call("orphans")).targets == []
        await made(one, 21, 22)
        await report(one, (22, "UPTODATE"), (21, "OFFLINE"))
        await one.call("update-chain", chain=1, target=21, mode="REMOVE")
        await one.beat(2, targets=[(22, "UPTODATE", 0, 0), (21, "ONLINE", 0, 0)])
        assert [info.target for info in (await one.call("orphans")).targets] == [21]


@virtual
async def test_T09_where_a_new_target_is_outlives_mgmtd():
    store = memory()
    async with serving(store) as one:
        await made(one, 21)
        await asyncio.sleep(2.0)
    async with serving(store) as one:
        (info,) = (await one.call("targets", chain=1)).targets
        assert (info.node, info.local) == (2, "OFFLINE")
        with pytest.raises(BadInput):
            await one.call("unregister-node", node=2)


@virtual
async def test_R02_a_local_state_alone_raises_the_version_within_a_second():
    async with serving() as one:
        await made(one, 21)
        before = one.version
        assert await report(one, (21, "ONLINE")) == "21:Sn"
        assert (one.version, await one.chain_version(1)) == (before + 1, 2)


@virtual
async def test_a_dead_node_is_noticed_and_its_return_syncs():
    async with serving() as one:
        await made(one, 21, 31, 41)
        assert await report(one, (31, "OFFLINE")) == "21:Su 41:Su 31:Ox"
        assert await report(one, (31, "ONLINE")) == "21:Su 41:Su 31:Yn"
        assert await report(one, (31, "UPTODATE")) == "21:Su 41:Su 31:Su"
        events = (await one.call("events", kind="chain", id="1")).events
        assert [event.seq for event in events] == sorted(event.seq for event in events)
        assert len(events) == 5
        assert "sync is complete" in events[-1].what


@virtual
async def test_P07_P08_a_step_towards_the_preferred_order():
    async with serving() as one:
        await made(one, 21, 31, 41)
        await one.call("set-preferred-order", chain=1, order=[31, 21, 41])
        info = await one.call("rotate-preferred", chain=1)
        assert [target.target for target in info.targets] == [31, 41, 21]
        assert info.targets[2].public == "OFFLINE"
        await asyncio.sleep(ROUND)
        assert await one.chain(1) == "31:Su 41:Su 21:Wu"


@virtual
async def test_P09_a_step_while_not_all_serve_wants_force():
    async with serving() as one:
        await made(one, 21, 31, 41)
        await report(one, (41, "OFFLINE"))
        await one.call("set-preferred-order", chain=1, order=[31, 21])
        before = one.version
        with pytest.raises(Busy) as error:
            await one.call("rotate-preferred", chain=1)
        assert (error.value.details["serving"], error.value.details["left"]) == (2, 1)
        assert one.version == before
        info = await one.call("rotate-preferred", chain=1, force=True)
        assert info.targets[0].target == 31


@virtual
async def test_P10_P13_giving_up_on_the_last_server():
    async with serving() as one:
        await made(one, 21, 31)
        await report(one, (31, "OFFLINE"))
        assert await report(one, (21, "OFFLINE")) == "21:Lx 31:Ox"
        before = one.version
        dry = await one.call("rotate-lastsrv", chain=1, dry_run=True)
        assert (dry.targets[0].target, one.version) == (31, before), "P23"
        assert await one.chain(1) == "21:Lx 31:Ox"
        info = await one.call("rotate-lastsrv", chain=1)
        assert (info.targets[0].target, one.version) == (31, before + 1)
        assert await report(one, (31, "ONLINE")) == "31:Sn 21:Ox"
        before = one.version
        await one.call("rotate-lastsrv", chain=1)
        assert one.version == before


@virtual
async def test_P15_P17_the_preferred_order_is_checked_stored_and_told():
    store = memory()
    async with serving(store) as one:
        await made(one, 21, 31)
        for order in ([], [21, 21], [21, 99]):
            with pytest.raises(BadInput):
                await one.call("set-preferred-order", chain=1, order=order)
        version = one.version
        waiting = asyncio.ensure_future(one.call("watch", version=version, kinds=["chains"]))
        await asyncio.sleep(0)
        await one.call("set-preferred-order", chain=1, order=[31])
        (told,) = (await waiting).delta.chains
        assert (told.preferred, told.version) == ([31], 2)
    async with serving(store) as one:
        (info,) = (await one.call("chains", ids=[1])).chains
        assert info.preferred == [31]


@virtual
async def test_P18_P19_P21_targets_join_and_leave():
    async with serving() as one:
        await made(one, 21, 31, keep_order=True)
        await one.beat(2, targets=[(21, "UPTODATE", 0, 0), (22, "ONLINE", 0, 0)])
        before = one.version
        dry = await one.call("update-chain", chain=1, target=22, mode="ADD", dry_run=True)
        assert (len(dry.targets), one.version) == (3, before)
        info = await one.call("update-chain", chain=1, target=22, mode="ADD")
        assert (info.targets[2].public, info.preferred, info.version) == ("OFFLINE", [21, 31, 22], 3)
        assert one.version == before + 1
        assert (await one.call("orphans")).targets == []
        with pytest.raises(TargetExisted):
            await one.call("update-chain", chain=1, target=22, mode="ADD")
        with pytest.raises(BadInput):
            await one.call("update-chain", chain=1, target=31, mode="REMOVE")
        with pytest.raises(TargetNotFound):
            await one.call("update-chain", chain=1, target=99, mode="REMOVE")
        with pytest.raises(ChainNotFound):
            await one.call("update-chain", chain=9, target=99, mode="ADD")
        with pytest.raises(BadInput):
            await one.call("update-chain", chain=1, target=99, mode="TURN")
        info = await one.call("update-chain", chain=1, target=22, mode="REMOVE")
        assert ([target.target for target in info.targets], info.preferred) == ([21, 31], [21, 31])


@virtual
async def test_after_an_election_chains_are_frozen_until_their_targets_were_heard():
    store = memory()
    async with serving(store) as one:
        await made(one, 21, 31)
    async with serving(store) as one:
        await asyncio.sleep(30.0)
        assert await one.chain(1) == "21:Sx 31:Sx"
        assert await report(one, (21, "UPTODATE")) == "21:Su 31:Sx"
        assert await report(one, (31, "OFFLINE")) == "21:Su 31:Ox", "all were heard"


@virtual
async def test_after_an_election_the_freeze_ends_by_itself():
    store = memory()
    async with serving(store) as one:
        await made(one, 21, 31)
    async with serving(store) as one:
        for _ in range(14):
            await one.beat(2, targets=[(21, "UPTODATE", 0, 0)])
            await asyncio.sleep(10.0)
        assert await one.chain(1) == "21:Su 31:Ox"


@virtual
async def test_D03_a_thousand_chains_change_in_one_step():
    async with serving() as one:
        await one.register(2, 3)
        chains = [{"chain": id, "targets": [id, 5000 + id]} for id in range(1, 1001)]
        await one.call("set-chains", chains=chains)
        await one.beat(2, targets=[(id, "UPTODATE", 0, 0) for id in range(1, 1001)])
        await one.beat(3, targets=[(5000 + id, "UPTODATE", 0, 0) for id in range(1, 1001)])
        await asyncio.sleep(ROUND)
        before = one.version
        await one.beat(3, targets=[(5000 + id, "OFFLINE", 0, 0) for id in range(1, 1001)])
        await asyncio.sleep(1.0)
        assert one.version == before + 1
        told = (await one.call("chains")).chains
        assert {info.status for info in told} == {"SERVING(1/2)"}


@virtual
async def test_R01_routing_by_version():
    async with serving() as one:
        told = (await one.call("routing")).routing
        assert (told.version, [info.status for info in told.nodes], told.bootstrapping) == (1, ["PRIMARY_MGMTD"], True)
        assert (await one.call("routing", version=1)).routing is None
        with pytest.raises(InvalidRoutingInfoVersion):
            await one.call("routing", version=2)


@virtual
async def test_R05_R06_R07_watching():
    async with serving() as one:
        await made(one, 21, 31)
        await one.register(9)
        version = one.version
        waiting = [asyncio.ensure_future(one.call("watch", version=version)) for _ in range(50)]
        await asyncio.sleep(0.1)
        await report(one, (31, "OFFLINE"))
        for told in await asyncio.gather(*waiting):
            assert [info.chain for info in told.delta.chains] == [1]
            assert told.delta.nodes == []
        assert (await one.call("watch", version=version + 50)).resync
        assert (await one.call("watch", version=0)).resync
        start = one.clock.monotonic()
        version = one.version
        assert await one.call("watch", version=version, kinds=["tables"], wait_s=30.0)
        assert one.clock.monotonic() - start == pytest.approx(30.0)
        for wait in (-1.0, 1e9, float("nan")):
            with pytest.raises(BadInput):
                await one.call("watch", version=0, wait_s=wait)
        with pytest.raises(BadInput):
            await one.call("watch", version=0, kinds=["moons"])


@virtual
async def test_X02_explain_and_roles():
    async with serving() as one:
        await made(one, 21, 31, 41)
        told = (await one.call("targets", chain=1)).targets
        assert [info.role for info in told] == ["HEAD", "MIDDLE", "TAIL"]
        await all_report(one, (41, "OFFLINE"))
        lines = (await one.call("explain-chain", chain=1)).lines
        assert len(lines) == 3
        assert (await one.call("explain-chain", chain=1)).chain.status == "SERVING"
        with pytest.raises(ChainNotFound):
            await one.call("explain-chain", chain=9)


@virtual
async def test_the_switch_brings_chains_to_their_preferred_order():
    async with serving() as one:
        await made(one, 21, 31)
        await one.call("set-preferred-order", chain=1, order=[31, 21])
        await one.call("set-config", type="MGMTD", content="try_adjust_target_order_as_preferred = true\n")
        await asyncio.sleep(2 * ROUND)
        assert (await one.chain(1)).startswith("31:Su 21:")
