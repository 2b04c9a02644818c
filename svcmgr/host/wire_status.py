"""The part of :mod:`svcmgr.host.wire` that ``status`` needs, apart because that command should answer at once.

Making a struct type costs half a millisecond, and the whole wire has more than twenty.
"""

from __future__ import annotations

import msgspec


class Exit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a process ended: an exit ``code`` or a ``signal`` name, or neither when nobody could know."""

    at: float
    code: int | None = None
    signal: str | None = None
    core: bool = False
    uptime_s: float = 0.0
    log_tail: str = ""


class ServiceRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One service in ``status``. Field meanings: docs/cli.md, "status".

    ``since`` is UTC. ``started`` is CLOCK_MONOTONIC at the start of its process: its uptime is
    ``StatusReply.monotonic - started``, right even when the host's date was changed meanwhile.
    """

    name: str
    kind: str
    goal: str
    state: str
    status: str
    since: float
    instance: str | None = None
    enabled: bool = False
    pid: int | None = None
    started: float | None = None
    restarts: int = 0
    reason: str = ""
    last_exit: Exit | None = None
    socket: str | None = None
    pidfile: str | None = None
    log: str | None = None


class DaemonInfo(msgspec.Struct, frozen=True):
    """svcmgrd itself. ``root`` is the directory given by ``--root``, or "" for the default places.

    ``invalid`` maps a definition that could not be loaded to the reason.
    """

    pid: int
    version: str
    protocol: int
    started: float
    root: str
    uptime_s: float
    access: str
    invalid: dict[str, str] = {}


class StatusRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``names`` are names or globs (fnmatch); empty means all. ``paths`` adds socket, pidfile and log."""

    names: list[str] = []
    paths: bool = False


class StatusReply(msgspec.Struct, frozen=True):
    """``monotonic`` is CLOCK_MONOTONIC seconds at the answer."""

    svcmgrd: DaemonInfo
    monotonic: float
    services: list[ServiceRow]
