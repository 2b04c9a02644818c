"""Round trips over a unix socket and over tcp with CURVE: ours against bare echoes, in the same run.

    python benchmarks/rpc_roundtrip.py [--calls N] [--json] [--uvloop]

The server runs in a process of its own. For each row: microseconds per round trip (p50, p99) and the ratio of
the medians to a bare blocking echo of a few bytes over a socketpair between two processes, which is what the
kernel and two context switches cost. ``status of 500`` is one answer of about 150 KB, decoded into objects. The rows
over tcp are on the loopback interface; beside them stands a bare blocking echo of ZeroMQ with the same keys.
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
from multiprocessing.connection import Connection as Connected
from pathlib import Path
from typing import Any

import msgspec
import zmq

from svcmgr.clock import SystemClock
from svcmgr.conn.access import Access
from svcmgr.conn.blocking import BlockingClient
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.keyfile import save
from svcmgr.conn.keyring import Holder, Keyring
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.verbs import CallContext, Verb
from svcmgr.conn.zeromq import ZeroMQTransport, new_pair
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


def serve(path: str, keyring: Path, tell: Connected, use_uvloop: bool) -> None:
    """The server's process; tells its tcp address."""
    reply = status_of(500)
    verbs = {"task": Verb(nothing), "status": Verb(lambda request, ctx: reply)}

    async def main() -> None:
        network = ServerSpec("tcp://127.0.0.1:0", transport=ZeroMQTransport(keyring))
        async with (
            Server(ServerSpec("unix:" + path), verbs, clock=SystemClock()),
            Server(network, verbs, clock=SystemClock()) as server,
        ):
            tell.send(server.address)
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


def zeromq_echo(keyring: Keyring, tell: Connected) -> None:
    """The other process of ZeroMQ's own echo."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as sock:
        sock.curve_server, sock.curve_secretkey, sock.curve_publickey = 1, keyring.secret, keyring.public
        tell.send(sock.bind_to_random_port("tcp://127.0.0.1"))
        while True:
            sock.send_multipart(sock.recv_multipart())


def bare_zeromq(calls: int) -> list[float]:
    """The yardstick of the rows over tcp."""
    keyring = Keyring("both", *new_pair())
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=zeromq_echo, args=(keyring, there), daemon=True)
    process.start()
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.curve_serverkey, sock.curve_secretkey, sock.curve_publickey = (
            keyring.public,
            keyring.secret,
            keyring.public,
        )
        sock.connect(f"tcp://127.0.0.1:{here.recv()}")

        def once() -> None:
            sock.send(b"sixteen bytes...")
            sock.recv()

        seconds = timed(calls, once)
    process.terminate()
    process.join()
    return seconds


async def asynchronous(spec: ConnSpec, name: str, calls: int) -> dict[str, list[float]]:
    """Our asyncio client."""
    up = asyncio.Event()
    connection = Connection(spec, clock=SystemClock(), rng=random.Random(1), notify=lambda event: up.set())
    connection.connect(1)
    await up.wait()
    results = {}
    for label, verb, kind, count in rows(calls):
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            await connection.call(verb, type=kind)
            seconds.append(time.perf_counter() - start)
        results[f"{name}, {label}"] = seconds
    start = time.perf_counter()
    for _ in range(calls // 50):
        await asyncio.gather(*(connection.call("ping") for _ in range(50)))
    results[f"{name}, ping, 50 at a time"] = [(time.perf_counter() - start) / (calls // 50 * 50)]
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
        path, keyring = f"{directory}/s", Path(directory, "keys")
        here, there = multiprocessing.Pipe()
        own = Keyring("both", *new_pair())
        save(keyring, own.adding(Holder("both", (own.public,), Access.ADMIN)))
        server = multiprocessing.Process(target=serve, args=(path, keyring, there, options.uvloop), daemon=True)
        server.start()
        address = here.recv()
        results |= blocking(path, options.calls)
        unix = ConnSpec("unix:" + path)
        results |= run_on(lambda: asynchronous(unix, "asyncio client", options.calls), options.uvloop)
        results["bare echo of ZeroMQ with CURVE"] = bare_zeromq(options.calls)
        save(keyring, own.adding(Holder("both", (own.public,), Access.ADMIN, (address,))))
        tcp = ConnSpec(address, transport=ZeroMQTransport(keyring))
        results |= run_on(lambda: asynchronous(tcp, "over tcp", options.calls), options.uvloop)
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
