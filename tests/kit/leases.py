"""Candidates for a lease around one store, in virtual time, with a store that is slow, refuses and forgets to answer.

The store compares and sets. Each candidate has a monotonic clock with an offset of its own and a wall clock that may be
wrong. Requests take time on the way there and back; a failed one may have been carried out.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from svcmgr.services.mgmtd import lease_terms as t
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.lease import Leadership
from svcmgr.services.mgmtd.moment import Moment


class Runner:
    """One candidate and its driver."""

    def __init__(self, world: World, me: t.Candidate, policy: t.Policy, offset: float = 0.0) -> None:
        self.lead = Leadership(me, policy)
        self.world = world
        self.offset = offset
        self.wall_error = 0.0
        self.alive = True
        self.log: list[tuple[float, str]] = []
        self._timer = 0

    @property
    def moment(self) -> Moment:
        return Moment(self.world.now + self.offset, self.world.now + self.wall_error)

    def tell(self, event: t.Event, deadline: float = 0.0) -> None:
        """Give the candidate an event, and do what it says. Rounding does not make it early for its ``deadline``."""
        if not self.alive:
            return
        now = self.moment
        for effect in self.lead.handle(event, Moment(max(now.monotonic, deadline), now.utc)):
            self._do(effect)
        self._arm()

    def _do(self, effect: t.Effect) -> None:
        match effect:
            case t.Look() | t.Put():
                self.world.ask(self, effect)
            case t.Load(epoch):
                self.log.append((self.world.now, "load"))
                if self.world.loads:
                    self.world.after(self.world.latency(), lambda: self.tell(self.world.loaded(epoch)))
            case _:
                self.log.append((self.world.now, type(effect).__name__.lower()))

    def _arm(self) -> None:
        self._timer += 1
        armed, when = self._timer, self.lead.next_deadline
        if when is not None:
            delay = max(0.0, when - self.offset - self.world.now)
            self.world.after(delay, lambda: self.tell(t.Tick(), when) if armed == self._timer else None)

    def serves(self) -> bool:
        return self.alive and self.lead.serves(self.moment)


class World:
    """Virtual time and the store."""

    def __init__(self, latency: Callable[[], float] = lambda: 0.0) -> None:
        self.now = 0.0
        self.stored: t.Lease | None = None
        self.latency = latency
        #: What becomes of a request: None is well, "lost" fails undone, "doubt" fails and is done, "late" done later.
        self.fate: Callable[[], str | None] = lambda: None
        self.loads = True
        self.loaded: Callable[[int], t.Event] = t.Loaded
        self.writes = 0
        self.epochs: list[int] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), act))

    def run(self, until: float, check: Callable[[], None] = lambda: None) -> None:
        """Let time pass, and ``check`` after every event."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, act = heapq.heappop(self._queue)
            act()
            check()
        self.now = until

    def ask(self, runner: Runner, request: t.Look | t.Put) -> None:
        self.after(self.latency(), lambda: self._arrive(runner, request))

    def _arrive(self, runner: Runner, request: t.Look | t.Put) -> None:
        fate = self.fate()
        if fate == "late":
            self.after(self.latency(), lambda: self._carry_out(request))
        answer = self._carry_out(request) if fate in (None, "doubt") else t.StoreFailed()
        if fate == "doubt":
            answer = t.StoreFailed()
        self.after(self.latency(), lambda: runner.tell(answer))

    def _carry_out(self, request: t.Look | t.Put) -> t.Event:
        if isinstance(request, t.Look):
            return t.Found(self.stored)
        if request.expected != self.stored:
            return t.Conflict(self.stored)
        if self.stored is None or request.new.epoch != self.stored.epoch:
            self.epochs.append(request.new.epoch)
        self.stored = request.new
        self.writes += 1
        return t.Stored()


def may_write(runner: Runner) -> bool:
    """Whether a transaction of this candidate would go through now."""
    try:
        runner.lead.check_write(runner.world.stored, runner.moment)
    except NotPrimary:
        return False
    return True
