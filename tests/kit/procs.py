"""True processes for tests: a small host around RealOs, and ways to wait for facts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from svcmgr.clock import SystemClock
from svcmgr.proc import ExitStatus, Hooks, Identity, Process, ProcSpec, RealOs, Reaper, procfs

PYTHON = sys.executable
DEADLINE_S = 10.0


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """The first true value of ``condition()``; AssertionError after DEADLINE_S."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while not (value := condition()):
        assert loop.time() < end, f"{what} did not become true within {DEADLINE_S} s"
        await asyncio.sleep(0.002)
    return value


def running(pid: int) -> bool:
    """Whether ``pid`` lives; a zombie does not."""
    found = procfs.stat(pid)
    return found is not None and not found.dead


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def sh(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def py(script: str) -> tuple[str, ...]:
    return (PYTHON, "-S", "-E", "-c", script)


class Host:
    """A subreaper with processes, all below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.os = RealOs()
        self.reaped: list[tuple[int, ExitStatus]] = []
        self.reaper = Reaper(self.os, lambda pid, status: self.reaped.append((pid, status)))
        self.exits: dict[str, list[ExitStatus]] = {}
        self.mains: list[Identity] = []
        self.processes: list[Process] = []

    def spec(self, name: str, argv: tuple[str, ...], **changes: Any) -> ProcSpec:
        env = {"PATH": "/usr/bin:/bin", "SVCMGR_SERVICE": name, "SVCMGR_ROOT": str(self.directory)}
        base: dict[str, Any] = {
            "name": name,
            "argv": argv,
            "env": env,
            "logdir": self.directory / "log",
            "logfile": self.directory / "log" / f"{name}.log",
        }
        return ProcSpec(**{**base, **changes})

    def process(self, name: str, argv: tuple[str, ...], **changes: Any) -> Process:
        process = Process(
            name,
            os=self.os,
            clock=SystemClock(),
            on_exit=lambda one, status: self.exits.setdefault(one.name, []).append(status),
            hooks=Hooks(on_main=lambda _, identity: self.mains.append(identity)),
        )
        process.init(self.spec(name, argv, **changes))
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        path = self.directory / "log" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    async def lines(self, name: str, count: int) -> list[str]:
        """The first ``count`` whole lines that ``name`` printed."""
        await until(lambda: self.log(name).count("\n") >= count, f"{count} lines of {name}")
        return self.log(name).splitlines()[:count]

    async def exit_of(self, name: str) -> ExitStatus:
        """How ``name`` ended, for the first time."""
        return (await until(lambda: self.exits.get(name), f"the exit of {name}"))[0]

    def marked(self) -> list[int]:
        """Every living process of this host."""
        return [who.pid for group in self.os.marked(str(self.directory)).values() for who in group]


@contextlib.asynccontextmanager
async def host(directory: Path) -> AsyncIterator[Host]:
    """A host; at the end nothing of it lives and no descriptor is left."""
    before = open_descriptors()
    it = Host(directory)
    it.os.become_subreaper()
    it.reaper.open()
    try:
        yield it
    finally:
        for process in it.processes:
            process.stop(force=True)
        for process in it.processes:
            await process.wait_gone()
        for pid in it.marked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        it.reaper.reap()
        it.reaper.close()
    assert open_descriptors() == before
