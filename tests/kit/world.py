"""A whole supervisor over a fake operating system, on virtual time.

Everything above the system calls is real: :class:`Supervisor`, services, processes, timers, sockets. A test defines
services whose programs are objects (:class:`tests.kit.fakeos.Program`), gives commands, lets time pass, and looks.
Leaving a :class:`World` checks what must hold after every history: no bug was reported, no service ever had two
processes, and nothing is held.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import attrs

from svcmgr.paths import Layout, resolve
from svcmgr.proc import MARK_ROOT, MARK_SERVICE, ProcSpec
from svcmgr.services.command.service import CommandService
from svcmgr.svc import (
    MARK_INCARNATION,
    BackoffSpec,
    Goal,
    Links,
    Readiness,
    Restart,
    Result,
    Seams,
    Service,
    ServiceSpec,
    Supervisor,
    events,
    judge_start,
    judge_stop,
)
from svcmgr.svc.lifecycle import ACTIVE
from tests.kit.fakeos import FakeOs, FakeProcess, Program
from tests.kit.vloop import START, VirtualClock, run, turns

#: Back-off without chance: 1, 2, 4, 4 ... seconds times (1 + jitter * (2 * 0.5 - 1)) = 1.
PLAIN = BackoffSpec(delay=1.0, delay_max=4.0, intensity=5, period=100.0)


class Middle(random.Random):
    """Chance that always lands in the middle, so that jitter adds nothing."""

    def random(self) -> float:
        return 0.5


class StepClock(VirtualClock):
    """A clock whose date an operator may set. ``offset`` in seconds."""

    offset = 0.0

    def utc(self) -> float:
        return super().utc() + self.offset


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an async test a plain one that runs on a virtual loop."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper


def layout_in(place: Path) -> Layout:
    """A layout below ``place`` whose directories exist."""
    layout = resolve(place, {}, 1)
    for path in (layout.definitions, layout.state, layout.services_run, layout.log):
        path.mkdir(parents=True, exist_ok=True)
    return layout


def make_spec(key: str, **fields: Any) -> ServiceSpec:
    """A spec whose program is found under ``key``; texts are taken where the fields have types of their own."""
    links = Links(tuple(fields.pop("requires", ())), tuple(fields.pop("after", ())))
    ready = Readiness.parse(fields.pop("ready", "none"))
    restart = Restart(fields.pop("restart", "on-failure"))
    base: dict[str, Any] = {"command": (key,), "backoff": PLAIN}
    return ServiceSpec(key=key, links=links, ready=ready, restart=restart, **{**base, **fields})


class World:
    """See the module. Use as an async context manager.

    Attributes:
        facts: every event, in order.
        bugs: exceptions that the supervisor reported as our fault; empty at the end, or the test fails.
    """

    def __init__(self, place: Path, *, system: FakeOs | None = None, generation: int = 1) -> None:
        self.os = system or FakeOs()
        self.clock = StepClock()
        self.layout = layout_in(place)
        self.bugs: list[Exception] = []
        self.facts: list[events.Stamped] = []
        self.supervisor = Supervisor(self.clock, events.EventRing(generation), self.bugs.append)
        self.supervisor.sinks += [self._check_alone, self.facts.append]
        self.seams = Seams(
            os=self.os,
            clock=self.clock,
            rng=Middle(),
            layout=self.layout,
            short_dir=place,
            control=self.layout.control_socket,
            environ={"PATH": "/usr/bin"},
            listener=self.supervisor,
        )

    async def __aenter__(self) -> World:
        await self.supervisor.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self.supervisor.__aexit__(kind, error, trace)
        await turns()
        if error is None:
            assert self.bugs == []
            assert self.os.open_handles == 0

    def _check_alone(self, stamped: events.Stamped) -> None:
        if isinstance(stamped.event, events.Spawned):
            alive = self.mains(stamped.event.name)
            assert len(alive) <= 1, f"{stamped.event.name} has {len(alive)} processes"

    # --- definitions -------------------------------------------------------------------------------

    def define(
        self, key: str, program: Program | None = None, cls: type[Service] = CommandService, **fields: Any
    ) -> Service:
        """Own a service. ``program`` is what it does; without one it runs for ever and obeys SIGTERM."""
        self.os.programs[key] = program or Program()
        service = cls(make_spec(key, **fields), self.seams)
        self.supervisor.add(service)
        return service

    def becomes(self, key: str, program: Program) -> None:
        """From the next start on its program does this."""
        self.os.programs[key] = program

    def __getitem__(self, key: str) -> Service:
        return self.supervisor.find(key)

    # --- commands ----------------------------------------------------------------------------------

    async def start(self, *keys: str, timeout_s: float = 60.0) -> dict[str, Result]:
        """What a start command does, without a disk."""
        closure = [k for k in self.supervisor.graph.with_requirements(keys) if k in self.supervisor.services]
        self.supervisor.want(closure, Goal.UP)
        errors = await self.supervisor.start(closure)
        return await self._results(keys, errors, timeout_s)

    async def restart(self, *keys: str, timeout_s: float = 60.0) -> dict[str, Result]:
        """A fresh process for each of ``keys``."""
        self.supervisor.want(keys, Goal.UP)
        return await self._results(keys, await self.supervisor.rerun(keys), timeout_s, "restarted")

    async def stop(self, *keys: str, timeout_s: float = 60.0) -> dict[str, Result]:
        """What a stop command does, without a disk."""
        closure = self.supervisor.graph.with_dependents(keys)
        judges = {k: judge_stop(self[k], was_down=not self[k].present and self[k].state not in ACTIVE) for k in closure}
        self.supervisor.want(closure, Goal.DOWN)
        errors = await self.supervisor.stop(closure)
        assert not errors
        return await self.supervisor.results(judges, timeout_s)

    async def _results(
        self, keys: tuple[str, ...], errors: Mapping[str, Any], timeout_s: float, word: str = "started"
    ) -> dict[str, Result]:
        judges = {
            k: judge_start(self[k], functools.partial(self.supervisor.hopeless, self[k]), word)
            for k in keys
            if k not in errors
        }
        results = await self.supervisor.results(judges, timeout_s)
        return results | {k: Result(k, "failed", ok=False, text=e.message, code=e.code) for k, e in errors.items()}

    # --- looking -----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.clock.monotonic() - START

    def mains(self, key: str) -> list[int]:
        """Living processes that were started as service ``key``."""
        return [p.pid for p in self._of(key) if p.alive]

    def _of(self, key: str) -> list[FakeProcess]:
        return [p for p in self.os.processes.values() if p.spec is not None and p.spec.name == key]

    def pid(self, key: str) -> int:
        """Its one living process."""
        (pid,) = self.mains(key)
        return pid

    def states(self, *keys: str) -> list[str]:
        """State by key, in the order of ``keys``."""
        return [self[key].state.value for key in keys]

    def told(self, key: str) -> list[str]:
        """The names of its events, in order."""
        return [s.event.what for s in self.facts if s.event.name == key]

    def times(self, key: str, what: str) -> list[float]:
        """When these events happened, in seconds since the beginning."""
        return [round(s.at - self.clock.utc() + self.now, 6) for s in self.facts if self._is(s, key, what)]

    def _is(self, stamped: events.Stamped, key: str, what: str) -> bool:
        return stamped.event.name == key and stamped.event.what == what

    def order(self, what: str) -> list[str]:
        """Which services had this event, in order."""
        return [s.event.name for s in self.facts if s.event.what == what]

    def adoptable(self, key: str, incarnation: int = 1, **changes: Any) -> ProcSpec:
        """What an earlier svcmgrd would have started for ``key``."""
        env = {MARK_SERVICE: key, MARK_ROOT: str(self.layout.run), MARK_INCARNATION: str(incarnation)}
        spec = ProcSpec(name=key, argv=(key,), env=env, logdir=self.layout.log, logfile=self.layout.service_log(key))
        return attrs.evolve(spec, **changes)


async def advance(seconds: float) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(seconds)
