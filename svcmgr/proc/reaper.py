"""Reaping orphans that were left to us.

A subreaper inherits what its descendants abandon (PR_SET_CHILD_SUBREAPER(2const)), and pid 1 inherits
everything; both have to wait for it, or its zombies fill the process table. SIGCHLD tells that some child has
ended. Children that somebody holds are not touched: their exit comes by pidfd, and their status is the
holder's. Signals merge, so each time every stranger is asked about.
"""

from __future__ import annotations

from collections.abc import Callable

from svcmgr.proc.identity import ExitStatus
from svcmgr.proc.seam import Os


class Reaper:
    """Reaps while it is open. Open it on the main thread, before other threads are started.

    SIGCHLD is blocked meanwhile, and threads inherit that; in one that does not block it the signal would be
    lost. Programs started by ``Process`` get an empty mask all the same.

    Args:
        on_reaped: told of each stranger reaped, for logs and counters.
    """

    def __init__(self, os: Os, on_reaped: Callable[[int, ExitStatus], None] | None = None) -> None:
        #: Strangers reaped so far.
        self.reaped = 0
        self._os = os
        self._on_reaped = on_reaped
        self._end: Callable[[], None] | None = None

    def open(self) -> None:
        """Begin, with what is dead already. Idempotent. Raises NotPermitted."""
        if self._end is None:
            self._end = self._os.watch_children(self.reap)
            self.reap()

    def close(self) -> None:
        """End. Idempotent."""
        if self._end is not None:
            self._end()
            self._end = None

    def reap(self) -> None:
        """Reap every dead stranger now."""
        for pid, status in self._os.reap_strangers():
            self.reaped += 1
            if self._on_reaped is not None:
                self._on_reaped(pid, status)
