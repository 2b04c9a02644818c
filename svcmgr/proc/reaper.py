"""Reaping orphans that were left to us.

A subreaper inherits what its descendants abandon (PR_SET_CHILD_SUBREAPER(2const)), and pid 1 inherits
everything; both have to wait for it, or its zombies fill the process table. SIGCHLD tells that some child has
ended. Children that somebody holds are not touched: their exit comes by pidfd, and their status is the
holder's. Signals coalesce, so each one is answered by asking about every stranger.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from svcmgr.proc.identity import ExitStatus
from svcmgr.proc.osapi import Os


class Reaper:
    """Answers SIGCHLD while it is open. Use on the loop of the main thread.

    Args:
        on_reaped: told of each stranger reaped, for logs and counters.
    """

    def __init__(self, os: Os, on_reaped: Callable[[int, ExitStatus], None] | None = None) -> None:
        #: Strangers reaped so far.
        self.reaped = 0
        self._os = os
        self._on_reaped = on_reaped
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Begin, with what is dead already. Idempotent."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_signal_handler(signal.SIGCHLD, self.reap)
            self.reap()

    def close(self) -> None:
        """End. Idempotent."""
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGCHLD)
            self._loop = None

    def reap(self) -> None:
        """Reap every dead stranger now."""
        for pid, status in self._os.reap_strangers():
            self.reaped += 1
            if self._on_reaped is not None:
                self._on_reaped(pid, status)
