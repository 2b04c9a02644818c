"""The clock seam: monotonic seconds for durations, UTC for what people and leases see.

Nothing else in svcmgr reads time. Engines get ``now`` as an argument; drivers hold a :class:`Clock`.
``monotonic()`` must be the time base of the running event loop, so that ``loop.call_at`` and a deadline
computed by an engine mean the same instant; on Linux it counts from boot, hence it also compares across
processes of one boot.
"""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps (CLOCK_MONOTONIC)."""
        ...

    def utc(self) -> float:
        """Seconds since the epoch (CLOCK_REALTIME); may step, so never subtract two of them."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> float:
        return time.time()


def rfc3339(utc: float) -> str:
    """``utc`` seconds as RFC 3339 text in UTC with milliseconds, e.g. ``2026-01-31T08:00:00.250Z``."""
    moment = datetime.datetime.fromtimestamp(utc, tz=datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
