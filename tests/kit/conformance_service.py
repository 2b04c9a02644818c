"""What every kind of service must do, as code. A kind that passes here can be given to a supervisor.

``check_service(cls, place)`` takes a service of that kind through its whole life over a fake operating system whose
daemons behave as daemonkit's do: they lock the pidfile given by ``-p``, answer ``ping`` on the socket given by ``-S``,
and say READY where NOTIFY_SOCKET tells them to. Use it in the tests of a package that adds a kind:

    def test_my_kind(tmp_path):
        check_service(MyService, tmp_path)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from svcmgr.conn import Server, ServerSpec, Verb
from svcmgr.errors import SvcmgrError
from svcmgr.proc import ExitStatus, ProcSpec
from svcmgr.proc.seam import Handle
from svcmgr.sdnotify import notify
from svcmgr.svc import Goal, Past, Restart, Service, State, Status, events
from tests.kit.fakeos import FakeOs, FakeProcess, Program
from tests.kit.vloop import VirtualClock, run, turns
from tests.kit.world import World, advance, make_spec

KEY = "subject@1"


class DaemonOs(FakeOs):
    """See the module. With ``mute``, daemons that start from now on serve nothing and say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.mute = False
        #: served beside ``ping`` by daemons that start from now on
        self.verbs: dict[str, Verb] = {}
        self._servers: dict[int, Server] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, spec: ProcSpec) -> Handle:
        handle = super().spawn(spec)
        process = self.processes[handle.pid]
        if "-p" in spec.argv and not spec.write_pidfile and spec.pidfile is not None:
            self.locks[spec.pidfile] = self.pidfiles[spec.pidfile] = handle.pid
        if not self.mute:
            self._tasks.append(asyncio.get_running_loop().create_task(self._serve(process, spec)))
        return handle

    async def _serve(self, process: FakeProcess, spec: ProcSpec) -> None:
        if "-S" in spec.argv:
            path = spec.argv[spec.argv.index("-S") + 1]
            server = Server(ServerSpec(address=f"unix:{path}", name="fake"), self.verbs, clock=VirtualClock())
            await server.start()
            self._servers[process.pid] = server
            if not process.alive:
                await self._hang_up(process.pid)
        if "NOTIFY_SOCKET" in spec.env and process.alive:
            notify(spec.env, ready=True)

    def _end(self, process: FakeProcess, status: ExitStatus) -> None:
        super()._end(process, status)
        self.locks = {path: pid for path, pid in self.locks.items() if pid != process.pid}
        self._tasks.append(asyncio.get_running_loop().create_task(self._hang_up(process.pid)))

    async def _hang_up(self, pid: int) -> None:
        server = self._servers.pop(pid, None)
        if server is not None:
            await server.aclose()

    async def aclose(self) -> None:
        """End what daemons served."""
        for pid in list(self._servers):
            self._tasks.append(asyncio.get_running_loop().create_task(self._hang_up(pid)))
        await asyncio.gather(*self._tasks)


@attrs.frozen
class Subject:
    """One service of the kind under test, in a world of its own."""

    world: World
    system: DaemonOs
    service: Service

    @property
    def pidfile(self) -> Path:
        return self.world.layout.service_pidfile(KEY)

    def program(self, program: Program) -> None:
        """What its program does from the next start on."""
        self.system.programs[self.service.argv()[0]] = program

    async def start(self) -> None:
        results = await self.world.start(KEY)
        assert results[KEY].ok, results[KEY].text

    async def begin(self) -> None:
        """Ask for a start and do not wait."""
        self.world.supervisor.want([KEY], Goal.UP)
        await self.world.supervisor.start([KEY])

    async def stop(self) -> str:
        return (await self.world.stop(KEY))[KEY].word


def check_service(cls: type[Service], place: Path, volumes: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Raise AssertionError when ``cls`` breaks a promise. ``fields`` are those of the ServiceSpec that it needs.

    ``volumes``: those of the host, for a kind that wants one; the instance of the service is "1".
    """
    for number, check in enumerate(_CHECKS):
        here = place / str(number)
        here.mkdir()
        before = _descriptors()
        run(_within(cls, here, check, (volumes or {}, fields)), timeout=3600.0)
        assert _descriptors() == before, f"{check.__name__}: descriptors are left open"


async def _within(
    cls: type[Service],
    place: Path,
    check: Callable[[Subject], Awaitable[None]],
    needs: tuple[Mapping[str, Any], dict[str, Any]],
) -> None:
    system = DaemonOs()
    async with World(place, system=system) as world:
        world.supervisor.volumes = needs[0]
        await check(_subject(cls, world, system, needs[1]))
        if world[KEY].alive:
            await world.stop(KEY)
    await system.aclose()
    await turns()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"{check.__name__}: tasks are left: {left}"


def _subject(cls: type[Service], world: World, system: DaemonOs, fields: dict[str, Any]) -> Subject:
    base = {"kind": cls.kind, "ready": cls.readiness, "restart": cls.restart.value, "stop_grace": cls.stop_grace}
    service = cls(make_spec(KEY, **{**base, **fields}), world.seams)
    world.supervisor.add(service)
    return Subject(world, system, service)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- the promises ----------------------------------------------------------------------------------------------


async def _has_its_facts(it: Subject) -> None:
    cls = type(it.service)
    assert cls.kind, "a kind needs a name"
    assert (cls.__doc__ or "").strip(), "a kind's docstring is its summary for people"
    assert cls.stop_grace >= 0
    assert cls.frame_timeout > 0
    assert isinstance(cls.restart, Restart)


async def _answers_are_pure(it: Subject) -> None:
    """Asking changes nothing, and twice gives the same."""
    root = it.world.layout.root
    assert root is not None
    files = sorted(root.rglob("*"))
    for ask in (it.service.argv, it.service.volfile, it.service.ready, it.service.environment):
        first, second = ask(), ask()
        assert first == second, f"{ask.__name__} does not give the same answer twice"
    assert it.service.wanted({}) == it.service.wanted({})
    assert sorted(root.rglob("*")) == files, "an answer touched the disk"
    assert it.system.processes == {}, "an answer started a process"
    assert it.service.process is None


async def _starts_and_is_online(it: Subject) -> None:
    await it.start()
    assert it.service.status is Status.ONLINE
    assert it.system.pidfiles[it.pidfile] == it.world.pid(KEY)
    (spec,) = it.system.spawns
    assert spec.marker is not None
    assert spec.marker.service == KEY


async def _manager_is_idempotent(it: Subject) -> None:
    """In no state does asking again change anything by itself."""

    def ask() -> None:
        before = (it.service.state, len(it.system.spawns), len(it.world.facts))
        for _ in range(3):
            it.service.manager(it.world.supervisor.volumes)
        after = (it.service.state, len(it.system.spawns), len(it.world.facts))
        assert after == before, "asking the manager again changed something"

    ask()
    await it.begin()
    ask()
    await advance(5)
    assert it.service.state is State.RUNNING
    ask()
    it.program(Program(term_s=2))
    await it.world.restart(KEY)
    it.world.supervisor.want([KEY], Goal.DOWN)
    await it.world.supervisor.stop([KEY])
    assert it.service.state is State.STOPPING
    ask()
    await advance(5)
    assert it.service.state is State.DOWN
    ask()


async def _stops_from_running(it: Subject) -> None:
    await it.start()
    assert await it.stop() == "stopped"
    assert await it.stop() == "was-not-running"
    _is_gone(it)


async def _stops_from_starting(it: Subject) -> None:
    it.system.mute = True
    await it.begin()
    if it.service.state is State.STARTING:  # a rule that is met at once leaves nothing to interrupt
        assert it.service.alive
    assert await it.stop() == "stopped"
    _is_gone(it)


async def _stops_from_stopping(it: Subject) -> None:
    it.program(Program(term_s=1))
    await it.start()
    first, second = await asyncio.gather(it.stop(), it.stop())
    assert (first, second) == ("stopped", "stopped")
    _is_gone(it)


async def _stops_from_waiting(it: Subject) -> None:
    it.world.supervisor.want([KEY], Goal.UP)
    it.service.hold("waits for a test")
    assert await it.stop() == "was-not-running"
    _is_gone(it)


async def _stops_from_backoff(it: Subject) -> None:
    it.service.redefine(attrs.evolve(it.service.spec, restart=Restart.ON_FAILURE))
    await it.start()
    it.system.crash(it.world.pid(KEY))
    await advance(0.5)
    assert it.service.state is State.BACKOFF
    assert await it.stop() == "was-not-running"
    await advance(100)
    _is_gone(it)


async def _stops_from_failed(it: Subject) -> None:
    it.program(Program(fails=2))
    results = await it.world.start(KEY)
    assert not results[KEY].ok
    assert it.service.state is State.FAILED
    assert await it.stop() == "was-not-running"
    _is_gone(it)


async def _a_deaf_process_is_killed(it: Subject) -> None:
    it.program(Program(term_s=None, children=(Program(term_s=None, own_session=True),)))
    await it.start()
    assert await it.stop() == "killed"
    _is_gone(it)


async def _a_stop_ends_every_child(it: Subject) -> None:
    it.program(Program(children=(Program(), Program(own_session=True))))
    await it.start()
    await it.stop()
    _is_gone(it)


async def _the_pidfile_goes_after_the_exit_alone(it: Subject) -> None:
    it.program(Program(term_s=3))
    await it.start()
    pid = it.world.pid(KEY)
    stopping = asyncio.create_task(it.stop())
    await advance(2.5)
    assert it.system.pidfiles.get(it.pidfile) == pid, "the pidfile was removed before the exit was seen"
    await stopping
    assert it.pidfile not in it.system.pidfiles, "the pidfile stays although the exit was seen"


async def _a_crash_is_handled_by_the_policy(it: Subject) -> None:
    await it.start()
    first = it.world.pid(KEY)
    it.system.crash(first)
    await advance(10)
    if it.service.spec.restart is Restart.NEVER:
        assert it.service.state is State.FAILED
    else:
        assert it.service.status is Status.ONLINE
        assert it.world.pid(KEY) != first
        assert it.service.restarts == 1
    exits = [s.event for s in it.world.facts if isinstance(s.event, events.Exited)]
    assert [(e.pid, e.signal) for e in exits] == [(first, "SIGSEGV")]


async def _a_restart_leaves_one_process(it: Subject) -> None:
    await it.start()
    first = it.world.pid(KEY)
    for _ in range(3):
        results = await it.world.restart(KEY)
        assert results[KEY].ok, results[KEY].text
    assert it.world.pid(KEY) != first
    assert it.service.incarnation == 4


async def _the_volfile_is_written_when_it_changed_alone(it: Subject) -> None:
    path = it.world.layout.service_volfile(KEY)
    await it.start()
    if it.service.volfile() is None:
        assert not path.exists()
        assert "--volfile-id" not in it.system.spawns[-1].argv
        return
    assert path.read_text() == it.service.volfile()
    inode = path.stat().st_ino
    await it.world.restart(KEY)
    assert path.stat().st_ino == inode, "an unchanged volfile was written again"


async def _the_next_svcmgrd_adopts_it(it: Subject) -> None:
    """The supervisor goes, the process stays; another one takes it over without touching it."""
    await it.start()
    pid, identity = it.world.pid(KEY), it.service.identity
    assert identity is not None
    await it.service.release()
    assert it.system.living() == [pid]
    assert it.system.signals(pid) == []
    past = Past(it.service.incarnation, it.service.started, ready=True, digest=it.service.running_digest)
    successor = type(it.service)(it.service.spec, it.world.seams)
    it.world.supervisor.services[KEY] = successor
    successor.lifecycle.goal = Goal.UP
    spawned = len(it.system.spawns)
    assert successor.adopt(identity, past)
    await advance(5)
    assert successor.status is Status.ONLINE
    assert successor.identity == identity
    assert len(it.system.spawns) == spawned
    assert successor.running_digest == successor.spec.digest
    assert await it.stop() == "stopped"
    assert it.system.living() == []


async def _nonsense_options_are_refused_in_words(it: Subject) -> None:
    spec = attrs.evolve(it.service.spec, options={"no-such-option-of-any-kind": object()})
    refusal = ""
    try:
        type(it.service).check(spec)
    except SvcmgrError as error:
        refusal = error.message
    assert refusal, "unknown options are accepted"
    assert refusal.startswith("cannot ")


def _is_gone(it: Subject) -> None:
    assert it.service.state is State.DOWN
    assert it.system.living() == []
    assert it.pidfile not in it.system.pidfiles
    assert it.service.identity is None
    assert it.system.open_handles == 0
    if it.service.socket is not None:
        assert not it.service.socket.exists()


_CHECKS = (
    _has_its_facts,
    _answers_are_pure,
    _starts_and_is_online,
    _manager_is_idempotent,
    _stops_from_running,
    _stops_from_starting,
    _stops_from_stopping,
    _stops_from_waiting,
    _stops_from_backoff,
    _stops_from_failed,
    _a_deaf_process_is_killed,
    _a_stop_ends_every_child,
    _the_pidfile_goes_after_the_exit_alone,
    _a_crash_is_handled_by_the_policy,
    _a_restart_leaves_one_process,
    _the_volfile_is_written_when_it_changed_alone,
    _the_next_svcmgrd_adopts_it,
    _nonsense_options_are_refused_in_words,
)
