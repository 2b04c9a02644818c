"""The table of calls in flight against a plain model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.conn.calls import Calls
from svcmgr.errors import TooManyCalls


@given(st.lists(st.tuples(st.sampled_from(["open", "close", "expire"]), st.integers(0, 30)), max_size=200))
def test_behaves_as_a_dictionary_of_deadlines(steps: list[tuple[str, int]]) -> None:
    calls, model, now = Calls(8), {}, 0.0
    for what, number in steps:
        if what == "open":
            if len(model) >= 8:
                with pytest.raises(TooManyCalls):
                    calls.open("v", now, 1.0, None)
            else:
                timeout = math.inf if number == 30 else float(number)
                call = calls.open("v", now, timeout, number)
                model[call.id] = now + timeout
        elif what == "close":
            ids = list(model)
            chosen = ids[number % len(ids)] if ids else 1
            assert (calls.close(chosen) is not None) == (model.pop(chosen, None) is not None)
        else:
            now += number
            due = sorted((deadline, key) for key, deadline in model.items() if deadline <= now)
            assert [call.id for call in calls.expire(now)] == [key for _, key in due]
            for _, key in due:
                del model[key]
        assert len(calls) == len(model)
        assert calls.next_deadline == min(model.values(), default=math.inf)


def test_answered_calls_with_long_deadlines_leave_nothing_behind() -> None:
    calls = Calls(4)
    for _ in range(10_000):
        calls.close(calls.open("v", 0.0, 600.0, None).id)
    assert len(calls._heap) < 100  # the only sign of the leak this guards against


def test_ids_are_never_used_twice() -> None:
    calls = Calls(10)
    first = [calls.open("v", 0, 1, None).id for _ in range(5)]
    calls.clear()
    second = [calls.open("v", 0, 1, None).id for _ in range(5)]
    assert not set(first) & set(second)
    assert calls.was_issued(second[-1])
    assert not calls.was_issued(second[-1] + 1)
