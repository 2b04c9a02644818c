"""Events as values, and the ring that keeps them."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.svc import events
from svcmgr.svc.events import STRIDE, Event, EventRing, GoalSet, StatusTold


def ring_of(count: int, *, capacity: int = 10, generation: int = 1) -> EventRing:
    ring = EventRing(generation, capacity)
    for n in range(count):
        ring.append(StatusTold("odd" if n % 2 else "even", str(n)), float(n))
    return ring


def texts(found: list[events.Stamped]) -> list[str]:
    return [s.event.fields().get("text", "") for s in found]


def kinds() -> list[type[Event]]:
    found = [v for v in vars(events).values() if isinstance(v, type) and issubclass(v, Event) and v is not Event]
    return sorted(found, key=lambda cls: cls.__name__)


def test_names_on_the_wire_are_distinct() -> None:
    names = [cls.what for cls in kinds()]
    assert len(names) == len(set(names))
    assert "event" not in names


@pytest.mark.parametrize("cls", kinds(), ids=lambda cls: cls.__name__)
def test_every_event_is_frozen_and_says_itself_in_one_line(cls: type[Event]) -> None:
    values: dict[str, object] = {"int": 1, "float": 1.5, "str": "t", "bool": True, "int | None": 0, "str | None": "S"}
    event = cls("web", **{a.name: values[str(a.type)] for a in attrs.fields(cls) if a.name != "name"})
    assert event.line().startswith(f"web: {cls.what}")
    assert "\n" not in event.line()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.name = "other"  # type: ignore[misc]


def test_empty_fields_are_left_out_but_an_exit_code_of_zero_is_not() -> None:
    assert GoalSet("web", "up").fields() == {"goal": "up"}
    assert events.Exited("web", 5, 1.0, code=0).fields() == {"pid": 5, "uptime_s": 1.0, "code": 0}
    assert events.Exited("web", 5, 1.0, signal="SIGKILL", log_tail="secret").fields() == {
        "pid": 5,
        "uptime_s": 1.0,
        "signal": "SIGKILL",
    }
    assert events.Began("", 1, "0.1").line() == "svcmgrd: svcmgrd-began pid=1 version=0.1"


def test_everything_from_the_beginning() -> None:
    ring = ring_of(3)
    found, cursor, lost = ring.since(0)
    assert texts(found) == ["0", "1", "2"]
    assert [s.seq for s in found] == [STRIDE + 1, STRIDE + 2, STRIDE + 3]
    assert [s.at for s in found] == [0.0, 1.0, 2.0]
    assert (cursor, lost) == (STRIDE + 3, 0)


def test_an_empty_ring() -> None:
    assert EventRing(1).since(0) == ([], STRIDE, 0)


def test_a_cursor_gives_what_is_new() -> None:
    ring = ring_of(3)
    _, cursor, _ = ring.since(0)
    assert ring.since(cursor) == ([], cursor, 0)
    ring.append(StatusTold("odd", "3"), 3.0)
    found, following, lost = ring.since(cursor)
    assert (texts(found), following, lost) == (["3"], cursor + 1, 0)


def test_a_cursor_ahead_of_the_ring_gives_nothing() -> None:
    ring = ring_of(3)
    found, following, lost = ring.since(STRIDE * 9)
    assert (found, lost) == ([], 0)
    assert following == STRIDE + 3


def test_what_fell_out_is_counted_for_each_reader() -> None:
    ring = ring_of(25, capacity=10)
    found, _, lost = ring.since(STRIDE + 5)
    assert (texts(found)[0], len(found), lost) == ("15", 10, 10)
    assert ring.since(STRIDE + 15)[2] == 0
    assert ring.since(STRIDE + 14)[2] == 1


def test_a_new_reader_has_lost_nothing() -> None:
    assert ring_of(25, capacity=10).since(0)[2] == 0


def test_a_cursor_of_an_earlier_life_counts_as_one_lost_at_least() -> None:
    ring = ring_of(3, generation=2)
    found, _, lost = ring.since(STRIDE + 700)
    assert (texts(found), lost) == (["0", "1", "2"], 1)


def test_numbers_grow_over_lives() -> None:
    assert EventRing(2).next_seq > ring_of(1000).next_seq


def test_names_filter() -> None:
    ring = ring_of(6)
    found, cursor, _ = ring.since(0, {"odd"})
    assert texts(found) == ["1", "3", "5"]
    assert cursor == STRIDE + 6
    assert ring.since(0, {"nobody"})[:2] == ([], STRIDE + 6)


def test_a_limit_stops_at_what_was_given() -> None:
    ring = ring_of(6)
    found, cursor, _ = ring.since(0, limit=2)
    assert (texts(found), cursor) == (["0", "1"], STRIDE + 2)
    found, cursor, _ = ring.since(cursor, {"even"}, limit=1)
    assert (texts(found), cursor) == (["2"], STRIDE + 3)


@settings(max_examples=100, deadline=None)
@given(
    capacity=st.integers(1, 8),
    script=st.lists(st.one_of(st.integers(1, 12), st.just("read")), max_size=30),
    limit=st.integers(1, 5),
)
def test_a_reader_sees_or_is_told_of_everything(capacity: int, script: list[int | str], limit: int) -> None:
    """Seen and lost together are exactly what happened, in order, each once."""
    ring = EventRing(3, capacity)
    happened = seen_or_lost = 0
    cursor = ring.next_seq - 1
    for step in [*script, *["read"] * 50]:
        if isinstance(step, int):
            for _ in range(step):
                ring.append(StatusTold("x", str(happened)), 0.0)
                happened += 1
            continue
        found, cursor, lost = ring.since(cursor, limit=limit)
        seen_or_lost += lost
        assert texts(found) == [str(seen_or_lost + n) for n in range(len(found))]
        seen_or_lost += len(found)
    assert seen_or_lost == happened
