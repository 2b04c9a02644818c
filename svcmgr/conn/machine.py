"""The machine of a client's connection: its states, inputs, acts and table; ``session.py`` tells the theory."""

from __future__ import annotations

import enum

from svcmgr.fsm import Table, to


class State(enum.Enum):
    """Where a connection object is."""

    IDLE = "idle"
    CONNECTING = "connecting"
    UP = "up"
    STALE = "stale"
    CLOSED = "closed"


class Input(enum.Enum):
    """What can happen to it."""

    CONNECT = enum.auto()
    OPENED = enum.auto()
    GREETED = enum.auto()
    LOST = enum.auto()
    RETRY = enum.auto()
    SILENT = enum.auto()
    HEARD = enum.auto()
    DISCONNECT = enum.auto()
    TERMINATE = enum.auto()


class Act(enum.Enum):
    """What it then does."""

    DIAL = enum.auto()
    GREET = enum.auto()
    WAIT = enum.auto()
    DROP = enum.auto()
    FAIL_CALLS = enum.auto()
    TELL_CONNECTED = enum.auto()
    TELL_DISCONNECTED = enum.auto()
    TELL_HUNG = enum.auto()
    TELL_RECOVERED = enum.auto()


_END = (Act.DROP, Act.FAIL_CALLS, Act.TELL_DISCONNECTED)

TABLE: Table[State, Input, Act] = Table(
    "connection",
    State.IDLE,
    {
        (State.IDLE, Input.CONNECT): to(State.CONNECTING, Act.DIAL),
        (State.IDLE, Input.DISCONNECT): to(State.IDLE),
        (State.IDLE, Input.TERMINATE): to(State.CLOSED),
        (State.CONNECTING, Input.CONNECT): to(State.CONNECTING, Act.DROP, Act.DIAL),
        (State.CONNECTING, Input.OPENED): to(State.CONNECTING, Act.GREET),
        (State.CONNECTING, Input.GREETED): to(State.UP, Act.TELL_CONNECTED),
        (State.CONNECTING, Input.LOST): to(State.CONNECTING, Act.DROP, Act.WAIT),
        (State.CONNECTING, Input.RETRY): to(State.CONNECTING, Act.DIAL),
        (State.CONNECTING, Input.DISCONNECT): to(State.IDLE, Act.DROP),
        (State.CONNECTING, Input.TERMINATE): to(State.CLOSED, Act.DROP),
        (State.UP, Input.CONNECT): to(State.CONNECTING, Act.DROP, Act.FAIL_CALLS, Act.DIAL, Act.TELL_DISCONNECTED),
        (State.UP, Input.LOST): to(State.CONNECTING, Act.DROP, Act.FAIL_CALLS, Act.WAIT, Act.TELL_DISCONNECTED),
        (State.UP, Input.SILENT): to(State.STALE, Act.TELL_HUNG),
        (State.UP, Input.DISCONNECT): to(State.IDLE, *_END),
        (State.UP, Input.TERMINATE): to(State.CLOSED, *_END),
        (State.STALE, Input.CONNECT): to(State.CONNECTING, Act.DROP, Act.FAIL_CALLS, Act.DIAL, Act.TELL_DISCONNECTED),
        (State.STALE, Input.LOST): to(State.CONNECTING, Act.DROP, Act.FAIL_CALLS, Act.WAIT, Act.TELL_DISCONNECTED),
        (State.STALE, Input.HEARD): to(State.UP, Act.TELL_RECOVERED),
        (State.STALE, Input.DISCONNECT): to(State.IDLE, *_END),
        (State.STALE, Input.TERMINATE): to(State.CLOSED, *_END),
        (State.CLOSED, Input.DISCONNECT): to(State.CLOSED),
        (State.CLOSED, Input.TERMINATE): to(State.CLOSED),
    },
)
