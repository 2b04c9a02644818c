"""Services as JSON objects, as lines of a table and as blocks: one set of facts, three shapes.

Every shape is made from :func:`as_object`, so text and JSON cannot tell different things.
"""

from __future__ import annotations

from typing import Any

from svcmgr.cli.render import Column, clean, duration, facts, indented
from svcmgr.clock import rfc3339
from svcmgr.host.wire_status import DaemonInfo, Exit, ServiceRow

#: Statuses that count as "it runs" for the exit code of ``status NAME``; the rest is not up (yet, or any more).
UP = frozenset({"online", "degraded"})

COLUMNS = (
    Column("NAME"),
    Column("KIND", 5),
    Column("GOAL", 4),
    Column("STATE", 2),
    Column("STATUS"),
    Column("ENABLED", 7),
    Column("PID", right=True),
    Column("SINCE", 6),
    Column("UPTIME", right=True),
    Column("RESTARTS", 1, right=True),
    Column("LAST EXIT", 3),
    Column("REASON", 8),
    Column("SOCKET", 9),
    Column("PIDFILE", 10),
    Column("LOG", 11),
)


def exit_object(end: Exit | None) -> dict[str, Any] | None:
    """How a process ended, all keys present; None when none ended yet."""
    if end is None:
        return None
    return {
        "code": end.code,
        "signal": end.signal,
        "core": end.core,
        "at": rfc3339(end.at),
        "uptime_s": round(end.uptime_s, 3),
        "log_tail": end.log_tail,
    }


def as_object(row: ServiceRow, now: float, monotonic: float) -> dict[str, Any]:
    """One service as docs/cli.md describes it, all keys present.

    ``now`` is UTC seconds and ``monotonic`` CLOCK_MONOTONIC, both of this moment: ages come from the latter, so that a
    stepped date shows no wrong one.
    """
    uptime = None if row.started is None or row.pid is None else max(0.0, monotonic - row.started)
    return {
        "name": row.name,
        "kind": row.kind,
        "instance": row.instance,
        "goal": row.goal,
        "state": row.state,
        "status": row.status,
        "enabled": row.enabled,
        "pid": row.pid,
        "since": rfc3339(row.since),
        "started": None if uptime is None else rfc3339(now - uptime),
        "uptime_s": None if uptime is None else round(uptime, 3),
        "restarts": row.restarts,
        "last_exit": exit_object(row.last_exit),
        "reason": row.reason,
        "socket": row.socket,
        "pidfile": row.pidfile,
        "log": row.log,
    }


def daemon_object(info: DaemonInfo) -> dict[str, Any]:
    """svcmgrd as ``status --json`` shows it."""
    return {
        "pid": info.pid,
        "version": info.version,
        "protocol": info.protocol,
        "uptime_s": round(info.uptime_s, 3),
        "started": rfc3339(info.started),
        "root": info.root or None,
        "access": info.access,
        "invalid": info.invalid,
    }


def exit_words(end: dict[str, Any] | None) -> str:
    """``code 2 at 2026-01-31T08:00:00Z after 4s``; empty when nothing ended yet."""
    if end is None:
        return ""
    if end["signal"] is not None:
        how = f"signal {end['signal']}"
    elif end["code"] is not None:
        how = f"code {end['code']}"
    else:
        how = "unknown"
    core = " (core)" if end["core"] else ""
    return f"{how}{core} at {seconds_only(end['at'])} after {duration(end['uptime_s'])}"


def seconds_only(moment: str) -> str:
    """An RFC 3339 moment without its milliseconds, for columns."""
    return moment[:19] + "Z"


def cells(service: dict[str, Any]) -> list[str]:
    """One line of the table, in the order of COLUMNS."""
    return [
        service["name"],
        service["kind"],
        service["goal"],
        service["state"],
        service["status"],
        "yes" if service["enabled"] else "no",
        "" if service["pid"] is None else str(service["pid"]),
        seconds_only(service["since"]),
        "" if service["uptime_s"] is None else duration(service["uptime_s"]),
        str(service["restarts"]),
        exit_words(service["last_exit"]),
        service["reason"],
        service["socket"] or "",
        service["pidfile"] or "",
        service["log"] or "",
    ]


def block(service: dict[str, Any]) -> list[str]:
    """Every fact of one service, one per line."""
    return [clean(service["name"]), *facts({k: v for k, v in service.items() if k != "name"}, "  ")]


def tail_lines(service: dict[str, Any]) -> list[str]:
    """The last lines a service without a process wrote before it ended; empty otherwise."""
    end = service["last_exit"]
    if service["pid"] is not None or end is None or not end["log_tail"]:
        return []
    return [f"{clean(service['name'])} wrote before it ended:", *indented(end["log_tail"])]


def daemon_line(info: dict[str, Any]) -> str:
    """The line about svcmgrd above the table."""
    root = f", root {clean(info['root'])}" if info["root"] else ""
    return f"svcmgrd {clean(info['version'])} runs as pid {info['pid']} for {duration(info['uptime_s'])}{root}"
