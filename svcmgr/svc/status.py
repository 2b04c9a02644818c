"""What people see: one joint table over lifecycle state, process and connection.

Nobody asks two flags. ``Link`` is NONE for a service without a connection object (any program at all); there
the process alone decides. A connection that answers while our process is absent means that somebody else owns
our socket: *foreign*.
"""

from __future__ import annotations

import enum

from svcmgr.svc.lifecycle import State


class Status(enum.Enum):
    """The word in the status column."""

    ONLINE = "online"
    DEGRADED = "degraded"
    FOREIGN = "foreign"
    WAITING = "waiting"
    STARTING = "starting"
    STOPPING = "stopping"
    DOWN = "down"
    BACKOFF = "backoff"
    FAILED = "failed"


class Link(enum.Enum):
    """The connection as the status table sees it."""

    NONE = "none"
    UP = "up"
    NOT_UP = "not up"


_BY_STATE = {
    State.DOWN: Status.DOWN,
    State.WAITING: Status.WAITING,
    State.STARTING: Status.STARTING,
    State.STOPPING: Status.STOPPING,
    State.BACKOFF: Status.BACKOFF,
    State.FAILED: Status.FAILED,
}


def _build() -> dict[tuple[State, bool, Link], Status]:
    table: dict[tuple[State, bool, Link], Status] = {}
    for state, status in _BY_STATE.items():
        for alive in (True, False):
            for link in Link:
                table[state, alive, link] = status
        if state not in (State.STARTING, State.STOPPING):
            table[state, False, Link.UP] = Status.FOREIGN
    table |= {
        (State.RUNNING, True, Link.NONE): Status.ONLINE,
        (State.RUNNING, True, Link.UP): Status.ONLINE,
        (State.RUNNING, True, Link.NOT_UP): Status.DEGRADED,
        (State.RUNNING, False, Link.NONE): Status.STOPPING,
        (State.RUNNING, False, Link.UP): Status.FOREIGN,
        # The main process is gone and its leftovers are being ended; the exit arrives in a moment.
        (State.RUNNING, False, Link.NOT_UP): Status.STOPPING,
    }
    return table


JOINT = _build()


def derive(state: State, *, alive: bool, link: Link) -> Status:
    """The status for this combination; total over all inputs."""
    return JOINT[state, alive, link]
