"""The process object on virtual time, with processes that are objects."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from svcmgr.proc import (
    ExitStatus,
    Hooks,
    Process,
    ProcSpec,
    State,
    StopOutcome,
    StopPlan,
    StopResult,
)
from tests.kit.fakeos import FakeOs, Program
from tests.kit.vloop import START, VirtualClock, run

STOPPED = StopOutcome(StopResult.STOPPED)
KILLED = StopOutcome(StopResult.KILLED)


def spec_of(name: str = "a", program: str = "prog", **changes: Any) -> ProcSpec:
    env = {"SVCMGR_SERVICE": name, "SVCMGR_ROOT": "/run/x"}
    base: dict[str, Any] = {"name": name, "argv": (program,), "env": env, "logdir": Path("/l"), "logfile": Path("/l/a")}
    return ProcSpec(**{**base, **changes})


class World:
    """One fake system, one process, and when it ended."""

    def __init__(self, *programs: Program, **changes: Any) -> None:
        self.os = FakeOs({"prog": programs[0] if programs else Program()})
        self.exits: list[tuple[float, ExitStatus]] = []
        self.mains: list[int] = []
        self.on_exit: Callable[[], None] = lambda: None
        self.process = Process(
            "a",
            os=self.os,
            clock=VirtualClock(),
            on_exit=self._exited,
            hooks=Hooks(on_main=lambda _, identity: self.mains.append(identity.pid)),
        )
        self.process.init(spec_of(**changes))

    def _exited(self, process: Process, status: ExitStatus) -> None:
        assert process is self.process
        self.exits.append((asyncio.get_running_loop().time() - START, status))
        self.on_exit()

    def check_clean(self) -> None:
        """Nothing lives, nothing is held, everything of ours is reaped."""
        assert self.os.living() == []
        assert self.os.open_handles == 0
        assert self.os.known == set()
        assert all(one.reaped for one in self.os.processes.values())


def history(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(check())


def test_spawn_and_exit() -> None:
    async def check() -> None:
        world = World(Program(exits_after=5, code=3))
        identity = world.process.spawn()
        assert world.process.identity == identity
        assert world.process.alive
        await asyncio.sleep(6)
        assert world.exits == [(5, ExitStatus(code=3))]
        assert world.process.identity is None
        assert not world.process.alive
        assert world.process.state is State.GONE
        world.check_clean()

    history(check)


def test_stop_within_grace() -> None:
    async def check() -> None:
        world = World(Program(term_s=2.5, term_code=15))
        pid = world.process.spawn().pid
        world.process.stop()
        assert await world.process.wait_gone() == STOPPED
        assert world.exits == [(2.5, ExitStatus(code=15))]
        assert world.os.signals(pid) == [signal.SIGTERM, signal.SIGCONT]
        world.check_clean()

    history(check)


def test_ignoring_term_is_killed_exactly_at_the_end_of_the_grace() -> None:
    async def check() -> None:
        world = World(Program(term_s=None), stop=StopPlan(grace_s=7))
        world.process.spawn()
        world.process.stop()
        assert await world.process.wait_gone() == KILLED
        assert world.exits == [(7, ExitStatus(signal=9))]
        world.check_clean()

    history(check)
