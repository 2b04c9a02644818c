"""mgmtd with a large cluster: boot, heartbeats, judging, deltas, memory.

    python -m benchmarks.mgmtd [--chains N] [--nodes N] [--heartbeats N] [--json]

One mgmtd in this process on a SQLite store of its own, which is filled first: chains of three targets, the nodes that
have them, and a table of all chains. A heartbeat is decoded from MessagePack, carried out and its answer encoded, as
over a socket, without the socket. The floor beside it only decodes and encodes the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from benchmarks.kit import percentile
from svcmgr.clock import SystemClock
from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.chains import judge
from svcmgr.services.mgmtd.memory import uncollected
from svcmgr.services.mgmtd.mgmtd import Identity, Mgmtd, Seams
from svcmgr.services.mgmtd.nodes import AppFacts
from svcmgr.services.mgmtd.ops.base import Caller, Scope
from svcmgr.services.mgmtd.store import SqliteStore
from tests.kit.clusterdata import cluster, store_all

NODE = Caller(Scope.ADMIN, "benchmark")
PER_NODE = 16
encode, decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(wire.HeartbeatRequest).decode


def heartbeat(node: int, version: int, targets: list[int]) -> bytes:
    """What a node sends that has nothing new to say."""
    app = wire.AppInfo(node, f"i{node}", hostname=f"s{node}", pid=1)
    local = [wire.LocalTargetInfo(target, "UPTODATE", 1, 0, 1 << 30) for target in targets]
    request = wire.HeartbeatRequest(app, "STORAGE", version, time.time(), targets=local)
    return encode(request)


def targets_of(chains: int, nodes: int) -> dict[int, list[int]]:
    """As tests.kit.clusterdata places them."""
    found: dict[int, list[int]] = defaultdict(list)
    for chain in range(1, chains + 1):
        for target in range(chain * 10, chain * 10 + 3):
            found[target % nodes + 1].append(target)
    return found


async def beat(mgmtd: Mgmtd, data: bytes) -> None:
    encode(await mgmtd.call("heartbeat", decode(data), NODE))


async def measure(args: argparse.Namespace, store: SqliteStore, results: dict[str, float]) -> None:
    app = AppFacts(node_id=1_000_000, hostname="m", incarnation="m")
    mgmtd = Mgmtd(
        Identity(cluster_id="c", app=app, sole_instance=True),
        store,
        Seams(SystemClock(), lambda: 0.5, logging.getLogger("mgmtd")),
    )
    began = time.perf_counter()
    async with mgmtd.running():
        with uncollected():
            assert await mgmtd.await_primary(120.0)
        results["boot, s"] = time.perf_counter() - began
        await heartbeats(args, mgmtd, results)
        judging(mgmtd, results)
        await delta(mgmtd, results)
        results["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def heartbeats(args: argparse.Namespace, mgmtd: Mgmtd, results: dict[str, float]) -> None:
    placed = targets_of(args.chains, args.nodes)
    some = sorted(placed)[: max(1, args.heartbeats // 20)]
    for node in some:
        await beat(mgmtd, heartbeat(node, 1, placed[node][:PER_NODE]))
    rounds = [heartbeat(node, 2 + n, placed[node][:PER_NODE]) for n in range(20) for node in some]
    began = time.perf_counter()
    for data in rounds:
        encode(decode(data))
    floor = time.perf_counter() - began
    took, cpu = [], time.process_time()
    began = time.perf_counter()
    for data in rounds:
        start = time.perf_counter()
        await beat(mgmtd, data)
        took.append(time.perf_counter() - start)
    wall = time.perf_counter() - began
    results["heartbeats without change, per s"] = len(rounds) / wall
    results["floor: decode and encode, per s"] = len(rounds) / floor
    results["one core at 1,000 per s, %"] = 100 * (time.process_time() - cpu) / len(rounds) * 1000
    results["heartbeat p99, ms"] = percentile(took, 0.99) * 1000


def judging(mgmtd: Mgmtd, results: dict[str, float]) -> None:
    chains = list(mgmtd.reign().cluster.chains.values())
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for chain in chains:
            judge(chain.targets)
        times.append(time.perf_counter() - began)
    results["judging all chains, s"] = statistics.median(times)


async def delta(mgmtd: Mgmtd, results: dict[str, float]) -> None:
    before = mgmtd.reign().cluster.version
    await mgmtd.call("update-chain", wire.UpdateChainRequest(1, 9_999_999_999, "ADD"), NODE)
    answer = await mgmtd.call("watch", wire.WatchRequest(before, ["chains"], 0.0), NODE)
    results["delta of one chain, bytes"] = len(encode(answer))


async def main(args: argparse.Namespace) -> dict[str, float]:
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=args.directory) as where:
        path = Path(where) / "mgmtd.db"
        store = await SqliteStore.open(path)
        await store_all(store, cluster(args.chains, nodes=args.nodes))
        await store.aclose()
        began = time.perf_counter()
        store = await SqliteStore.open(path)
        results["opening the store, s"] = time.perf_counter() - began
        try:
            await measure(args, store, results)
        finally:
            await store.aclose()
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=53_333)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--heartbeats", type=int, default=20_000)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(main(options))
    if options.json:
        print(json.dumps(found))
    else:
        for what, value in found.items():
            print(f"{what:36} {value:12.3f}")
