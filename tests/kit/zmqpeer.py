"""A process that serves, or dials and stays: ``python -m tests.kit.zmqpeer serve|dial KEYRING ADDRESS``; says "up"."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from svcmgr.clock import SystemClock
from svcmgr.conn.client import Connection, ConnSpec
from svcmgr.conn.server import Server, ServerSpec
from svcmgr.conn.zeromq import ZeroMQTransport


async def serve(transport: ZeroMQTransport, address: str) -> None:
    async with Server(ServerSpec(address, transport=transport), {}, clock=SystemClock()):
        print("up", flush=True)
        await asyncio.Event().wait()


async def dial(transport: ZeroMQTransport, address: str) -> None:
    """Its hello is sent; nobody need answer."""
    spec = ConnSpec(address, transport=transport, hello_timeout=60.0)
    connection = Connection(spec, clock=SystemClock(), rng=random.Random(1), notify=lambda event: None)
    connection.connect(1)
    print("up", flush=True)
    await asyncio.Event().wait()


@contextmanager
def peer(what: str, keyring: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """Such a process, once it is up; killed at the end."""
    command = [sys.executable, "-m", "tests.kit.zmqpeer", what, str(keyring), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run({"serve": serve, "dial": dial}[sys.argv[1]](ZeroMQTransport(Path(sys.argv[2])), sys.argv[3]))
