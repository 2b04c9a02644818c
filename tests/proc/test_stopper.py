"""The ladder: every cell, its deadlines, and what it can never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import IllegalTransition
from svcmgr.proc.spec import StopPlan
from svcmgr.proc.stopper import TABLE, Effect, Event, State, Stopper, StopResult

PLAN = StopPlan(grace_s=10, kill_deadline_s=5, leftover_grace_s=1)


def walk(*history: tuple[Event, float]) -> Stopper:
    stopper = Stopper(PLAN)
    for event, now in history:
        stopper.handle(event, now)
    return stopper


def test_asked_and_gone() -> None:
    stopper = Stopper(PLAN)
    assert stopper.handle(Event.STOP, 100) == (Effect.SIGNAL_MAIN, Effect.ARM_GRACE)
    assert stopper.next_deadline == 110
    assert stopper.expire(109.999) == ()
    assert stopper.handle(Event.EMPTY, 105) == (Effect.DISARM, Effect.REPORT_GONE)
    assert stopper.next_deadline is None
    assert stopper.result() is StopResult.STOPPED


def test_grace_over_kills_and_deadline_over_gives_up() -> None:
    stopper = walk((Event.STOP, 100))
    assert stopper.expire(110) == (Effect.KILL_TREE, Effect.ARM_KILL_DEADLINE)
    assert stopper.next_deadline == 115
    assert stopper.expire(115) == (Effect.DISARM, Effect.REPORT_UNKILLABLE)
    assert stopper.state is State.UNKILLABLE
    assert stopper.result() is StopResult.FAILED
    assert stopper.expire(1e9) == ()
    # It ends after all.
    assert Effect.REPORT_GONE in stopper.handle(Event.EMPTY, 1000)
    assert stopper.result() is StopResult.KILLED


def test_an_unkillable_one_is_tried_again_when_asked_again() -> None:
    stopper = walk((Event.STOP, 0), (Event.GRACE_OVER, 10), (Event.DEADLINE_OVER, 15))
    assert stopper.handle(Event.STOP, 50) == (Effect.KILL_TREE, Effect.ARM_KILL_DEADLINE)
    assert stopper.next_deadline == 55


@pytest.mark.parametrize(("left_at", "deadline"), [(101, 102), (109.5, 110), (110, 110)])
def test_leftovers_get_their_own_grace_but_never_more_than_was_left(left_at: float, deadline: float) -> None:
    stopper = walk((Event.STOP, 100), (Event.LEFTOVERS, left_at))
    assert stopper.next_deadline == deadline


def test_leftovers_of_a_crash() -> None:
    stopper = Stopper(PLAN)
    assert stopper.handle(Event.LEFTOVERS, 100) == (Effect.TERM_LEFTOVERS, Effect.ARM_LEFTOVER_GRACE)
    assert stopper.next_deadline == 101
    # New ones do not prolong it.
    stopper.handle(Event.LEFTOVERS, 100.5)
    assert stopper.next_deadline == 101
    assert stopper.handle(Event.STOP, 100.6) == ()
    assert stopper.expire(101) == (Effect.KILL_TREE, Effect.ARM_KILL_DEADLINE)


def test_leftovers_found_while_killing_are_killed_at_once() -> None:
    stopper = walk((Event.KILL, 100))
    assert stopper.handle(Event.LEFTOVERS, 101) == (Effect.KILL_TREE,)
    assert stopper.next_deadline == 105


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", [Event.STOP, Event.KILL])
def test_a_request_is_welcome_in_every_state(state: State, event: Event) -> None:
    assert TABLE.accepts(state, event)


def test_nothing_happens_after_gone() -> None:
    stopper = walk((Event.EMPTY, 1))
    for event in (Event.LEFTOVERS, Event.EMPTY, Event.GRACE_OVER, Event.DEADLINE_OVER):
        with pytest.raises(IllegalTransition):
            stopper.handle(event, 2)
        assert stopper.state is State.GONE


@given(st.lists(st.tuples(st.sampled_from(list(Event) + [None] * 3), st.floats(0, 20))))
def test_any_history(history: list[tuple[Event | None, float]]) -> None:
    """GONE is final, reported once, and without deadline; whoever waits long enough is never left waiting."""
    stopper = Stopper(PLAN)
    now, gone = 0.0, 0
    for event, pause in history:
        now += pause
        if event is None:
            effects = stopper.expire(now)
        elif TABLE.accepts(stopper.state, event):
            effects = stopper.handle(event, now)
        else:
            continue
        gone += Effect.REPORT_GONE in effects
        assert (stopper.state is State.GONE) == (gone == 1)
        assert (stopper.next_deadline is not None) == (stopper.state in (State.TERMINATING, State.KILLING))
        if stopper.next_deadline is not None:
            assert stopper.next_deadline <= now + PLAN.grace_s
    for _ in range(3):
        stopper.expire(stopper.next_deadline or now)
    assert stopper.state in (State.RUNNING, State.UNKILLABLE, State.GONE)
