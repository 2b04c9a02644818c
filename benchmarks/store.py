"""The store of mgmtd: commits, batches, and the load of a large cluster.

    python -m benchmarks.store [--commits N] [--chains N] [--rounds N] [--directory DIR] [--json]

The yardstick of the first rows is sqlite3 itself in the same process and directory, with the same tables and settings
(WAL, synchronous=FULL), one after the other with the store in each round. The load is of a cluster with three targets
for each chain, 10,000 nodes and a table of all chains: opening the file with its integrity check, reading, decoding and
checking every record. Its goal is below 5 s for 53,333 chains.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from svcmgr.services.mgmtd.store import Batch, Put, SqliteStore, sqlitefile, take
from tests.kit.clusterdata import cluster, store_all

Results = dict[str, list[float]]
#: Batches on their way at once, and puts in a large one.
WINDOW, LARGE = 100, 1000
VALUE = b"v" * 150


def raw(path: Path) -> sqlite3.Connection:
    """The yardstick: the same file, without anything of ours."""
    sqlitefile.prepare(path)
    return sqlitefile.connect(path)


def raw_commits(connection: sqlite3.Connection, commits: int, puts: int) -> None:
    """What a store must do at least: the writes, and the count of revisions."""
    for number in range(commits):
        connection.execute("BEGIN IMMEDIATE")
        (revision,) = connection.execute("SELECT revision FROM state").fetchone()
        rows = [(b"k%d/%d" % (number, n), VALUE, revision + 1) for n in range(puts)]
        connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", rows)
        connection.execute("UPDATE state SET revision = ?", (revision + 1,))
        connection.execute("COMMIT")


async def commits_one_by_one(store: SqliteStore, commits: int, puts: int) -> None:
    for number in range(commits):
        await store.commit(Batch(tuple(Put(b"k%d/%d" % (number, n), VALUE) for n in range(puts))))


async def commits_at_once(store: SqliteStore, commits: int) -> None:
    for start in range(0, commits, WINDOW):
        numbers = range(start, min(start + WINDOW, commits))
        await asyncio.gather(*(store.commit(Batch((Put(b"k%d/0" % number, VALUE),))) for number in numbers))


async def timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def timed_call(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


async def measure_commits(directory: Path, commits: int, rounds: int) -> Results:
    """Seconds for one commit of one put, and for one batch of LARGE."""
    results: Results = {name: [] for name in ("raw", "store", f"store, {WINDOW} at once", "raw batch", "store batch")}
    large = max(1, commits // 20)
    for number in range(rounds):
        connection = raw(directory / f"raw{number}.db")
        results["raw"].append(timed_call(lambda: raw_commits(connection, commits, 1)) / commits)  # noqa: B023
        results["raw batch"].append(timed_call(lambda: raw_commits(connection, large, LARGE)) / large)  # noqa: B023
        connection.close()
        store = await SqliteStore.open(directory / f"store{number}.db")
        results["store"].append(await timed(commits_one_by_one(store, commits, 1)) / commits)
        results[f"store, {WINDOW} at once"].append(await timed(commits_at_once(store, commits * 5)) / (commits * 5))
        results["store batch"].append(await timed(commits_one_by_one(store, large, LARGE)) / large)
        await store.aclose()
    return results


async def measure_load(directory: Path, chains: int, rounds: int) -> Results:
    """Seconds to write the cluster, to open its file and to take all of it in."""
    path = directory / "cluster.db"
    store = await SqliteStore.open(path)
    results: Results = {"write": [await timed(store_all(store, cluster(chains)))], "open": [], "take": []}
    await store.aclose()
    for _ in range(rounds):
        began = time.perf_counter()
        store = await SqliteStore.open(path)
        opened = time.perf_counter()
        async with store.snapshot() as snapshot:
            census = await take(snapshot)
        results["open"].append(opened - began)
        results["take"].append(time.perf_counter() - opened)
        if census.bad or census.odd:
            raise AssertionError("the cluster is not sound")
        await store.aclose()
    results["open and take"] = [a + b for a, b in zip(results["open"], results["take"], strict=True)]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--commits", type=int, default=400)
    parser.add_argument("--chains", type=int, default=53_333)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=None, help="where the files go; its file system counts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as made:
        commits = asyncio.run(measure_commits(Path(made), options.commits, options.rounds))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        load = asyncio.run(measure_load(Path(made), options.chains, options.rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = {"cpus": os.cpu_count(), "chains": options.chains, "peak_mb": peak // 1024, "before_mb": before // 1024}
    if options.json:
        print(json.dumps({**facts, "commits_s": commits, "load_s": load}))
        return
    print(f"a commit of one put, or of {LARGE}: milliseconds, min, median and max of {options.rounds} rounds")
    for label, seconds in commits.items():
        ratio = statistics.median(seconds) / statistics.median(commits["raw batch" if "batch" in label else "raw"])
        print(f"{label:22} {row(seconds, 1e3)}  {ratio:5.2f}x raw  {1 / statistics.median(seconds):9.0f}/s")
    print(f"\n{options.chains} chains, {options.chains * 3} targets: seconds, min, median and max")
    for label, seconds in load.items():
        print(f"{label:22} {row(seconds, 1)}")
    print(f"peak memory {facts['peak_mb']} MB, {facts['before_mb']} MB before the load")


def row(seconds: list[float], factor: float) -> str:
    """Minimum, median and maximum."""
    return " ".join(f"{each * factor:9.3f}" for each in (min(seconds), statistics.median(seconds), max(seconds)))


if __name__ == "__main__":
    main()
