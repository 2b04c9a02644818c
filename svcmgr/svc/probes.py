"""Waiting until a service can serve: one small coroutine per readiness kind that has to ask.

Each returns when the service is ready and is cancelled by its owner when the service exits or its deadline passes;
none of them decides anything else. Asking again backs off from 5 ms to a quarter of a second, since a daemon that
binds its socket in 10 ms should not be seen a second later, and one that takes a minute should not be asked
thousands of times.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from svcmgr.clock import Clock
from svcmgr.errors import BadInput, SpawnFailed
from svcmgr.fsutil import read_limited
from svcmgr.proc import ExitStatus, Os, Process, ProcSpec
from svcmgr.svc.spec import Readiness, ReadyKind

_FIRST_S = 0.005
_LAST_S = 0.25
_COMMAND_S = 2.0
#: A pidfile holds a number of at most seven digits and a newline; more is not a pidfile.
_PIDFILE_LIMIT = 64


def pauses() -> Iterator[float]:
    """Seconds between attempts."""
    pause = _FIRST_S
    while True:
        yield pause
        pause = min(pause * 1.6, _LAST_S)


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    for pause in pauses():
        if await ask():
            return
        await asyncio.sleep(pause)


async def port_answers(readiness: Readiness) -> bool:
    """Whether a connection to the TCP port or unix socket is accepted."""
    try:
        async with asyncio.timeout(2.0):
            if readiness.kind is ReadyKind.TCP:
                _, writer = await asyncio.open_connection(readiness.target, readiness.port)
            else:
                _, writer = await asyncio.open_unix_connection(readiness.target)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def command_succeeds(spec: ProcSpec, os_: Os, clock: Clock) -> bool:
    """Whether the command exits 0 within two seconds. It is a process of the service, ended with its whole tree."""
    done: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    process = Process(spec.name, os=os_, clock=clock, on_exit=lambda _, status: done.set_result(status))
    process.init(spec)
    try:
        process.spawn()
    except SpawnFailed:
        return False
    try:
        async with asyncio.timeout(_COMMAND_S):
            return (await asyncio.shield(done)).clean
    except TimeoutError:
        return False
    finally:
        process.stop()
        process.detach()


def pid_in(path: Path) -> int | None:
    """The number in a pidfile, or None if there is no sane one yet."""
    try:
        text = read_limited(path, _PIDFILE_LIMIT).strip()
    except (OSError, BadInput):
        return None
    return int(text) if text.isdigit() and 0 < int(text) <= 1 << 22 else None
