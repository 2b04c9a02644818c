"""Ending a process and everything it started: the ladder of asking, insisting, giving up.

Theory of operation. The stop signal goes to the main process alone, since an orderly daemon ends its children
itself. After the grace the whole tree gets SIGKILL. A main process that is gone, on request or by a crash, is
not the end: while parts of its tree live they get SIGTERM and a grace of their own, never longer than what is
left of the first, then SIGKILL. The process is GONE only when nothing of its tree lives. What survives SIGKILL
until the deadline is UNKILLABLE and is reported as such; should it end later, it still becomes GONE.

SIGKILL works on stopped (SIGSTOP) processes; SIGTERM reaches them after a SIGCONT, so drivers send both.

The driver looks at the tree and picks the event: EMPTY when nothing lives, LEFTOVERS when the main process is
gone and something else lives. Time enters as ``now``; :attr:`Stopper.next_deadline` is when to call
:meth:`Stopper.expire`.
"""

from __future__ import annotations

import enum

import attrs

from svcmgr.fsm import Table, to
from svcmgr.proc.spec import StopPlan


class State(enum.Enum):
    RUNNING = enum.auto()
    TERMINATING = enum.auto()
    KILLING = enum.auto()
    UNKILLABLE = enum.auto()
    GONE = enum.auto()


class Event(enum.Enum):
    STOP = enum.auto()
    KILL = enum.auto()
    LEFTOVERS = enum.auto()
    EMPTY = enum.auto()
    GRACE_OVER = enum.auto()
    DEADLINE_OVER = enum.auto()


class Effect(enum.Enum):
    SIGNAL_MAIN = enum.auto()
    TERM_LEFTOVERS = enum.auto()
    KILL_TREE = enum.auto()
    ARM_GRACE = enum.auto()
    ARM_LEFTOVER_GRACE = enum.auto()
    ARM_KILL_DEADLINE = enum.auto()
    DISARM = enum.auto()
    REPORT_UNKILLABLE = enum.auto()
    REPORT_GONE = enum.auto()


class StopResult(enum.Enum):
    """What became of a request to stop."""

    STOPPED = "stopped"
    KILLED = "killed"
    WAS_NOT_RUNNING = "was-not-running"
    FAILED = "failed"


@attrs.frozen
class StopOutcome:
    """A result; for FAILED, ``pids`` are the survivors."""

    result: StopResult
    pids: tuple[int, ...] = ()


_S, _E, _F = State, Event, Effect
_KILL = to(_S.KILLING, _F.KILL_TREE, _F.ARM_KILL_DEADLINE)
_GONE = to(_S.GONE, _F.DISARM, _F.REPORT_GONE)

TABLE: Table[State, Event, Effect] = Table(
    "stop",
    _S.RUNNING,
    {
        (_S.RUNNING, _E.STOP): to(_S.TERMINATING, _F.SIGNAL_MAIN, _F.ARM_GRACE),
        (_S.RUNNING, _E.KILL): _KILL,
        (_S.RUNNING, _E.LEFTOVERS): to(_S.TERMINATING, _F.TERM_LEFTOVERS, _F.ARM_LEFTOVER_GRACE),
        (_S.RUNNING, _E.EMPTY): _GONE,
        (_S.TERMINATING, _E.STOP): to(_S.TERMINATING),
        (_S.TERMINATING, _E.KILL): _KILL,
        (_S.TERMINATING, _E.LEFTOVERS): to(_S.TERMINATING, _F.TERM_LEFTOVERS, _F.ARM_LEFTOVER_GRACE),
        (_S.TERMINATING, _E.EMPTY): _GONE,
        (_S.TERMINATING, _E.GRACE_OVER): _KILL,
        (_S.KILLING, _E.STOP): to(_S.KILLING),
        (_S.KILLING, _E.KILL): to(_S.KILLING),
        (_S.KILLING, _E.LEFTOVERS): to(_S.KILLING, _F.KILL_TREE),
        (_S.KILLING, _E.EMPTY): _GONE,
        (_S.KILLING, _E.DEADLINE_OVER): to(_S.UNKILLABLE, _F.DISARM, _F.REPORT_UNKILLABLE),
        (_S.UNKILLABLE, _E.STOP): _KILL,
        (_S.UNKILLABLE, _E.KILL): _KILL,
        (_S.UNKILLABLE, _E.LEFTOVERS): to(_S.UNKILLABLE, _F.KILL_TREE),
        (_S.UNKILLABLE, _E.EMPTY): _GONE,
        (_S.GONE, _E.STOP): to(_S.GONE),
        (_S.GONE, _E.KILL): to(_S.GONE),
    },
)


class Stopper:
    """The ladder for one incarnation of one process."""

    def __init__(self, plan: StopPlan) -> None:
        self.state = TABLE.initial
        #: When to call :meth:`expire`, on the clock of ``now``; None for never.
        self.next_deadline: float | None = None
        #: SIGKILL was needed.
        self.killed = False
        self._plan = plan

    def handle(self, event: Event, now: float) -> tuple[Effect, ...]:
        """Take one event; carry out the effects in order.

        Raises:
            IllegalTransition: the event makes no sense in this state; nothing was changed.
        """
        cell = TABLE.step(self.state, event)
        self.state = cell.state
        for effect in cell.effects:
            self._arm(effect, now)
        return cell.effects

    def expire(self, now: float) -> tuple[Effect, ...]:
        """The event of the deadline, when it has come; no effects before."""
        if self.next_deadline is None or now < self.next_deadline:
            return ()
        over = Event.GRACE_OVER if self.state is State.TERMINATING else Event.DEADLINE_OVER
        return self.handle(over, now)

    def result(self) -> StopResult:
        """What a request to stop came to, in the states GONE and UNKILLABLE."""
        if self.state is State.UNKILLABLE:
            return StopResult.FAILED
        return StopResult.KILLED if self.killed else StopResult.STOPPED

    def _arm(self, effect: Effect, now: float) -> None:
        plan = self._plan
        if effect is Effect.ARM_GRACE:
            self.next_deadline = now + plan.grace_s
        elif effect is Effect.ARM_LEFTOVER_GRACE:
            latest = now + plan.leftover_grace_s
            self.next_deadline = latest if self.next_deadline is None else min(latest, self.next_deadline)
        elif effect is Effect.ARM_KILL_DEADLINE:
            self.next_deadline = now + plan.kill_deadline_s
        elif effect is Effect.DISARM:
            self.next_deadline = None
        elif effect is Effect.KILL_TREE:
            self.killed = True
