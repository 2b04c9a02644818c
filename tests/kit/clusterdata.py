"""Records of a cluster that could be, small or as large as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from svcmgr.services.mgmtd.store import Put, Store, records, split
from svcmgr.services.mgmtd.store.records import Record

NOW = 1.79e9
NODE = records.Node(
    10001,
    2,
    "s1",
    (records.ServiceGroup(("Storage",), (records.Endpoint("tcp", "10.0.0.1:8000"),)),),
    (records.Tag("Rack", "7"), records.Tag("TrafficZone", "z1")),
)


def config(node_type: records.NodeTypeName, version: int, content: str) -> records.Config:
    return records.Config(node_type, version, content, records.sha256_of(content), "why", "somebody", NOW)


def one_of_each() -> list[Record]:
    """A record of every kind, with every field set."""
    chain_targets = (records.ChainTarget(101, 1), records.ChainTarget(2**64 - 1, 16))
    return [
        records.Lease(5, NODE, "b7c1", "250228-rel-1-77-0a1b2c3d", 9, 60.0, NOW, NOW + 10, False),
        records.RoutingVersion(17),
        NODE,
        records.Chain(7, 3, chain_targets, (2**64 - 1, 101)),
        records.ChainTable(1, 2, (7,), "stage"),
        config("STORAGE", 1, "a = 1\n"),
        config("STORAGE", 2, "a = 2\n"),
        config("META", 1, ""),
        records.UniversalTags("host-ä", (records.Tag("Disable"),)),
        records.Target(101, 10001, 3),
        records.Target(2**64 - 1, 10001),
        records.Event(1, NOW, "chain", "7", "heartbeat of node 10001", 17, "101:OFFLINE", "101:SERVING"),
    ]


def cluster(chains: int, replicas: int = 3, nodes: int = 10_000) -> Iterator[Record]:
    """Chains of ``replicas`` targets, where each of the targets was, one table of all chains, and their nodes."""
    yield records.RoutingVersion(1)
    for node_id in range(1, nodes + 1):
        yield records.Node(node_id, 2, f"s{node_id}", NODE.service_groups, NODE.tags)
    for chain_id in range(1, chains + 1):
        ids = range(chain_id * 10, chain_id * 10 + replicas)
        yield records.Chain(chain_id, 1, tuple(records.ChainTarget(one, 1) for one in ids))
        for one in ids:
            yield records.Target(one, one % nodes + 1, one % 16)
    yield records.ChainTable(1, 1, tuple(range(1, chains + 1)), "all")


async def store_all(store: Store, what: Iterable[Record]) -> None:
    puts = [Put(record.key, records.encode(record)) for record in what]
    for batch in split(puts, (), (), store.limits):
        await store.commit(batch)
