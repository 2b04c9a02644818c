"""The process object on virtual time, with processes that are objects."""

from __future__ import annotations

import asyncio
import errno
import inspect
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput, Busy, NotPermitted, NotRunning, PidfileHeld, SpawnFailed, StorageFailed
from svcmgr.proc import (
    ExitStatus,
    Hooks,
    Identity,
    Os,
    Process,
    ProcSpec,
    RealOs,
    Reaper,
    State,
    StopOutcome,
    StopPlan,
    StopResult,
)
from svcmgr.proc.incarnation import REAPED_WITHIN_S
from tests.kit.fakeos import BOOT, FakeOs, Program
from tests.kit.vloop import START, VirtualClock, run, turns

STOPPED = StopOutcome(StopResult.STOPPED)
KILLED = StopOutcome(StopResult.KILLED)


def spec_of(name: str = "a", program: str = "prog", **changes: Any) -> ProcSpec:
    env = {"SVCMGR_SERVICE": name, "SVCMGR_ROOT": "/run/x"}
    base: dict[str, Any] = {"name": name, "argv": (program,), "env": env, "logdir": Path("/l"), "logfile": Path("/l/a")}
    return ProcSpec(**{**base, **changes})


class FakeCgroup:
    """A control group: whoever was attached, and their descendants."""

    def __init__(self, os: FakeOs) -> None:
        self.os = os
        self.members: set[int] = set()
        self.kills = 0
        self.removed = 0
        self.refuses = False

    def attach(self, pid: int) -> None:
        if self.refuses:
            raise StorageFailed("cannot attach")
        self.members.add(pid)

    def kill(self) -> None:
        self.kills += 1

    def pids(self) -> list[int]:
        return [pid for pid in self.members if self.os.processes[pid].alive]

    def remove(self) -> None:
        self.removed += 1


class World:
    """One fake system, one process, and when it ended."""

    def __init__(self, *programs: Program, **changes: Any) -> None:
        self.os = FakeOs({"prog": programs[0] if programs else Program()})
        self.exits: list[tuple[float, ExitStatus]] = []
        self.mains: list[int] = []
        self.unkillable: list[tuple[int, ...]] = []
        self.on_exit: Callable[[], object] = lambda: None
        self.cgroup = FakeCgroup(self.os)
        self.process = Process(
            "a",
            os=self.os,
            clock=VirtualClock(),
            on_exit=self._exited,
            hooks=Hooks(
                on_main=lambda _, identity: self.mains.append(identity.pid),
                on_unkillable=lambda _, pids: self.unkillable.append(pids),
                cgroups=lambda path: self.cgroup,
            ),
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


def test_the_fake_keeps_to_the_seam() -> None:
    methods = [name for name in vars(Os) if not name.startswith("_")]
    assert len(methods) > 20
    for name in methods:
        wanted = list(inspect.signature(getattr(Os, name)).parameters.values())
        for system in (FakeOs, RealOs):
            given_ = list(inspect.signature(getattr(system, name)).parameters.values())
            assert [(one.name, one.kind, one.default) for one in given_] == [
                (one.name, one.kind, one.default) for one in wanted
            ], f"{system.__name__}.{name}"


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


def test_sigstopped_gets_its_term_by_sigcont() -> None:
    async def check() -> None:
        world = World(Program(term_s=0.5))
        world.process.spawn()
        world.process.signal(signal.SIGSTOP)
        world.process.stop()
        assert await world.process.wait_gone() == STOPPED
        assert world.exits == [(0.5, ExitStatus(code=0))]

    history(check)


def test_unkillable_is_reported_with_pids_and_may_still_end() -> None:
    async def check() -> None:
        world = World(Program(unkillable=True), stop=StopPlan(grace_s=1, kill_deadline_s=2))
        pid = world.process.spawn().pid
        world.process.stop()
        assert await world.process.wait_gone() == StopOutcome(StopResult.FAILED, (pid,))
        assert asyncio.get_running_loop().time() == START + 3
        assert world.process.state is State.UNKILLABLE
        assert world.unkillable == [(pid,)]
        # Who asks now is told at once; nothing may be started beside it.
        assert await world.process.wait_gone() == StopOutcome(StopResult.FAILED, (pid,))
        with pytest.raises(Busy):
            world.process.spawn()
        assert world.exits == []
        # Asked again it is tried again.
        world.process.stop()
        assert (await world.process.wait_gone()).result is StopResult.FAILED
        world.os.crash(pid, signal.SIGKILL)
        await turns()
        assert world.exits == [(5, ExitStatus(signal=9))]
        world.check_clean()

    history(check)


def test_a_member_that_may_not_be_signalled_is_named() -> None:
    async def check() -> None:
        world = World(Program(children=(Program(),)), stop=StopPlan(grace_s=1, kill_deadline_s=2))
        pid = world.process.spawn().pid
        child = pid + 1
        world.os.forbidden.add(child)
        # What the kernel refuses for one process it refuses for its group.
        world.os.signal_group = lambda *_: None  # type: ignore[method-assign]
        world.process.stop()
        assert await world.process.wait_gone() == StopOutcome(StopResult.FAILED, (child,))
        with pytest.raises(Busy):
            world.process.spawn()
        world.os.exit(child)
        await turns()
        assert world.exits == [(3, ExitStatus(code=0))]

    history(check)


LEFT = [
    Program(term_s=None),
    Program(term_s=None, own_session=True),
    Program(term_s=None, children=(Program(term_s=None, own_session=True),)),
    Program(term_s=None, own_session=True, children=(Program(term_s=None, own_session=True),) * 3),
]


@pytest.mark.parametrize("left", LEFT)
def test_leftovers_of_a_crash_get_their_grace_then_sigkill(left: Program) -> None:
    async def check() -> None:
        world = World(Program(children=(left, left)))
        pid = world.process.spawn().pid
        world.os.crash(pid)
        await turns()
        assert not world.process.alive
        assert world.process.leftovers()
        assert world.exits == []
        with pytest.raises(Busy):
            world.process.spawn()
        assert await world.process.wait_gone() == KILLED
        assert world.exits == [(1, ExitStatus(signal=signal.SIGSEGV))]
        world.check_clean()

    history(check)


@pytest.mark.parametrize("left", LEFT)
def test_leftovers_after_a_stop_share_what_is_left_of_the_grace(left: Program) -> None:
    async def check() -> None:
        world = World(Program(term_s=9.5, children=(left,)))
        world.process.spawn()
        world.process.stop()
        assert await world.process.wait_gone() == KILLED
        assert world.exits == [(10, ExitStatus(code=0))]
        world.check_clean()

    history(check)


def test_obedient_leftovers_end_without_sigkill() -> None:
    async def check() -> None:
        world = World(Program(children=(Program(term_s=0.25), Program(term_s=0.5, own_session=True))))
        pid = world.process.spawn().pid
        world.process.stop()
        assert await world.process.wait_gone() == STOPPED
        assert world.exits == [(0.5, ExitStatus(code=0))]
        assert signal.SIGKILL not in world.os.signals(pid + 1) + world.os.signals(pid + 2)
        world.check_clean()

    history(check)


def test_unmarked_descendants_are_remembered_at_stop_and_lost_at_a_crash() -> None:
    async def check() -> None:
        lost = Program(term_s=None, own_session=True, clean_env=True)
        world = World(Program(children=(lost,)))
        pid = world.process.spawn().pid
        world.process.stop()
        assert await world.process.wait_gone() == KILLED
        world.check_clean()
        # A crash cuts the tie first; what cannot be proved ours is not touched.
        pid = world.process.spawn().pid
        world.os.crash(pid)
        await turns()
        assert len(world.exits) == 2
        assert world.os.living() == [pid + 1]
        assert world.os.signals(pid + 1) == []

    history(check)


def test_leftovers_that_fork_on() -> None:
    async def check() -> None:
        world = World(Program(children=(Program(term_s=None),)))
        pid = world.process.spawn().pid
        child = pid + 1
        world.os.crash(pid)
        await turns()
        # The one we know forks another and exits; the new one has to be found.
        grandchild = world.os.fork(child, Program(term_s=None, own_session=True))
        world.os.exit(child)
        await turns()
        assert world.process.leftovers() == (grandchild,)
        assert await world.process.wait_gone() == KILLED
        assert world.exits == [(1, ExitStatus(signal=signal.SIGSEGV))]
        world.check_clean()

    history(check)


def test_members_that_always_vanish_do_not_stall_the_ladder() -> None:
    async def check() -> None:
        world = World(Program())
        pid = world.process.spawn().pid
        ghosts = 40

        def members(*_: object, **__: object) -> list[Identity]:
            nonlocal ghosts
            ghosts -= 1
            return [Identity(99, 1, BOOT)] if ghosts > 0 else []

        world.os.members = members  # type: ignore[method-assign]
        world.os.crash(pid)
        await turns()
        assert world.exits == []
        await asyncio.sleep(1)
        assert len(world.exits) == 1
        assert world.os.open_handles == 0

    history(check)


def test_on_exit_may_spawn_at_once_and_is_called_once_each() -> None:
    async def check() -> None:
        world = World(Program(exits_after=1, code=1))
        world.on_exit = lambda: len(world.exits) < 5 and world.process.spawn()
        world.process.spawn()
        await asyncio.sleep(10)
        assert [at for at, _ in world.exits] == [1, 2, 3, 4, 5]
        world.check_clean()

    history(check)


def test_waiters_of_the_old_incarnation_hear_of_it_even_if_on_exit_respawns() -> None:
    async def check() -> None:
        world = World(Program(term_s=1))
        world.on_exit = lambda: len(world.exits) < 2 and world.process.spawn()
        world.process.spawn()
        world.process.stop()
        waiters = [asyncio.create_task(world.process.wait_gone()) for _ in range(3)]
        cancelled = asyncio.create_task(world.process.wait_gone())
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await asyncio.gather(*waiters) == [STOPPED] * 3
        assert world.process.alive
        assert world.process.last_exit == ExitStatus(code=0)

    history(check)


def test_failed_spawn_leaves_it_idle() -> None:
    async def check() -> None:
        world = World(Program(fails=errno.ENOENT))
        for _ in range(2):
            with pytest.raises(SpawnFailed) as caught:
                world.process.spawn()
            assert caught.value.details["errno"] == errno.ENOENT
        assert world.process.identity is None
        assert world.exits == []
        world.check_clean()

    history(check)


def test_a_held_pidfile_refuses_the_start() -> None:
    async def check() -> None:
        path = Path("/run/a.pid")
        world = World(pidfile=path)
        holder = world.os.start_elsewhere(spec_of("b"))
        world.os.locks[path] = holder.pid
        with pytest.raises(PidfileHeld):
            world.process.spawn()
        world.os.exit(holder.pid)
        assert world.process.spawn()

    history(check)


def test_our_pidfile_lives_as_long_as_the_process() -> None:
    async def check() -> None:
        path = Path("/run/a.pid")
        world = World(Program(term_s=5), pidfile=path, write_pidfile=True)
        pid = world.process.spawn().pid
        assert world.os.pidfiles == {path: pid}
        world.process.stop()
        await asyncio.sleep(4.9)
        assert world.os.pidfiles == {path: pid}
        await world.process.wait_gone()
        assert world.os.pidfiles == {}

    history(check)


def test_adoption_by_identity_only() -> None:
    async def check() -> None:
        world = World()
        identity = world.os.start_elsewhere(spec_of())
        assert not world.process.adopt(Identity(identity.pid, identity.start_ticks + 1, BOOT))
        assert not world.process.adopt(Identity(identity.pid, identity.start_ticks, "other boot"))
        assert world.process.adopt(identity)
        assert world.process.since == START
        world.os.exit(identity.pid, 4)
        await turns()
        assert world.exits == [(0, ExitStatus(code=4))]
        # The number now belongs to a stranger.
        stranger = world.os.reuse(identity.pid)
        assert not world.process.adopt(identity)
        world.process.stop()
        assert await world.process.wait_gone() == StopOutcome(StopResult.WAS_NOT_RUNNING)
        assert world.os.signals(stranger.pid) == []

    history(check)


def test_an_adopted_tree_is_found_among_the_children_of_init() -> None:
    async def check() -> None:
        deep = Program(term_s=None, children=(Program(term_s=None, own_session=True),))
        world = World(Program(children=(deep, Program(own_session=True, clean_env=True))))
        identity = world.os.start_elsewhere(spec_of())
        neighbour = world.os.start_elsewhere(spec_of("b"))
        assert world.process.adopt(identity)
        assert len(world.process.pids()) == 4
        world.process.stop()
        assert await world.process.wait_gone() == KILLED
        assert world.exits == [(1, ExitStatus(code=0))]
        assert neighbour.pid in world.os.living()
        assert world.os.signals(neighbour.pid) == []

    history(check)


def test_an_adopted_process_nobody_reaps_ends_with_unknown_status() -> None:
    async def check() -> None:
        world = World()
        world.os.reaps_foreign = False
        identity = world.os.start_elsewhere(spec_of())
        assert world.process.adopt(identity)
        world.os.crash(identity.pid)
        await asyncio.sleep(1)
        assert world.exits == [(REAPED_WITHIN_S, ExitStatus())]
        assert world.os.open_handles == 0

    history(check)


def test_a_forking_program_is_followed() -> None:
    async def check() -> None:
        path = Path("/run/a.pid")
        helper, daemon = Program(own_session=True), Program(own_session=True)
        world = World(Program(exits_after=1, children=(helper, daemon)), forks=True, pidfile=path)
        first = world.process.spawn().pid
        world.os.pidfiles[path] = first + 2
        await asyncio.sleep(2)
        assert world.mains == [first + 2]
        assert world.process.identity
        assert world.process.identity.pid == first + 2
        assert world.process.alive
        assert world.os.processes[first].reaped
        assert world.exits == []
        world.os.exit(first + 2, 9)
        await asyncio.sleep(2)
        assert world.exits == [(2, ExitStatus(code=9))]
        world.check_clean()

    history(check)


@pytest.mark.parametrize("code", [0, 1])
def test_a_forking_program_that_leaves_nothing_or_fails_has_exited(code: int) -> None:
    async def check() -> None:
        children = (Program(),) if code else ()
        world = World(Program(exits_after=1, code=code, children=children), forks=True)
        world.process.spawn()
        await asyncio.sleep(3)
        assert world.exits == [(1, ExitStatus(code=code))]
        assert world.mains == []
        world.check_clean()

    history(check)


def test_a_forking_program_asked_to_stop_is_not_followed() -> None:
    async def check() -> None:
        world = World(Program(children=(Program(),)), forks=True)
        world.process.spawn()
        world.process.stop()
        assert await world.process.wait_gone() == STOPPED
        assert world.mains == []
        world.check_clean()

    history(check)


def test_adopt_main_takes_members_only() -> None:
    async def check() -> None:
        world = World(Program(children=(Program(own_session=True), Program())))
        first = world.process.spawn().pid
        stranger = world.os.start_elsewhere(spec_of("b")).pid
        with pytest.raises(NotPermitted):
            world.process.adopt_main(stranger)
        with pytest.raises(NotRunning):
            world.process.adopt_main(424242)
        assert world.process.adopt_main(first).pid == first
        assert world.process.adopt_main(first + 1).pid == first + 1
        assert world.mains == [first + 1]
        # The former main process is a member now: its exit is not the end.
        world.os.exit(first)
        await turns()
        assert world.process.alive
        world.process.stop()
        assert await world.process.wait_gone() == STOPPED
        assert world.os.signals(first + 1) == [signal.SIGTERM]
        assert world.os.living() == [stranger, stranger + 1, stranger + 2]
        assert world.os.open_handles == 0

    history(check)


def test_control_group_is_attached_asked_killed_and_removed() -> None:
    async def check() -> None:
        world = World(Program(term_s=None), cgroup=Path("/sys/fs/cgroup/x"), stop=StopPlan(grace_s=1))
        pid = world.process.spawn().pid
        assert world.cgroup.members == {pid}
        # Something without any other mark: only the group knows it.
        lost = world.os.start_elsewhere(spec_of("zz"))
        world.cgroup.members.add(lost.pid)
        world.process.stop()
        assert await world.process.wait_gone() == KILLED
        assert world.cgroup.kills > 0
        assert world.cgroup.removed == 1
        assert world.os.living() == []

    history(check)


def test_a_control_group_that_refuses_fails_the_start() -> None:
    async def check() -> None:
        world = World(cgroup=Path("/sys/fs/cgroup/x"))
        world.cgroup.refuses = True
        with pytest.raises(StorageFailed):
            world.process.spawn()
        world.check_clean()
        assert world.process.identity is None
        assert world.exits == []

    history(check)


def test_descriptions_and_order_of_calls() -> None:
    async def check() -> None:
        world = World()
        with pytest.raises(BadInput):
            world.process.init(spec_of("b"))
        world.process.spawn()
        # A new description is for the next incarnation.
        world.process.init(spec_of(stop=StopPlan(grace_s=0)))
        fresh = Process("c", os=world.os, clock=VirtualClock(), on_exit=lambda *_: None)
        with pytest.raises(Busy):
            fresh.spawn()
        assert not fresh.alive
        assert fresh.pids() == ()
        fresh.stop()
        assert await fresh.wait_gone() == StopOutcome(StopResult.WAS_NOT_RUNNING)

    history(check)


def test_detach_settles_waiters_and_is_silent_ever_after() -> None:
    async def check() -> None:
        world = World(Program(term_s=None, children=(Program(),)))
        pid = world.process.spawn().pid
        world.process.stop()
        waiter = asyncio.create_task(world.process.wait_gone())
        await asyncio.sleep(1)
        world.process.detach()
        assert (await waiter).result is StopResult.FAILED
        await asyncio.sleep(100)
        assert world.os.living() == [pid, pid + 1]
        assert world.os.open_handles == 0
        assert world.exits == []

    history(check)


def test_reaper_takes_strangers_and_nothing_else() -> None:
    async def check() -> None:
        world = World(Program(children=(Program(own_session=True, clean_env=True, exits_after=3, code=5),)))
        seen: list[tuple[int, ExitStatus]] = []
        reaper = Reaper(world.os, lambda pid, status: seen.append((pid, status)))
        reaper.open()
        reaper.open()
        pid = world.process.spawn().pid
        world.os.exit(pid, 7)
        await asyncio.sleep(5)
        assert world.exits == [(0, ExitStatus(code=7))]
        assert seen == [(pid + 1, ExitStatus(code=5))]
        assert reaper.reaped == 1
        reaper.close()
        reaper.close()
        world.check_clean()

    history(check)


programs = st.recursive(
    st.builds(
        Program,
        exits_after=st.none() | st.floats(0.01, 20),
        code=st.integers(0, 3),
        term_s=st.none() | st.floats(0, 15),
        own_session=st.booleans(),
    ),
    lambda inner: st.builds(
        Program,
        exits_after=st.none() | st.floats(0.01, 20),
        term_s=st.none() | st.floats(0, 15),
        own_session=st.booleans(),
        children=st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=8,
)
happenings = st.lists(
    st.tuples(st.floats(0, 5), st.sampled_from(["stop", "force", "crash", "fork", "stopsig"]), st.integers(0, 7)),
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(programs, happenings, st.booleans())
def test_any_history_ends_clean(program: Program, events: list[tuple[float, str, int]], adopted: bool) -> None:
    """Whatever happens: one on_exit, nothing alive before it, nothing held after it, within the ladder's time."""

    async def check() -> None:
        world = World(program)
        alive_at_exit: list[list[int]] = []
        world.on_exit = lambda: alive_at_exit.append(world.os.living())
        if adopted:
            assert world.process.adopt(world.os.start_elsewhere(spec_of()))
        else:
            world.process.spawn()
        for pause, what, which in events:
            await asyncio.sleep(pause)
            living = world.os.living()
            if not living:
                break
            pid = living[which % len(living)]
            if what == "crash":
                world.os.crash(pid)
            elif what == "fork":
                world.os.fork(pid, Program(term_s=None, own_session=True))
            elif what == "stopsig":
                if handle := world.os.open(world.os.processes[pid].identity):
                    world.os.send_signal(handle, signal.SIGSTOP)
                    world.os.close(handle)
            else:
                world.process.stop(force=what == "force")
        world.process.stop()
        asked = asyncio.get_running_loop().time()
        outcome = await world.process.wait_gone()
        assert asyncio.get_running_loop().time() - asked <= 10.001
        assert outcome.result is not StopResult.FAILED
        assert alive_at_exit == [[]]
        assert len(world.exits) == 1
        assert world.os.living() == []
        assert world.os.open_handles == 0
        assert world.os.known == set()
        await asyncio.sleep(100)
        assert len(world.exits) == 1

    history(check)
