"""One life of one process, from its start until nothing of its tree is left.

The driver of :mod:`svcmgr.proc.stopper`: it turns exits and timers into events and carries out the effects.
A main process of ours that has exited stays a zombie until its tree is empty: that keeps its number, which is
also the number of its session and process group, from being reused while we still look for members of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Iterable
from typing import Protocol

import attrs

from svcmgr.clock import Clock
from svcmgr.errors import Busy, NotPermitted, NotRunning
from svcmgr.proc.identity import ExitStatus, Identity
from svcmgr.proc.seam import Handle, Os
from svcmgr.proc.spec import ProcSpec
from svcmgr.proc.stopper import Effect, Event, State, Stopper, StopResult
from svcmgr.proc.tree import Tree

#: How long to wait for the parent of an adopted process to reap it, which makes its exit status known, seconds.
REAPED_WITHIN_S = 0.25
#: Members that vanish while we look may have forked just before; look again so often at once, then later.
LOOKS = 8
LOOK_AGAIN_S = 0.005


class Cgroup(Protocol):
    """What a control group does for a process. Raises StorageFailed or NotPermitted where the kernel refuses."""

    def attach(self, pid: int) -> None:
        """Move a process into the group."""
        ...

    def kill(self) -> None:
        """SIGKILL to everything in the group at once."""
        ...

    def pids(self) -> Iterable[int]:
        """Who is in the group now."""
        ...

    def remove(self) -> None:
        """Remove the empty group; does nothing when it is gone."""
        ...


class Listener(Protocol):
    """Who wants to know what becomes of an incarnation."""

    def gone(self, status: ExitStatus, result: StopResult) -> None:
        """Nothing of it lives; the last call."""
        ...

    def unkillable(self, pids: tuple[int, ...]) -> None:
        """These survived SIGKILL until the deadline."""
        ...

    def main_changed(self, identity: Identity) -> None:
        """Another process of the tree is the main process now."""
        ...

    def lingers(self) -> None:
        """The main process has ended, and it takes longer than this moment until nothing of it lives."""
        ...


@attrs.frozen
class World:
    """The operating system, its clock, and where the process stands in it."""

    os: Os
    clock: Clock
    cgroup: Cgroup | None = None


class Incarnation:
    """Watches ``main`` from its construction on; ``main`` is owned by it."""

    def __init__(self, spec: ProcSpec, main: Handle, tree: Tree, world: World, listener: Listener) -> None:
        self.spec = spec
        self.main = main
        self.alive = True
        self._tree = tree
        self._world = world
        self._listener = listener
        self._stopper = Stopper(spec.stop)
        self._members: dict[int, Handle] = {}
        self._status: ExitStatus | None = None
        self._timer: asyncio.TimerHandle | None = None
        # What else has to be called off when this ends: timers and watches.
        self._undo: list[Callable[[], None]] = []
        world.os.watch(main, self._main_exited)

    @property
    def state(self) -> State:
        return self._stopper.state

    def member_pids(self) -> tuple[int, ...]:
        """Parts of the tree, other than the main process, that were found and live."""
        return tuple(self._members)

    def survivors(self) -> tuple[int, ...]:
        """Everything found that lives."""
        return (*((self.main.pid,) if self.alive else ()), *self._members)

    def look(self) -> list[Identity]:
        """The living processes of the tree, except the main process, looked up now."""
        return self._find(fresh=True)

    # --- requests ------------------------------------------------------------------------------

    def stop(self, *, force: bool = False) -> None:
        """Begin to end it, or go on; ``force`` goes to SIGKILL at once."""
        if self.alive and self.state is State.RUNNING:
            self._remember()
        self._feed(Event.KILL if force else Event.STOP)

    def signal(self, number: int) -> None:
        """Signal the main process. Raises NotRunning, NotPermitted."""
        if not self.alive or not self._world.os.send_signal(self.main, number):
            raise NotRunning(f"cannot signal {self.spec.name}: process {self.main.pid} has ended")

    def switch_main(self, identity: Identity) -> None:
        """Make a member of the tree its main process.

        Raises:
            NotPermitted: it is not part of this tree.
            NotRunning: it is dead.
            StorageFailed: our pidfile could not be rewritten; the main process is the old one.
        """
        if identity == self.main.identity:
            return
        if identity not in self._find(fresh=True):
            raise NotPermitted(
                f"cannot make process {identity.pid} the main process of {self.spec.name}: it does not belong to it",
                pid=identity.pid,
            )
        handle = self._world.os.open(identity)
        if handle is None:
            raise NotRunning(f"cannot make process {identity.pid} the main process of {self.spec.name}: it has ended")
        try:
            self._world.os.write_pidfile(self.spec, identity.pid)
        except BaseException:
            self._world.os.close(handle)
            raise
        self._take_main(handle)

    def detach(self) -> None:
        """Stop watching and forget it; the processes run on."""
        self._call_off()
        for handle in (self.main, *self._members.values()):
            self._world.os.disown(handle)
            self._world.os.close(handle)
        self._members.clear()

    # --- exits ---------------------------------------------------------------------------------

    def _main_exited(self) -> None:
        self.alive = False
        self._status = self._world.os.peek(self.main)
        if self._forked_away():
            return
        if self._status is None:
            self._await_status()
        self._survey()
        if self.state is not State.GONE or self._status is None:
            self._listener.lingers()

    def _forked_away(self) -> bool:
        """Follow a program that has forked its daemon: the one its pidfile names, else the oldest."""
        status = self._status
        if not self.spec.forks or self.state is not State.RUNNING or (status is not None and not status.clean):
            return False
        for fresh in (False, True):  # a daemon forks more than once; what was seen may have gone already
            named = self._world.os.read_pidfile(self.spec)
            found = sorted(self._find(fresh=fresh), key=lambda who: (who.pid != named, who.start_ticks, who.pid))
            for who in found:
                if (handle := self._world.os.open(who)) is not None:
                    self._take_main(handle)
                    return True
        return False

    def _take_main(self, handle: Handle) -> None:
        world, old, was_alive = self._world, self.main, self.alive
        world.os.claim(handle)
        fresh = world.os.tree_of(handle, self._tree.marker)
        self._tree = attrs.evolve(self._tree, main=handle.identity, sessions=self._tree.sessions | fresh.sessions)
        if (known := self._members.pop(handle.pid, None)) is not None:
            world.os.close(known)
        self.main, self.alive, self._status = handle, True, None
        world.os.watch(handle, self._main_exited)
        if was_alive:
            world.os.disown(old)
            self._hold(old)
        else:
            world.os.reap(old)
            world.os.close(old)
        self._listener.main_changed(handle.identity)

    def _await_status(self) -> None:
        """An adopted process tells how it ended only after its parent has reaped it; give that a moment."""
        self._undo.append(self._world.os.watch_reaped(self.main, self._learn_status))
        timer = asyncio.get_running_loop().call_at(self._now() + REAPED_WITHIN_S, self._learn_status)
        self._undo.append(timer.cancel)

    def _learn_status(self) -> None:
        if self._status is None:
            self._status = self._world.os.peek(self.main) or ExitStatus()
            self._finish()

    def _member_exited(self, pid: int) -> None:
        self._world.os.close(self._members.pop(pid))
        self._world.os.reap_strangers()
        if not self.alive and not self._members:
            self._survey()

    # --- looking -------------------------------------------------------------------------------

    def _survey(self) -> None:
        """Tell the ladder what is left after the main process has ended."""
        vanished = self._gather(fresh=False)
        for _ in range(LOOKS):
            if self._members or not vanished:
                break
            vanished = self._gather(fresh=True)
        if self._members or vanished:
            self._feed(Event.LEFTOVERS)
        else:
            self._feed(Event.EMPTY)
        if vanished and not self._members:
            # Something forks and exits faster than we look. The ladder's clock runs; look again soon.
            timer = asyncio.get_running_loop().call_at(self._now() + LOOK_AGAIN_S, self._look_again)
            self._undo.append(timer.cancel)

    def _look_again(self) -> None:
        if not self._members:
            self._survey()

    def _find(self, *, fresh: bool) -> list[Identity]:
        world = self._world
        found = world.os.members(self._tree, main_alive=self.alive, fresh=fresh)
        if world.cgroup is not None:
            seen = {who.pid for who in found} | {self.main.pid}
            others = (world.os.identity(pid) for pid in world.cgroup.pids() if pid not in seen)
            found.extend(who for who in others if who is not None)
        return found

    def _gather(self, *, fresh: bool) -> bool:
        """Hold every member. Returns whether one could not be held: most likely it vanished meanwhile."""
        vanished = False
        for who in self._find(fresh=fresh):
            if who.pid in self._members:
                continue
            handle = None
            with contextlib.suppress(Busy):  # no descriptor left: look again later
                handle = self._world.os.open(who)
            if handle is None:
                vanished = True
            else:
                self._hold(handle)
        return vanished

    def _hold(self, handle: Handle) -> None:
        self._members[handle.pid] = handle
        self._world.os.watch(handle, functools.partial(self._member_exited, handle.pid))

    def _remember(self) -> None:
        """Note who descends from the main process while its death has not yet cut the ties."""
        below = self._world.os.descendants(self.main.identity)
        if below:
            self._tree = attrs.evolve(self._tree, remembered=self._tree.remembered | frozenset(below))

    # --- the ladder ----------------------------------------------------------------------------

    def _now(self) -> float:
        return self._world.clock.monotonic()

    def _feed(self, event: Event) -> None:
        self._perform(self._stopper.handle(event, self._now()))

    def _expired(self) -> None:
        self._timer = None
        self._perform(self._stopper.expire(self._now()))

    def _perform(self, effects: tuple[Effect, ...]) -> None:
        self._rearm()
        for effect in effects:
            if effect is Effect.SIGNAL_MAIN:
                self._send([self.main], self.spec.stop.signal)
            elif effect is Effect.TERM_LEFTOVERS:
                self._send(self._members.values(), signal.SIGTERM)
            elif effect is Effect.KILL_TREE:
                self._kill_tree()
            elif effect is Effect.REPORT_UNKILLABLE:
                self._listener.unkillable(self.survivors())
            elif effect is Effect.REPORT_GONE:
                self._finish()

    def _rearm(self) -> None:
        deadline = self._stopper.next_deadline
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expired)

    def _send(self, handles: Iterable[Handle], number: int) -> None:
        for handle in handles:
            # Who may not be signalled stays; the ladder then ends in UNKILLABLE, which names it.
            with contextlib.suppress(NotPermitted):
                self._world.os.send_signal(handle, number)
                # A process stopped by SIGSTOP takes no other signal until it is continued.
                self._world.os.send_signal(handle, signal.SIGCONT)

    def _kill_tree(self) -> None:
        world = self._world
        if self.alive:
            self._send([self.main], signal.SIGKILL)
        world.os.signal_group(self.main, signal.SIGKILL)
        if world.cgroup is not None:
            world.cgroup.kill()
        self._gather(fresh=True)
        self._send(self._members.values(), signal.SIGKILL)

    def _finish(self) -> None:
        """Close the books, once the tree is empty and the status is known."""
        if self.state is not State.GONE or self._status is None:
            return
        world = self._world
        self._call_off()
        world.os.reap(self.main)
        world.os.close(self.main)
        if world.cgroup is not None:
            world.cgroup.remove()
        self._listener.gone(self._status, self._stopper.result())
        # After the news: who starts the next one at once has written its number over ours by now, and it stays.
        world.os.remove_pidfile(self.spec, self.main.pid)

    def _call_off(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._undo:
            self._undo.pop()()
