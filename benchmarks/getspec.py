"""Volfiles over a unix socket: 1,000 requests for one of 100 kB, one by one and many at a time.

    python -m benchmarks.getspec [--requests N] [--bytes N] [--rounds N] [--json]

The server is the volfile server of svcmgrd behind a real ``svcmgr.conn`` server, in a process of its own. For each row:
seconds for all requests (min, median and max of the rounds) and the ratio of the medians to moving the same bytes over
a socketpair between two processes with blocking calls. The goal is below 1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.kit import until
from svcmgr.clock import SystemClock
from svcmgr.conn import Access, BlockingClient, Connected, Connection, ConnEvent, ConnSpec, Server, ServerSpec, Verb
from svcmgr.host.volfiles import Volfiles
from svcmgr.services.wire import VolfileReply, VolfileRequest

ID = "snapd/bench"
#: Requests on their way at once; a connection allows 64.
WINDOW = 50


def volfile_of(size: int) -> str:
    """A volfile of at least ``size`` bytes, of many blocks."""
    block = "volume v-brick-{0}\n    type storage/posix\n    option directory /srv/bricks/number-{0}\nend-volume\n\n"
    blocks = []
    length = 0
    while length < size:
        blocks.append(block.format(len(blocks) + 1))
        length += len(blocks[-1])
    return "".join(blocks)


def serve(path: str, text: str) -> None:
    """The server's process."""
    volfiles = Volfiles(SystemClock())
    volfiles.publish(ID, text, "snapd@bench")
    verbs = {"volfile": Verb(lambda request, ctx: volfiles.serve(request, ctx.peer), Access.READ, VolfileRequest)}

    async def main() -> None:
        async with Server(ServerSpec("unix:" + path), verbs, clock=SystemClock()):
            await asyncio.Event().wait()

    asyncio.run(main())


def one_by_one(path: str, requests: int) -> Callable[[], None]:
    """One daemon that waits for each answer."""

    def once() -> None:
        with BlockingClient(path) as client:
            for _ in range(requests):
                client.call("volfile", VolfileRequest(ID), type=VolfileReply)

    return once


def fresh(path: str, requests: int) -> Callable[[], None]:
    """As many daemons that start: each connects, asks and goes."""

    def once() -> None:
        for _ in range(requests):
            with BlockingClient(path) as client:
                client.call("volfile", VolfileRequest(ID), type=VolfileReply)

    return once


def pipelined(path: str, requests: int) -> Callable[[], None]:
    """WINDOW requests on their way at a time."""

    async def ask() -> None:
        up = asyncio.Event()

        def notify(event: ConnEvent) -> None:
            if isinstance(event, Connected):
                up.set()

        connection = Connection(ConnSpec("unix:" + path), clock=SystemClock(), rng=random.Random(1), notify=notify)
        connection.connect(1)
        await up.wait()
        for start in range(0, requests, WINDOW):
            batch = range(start, min(start + WINDOW, requests))
            await asyncio.gather(*(connection.call("volfile", VolfileRequest(ID), type=VolfileReply) for _ in batch))
        await connection.term()

    return lambda: asyncio.run(ask())


def give(peer: socket.socket, data: bytes) -> None:
    """The other process of the yardstick."""
    while peer.recv(1):
        peer.sendall(data)


def bare(requests: int, data: bytes, rounds: int) -> list[float]:
    """The yardstick: a byte there, the text back."""
    here, there = socket.socketpair()
    process = multiprocessing.Process(target=give, args=(there, data))
    process.start()
    there.close()
    buffer = bytearray(len(data))

    def once() -> None:
        for _ in range(requests):
            here.sendall(b"?")
            here.recv_into(buffer, len(data), socket.MSG_WAITALL)

    with here:
        seconds = timed(rounds, once)
        here.shutdown(socket.SHUT_WR)
    process.join()
    return seconds


def timed(rounds: int, once: Callable[[], None]) -> list[float]:
    """Seconds of each round."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - began)
    return seconds


def measure(requests: int, text: str, rounds: int) -> dict[str, list[float]]:
    """Label -> seconds of each round; the yardstick first."""
    results = {"bare socketpair": bare(requests, text.encode(), rounds)}
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/s"
        server = multiprocessing.Process(target=serve, args=(path, text), daemon=True)
        server.start()
        try:
            until(lambda: Path(path).exists(), seconds=30)
            results["one by one"] = timed(rounds, one_by_one(path, requests))
            results[f"{WINDOW} at a time"] = timed(rounds, pipelined(path, requests))
            results["a connection each"] = timed(rounds, fresh(path, requests))
        finally:
            server.terminate()
            server.join()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    text = volfile_of(options.bytes)
    results = measure(options.requests, text, options.rounds)
    yardstick = statistics.median(next(iter(results.values())))
    rows = {
        label: {
            "min_s": round(min(seconds), 4),
            "median_s": round(statistics.median(seconds), 4),
            "max_s": round(max(seconds), 4),
            "ratio": round(statistics.median(seconds) / yardstick, 2),
        }
        for label, seconds in results.items()
    }
    if options.json:
        print(json.dumps({"cpus": os.cpu_count(), "requests": options.requests, "bytes": len(text), **rows}))
        return
    print(f"{options.requests} requests for a volfile of {len(text)} bytes, {os.cpu_count()} cpus")
    print(f"{'':20} {'min s':>8} {'median s':>9} {'max s':>8} {'ratio':>7}")
    for label, row in rows.items():
        print(f"{label:20} {row['min_s']:8.3f} {row['median_s']:9.3f} {row['max_s']:8.3f} {row['ratio']:7.2f}")


if __name__ == "__main__":
    main()
