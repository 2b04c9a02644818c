"""The joint table that people see."""

from __future__ import annotations

from itertools import product

import pytest

from svcmgr.svc.lifecycle import State
from svcmgr.svc.status import JOINT, Link, Status, derive

EVERYTHING = list(product(State, [True, False], Link))


def test_the_table_is_total() -> None:
    assert set(JOINT) == set(EVERYTHING)
    assert set(JOINT.values()) == set(Status)


@pytest.mark.parametrize(
    ("state", "alive", "link", "status"),
    [
        (State.RUNNING, True, Link.UP, Status.ONLINE),
        (State.RUNNING, True, Link.NONE, Status.ONLINE),
        (State.RUNNING, True, Link.NOT_UP, Status.DEGRADED),
        (State.DOWN, False, Link.UP, Status.FOREIGN),
        (State.BACKOFF, False, Link.UP, Status.FOREIGN),
        (State.FAILED, False, Link.UP, Status.FOREIGN),
        (State.RUNNING, False, Link.UP, Status.FOREIGN),
        (State.RUNNING, False, Link.NOT_UP, Status.STOPPING),
        (State.STARTING, True, Link.UP, Status.STARTING),
        (State.STARTING, False, Link.UP, Status.STARTING),
        (State.STOPPING, False, Link.UP, Status.STOPPING),
        (State.FAILED, True, Link.UP, Status.FAILED),
        (State.BACKOFF, False, Link.NOT_UP, Status.BACKOFF),
        (State.WAITING, False, Link.NONE, Status.WAITING),
    ],
)
def test_what_people_see(state: State, alive: bool, link: Link, status: Status) -> None:
    assert derive(state, alive=alive, link=link) is status


@pytest.mark.parametrize(("state", "alive", "link"), EVERYTHING)
def test_laws(state: State, alive: bool, link: Link) -> None:
    status = derive(state, alive=alive, link=link)
    if status in (Status.ONLINE, Status.DEGRADED):
        assert alive
        assert state is State.RUNNING
    if status is Status.FOREIGN:
        assert not alive
        assert link is Link.UP
    if link is Link.NONE and state is not State.RUNNING:
        assert status.value == state.value
