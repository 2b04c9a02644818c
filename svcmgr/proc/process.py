"""The process object of a service: start it, take it over, end it, and know how it ended.

It owns at most one incarnation at a time. ``on_exit`` is called exactly once for each, after the main process
has exited and nothing of its tree is left, so whoever hears it may start the next one at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import attrs

from svcmgr.clock import Clock
from svcmgr.errors import BadInput, Busy, NotRunning
from svcmgr.proc.identity import ExitStatus, Identity
from svcmgr.proc.incarnation import Cgroup, Incarnation, World
from svcmgr.proc.seam import Handle, Os
from svcmgr.proc.spec import ProcSpec
from svcmgr.proc.stopper import State, StopOutcome, StopResult
from svcmgr.proc.tree import Tree, spawned


@attrs.frozen
class Hooks:
    """Optional collaborators of a process.

    Args:
        on_main: told of a new main process of the running incarnation (it forked, or adopt_main was called).
        on_lingers: told that the main process has ended while something of its tree still lives.
        on_unkillable: told of the pids that outlived SIGKILL and the deadline after it.
        cgroups: gives the control group at a path; used when the spec names one.
    """

    on_main: Callable[[Process, Identity], None] | None = None
    on_unkillable: Callable[[Process, tuple[int, ...]], None] | None = None
    on_lingers: Callable[[Process], None] | None = None
    cgroups: Callable[[Path], Cgroup] | None = None


class Process:
    """See the module. All methods belong to the thread of the event loop."""

    def __init__(
        self,
        name: str,
        *,
        os: Os,
        clock: Clock,
        on_exit: Callable[[Process, ExitStatus], None],
        hooks: Hooks | None = None,
    ) -> None:
        self.name = name
        #: How the last incarnation ended, and what the last request to stop came to.
        self.last_exit: ExitStatus | None = None
        self.last_outcome: StopOutcome | None = None
        #: Monotonic seconds when the current incarnation was started or taken over.
        self.since: float | None = None
        self._os = os
        self._clock = clock
        self._on_exit = on_exit
        self._hooks = hooks or Hooks()
        self._spec: ProcSpec | None = None
        self._run: Incarnation | None = None
        self._waiters: set[asyncio.Future[StopOutcome]] = set()

    # --- facts ---------------------------------------------------------------------------------

    @property
    def spec(self) -> ProcSpec | None:
        return self._spec

    @property
    def identity(self) -> Identity | None:
        """The main process; None when nothing runs."""
        return None if self._run is None else self._run.main.identity

    @property
    def alive(self) -> bool:
        """Whether the main process lives. Its leftovers may outlive it: see ``state``."""
        return self._run is not None and self._run.alive

    @property
    def state(self) -> State:
        """Where the ladder stands; GONE when nothing runs."""
        return State.GONE if self._run is None else self._run.state

    def leftovers(self) -> tuple[int, ...]:
        """Members of the tree, other than the main process, that are being ended."""
        return () if self._run is None else self._run.member_pids()

    def pids(self) -> tuple[int, ...]:
        """The main process, if it lives, and all of its tree, looked up now."""
        run = self._run
        if run is None:
            return ()
        return (*((run.main.pid,) if run.alive else ()), *(who.pid for who in run.look()))

    # --- life ----------------------------------------------------------------------------------

    def init(self, spec: ProcSpec) -> None:
        """Take a description and create its directories. A running incarnation keeps the one it has.

        Raises:
            BadInput: it describes another process.
            StorageFailed: a directory cannot be made.
        """
        if spec.name != self.name:
            raise BadInput(f"cannot use the description of {spec.name} for {self.name}")
        self._os.make_dirs(spec)
        self._spec = spec

    def spawn(self) -> Identity:
        """Start an incarnation.

        Raises:
            SpawnFailed: nothing was started.
            PidfileHeld, PidfileUnusable: the daemon could not lock its pidfile.
            StorageFailed, NotPermitted: pidfile or control group; the child was killed again.
            Busy: one runs, or something of one.
        """
        spec = self._idle("start")
        self._os.check_pidfile(spec)
        cgroup = self._cgroup(spec)
        handle = self._os.spawn(spec)
        try:
            if cgroup is not None:
                cgroup.attach(handle.pid)
            self._os.write_pidfile(spec, handle.pid)
        except BaseException:
            self._os.abort(handle)
            raise
        self._begin(spec, handle, spawned(handle.identity, spec.marker), cgroup)
        return handle.identity

    def adopt(self, identity: Identity) -> bool:
        """Take over a process that an earlier supervisor started.

        Returns:
            False when that very process is not alive; nothing is changed then.

        Raises:
            Busy: an incarnation runs.
        """
        spec = self._idle("adopt")
        handle = self._os.open(identity)
        if handle is None:
            return False
        self._os.claim(handle)
        self._begin(spec, handle, self._os.tree_of(handle, spec.marker), self._cgroup(spec))
        return True

    def adopt_main(self, pid: int) -> Identity:
        """Make a living member of the tree the main process (a daemon that forked, or MAINPID).

        Raises:
            NotRunning: nothing runs, or ``pid`` is dead.
            NotPermitted: ``pid`` does not belong to this service.
        """
        run = self._running("change the main process of")
        identity = self._os.identity(pid)
        if identity is None:
            raise NotRunning(f"cannot make process {pid} the main process of {self.name}: it does not live", pid=pid)
        run.switch_main(identity)
        return identity

    def stop(self, *, force: bool = False) -> None:
        """Begin to end the incarnation, if one runs; ``force`` skips the grace. Idempotent."""
        if self._run is not None:
            self._run.stop(force=force)

    async def wait_gone(self) -> StopOutcome:
        """Wait until nothing of the incarnation lives, or until it has proved unkillable."""
        run = self._run
        if run is None:
            return StopOutcome(StopResult.WAS_NOT_RUNNING)
        if run.state is State.UNKILLABLE:
            return StopOutcome(StopResult.FAILED, run.survivors())
        waiter: asyncio.Future[StopOutcome] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)

    def signal(self, number: int) -> None:
        """Signal the main process, and only it. Raises NotRunning, NotPermitted."""
        self._running("signal").signal(number)

    def detach(self) -> None:
        """Let the processes run on without us: no more ``on_exit`` for this incarnation. Idempotent."""
        run, self._run = self._run, None
        if run is not None:
            run.detach()
            self._settle(StopOutcome(StopResult.FAILED, run.survivors()))

    # --- what the incarnation tells --------------------------------------------------------------

    def gone(self, status: ExitStatus, result: StopResult) -> None:
        """For the incarnation only."""
        self._run = None
        self.since = None
        self.last_exit = status
        self._settle(StopOutcome(result))
        self._on_exit(self, status)

    def unkillable(self, pids: tuple[int, ...]) -> None:
        """For the incarnation only."""
        self._settle(StopOutcome(StopResult.FAILED, pids))
        if self._hooks.on_unkillable is not None:
            self._hooks.on_unkillable(self, pids)

    def main_changed(self, identity: Identity) -> None:
        """For the incarnation only."""
        if self._hooks.on_main is not None:
            self._hooks.on_main(self, identity)

    def lingers(self) -> None:
        """For the incarnation only."""
        if self._hooks.on_lingers is not None:
            self._hooks.on_lingers(self)

    # --- inside --------------------------------------------------------------------------------

    def _begin(self, spec: ProcSpec, handle: Handle, tree: Tree, cgroup: Cgroup | None) -> None:
        self.since = self._clock.monotonic()
        self._run = Incarnation(spec, handle, tree, World(self._os, self._clock, cgroup), self)

    def _cgroup(self, spec: ProcSpec) -> Cgroup | None:
        if spec.cgroup is None or self._hooks.cgroups is None:
            return None
        return self._hooks.cgroups(spec.cgroup)

    def _settle(self, outcome: StopOutcome) -> None:
        self.last_outcome = outcome
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(outcome)

    def _idle(self, what: str) -> ProcSpec:
        if self._spec is None:
            raise Busy(f"cannot {what} {self.name}: it has no description yet; call init first")
        if self._run is not None:
            raise Busy(
                f"cannot {what} {self.name}: process {self._run.main.pid} is still {self._run.state.name.lower()}"
            )
        return self._spec

    def _running(self, what: str) -> Incarnation:
        if self._run is None:
            raise NotRunning(f"cannot {what} {self.name}: it does not run")
        return self._run
