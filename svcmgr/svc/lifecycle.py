"""The life of a service: what it is doing now, and what happens next.

Theory of operation. ``goal`` is what the operator wants and is not part of the machine; ``state`` is where the
service is. The table below is the whole truth about moves. Three choices depend on more than the state and are
made before the step, by picking the exact event:

- a start whose requirements are not running yet is HOLD instead of START, and so is one that follows an exit or a
  back-off: EXIT_HELD instead of EXIT_AGAIN, DEADLINE_HELD instead of DEADLINE;
- an exit is EXIT_DONE, EXIT_RETRY, EXIT_GIVE_UP or EXIT_AGAIN, from the goal, the reason of a stop under way,
  the restart policy and the back-off;
- a process found at boot is ADOPT or ADOPT_READY, from whether it had been ready before.

A service that did not become ready in time, or stopped answering, is stopped like any other and then treated
as failed when its process is gone. FAILED keeps the process when it could not be killed; a start in that case
is refused by the caller, since a second process must never run beside the first.
"""

from __future__ import annotations

import enum

import attrs

from svcmgr.errors import IllegalTransition
from svcmgr.fsm import Cell, Table, to
from svcmgr.svc.backoff import Backoff


class Goal(enum.Enum):
    """What the operator wants."""

    UP = "up"
    DOWN = "down"


class State(enum.Enum):
    """What is."""

    DOWN = "down"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


class Restart(enum.Enum):
    """When an exit that nobody asked for is followed by a new start."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Cause(enum.Enum):
    """Why a stop is under way."""

    OPERATOR = "operator"
    RESTART = "restart"
    NOT_READY = "not ready in time"
    UNHEALTHY = "unhealthy"


class Ev(enum.Enum):
    """Events of the table."""

    HOLD = "hold"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    ADOPT = "adopt"
    ADOPT_READY = "adopt ready"
    SPAWNED = "spawned"
    SPAWN_RETRY = "spawn retry"
    SPAWN_GIVE_UP = "spawn give up"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DEADLINE = "deadline"
    DEADLINE_HELD = "deadline held"
    EXIT_DONE = "exit done"
    EXIT_RETRY = "exit retry"
    EXIT_GIVE_UP = "exit give up"
    EXIT_AGAIN = "exit again"
    EXIT_HELD = "exit held"
    UNKILLABLE = "unkillable"


class Do(enum.Enum):
    """Effects, carried out in order by the service."""

    SPAWN = "spawn"
    PROBE = "probe"
    CONNECT = "connect"
    STOP_PROCESS = "stop process"
    UNPROBE = "unprobe"
    ARM_READY = "arm ready deadline"
    ARM_BACKOFF = "arm backoff"
    DISARM = "disarm"
    RESET_BACKOFF = "reset backoff"


D, W, S, R, P, B, F = (
    State.DOWN,
    State.WAITING,
    State.STARTING,
    State.RUNNING,
    State.STOPPING,
    State.BACKOFF,
    State.FAILED,
)

_cells: dict[tuple[State, Ev], Cell[State, Do]] = {
    (D, Ev.HOLD): to(W),
    (D, Ev.START): to(S, Do.RESET_BACKOFF, Do.SPAWN),
    (D, Ev.STOP): to(D),
    (D, Ev.RESTART): to(S, Do.RESET_BACKOFF, Do.SPAWN),
    (D, Ev.ADOPT): to(S, Do.ARM_READY, Do.PROBE),
    (D, Ev.ADOPT_READY): to(R, Do.CONNECT),
    (W, Ev.HOLD): to(W),
    (W, Ev.START): to(S, Do.RESET_BACKOFF, Do.SPAWN),
    (W, Ev.RESTART): to(W),
    (W, Ev.STOP): to(D),
    (S, Ev.HOLD): to(S),
    (S, Ev.START): to(S),
    (S, Ev.STOP): to(P, Do.DISARM, Do.UNPROBE, Do.STOP_PROCESS),
    (S, Ev.RESTART): to(P, Do.DISARM, Do.UNPROBE, Do.STOP_PROCESS),
    (S, Ev.SPAWNED): to(S, Do.ARM_READY, Do.PROBE),
    (S, Ev.SPAWN_RETRY): to(B, Do.ARM_BACKOFF),
    (S, Ev.SPAWN_GIVE_UP): to(F),
    (S, Ev.READY): to(R, Do.DISARM, Do.UNPROBE),
    (S, Ev.UNHEALTHY): to(P, Do.DISARM, Do.UNPROBE, Do.STOP_PROCESS),
    (S, Ev.DEADLINE): to(P, Do.UNPROBE, Do.STOP_PROCESS),
    (S, Ev.EXIT_DONE): to(D, Do.DISARM, Do.UNPROBE),
    (S, Ev.EXIT_RETRY): to(B, Do.DISARM, Do.UNPROBE, Do.ARM_BACKOFF),
    (S, Ev.EXIT_GIVE_UP): to(F, Do.DISARM, Do.UNPROBE),
    (R, Ev.HOLD): to(R),
    (R, Ev.START): to(R),
    (R, Ev.STOP): to(P, Do.STOP_PROCESS),
    (R, Ev.RESTART): to(P, Do.STOP_PROCESS),
    (R, Ev.UNHEALTHY): to(P, Do.STOP_PROCESS),
    (R, Ev.EXIT_DONE): to(D),
    (R, Ev.EXIT_RETRY): to(B, Do.ARM_BACKOFF),
    (R, Ev.EXIT_GIVE_UP): to(F),
    (P, Ev.HOLD): to(P),
    (P, Ev.START): to(P),
    (P, Ev.STOP): to(P),
    (P, Ev.RESTART): to(P),
    (P, Ev.EXIT_DONE): to(D),
    (P, Ev.EXIT_AGAIN): to(S, Do.RESET_BACKOFF, Do.SPAWN),
    (P, Ev.EXIT_HELD): to(W),
    (P, Ev.EXIT_RETRY): to(B, Do.ARM_BACKOFF),
    (P, Ev.EXIT_GIVE_UP): to(F),
    (P, Ev.UNKILLABLE): to(F),
    (B, Ev.HOLD): to(B),
    (B, Ev.START): to(S, Do.DISARM, Do.SPAWN),
    (B, Ev.STOP): to(D, Do.DISARM),
    (B, Ev.RESTART): to(S, Do.DISARM, Do.RESET_BACKOFF, Do.SPAWN),
    (B, Ev.DEADLINE): to(S, Do.SPAWN),
    (B, Ev.DEADLINE_HELD): to(W),
    (F, Ev.HOLD): to(W),
    (F, Ev.START): to(S, Do.RESET_BACKOFF, Do.SPAWN),
    (F, Ev.STOP): to(D),
    (F, Ev.RESTART): to(S, Do.RESET_BACKOFF, Do.SPAWN),
    (F, Ev.EXIT_DONE): to(D),
}

TABLE: Table[State, Ev, Do] = Table("service", State.DOWN, _cells)

#: States in which a process may be there.
ACTIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
#: States that a start command waits through.
PENDING = frozenset({State.WAITING, State.STARTING, State.STOPPING})


@attrs.frozen
class Ending:
    """What the machine needs to know about an exit."""

    success: bool
    uptime: float


class Lifecycle:
    """Goal, state and the memory that decides between exits. Pure: time comes in, effects go out."""

    __slots__ = ("backoff", "cause", "delay", "goal", "policy", "state", "wanted")

    def __init__(self, policy: Restart, backoff: Backoff) -> None:
        self.policy = policy
        self.backoff = backoff
        self.goal = Goal.DOWN
        #: whether the host's volumes allow it to run; without that, goal UP does not start it
        self.wanted = True
        self.state = TABLE.initial
        self.cause: Cause | None = None
        #: seconds until the next attempt, as of the last EXIT_RETRY or SPAWN_RETRY
        self.delay = 0.0

    def handle(self, event: Ev) -> tuple[Do, ...]:
        """One step. Returns the effects to carry out. Raises IllegalTransition, which changes nothing."""
        cell = TABLE.step(self.state, event)
        before, self.state = self.state, cell.state
        self._remember_cause(event, before)
        if Do.RESET_BACKOFF in cell.effects:
            self.backoff.reset()
        return cell.effects

    def restore(self, state: State) -> None:
        """Be where an earlier svcmgrd left off; only for a machine that has not moved yet."""
        if self.state is not TABLE.initial:
            raise IllegalTransition(f"cannot restore a service that is {self.state.value}")
        self.state = state

    def _remember_cause(self, event: Ev, before: State) -> None:
        if self.state is not State.STOPPING:
            self.cause = None
        elif event is Ev.STOP:
            self.cause = Cause.OPERATOR
        elif event is Ev.RESTART or (event is Ev.START and self.cause is Cause.OPERATOR):
            # A start during an operator's stop is a restart: the last word counts.
            self.cause = Cause.RESTART
        elif before is not State.STOPPING:
            self.cause = Cause.NOT_READY if event is Ev.DEADLINE else Cause.UNHEALTHY

    def exit_event(self, ending: Ending, now: float) -> Ev:
        """Which exit this is; consults the back-off, so call it once per exit."""
        if self.state is State.FAILED or self.goal is Goal.DOWN or not self.wanted:
            return Ev.EXIT_DONE
        if self.cause is Cause.RESTART:
            return Ev.EXIT_AGAIN
        failure = not ending.success or self.cause in (Cause.NOT_READY, Cause.UNHEALTHY)
        if self.policy is Restart.NEVER:
            return Ev.EXIT_GIVE_UP if failure else Ev.EXIT_DONE
        if not failure and self.policy is Restart.ON_FAILURE:
            return Ev.EXIT_DONE
        return Ev.EXIT_RETRY if self._again(now, ending.uptime) else Ev.EXIT_GIVE_UP

    def spawn_failed_event(self, *, permanent: bool, now: float) -> Ev:
        """Which failure to start this is. A missing program will not appear by trying again."""
        if permanent or self.policy is Restart.NEVER:
            return Ev.SPAWN_GIVE_UP
        return Ev.SPAWN_RETRY if self._again(now, 0.0) else Ev.SPAWN_GIVE_UP

    def _again(self, now: float, uptime: float) -> bool:
        delay = self.backoff.failed(now, uptime)
        self.delay = delay or 0.0
        return delay is not None
