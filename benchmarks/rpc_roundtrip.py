"""Round trips over a unix socket: ours against a bare echo, in the same run.

    python benchmarks/rpc_roundtrip.py [--calls N] [--json] [--uvloop]

The server runs in a process of its own. For each row: microseconds per round trip (p50, p99) and the ratio of
the medians to a bare blocking echo of a few bytes over a socketpair between two processes, which is what the
kernel and two context switches cost. ``status of 500`` is one answer of about 150 KB, decoded into objects.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from svcmgr.clock import SystemClock
from svcmgr.conn.blocking import BlockingClient
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.verbs import CallContext, Verb
from svcmgr.host.wire import DaemonInfo, ServiceRow, StatusReply


def status_of(count: int) -> StatusReply:
    """A reply as svcmgrd gives it, with paths: about 300 bytes for each service."""
    rows = [
        ServiceRow(
            name=f"service-{number:04}",
            kind="command",
            goal="up",
            state="running",
            status="online",
            since=1.76e9,
            enabled=True,
            pid=10_000 + number,
            started=1.76e9,
            socket=f"/run/svcmgr/services/service-{number:04}/sock",
            pidfile=f"/run/svcmgr/services/service-{number:04}/pid",
            log=f"/var/log/svcmgr/service-{number:04}.log",
        )
        for number in range(count)
    ]
    daemon = DaemonInfo(1, "0.1.0", 1, 1.76e9, "", 1.0, "admin")
    return StatusReply(svcmgrd=daemon, monotonic=1.0, services=rows)


async def nothing(request: None, ctx: CallContext) -> None:
    """An async handler that does not wait: what a task costs."""


def serve(path: str, use_uvloop: bool) -> None:
    """The server's process."""
    reply = status_of(500)
    verbs = {"task": Verb(nothing), "status": Verb(lambda request, ctx: reply)}

    async def main() -> None:
        async with Server(ServerSpec("unix:" + path), verbs, clock=SystemClock()):
            await asyncio.Event().wait()

    run_on(main, use_uvloop)


def run_on(main: Callable[[], Any], use_uvloop: bool) -> Any:
    """Run ``main()`` on a plain loop or uvloop's."""
    factory = None
    if use_uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def echo(peer: socket.socket) -> None:
    """The other process of the bare echo."""
    while data := peer.recv(65536):
        peer.sendall(data)


def timed(calls: int, once: Callable[[], object]) -> list[float]:
    """Seconds of each of ``calls`` calls, after a warm-up."""
    for _ in range(calls // 10):
        once()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    return seconds


def bare(calls: int) -> list[float]:
    """The yardstick."""
    here, there = socket.socketpair()
    process = multiprocessing.Process(target=echo, args=(there,))
    process.start()
    there.close()

    def once() -> None:
        here.sendall(b"sixteen bytes...")
        here.recv(65536)

    with here:
        seconds = timed(calls, once)
        here.shutdown(socket.SHUT_WR)
    process.join()
    return seconds


async def asynchronous(path: str, calls: int) -> dict[str, list[float]]:
    """Our asyncio client."""
    up = asyncio.Event()
    connection = Connection(
        ConnSpec("unix:" + path), clock=SystemClock(), rng=random.Random(1), notify=lambda event: up.set()
    )
    connection.connect(1)
    await up.wait()
    results = {}
    for label, verb, kind, count in rows(calls):
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            await connection.call(verb, type=kind)
            seconds.append(time.perf_counter() - start)
        results[f"asyncio client, {label}"] = seconds
    start = time.perf_counter()
    for _ in range(calls // 50):
        await asyncio.gather(*(connection.call("ping") for _ in range(50)))
    results["asyncio client, ping, 50 at a time"] = [(time.perf_counter() - start) / (calls // 50 * 50)]
    await connection.term()
    return results


def blocking(path: str, calls: int) -> dict[str, list[float]]:
    """Our blocking client, and a fresh connection for each call as a command line makes it."""
    results = {}
    with BlockingClient(path) as client:
        for label, verb, kind, count in rows(calls):
            results[f"blocking client, {label}"] = timed(count, lambda v=verb, k=kind: client.call(v, type=k))

    def fresh() -> None:
        with BlockingClient(path) as client:
            client.call("status", type=StatusReply)

    results["blocking client, connect + status of 500"] = timed(calls // 20, fresh)
    return results


def rows(calls: int) -> list[tuple[str, str, Any, int]]:
    """What is called: label, verb, type of the answer, how often."""
    return [
        ("ping", "ping", Any, calls),
        ("task", "task", Any, calls),
        ("status of 500", "status", StatusReply, calls // 20),
    ]


def percentile(seconds: list[float], share: float) -> float:
    """That share of the samples is at most this, in microseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    results = {"bare echo over a socketpair": bare(options.calls)}
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/s"
        server = multiprocessing.Process(target=serve, args=(path, options.uvloop), daemon=True)
        server.start()
        while not Path(path).exists():
            time.sleep(0.01)
        results |= blocking(path, options.calls)
        results |= run_on(lambda: asynchronous(path, options.calls), options.uvloop)
        server.terminate()
        server.join()
    report(results, options.json)


def report(results: dict[str, list[float]], as_json: bool) -> None:
    """Print a line for each row."""
    yardstick = percentile(next(iter(results.values())), 0.5)
    lines = {
        label: {
            "p50_us": round(percentile(seconds, 0.5), 1),
            "p99_us": round(percentile(seconds, 0.99), 1),
            "ratio": round(percentile(seconds, 0.5) / yardstick, 2),
        }
        for label, seconds in results.items()
    }
    if as_json:
        print(json.dumps({"cpus": os.cpu_count(), "reply_bytes": len(msgspec.msgpack.encode(status_of(500))), **lines}))
        return
    print(f"{'':44} {'p50 us':>9} {'p99 us':>9} {'ratio':>7}")
    for label, line in lines.items():
        print(f"{label:44} {line['p50_us']:9.1f} {line['p99_us']:9.1f} {line['ratio']:7.2f}")


if __name__ == "__main__":
    main()
