"""Which tcp connection is which link."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from svcmgr.conn.zeromq.arrivals import Arrivals

HERE = ("127.0.0.1", 4000)


def book(most: int = 10) -> Arrivals:
    return Arrivals(5.0, most)


def test_a_message_claims_the_connection_that_it_came_from() -> None:
    arrivals = book()
    arrivals.accepted(7, HERE, 0.0)
    order = arrivals.newest
    arrivals.accepted(8, ("127.0.0.1", 4001), 1.0)
    claimed = arrivals.claim(7, order)
    assert claimed is not None
    assert (claimed.fd, claimed.place) == (7, HERE)
    assert arrivals.claim(7, order) is None  # once
    assert arrivals.waiting == 1
    assert len(arrivals) == 2


def test_a_message_of_a_dead_connection_does_not_claim_the_next_one_of_its_descriptor() -> None:
    arrivals = book()
    arrivals.accepted(7, HERE, 0.0)
    order = arrivals.newest
    arrivals.gone(7)
    arrivals.accepted(7, ("127.0.0.1", 4001), 1.0)
    assert arrivals.claim(7, order) is None
    assert arrivals.claim(7, arrivals.newest) is not None


def test_a_descriptor_that_comes_again_has_lost_its_connection() -> None:
    arrivals = book()
    arrivals.accepted(7, HERE, 0.0)
    arrivals.accepted(7, HERE, 0.0)
    assert len(arrivals) == arrivals.waiting == 1


def test_those_without_link_are_cut_in_time_and_once() -> None:
    arrivals = book()
    assert arrivals.next_deadline == math.inf
    for fd in (7, 8, 9):
        arrivals.accepted(fd, HERE, float(fd))
    order = arrivals.newest
    assert arrivals.claim(7, order) is not None
    assert arrivals.next_deadline == 13.0
    assert arrivals.overdue(12.9) == []
    assert [arrival.fd for arrival in arrivals.overdue(13.5)] == [8]
    assert arrivals.overdue(13.5) == []
    assert arrivals.claim(8, order) is None  # too late
    assert arrivals.gone(8) is not None
    assert arrivals.gone(8) is None
    assert [arrival.fd for arrival in arrivals.all_waiting()] == [9]
    assert arrivals.all_waiting() == []


def test_of_a_crowd_the_oldest_goes_when_it_has_had_its_share_and_else_the_newcomer() -> None:
    arrivals = book(2)
    assert [arrivals.accepted(fd, HERE, 0.0) for fd in (1, 2)] == [None, None]
    herd = arrivals.accepted(3, HERE, 1.25)
    assert herd is not None
    assert herd.fd == 3
    slow = arrivals.accepted(4, HERE, 1.26)
    assert slow is not None
    assert slow.fd == 1
    assert [arrival.fd for arrival in arrivals.all_waiting()] == [2, 4]


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 2)), min_size=1, max_size=60), st.integers(1, 4))
def test_there_are_never_more_than_may_be_and_none_is_cut_twice(steps: list[tuple[int, float]], most: int) -> None:
    arrivals, now, cut = book(most), 0.0, []
    for fd, later in steps:
        now += later
        crowded_out = arrivals.accepted(fd, HERE, now)
        cut += arrivals.overdue(now)
        cut += [crowded_out] if crowded_out else []
        assert arrivals.waiting <= most
        assert arrivals.next_deadline > now
    assert len({arrival.order for arrival in cut}) == len(cut)
