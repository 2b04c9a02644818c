"""An operating system whose processes are objects: they exit, hang, ignore signals, leave children.

:class:`FakeOs` fulfils :class:`svcmgr.proc.osapi.Os` on the time of the running loop. What a program does is a
:class:`Program`, found by ``argv[0]``; a test then makes things happen with ``exit``, ``crash`` and so on. It
keeps the promises that the real one gives: an exit is told a loop turn later, orphans are re-parented before
the exit of their parent is told, numbers are not reused unless the test says so.
"""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable
from pathlib import Path

import attrs

from svcmgr.errors import NotPermitted, PidfileHeld, SpawnFailed
from svcmgr.proc.identity import ExitStatus, Identity
from svcmgr.proc.seam import Handle
from svcmgr.proc.spec import Marker, ProcSpec
from svcmgr.proc.tree import Tree, spawned

BOOT = "00000000-0000-4000-8000-000000000000"
US = 100


@attrs.frozen
class Program:
    """What a program does.

    Args:
        exits_after: seconds until it exits by itself with ``code``; None: never.
        term_s: seconds from SIGTERM (or the stop signal) to its exit with ``term_code``; None: it ignores it.
        unkillable: SIGKILL does nothing either (uninterruptible sleep).
        children: programs that it starts at once. They stay when it exits.
        own_session: as a child, it calls setsid(2).
        clean_env: as a child, it drops the marker.
        fails: spawn fails with this errno.
    """

    exits_after: float | None = None
    code: int = 0
    term_s: float | None = 0.0
    term_code: int = 0
    unkillable: bool = False
    children: tuple[Program, ...] = ()
    own_session: bool = False
    clean_env: bool = False
    fails: int | None = None


@attrs.define(eq=False)
class FakeProcess:
    """One process of a :class:`FakeOs`."""

    identity: Identity
    ppid: int
    session: int
    program: Program
    marker: Marker | None
    spec: ProcSpec | None = None
    status: ExitStatus | None = None
    reaped: bool = False
    stopped: bool = False
    signals: list[int] = attrs.Factory(list)
    pending: list[int] = attrs.Factory(list)
    watchers: dict[int, Callable[[], None]] = attrs.Factory(dict)
    on_reaped: list[Callable[[], None]] = attrs.Factory(list)

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def alive(self) -> bool:
        return self.status is None


class FakeOs:
    """See the module.

    Attributes:
        programs: by ``argv[0]``; a name that is not there runs for ever and obeys SIGTERM at once.
        processes: everything ever started, by pid (the latest of a number).
        spawns: specs in the order in which they were spawned.
        spawn_failures: errors for the next spawns, first one first.
        pidfiles: numbers written by whomever; ``locks``: the holders.
        forbidden: pids that we may not signal.
        reaps_foreign: whether the parents of processes that are not our children reap them.
    """

    def __init__(self, programs: dict[str, Program] | None = None) -> None:
        self.programs = dict(programs or {})
        self.processes: dict[int, FakeProcess] = {}
        self.spawns: list[ProcSpec] = []
        self.spawn_failures: list[SpawnFailed] = []
        self.directories: set[Path] = set()
        self.pidfiles: dict[Path, int] = {}
        #: what svcmgrd took away the mounts of
        self.detached: list[Path] = []
        self.locks: dict[Path, int] = {}
        self.forbidden: set[int] = set()
        self.known: set[Identity] = set()
        self.reaps_foreign = True
        self.subreaper = False
        self.child_watchers: list[Callable[[], None]] = []
        self.open_handles = 0
        self._next_pid = 1000
        self._next_fd = 10
        self._ticks = 5000

    # --- for tests -------------------------------------------------------------------------------

    def exit(self, pid: int, code: int = 0) -> None:
        """The process exits by itself."""
        self._end(self.processes[pid], ExitStatus(code=code))

    def crash(self, pid: int, number: int = signal.SIGSEGV, *, core: bool = False) -> None:
        """The process dies by a signal."""
        self._end(self.processes[pid], ExitStatus(signal=number, core=core))

    def living(self) -> list[int]:
        """Pids that live, lowest first."""
        return sorted(pid for pid, one in self.processes.items() if one.alive)

    def signals(self, pid: int) -> list[int]:
        """Every signal sent to ``pid``."""
        return self.processes[pid].signals

    def fork(self, pid: int, program: Program) -> int:
        """The living process ``pid`` starts a child; returns its number."""
        parent = self.processes[pid]
        return self._start(program, parent.pid, parent.session, parent.marker).pid

    def start_elsewhere(self, spec: ProcSpec, *, ppid: int = 1) -> Identity:
        """A process of an earlier supervisor: not our child."""
        program = self.programs.get(spec.argv[0], Program())
        return self._start(program, ppid, None, spec.marker, spec=spec).identity

    def reuse(self, pid: int) -> Identity:
        """The dead process's number is given to a stranger."""
        assert not self.processes[pid].alive
        self._ticks += 1
        identity = Identity(pid, self._ticks, BOOT)
        self.processes[pid] = FakeProcess(identity, 1, pid, Program(), None)
        return identity

    # --- Os: our own standing ----------------------------------------------------------------------

    def become_subreaper(self) -> None:
        self.subreaper = True

    def boot_id(self) -> str:
        return BOOT

    def marked(self, root: str) -> dict[str, list[Identity]]:
        found: dict[str, list[Identity]] = {}
        for one in self.processes.values():
            if one.alive and one.marker is not None and one.marker.root == root:
                found.setdefault(one.marker.service, []).append(one.identity)
        return found

    def environ(self, pid: int) -> bytes:
        process = self.processes.get(pid)
        if process is None or not process.alive or process.spec is None:
            return b""
        return b"".join(f"{key}={value}\0".encode() for key, value in process.spec.env.items())

    # --- Os: files -------------------------------------------------------------------------------

    def make_dirs(self, spec: ProcSpec) -> None:
        self.directories |= {spec.logdir, spec.logfile.parent}

    def check_pidfile(self, spec: ProcSpec) -> None:
        holder = self.locks.get(spec.pidfile) if spec.pidfile else None
        if holder is not None and self.processes[holder].alive:
            raise PidfileHeld(f"cannot take pidfile {spec.pidfile}: process {holder} holds its lock", pid=holder)

    def write_pidfile(self, spec: ProcSpec, pid: int) -> None:
        if spec.pidfile is not None and spec.write_pidfile:
            self.pidfiles[spec.pidfile] = pid

    def remove_pidfile(self, spec: ProcSpec, pid: int) -> None:
        if spec.pidfile is not None and self.pidfiles.get(spec.pidfile) == pid:
            del self.pidfiles[spec.pidfile]

    def detach_mount(self, path: Path) -> None:
        self.detached.append(path)

    def read_pidfile(self, spec: ProcSpec) -> int | None:
        return None if spec.pidfile is None else self.locks.get(spec.pidfile) or self.pidfiles.get(spec.pidfile)

    # --- Os: one process -------------------------------------------------------------------------

    def spawn(self, spec: ProcSpec) -> Handle:
        if self.spawn_failures:
            raise self.spawn_failures.pop(0)
        program = self.programs.get(spec.argv[0], Program())
        if program.fails is not None:
            reason = errno.errorcode.get(program.fails, "?")
            raise SpawnFailed(f"cannot start {spec.name}: command {spec.argv[0]!r}: {reason}", errno=program.fails)
        self.spawns.append(spec)
        process = self._start(program, US, None, spec.marker, spec=spec)
        self.known.add(process.identity)
        return self._handle(process)

    def abort(self, handle: Handle) -> None:
        self._end(self.processes[handle.pid], ExitStatus(signal=signal.SIGKILL))
        self.reap(handle)
        self.close(handle)

    def identity(self, pid: int) -> Identity | None:
        process = self.processes.get(pid)
        return process.identity if process is not None and process.alive else None

    def open(self, identity: Identity) -> Handle | None:
        process = self.processes.get(identity.pid)
        if process is None or process.identity != identity or not process.alive:
            return None
        return self._handle(process)

    def close(self, handle: Handle) -> None:
        self._of(handle).watchers.pop(handle.pidfd, None)
        self.open_handles -= 1

    def watch(self, handle: Handle, callback: Callable[[], None]) -> None:
        process = self._of(handle)
        process.watchers[handle.pidfd] = callback
        if not process.alive:
            self._tell(process)

    def watch_reaped(self, handle: Handle, callback: Callable[[], None]) -> Callable[[], None]:
        process = self._of(handle)
        process.on_reaped.append(callback)

        def give_up() -> None:
            if callback in process.on_reaped:
                process.on_reaped.remove(callback)

        return give_up

    def send_signal(self, handle: Handle, number: int) -> bool:
        process = self._of(handle)
        if not process.alive:
            return False
        if handle.pid in self.forbidden:
            raise NotPermitted(f"cannot signal process {handle.pid}", pid=handle.pid)
        process.signals.append(number)
        self._deliver(process, number)
        return True

    def signal_group(self, handle: Handle, number: int) -> None:
        for process in list(self.processes.values()):
            if process.alive and process.session == handle.pid and process.pid != handle.pid:
                process.signals.append(number)
                self._deliver(process, number)

    def peek(self, handle: Handle) -> ExitStatus | None:
        process = self._of(handle)
        return process.status if process.ppid == US or process.reaped else None

    def reap(self, handle: Handle) -> None:
        process = self._of(handle)
        if process.ppid == US and not process.alive:
            process.reaped = True
        self.known.discard(handle.identity)

    # --- Os: many processes ----------------------------------------------------------------------

    def claim(self, handle: Handle) -> None:
        self.known.add(handle.identity)

    def disown(self, handle: Handle) -> None:
        self.known.discard(handle.identity)

    def watch_children(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.child_watchers.append(callback)
        return lambda: self.child_watchers.remove(callback)

    def reap_strangers(self) -> list[tuple[int, ExitStatus]]:
        found = []
        for process in self.processes.values():
            status = process.status
            if process.ppid == US and status and not process.reaped and process.identity not in self.known:
                process.reaped = True
                found.append((process.pid, status))
        return found

    def tree_of(self, handle: Handle, marker: Marker | None) -> Tree:
        process = self._of(handle)
        tree = spawned(handle.identity, marker)
        ours = process.ppid == US or self._descends(process, US)
        return attrs.evolve(tree, ours=ours, sessions=frozenset({process.session} & {process.pid}))

    def members(self, tree: Tree, *, main_alive: bool, fresh: bool = False) -> list[Identity]:
        heirs = {US} if tree.ours else tree.heirs
        found = {
            one.pid: one
            for one in self.processes.values()
            if one.alive
            and one.identity not in self.known
            and (one.ppid in heirs or one.identity in tree.remembered)
            and tree.belongs(one.identity, one.session, one.marker)
        }
        roots = set(found) | ({tree.main.pid} if main_alive else set())
        for one in self.processes.values():
            if one.alive and any(self._descends(one, root) for root in roots):
                found[one.pid] = one
        found.pop(tree.main.pid, None)
        return [one.identity for one in found.values()]

    def descendants(self, main: Identity) -> list[Identity]:
        return [one.identity for one in self.processes.values() if one.alive and self._descends(one, main.pid)]

    # --- inside ----------------------------------------------------------------------------------

    def _of(self, handle: Handle) -> FakeProcess:
        process = self.processes[handle.pid]
        assert process.identity == handle.identity, "a handle of a number that was given away"
        return process

    def _handle(self, process: FakeProcess) -> Handle:
        self._next_fd += 1
        self.open_handles += 1
        return Handle(process.identity, self._next_fd)

    def _descends(self, process: FakeProcess, ancestor: int) -> bool:
        while process.ppid != ancestor:
            parent = self.processes.get(process.ppid)
            if parent is None:
                return False
            process = parent
        return True

    def _start(
        self, program: Program, ppid: int, session: int | None, marker: Marker | None, spec: ProcSpec | None = None
    ) -> FakeProcess:
        self._next_pid += 1
        self._ticks += 1
        pid = self._next_pid
        if session is None or program.own_session:
            session = pid
        marker = None if program.clean_env else marker
        process = FakeProcess(Identity(pid, self._ticks, BOOT), ppid, session, program, marker, spec)
        self.processes[pid] = process
        for child in program.children:
            self._start(child, pid, session, marker)
        if program.exits_after is not None:
            self._end_later(process, program.exits_after, ExitStatus(code=program.code))
        return process

    def _deliver(self, process: FakeProcess, number: int) -> None:
        if number == signal.SIGKILL:
            if not process.program.unkillable:
                self._end(process, ExitStatus(signal=number))
        elif number == signal.SIGSTOP:
            process.stopped = True
        elif number == signal.SIGCONT:
            process.stopped = False
            pending, process.pending = process.pending, []
            for one in pending:
                self._deliver(process, one)
        elif process.stopped:
            process.pending.append(number)
        elif process.spec is None or number in (signal.SIGTERM, process.spec.stop.signal):
            program = process.program
            if program.term_s is not None and not program.unkillable:
                self._end_later(process, program.term_s, ExitStatus(code=program.term_code))

    def _end_later(self, process: FakeProcess, delay: float, status: ExitStatus) -> None:
        if delay == 0:
            self._end(process, status)
        else:
            asyncio.get_running_loop().call_later(delay, self._end, process, status)

    def _end(self, process: FakeProcess, status: ExitStatus) -> None:
        if not process.alive:
            return
        ours = process.ppid == US or self._descends(process, US)
        for child in self.processes.values():
            if child.ppid == process.pid:
                child.ppid = US if ours else 1
        process.status = status
        self._tell(process)
        if process.ppid == US:
            for callback in self.child_watchers:
                asyncio.get_running_loop().call_soon(callback)
        if process.ppid != US and self.reaps_foreign:
            asyncio.get_running_loop().call_soon(self._reap_foreign, process)

    def _reap_foreign(self, process: FakeProcess) -> None:
        process.reaped = True
        for callback in process.on_reaped[:]:
            callback()

    def _tell(self, process: FakeProcess) -> None:
        for fd in list(process.watchers):
            asyncio.get_running_loop().call_soon(self._call_watcher, process, fd)

    def _call_watcher(self, process: FakeProcess, fd: int) -> None:
        callback = process.watchers.pop(fd, None)
        if callback is not None:
            callback()
