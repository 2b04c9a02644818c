"""Nodes and heartbeats against a whole mgmtd, on the virtual clock. Numbers are those of the acceptance cases."""

from __future__ import annotations

import asyncio

import attrs
import msgspec
import pytest

from svcmgr.errors import BadInput, NotPermitted, UnknownVerb
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.errors import (
    ClusterIdMismatch,
    HeartbeatFail,
    HeartbeatVersionStale,
    InvalidConfigVersion,
    InvalidTag,
    NodeNotFound,
    RegisterFail,
)
from svcmgr.services.mgmtd.ops.base import Caller, Scope
from svcmgr.services.mgmtd.ops.table import OPERATIONS
from tests.kit.mgmtds import ADMIN, RESULTS, One, memory, serving
from tests.kit.world import virtual

ALLOW = "allow_heartbeat_from_unregistered = true\n"


async def one_chain(one: One) -> None:
    """Nodes 2 and 3, whose targets 21 and 31 serve chain 1."""
    await one.register(2, 3)
    await one.call("set-chains", chains=[{"chain": 1, "targets": [21, 31]}])
    await one.beat(2, targets=[(21, "UPTODATE", 0, 0)])
    await one.beat(3, targets=[(31, "UPTODATE", 0, 0)])
    await asyncio.sleep(1.5)


async def configured(one: One, text: str) -> None:
    await one.call("set-config", type="MGMTD", content=text)


def test_every_verb_of_the_wire_is_an_operation():
    assert set(OPERATIONS) == set(RESULTS)
    assert {verb: operation.scope.name.lower() for verb, operation in OPERATIONS.items()} == {
        words[0]: words[1]
        for line in wire.__doc__.splitlines()
        if len(words := line.split()) > 4 and words[1] in ("read", "node", "admin")
    }


@virtual
async def test_H01_another_clusters_request_is_refused_before_anything_else():
    async with serving() as one:
        for verb, operation in OPERATIONS.items():
            fields = msgspec.structs.fields(operation.request)
            nothing = {field.name: None for field in fields if field.required}
            bare = operation.request(**{**nothing, "cluster": "other"})
            with pytest.raises(ClusterIdMismatch):
                await one.mgmtd.call(verb, bare, Caller(Scope.READ, "x"))


@virtual
async def test_H01_only_the_local_socket_may_leave_the_cluster_out():
    async with serving() as one:
        far = attrs.evolve(ADMIN, local=False)
        with pytest.raises(ClusterIdMismatch):
            await one.call("nodes", far)
        assert (await one.call("nodes", far, cluster="c")).nodes


@virtual
async def test_A02_who_may_not_is_refused_whatever_he_asks():
    async with serving() as one:
        reader, node = Caller(Scope.READ, "r"), Caller(Scope.NODE, "n")
        for caller, verb, fields in (
            (reader, "register-node", {"node": 2, "type": "META"}),
            (node, "register-node", {"node": 2, "type": "META"}),
            (reader, "close-session", {"client": "x"}),
            (reader, "fsck", {}),
        ):
            with pytest.raises(NotPermitted):
                await one.call(verb, caller, **fields)
        assert (await one.call("routing", reader)).routing.version == 1
        with pytest.raises(UnknownVerb):
            await one.mgmtd.call("nonsense", wire.ClusterRequest(), ADMIN)


@virtual
async def test_H02_registering():
    async with serving() as one:
        await one.register(2)
        assert (await one.node(2)).status == "HEARTBEAT_CONNECTING"
        for taken in (2, 0):
            with pytest.raises(RegisterFail):
                await one.register(taken)
        assert one.version == 2


@virtual
async def test_H03_an_unregistered_node_is_refused_or_registered():
    async with serving() as one:
        with pytest.raises(HeartbeatFail):
            await one.beat(9)
        await configured(one, ALLOW)
        before = one.version
        await one.beat(9, "META")
        assert (await one.node(9)).status == "HEARTBEAT_CONNECTED"
        assert one.version == before + 1


@pytest.mark.parametrize(
    ("window", "off", "fine"),
    [
        ("30s", 31.0, False),
        ("30s", -31.0, False),
        ("30s", 30.0, True),
        ("0s", 3600.0, True),
        ("30s", float("nan"), False),
    ],
)
def test_H05_a_clock_that_is_off(window, off, fine):
    @virtual
    async def history():
        async with serving() as one:
            await configured(one, f'heartbeat_timestamp_valid_window = "{window}"\n')
            await one.register(2)
            if fine:
                await one.beat(2, timestamp=one.clock.utc() + off)
            else:
                with pytest.raises(HeartbeatFail):
                    await one.beat(2, timestamp=one.clock.utc() + off)

    history()


@virtual
async def test_H06_H07_another_type_and_a_disabled_node_are_refused():
    async with serving() as one:
        await one.register(2)
        with pytest.raises(HeartbeatFail):
            await one.beat(2, "META")
        await one.call("disable-node", node=2)
        with pytest.raises(HeartbeatFail):
            await one.beat(2)
        with pytest.raises(HeartbeatFail):
            await one.beat(1, "MGMTD")


@virtual
async def test_a_heartbeat_is_newer_than_the_last_one():
    async with serving() as one:
        await one.register(2)
        await one.beat(2, version=7)
        with pytest.raises(HeartbeatVersionStale) as error:
            await one.beat(2, version=7)
        assert error.value.details["version"] == 7


@virtual
async def test_two_processes_with_one_id():
    async with serving() as one:
        await one.register(2)
        await one.beat(2)
        with pytest.raises(HeartbeatFail):
            await one.beat(2, version=1, app={"incarnation": "other"})
        await asyncio.sleep(30.5)  # the first is taken for dead
        await one.beat(2, version=1, app={"incarnation": "other"})
        with pytest.raises(HeartbeatFail):
            await one.beat(2, version=9)


@virtual
async def test_a_process_that_names_its_predecessor_is_taken_at_once():
    async with serving() as one:
        await one.register(2)
        await one.beat(2)
        await one.beat(2, version=1, app={"incarnation": "next"}, replaces="p2")
        assert (await one.node(2)).app.incarnation == "next"


@virtual
async def test_a_heartbeat_is_taken_whole_or_not_at_all():
    async with serving() as one:
        await one.register(2)
        before = one.mgmtd.reign().cluster.nodes[2]
        for targets in ([(5, "ONLINE", 0, 0)] * 2, [(5, "ONLINE", 0, 0), (6, "INVALID", 0, 0)], [(0, "ONLINE", 0, 0)]):
            with pytest.raises((HeartbeatFail, BadInput)):
                await one.beat(2, targets=targets)
        assert one.mgmtd.reign().cluster.nodes[2] is before
        assert (await one.call("orphans")).targets == []


@virtual
async def test_H09_connected_at_once_and_told_within_five_seconds():
    async with serving() as one:
        await one.register(2)
        await one.beat(2)  # the first tells its host
        await one.call("disable-node", node=2)
        await one.call("enable-node", node=2)
        before = one.version
        await one.beat(2)
        assert ((await one.node(2)).status, one.version) == ("HEARTBEAT_CONNECTED", before)
        await asyncio.sleep(5.0)
        assert one.version == before + 1


@virtual
async def test_H10_a_new_address_is_stored_and_told_at_once():
    async with serving() as one:
        await one.register(2)
        await one.beat(2)
        before, commits = one.version, one.store.commits
        services = [{"services": ["Storage"], "endpoints": [{"transport": "tcp", "address": "h2:1"}]}]
        await one.beat(2, app={"services": services})
        assert (one.version, one.store.commits) == (before + 1, commits + 1)


@virtual
async def test_H11_a_new_process_number_is_not_stored():
    async with serving() as one:
        await one.register(2)
        await one.beat(2)
        before, commits = one.version, one.store.commits
        await one.beat(2, app={"pid": 77})
        assert (await one.node(2)).app.pid == 77
        assert (one.version, one.store.commits) == (before, commits)


@virtual
async def test_H13_heartbeats_that_say_nothing_new_write_nothing():
    async with serving() as one:
        await one.register(2)
        await one.call("set-chains", chains=[{"chain": 1, "targets": [21]}])
        targets = [(21, "ONLINE", 0, 5)]
        await one.beat(2, targets=targets)
        await asyncio.sleep(6.0)
        before, commits = one.version, one.store.commits
        async with one.mgmtd.reign().lock:  # nor do they wait for anybody
            for _ in range(2000):
                await one.beat(2, targets=targets)
        assert (one.version, one.store.commits) == (before, commits)


@virtual
async def test_H14_H15_silence_and_return():
    async with serving() as one:
        await one.register(2)
        start = one.clock.monotonic()
        await asyncio.sleep(10.0 - (start - 1000.0) % 10.0)  # rounds of the checker are at whole tens
        await one.beat(2)
        await asyncio.sleep(60.0)
        assert (await one.node(2)).status == "HEARTBEAT_CONNECTED"
        await asyncio.sleep(10.2)
        assert (await one.node(2)).status == "HEARTBEAT_FAILED"
        await one.beat(2)
        assert (await one.node(2)).status == "HEARTBEAT_CONNECTED"


@virtual
async def test_H17_H18_the_configuration_comes_with_the_answer():
    async with serving() as one:
        await one.register(2)
        for text in "abc":
            await one.call("set-config", type="STORAGE", content=f"{text} = 1\n")
        with pytest.raises(InvalidConfigVersion):
            await one.beat(2, config_version=4)
        assert (await one.beat(2)).config.version == 3
        assert (await one.beat(2, config_version=3)).config is None
        assert (await one.node(2)).config_version == 3


@virtual
async def test_H19_H21_disabling_a_node_lets_its_targets_time_out():
    async with serving() as one:
        await one_chain(one)
        assert await one.chain(1) == "21:Su 31:Su"
        info = await one.call("disable-node", node=2)
        assert (info.status, [tag.key for tag in info.tags]) == ("DISABLED", ["Disable"])
        for _ in range(8):
            assert (await one.chain(1)).startswith("21:Su")
            await asyncio.sleep(7.5)
            await one.beat(3, targets=[(31, "UPTODATE", 0, 0)])
        await asyncio.sleep(12.0)
        assert await one.chain(1) == "31:Su 21:Ox"
        info = await one.call("enable-node", node=2)
        assert (info.status, info.tags) == ("HEARTBEAT_CONNECTING", [])


@virtual
async def test_a_node_that_is_disabled_now_loses_its_chains_within_a_second():
    async with serving() as one:
        await one_chain(one)
        await one.call("disable-node", node=2, now=True)
        await asyncio.sleep(1.1)
        assert await one.chain(1) == "31:Su 21:Ox"


@virtual
async def test_H22_H23_the_primary_is_disabled_only_by_asking_it_to_step_down():
    async with serving() as one:
        for verb in ("enable-node", "disable-node"):
            with pytest.raises(BadInput):
                await one.call(verb, node=1)
        with pytest.raises(BadInput):
            await one.call("set-node-tags", node=1, tags=[{"key": "Disable"}])
        await one.call("set-node-tags", node=1, tags=[{"key": "Disable"}], step_down=True)
        assert not one.serves()
        await asyncio.sleep(200.0)
        assert not one.serves(), "L09: it does not take the lease again"


@virtual
async def test_H25_H26_tags():
    async with serving() as one:
        await one.register(2)

        async def tag(mode, *texts):
            tags = [dict(zip(("key", "value"), text.split("="), strict=False)) for text in texts]
            info = await one.call("set-node-tags", node=2, tags=tags, mode=mode)
            return " ".join(f"{one.key}={one.value}".rstrip("=") for one in info.tags)

        assert await tag("UPSERT", "A=1", "B=2", "C") == "A=1 B=2 C"
        assert await tag("UPSERT", "B=3", "D=4") == "A=1 B=3 C D=4"
        assert await tag("REPLACE", "A=2", "C=3") == "A=2 C=3"
        for bad in ("A=1", "=1"):
            with pytest.raises(InvalidTag):
                await tag("REMOVE", bad)
        before = one.version
        assert await tag("UPSERT", "A=2") == "A=2 C=3"
        assert one.version == before, "nothing changed"
        assert await tag("REMOVE", "A") == "C=3"


@virtual
async def test_H27_a_restart_keeps_what_was_stored():
    store = memory()
    async with serving(store) as one:
        await one.register(2, 3)
        await one.beat(2)
        await one.call("set-node-tags", node=2, tags=[{"key": "rack", "value": "7"}])
        await one.call("disable-node", node=3)
    async with serving(store) as one:
        two, three = await one.node(2), await one.node(3)
        assert (two.status, two.tags, two.app.hostname) == ("HEARTBEAT_CONNECTING", [wire.Tag("rack", "7")], "h2")
        assert three.status == "DISABLED"


@virtual
async def test_H29_nodes_by_zone_and_more():
    async with serving() as one:
        await one.register(2, 3, 4)
        for node, zone in ((3, "zone1"), (4, "zone2")):
            await one.call("set-node-tags", node=node, tags=[{"key": "TrafficZone", "value": zone}])

        async def of(**how):
            return [info.app.node for info in (await one.call("nodes", **how)).nodes]

        assert await of(types=["STORAGE"], zones="") == [2, 3, 4]
        assert await of(zones=" zone1 ,") == [3]
        assert await of(zones=" zone1 , zone2") == [3, 4]
        assert await of(active=True) == [1]
        assert await of(statuses=["PRIMARY_MGMTD"], ids=[1, 2]) == [1]


@virtual
async def test_H30_a_node_says_goodbye_and_its_chains_switch_within_a_second():
    async with serving() as one:
        await one_chain(one)
        with pytest.raises(HeartbeatFail):
            await one.call("leave", app={"node": 2, "incarnation": "other"})
        info = await one.call("leave", app={"node": 2, "incarnation": "p2"})
        assert info.status == "STOPPED"
        await asyncio.sleep(1.0)
        assert await one.chain(1) == "31:Su 21:Ox"
        await one.beat(2, version=1, app={"incarnation": "next"})
        assert (await one.node(2)).status == "HEARTBEAT_CONNECTED"


@virtual
async def test_unregistering():
    async with serving() as one:
        with pytest.raises(NodeNotFound):
            await one.call("unregister-node", node=2)
        await one.register(2)
        with pytest.raises(BadInput):
            await one.call("unregister-node", node=2)
        await one.call("disable-node", node=2)
        await one.call("unregister-node", node=2, dry_run=True)
        assert await one.node(2)
        await one.call("unregister-node", node=2)
        assert (await one.call("nodes", ids=[2])).nodes == []
