"""Snapshots and schedules as JSON objects and as lines of a table, both from one set of facts."""

from __future__ import annotations

from typing import Any

from svcmgr.cli.render import Column, duration, size
from svcmgr.cli.rows import seconds_only
from svcmgr.clock import rfc3339
from svcmgr.services.snapd.wire import Cost, Schedule, Snapshot

COLUMNS = (
    Column("NAME"),
    Column("CREATED", 2),
    Column("METHOD", 3),
    Column("STATE"),
    Column("ORIGIN", 4),
    Column("COST", 5),
    Column("DESCRIPTION", 6),
)
SCHEDULE_COLUMNS = (
    Column("NAME"),
    Column("EVERY", right=True),
    Column("KEEP"),
    Column("HELD", right=True),
    Column("ACTIVATE", 4),
    Column("NEXT", 2),
    Column("LAST RUN", 3),
    Column("LAST RESULT", 5),
)


def as_object(snapshot: Snapshot) -> dict[str, Any]:
    """One snapshot as docs/cli.md describes it, all keys present."""
    return {
        "name": snapshot.name,
        "id": snapshot.id,
        "created": rfc3339(snapshot.created),
        "method": snapshot.method,
        "consistency": snapshot.consistency,
        "activated": snapshot.activated,
        "origin": snapshot.origin,
        "description": snapshot.description,
        "cost": _cost_object(snapshot.cost),
    }


def _cost_object(cost: Cost) -> dict[str, Any]:
    return {
        "duration_s": round(cost.seconds, 3),
        "files": cost.files,
        "copied_bytes": cost.copied_bytes,
        "shared_bytes": cost.shared_bytes,
    }


def cells(snapshot: dict[str, Any]) -> list[str]:
    """One line of the table, in the order of COLUMNS."""
    return [
        snapshot["name"],
        seconds_only(snapshot["created"]),
        snapshot["method"],
        "activated" if snapshot["activated"] else "deactivated",
        snapshot["origin"],
        cost_words(snapshot["cost"]),
        snapshot["description"],
    ]


def cost_words(cost: dict[str, Any]) -> str:
    """``0.02s, 1.5 MiB copied``."""
    words = [short_duration(cost["duration_s"])]
    words += [f"{size(cost[key])} {what}" for key, what in _SIZES if cost[key]]
    return ", ".join(words)


_SIZES = (("copied_bytes", "copied"), ("shared_bytes", "shared"))


def short_duration(seconds: float) -> str:
    """Seconds with what matters of them: ``0.02s``, ``4s``, ``3m04s``."""
    return f"{seconds:.2f}s" if seconds < 10 else duration(seconds)


def schedule_object(schedule: Schedule) -> dict[str, Any]:
    """One schedule as docs/cli.md describes it, all keys present."""
    return {
        "name": schedule.name,
        "every": schedule.every,
        "keep": schedule.keep,
        "activate": schedule.activate,
        "next_due": _moment(schedule.next_due),
        "last_run": _moment(schedule.last_run),
        "last_result": schedule.last_result,
        "held": schedule.held,
    }


def _moment(utc: float | None) -> str | None:
    return None if utc is None else rfc3339(utc)


def schedule_cells(schedule: dict[str, Any]) -> list[str]:
    """One line of the table, in the order of SCHEDULE_COLUMNS."""
    activate = schedule["activate"]
    return [
        schedule["name"],
        schedule["every"],
        keep_words(schedule["keep"]),
        str(schedule["held"]),
        "by option" if activate is None else "yes" if activate else "no",
        seconds_only(schedule["next_due"]) if schedule["next_due"] else "",
        seconds_only(schedule["last_run"]) if schedule["last_run"] else "",
        schedule["last_result"],
    ]


def keep_words(keep: dict[str, int]) -> str:
    """As it is written: ``hourly=24,daily=7``."""
    return ",".join(f"{rule}={count}" for rule, count in keep.items())
