"""What the processes of a service use. The only importer of psutil, which is loaded when first asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any


def tree_usage(pids: Iterable[int]) -> dict[str, Any] | None:
    """Sums over ``pids``; processes that end meanwhile are left out, None when none is left.

    Returns:
        ``processes``, ``threads``, ``fds`` (None if not ours to see), ``cpu_seconds`` (user and system, without ended
        children), ``rss_bytes`` (pages shared between processes count in each), ``pss_bytes`` (shared pages divided by
        their users, see proc_pid_smaps(5); None if not ours to see).
    """
    rows = [row for pid in pids if (row := _usage(pid)) is not None]
    if not rows:
        return None
    return {"processes": len(rows), **{key: _sum(row[key] for row in rows) for key in rows[0]}}


def _usage(pid: int) -> dict[str, Any] | None:
    import psutil  # type: ignore[import-untyped]

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            times = process.cpu_times()
            row: dict[str, Any] = {
                "threads": process.num_threads(),
                "fds": None,
                "cpu_seconds": times.user + times.system,
                "rss_bytes": process.memory_info().rss,
                "pss_bytes": None,
            }
        with contextlib.suppress(psutil.AccessDenied):
            row["fds"] = process.num_fds()
            row["pss_bytes"] = process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return None
    return row


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum, or None when a part of it is unknown: a sum of some would be a wrong number."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
