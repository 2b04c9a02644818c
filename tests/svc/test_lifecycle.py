"""The lifecycle table and the choices that are made before each step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import IllegalTransition
from svcmgr.svc.backoff import Backoff, BackoffSpec
from svcmgr.svc.lifecycle import ACTIVE, TABLE, Cause, Do, Ending, Ev, Goal, Lifecycle, Restart, State

# The table once more, as a person would draw it: state -> "event to-state effects". Written by hand on purpose: a
# change of the machine has to be made twice, once meaning it.
DRAWN = """
down:     hold>waiting  start>starting:reset,spawn  stop>down  restart>starting:reset,spawn
          adopt>starting:arm-ready,probe  adopt-ready>running:connect
waiting:  hold>waiting  start>starting:reset,spawn  stop>down  restart>waiting
starting: hold>starting  start>starting  stop>stopping:disarm,unprobe,stop  restart>stopping:disarm,unprobe,stop
          spawned>starting:arm-ready,probe  spawn-retry>backoff:arm-backoff  spawn-give-up>failed
          ready>running:disarm,unprobe  unhealthy>stopping:disarm,unprobe,stop  deadline>stopping:unprobe,stop
          exit-done>down:disarm,unprobe  exit-retry>backoff:disarm,unprobe,arm-backoff
          exit-give-up>failed:disarm,unprobe
running:  hold>running  start>running  stop>stopping:stop  restart>stopping:stop  unhealthy>stopping:stop
          exit-done>down  exit-retry>backoff:arm-backoff  exit-give-up>failed
stopping: hold>stopping  start>stopping  stop>stopping  restart>stopping
          exit-done>down  exit-again>starting:reset,spawn  exit-retry>backoff:arm-backoff  exit-give-up>failed
          exit-held>waiting  unkillable>failed
backoff:  hold>backoff  start>starting:disarm,spawn  stop>down:disarm  restart>starting:disarm,reset,spawn
          deadline>starting:spawn  deadline-held>waiting
failed:   hold>waiting  start>starting:reset,spawn  stop>down  restart>starting:reset,spawn  exit-done>down
"""
WORDS = {
    "reset": Do.RESET_BACKOFF,
    "spawn": Do.SPAWN,
    "probe": Do.PROBE,
    "unprobe": Do.UNPROBE,
    "connect": Do.CONNECT,
    "stop": Do.STOP_PROCESS,
    "arm-ready": Do.ARM_READY,
    "arm-backoff": Do.ARM_BACKOFF,
    "disarm": Do.DISARM,
}


def drawn() -> Iterator[tuple[State, Ev, State, tuple[Do, ...]]]:
    state = State.DOWN
    for word in DRAWN.split():
        if word.endswith(":"):
            state = State(word[:-1])
            continue
        event, _, rest = word.partition(">")
        to, _, effects = rest.partition(":")
        yield state, Ev(event.replace("-", " ")), State(to), tuple(WORDS[w] for w in effects.split(",") if w)


def machine(state: State, policy: Restart = Restart.ON_FAILURE, **spec: float) -> Lifecycle:
    life = Lifecycle(policy, Backoff(BackoffSpec(**spec), random.Random(1)))  # type: ignore[arg-type]
    life.state = state
    return life


@pytest.mark.parametrize(("state", "event", "to", "effects"), list(drawn()))
def test_every_cell(state: State, event: Ev, to: State, effects: tuple[Do, ...]) -> None:
    life = machine(state)
    assert life.handle(event) == effects
    assert life.state is to


def test_the_drawing_is_complete() -> None:
    assert {(s, e) for s, e, *_ in drawn()} == set(TABLE.cells)


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in product(State, Ev) if not TABLE.accepts(*pair)], ids=lambda v: v.name
)
def test_what_has_no_cell_changes_nothing(state: State, event: Ev) -> None:
    life = machine(state)
    life.goal = Goal.UP
    life.cause = Cause.OPERATOR if state is State.STOPPING else None
    life.backoff.streak = 3
    before = (life.state, life.goal, life.cause, life.delay, life.backoff.streak)
    with pytest.raises(IllegalTransition, match=f"cannot handle event {event.name} in state {state.name}"):
        life.handle(event)
    assert (life.state, life.goal, life.cause, life.delay, life.backoff.streak) == before


def test_every_state_can_be_reached_and_left() -> None:
    reached, border = {State.DOWN}, {State.DOWN}
    while border:
        border = {cell.state for (source, _), cell in TABLE.cells.items() if source in border} - reached
        reached |= border
    assert reached == set(State)
    for state in State:
        assert any(cell.state is not state for (source, _), cell in TABLE.cells.items() if source is state)


def test_commands_are_taken_in_every_state() -> None:
    for state, event in product(State, (Ev.HOLD, Ev.START, Ev.STOP, Ev.RESTART)):
        assert TABLE.accepts(state, event)


def test_only_a_spawn_leads_to_a_process() -> None:
    for (source, event), cell in TABLE.cells.items():
        if source not in ACTIVE and cell.state in ACTIVE:
            adopted = event in (Ev.ADOPT, Ev.ADOPT_READY)
            assert adopted or Do.SPAWN in cell.effects
        if Do.SPAWN in cell.effects:
            assert cell.state is State.STARTING
            assert source not in (State.STARTING, State.RUNNING)


def test_the_deadline_never_survives_the_state_it_was_set_in() -> None:
    """A timer of STARTING or BACKOFF is disarmed, or has just fired, whenever that state is left."""
    for (source, event), cell in TABLE.cells.items():
        armed = source in (State.STARTING, State.BACKOFF)
        # A failed spawn comes before the timer was set.
        fresh = event in (Ev.SPAWN_RETRY, Ev.SPAWN_GIVE_UP)
        fired = event in (Ev.DEADLINE, Ev.DEADLINE_HELD)
        if armed and cell.state is not source and not fired and not fresh:
            assert Do.DISARM in cell.effects, (source, event)


# --- causes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "history", "cause"),
    [
        (State.RUNNING, [Ev.STOP], Cause.OPERATOR),
        (State.RUNNING, [Ev.RESTART], Cause.RESTART),
        (State.RUNNING, [Ev.UNHEALTHY], Cause.UNHEALTHY),
        (State.STARTING, [Ev.DEADLINE], Cause.NOT_READY),
        (State.STARTING, [Ev.UNHEALTHY], Cause.UNHEALTHY),
        (State.RUNNING, [Ev.STOP, Ev.START], Cause.RESTART),
        (State.RUNNING, [Ev.STOP, Ev.RESTART], Cause.RESTART),
        (State.RUNNING, [Ev.RESTART, Ev.STOP], Cause.OPERATOR),
        (State.RUNNING, [Ev.STOP, Ev.START, Ev.STOP], Cause.OPERATOR),
        (State.RUNNING, [Ev.RESTART, Ev.START], Cause.RESTART),
        (State.RUNNING, [Ev.UNHEALTHY, Ev.START], Cause.UNHEALTHY),
        (State.RUNNING, [Ev.UNHEALTHY, Ev.STOP], Cause.OPERATOR),
        (State.RUNNING, [Ev.UNHEALTHY, Ev.RESTART], Cause.RESTART),
        (State.RUNNING, [Ev.STOP, Ev.HOLD], Cause.OPERATOR),
        (State.RUNNING, [Ev.STOP, Ev.EXIT_DONE], None),
        (State.RUNNING, [Ev.RESTART, Ev.EXIT_AGAIN], None),
        (State.RUNNING, [Ev.STOP, Ev.UNKILLABLE], None),
    ],
)
def test_the_cause_of_a_stop_is_the_last_word(state: State, history: list[Ev], cause: Cause | None) -> None:
    life = machine(state)
    for event in history:
        life.handle(event)
    assert life.cause is cause


# --- which exit it is ----------------------------------------------------------------------------------------


def expected_exit(policy: Restart, cause: Cause | None, goal: Goal, *, success: bool) -> Ev:
    """The rule, said once more in the order in which people would say it."""
    if goal is Goal.DOWN:
        return Ev.EXIT_DONE
    if cause is Cause.RESTART:
        return Ev.EXIT_AGAIN
    good = success and cause not in (Cause.NOT_READY, Cause.UNHEALTHY)
    return {
        (Restart.ALWAYS, True): Ev.EXIT_RETRY,
        (Restart.ALWAYS, False): Ev.EXIT_RETRY,
        (Restart.ON_FAILURE, True): Ev.EXIT_DONE,
        (Restart.ON_FAILURE, False): Ev.EXIT_RETRY,
        (Restart.NEVER, True): Ev.EXIT_DONE,
        (Restart.NEVER, False): Ev.EXIT_GIVE_UP,
    }[policy, good]


@pytest.mark.parametrize(
    ("policy", "cause", "goal", "success"), list(product(Restart, [None, *Cause], Goal, [True, False]))
)
def test_which_exit(policy: Restart, cause: Cause | None, goal: Goal, success: bool) -> None:
    life = machine(State.STOPPING if cause else State.RUNNING, policy)
    life.goal, life.cause = goal, cause
    event = life.exit_event(Ending(success, 1.0), now=50.0)
    assert event is expected_exit(policy, cause, goal, success=success)
    assert TABLE.accepts(life.state, event)


@pytest.mark.parametrize("goal", Goal)
def test_the_late_exit_of_an_unkillable_process_starts_nothing(goal: Goal) -> None:
    life = machine(State.FAILED, Restart.ALWAYS)
    life.goal = goal
    assert life.exit_event(Ending(False, 1.0), 50.0) is Ev.EXIT_DONE


def test_an_exit_that_is_not_retried_does_not_count() -> None:
    life = machine(State.RUNNING, Restart.ON_FAILURE, intensity=1)
    life.goal = Goal.UP
    for _ in range(5):
        assert life.exit_event(Ending(True, 1.0), 50.0) is Ev.EXIT_DONE
    assert life.exit_event(Ending(False, 1.0), 50.0) is Ev.EXIT_RETRY
    assert life.exit_event(Ending(False, 1.0), 50.0) is Ev.EXIT_GIVE_UP


@pytest.mark.parametrize("policy", Restart)
def test_a_missing_program_is_not_tried_again(policy: Restart) -> None:
    assert machine(State.STARTING, policy).spawn_failed_event(permanent=True, now=1.0) is Ev.SPAWN_GIVE_UP


def test_a_passing_failure_to_spawn_is_tried_as_often_as_the_limit_allows() -> None:
    life = machine(State.STARTING, Restart.ON_FAILURE, intensity=2, delay=1.0)
    assert [life.spawn_failed_event(permanent=False, now=n) for n in (1.0, 2.0)] == [Ev.SPAWN_RETRY] * 2
    assert life.delay > 1
    assert life.spawn_failed_event(permanent=False, now=3.0) is Ev.SPAWN_GIVE_UP
    assert machine(State.STARTING, Restart.NEVER).spawn_failed_event(permanent=False, now=1.0) is Ev.SPAWN_GIVE_UP


def test_restore_is_for_the_beginning_alone() -> None:
    life = machine(State.DOWN)
    life.restore(State.FAILED)
    with pytest.raises(IllegalTransition, match="cannot restore a service that is failed"):
        life.restore(State.RUNNING)
    assert life.state is State.FAILED


# --- random histories ------------------------------------------------------------------------------------------


@attrs.define
class Model:
    """A supervisor in one class: carries the effects out on a process that is a boolean."""

    life: Lifecycle
    process: bool = False
    survivor: bool = False
    armed: bool = False
    now: float = 0.0
    pending: Ev | None = None
    last_command: Ev | None = None

    def feed(self, event: Ev) -> None:
        before = self.life.state
        for effect in self.life.handle(event):
            if effect is Do.SPAWN:
                assert not self.process, "a second process"
                self.process, self.pending = True, Ev.SPAWNED
            elif effect in (Do.ARM_READY, Do.ARM_BACKOFF):
                assert not self.armed, "a second timer"
                self.armed = True
            elif effect is Do.DISARM:
                self.armed = False
            elif effect is Do.STOP_PROCESS:
                assert self.process
        if before is State.FAILED and self.life.state is not State.FAILED:
            assert event in (Ev.START, Ev.HOLD, Ev.RESTART, Ev.STOP, Ev.EXIT_DONE), "failed left by itself"

    def command(self, event: Ev) -> None:
        self.settle()
        self.life.goal = Goal.DOWN if event is Ev.STOP else Goal.UP
        self.last_command = event
        if self.survivor:
            return  # the service refuses a second process, and asks the first one once more
        if event is Ev.HOLD and self.life.state is State.STOPPING:
            event = Ev.START
        self.feed(event)

    def happen(self, what: str, *, success: bool, uptime: float) -> None:
        """Something of the world, where it is possible now."""
        self.now += uptime
        if self.pending is not None and what == "spawn fails":
            self.pending, self.process = None, False
            self.feed(self.life.spawn_failed_event(permanent=success, now=self.now))
            return
        self.settle()
        state = self.life.state
        if what == "exit" and self.process:
            event = self.life.exit_event(Ending(success, uptime), self.now)
            self.process = self.survivor = False
            self.feed(event)
        elif what == "deadline" and self.armed:
            self.armed = False
            self.feed(Ev.DEADLINE)
        elif what == "ready" and state is State.STARTING and self.process:
            self.feed(Ev.READY)
        elif what == "unhealthy" and state in (State.STARTING, State.RUNNING):
            self.feed(Ev.UNHEALTHY)
        elif what == "unkillable" and state is State.STOPPING:
            self.survivor = True
            self.feed(Ev.UNKILLABLE)

    def settle(self) -> None:
        if self.pending is not None:
            event, self.pending = self.pending, None
            self.feed(event)

    def check(self) -> None:
        state = self.life.state
        assert self.process == (state in ACTIVE or self.survivor)
        assert self.armed <= (state in (State.STARTING, State.BACKOFF))
        assert (self.life.cause is not None) == (state is State.STOPPING)


COMMANDS = st.sampled_from([Ev.START, Ev.STOP, Ev.RESTART, Ev.HOLD])
WORLDLY = st.tuples(
    st.sampled_from(["exit", "deadline", "ready", "unhealthy", "unkillable", "spawn fails"]),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 30.0]),
)


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(Restart),
    intensity=st.integers(0, 3),
    steps=st.lists(st.one_of(COMMANDS, WORLDLY, WORLDLY), max_size=60),
)
def test_random_histories(policy: Restart, intensity: int, steps: list[Ev | tuple[str, bool, float]]) -> None:
    model = Model(machine(State.DOWN, policy, intensity=intensity))
    for step in steps:
        if isinstance(step, Ev):
            model.command(step)
        else:
            model.happen(step[0], success=step[1], uptime=step[2])
        model.check()
    model.command(Ev.STOP)
    model.happen("exit", success=True, uptime=1.0)
    model.check()
    assert model.life.state is State.DOWN
    assert not model.process
