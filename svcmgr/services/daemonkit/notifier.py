"""Telling the supervisor: READY, STATUS, STOPPING, and WATCHDOG at half the period that it asked for.

The supervisor may be away at any moment without the daemon suffering from it: a datagram that cannot be delivered is
counted, logged once per streak, and only READY is repeated. WATCHDOG is sent by the event loop itself, so a loop that
is blocked goes silent, which is the whole point.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from svcmgr import sdnotify
from svcmgr.errors import SvcmgrError

#: READY is repeated this long while the supervisor does not take it (it may be between two lives).
READY_PATIENCE_S = 30.0
_READY_FIRST_PAUSE_S = 0.05
_READY_LONGEST_PAUSE_S = 1.0


class Notifier:
    """The sending side of sd_notify for one process."""

    def __init__(self, environ: Mapping[str, str], pid: int, log: logging.Logger) -> None:
        self._environ = environ
        self._log = log
        self._failing = False
        self.watchdog_s = sdnotify.watchdog_timeout(environ, pid) if environ.get("NOTIFY_SOCKET") else None
        self.sent = 0
        self.failed = 0

    def send(self, **fields: Any) -> bool:
        """Send one notification; False when it could not be delivered. Without NOTIFY_SOCKET there is nothing to do."""
        try:
            self.sent += sdnotify.notify(self._environ, **fields)
        except SvcmgrError as error:
            self.failed += 1
            if not self._failing:
                self._log.warning("%s; not said: %s", error.message, ", ".join(fields))
            self._failing = True
            return False
        self._failing = False
        return True

    async def ready(self) -> None:
        """Say READY, again and again for READY_PATIENCE_S while nobody takes it."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + READY_PATIENCE_S
        pause = _READY_FIRST_PAUSE_S
        while not self.send(ready=True, status="ready"):
            if loop.time() >= give_up:
                self._log.error("nobody took READY for %g s; going on without", READY_PATIENCE_S)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _READY_LONGEST_PAUSE_S)

    async def watchdog(self) -> None:
        """WATCHDOG=1 now and every half period until cancelled; returns at once when nobody asked for it."""
        if self.watchdog_s is None:
            return
        while True:
            self.send(watchdog=True)
            await asyncio.sleep(self.watchdog_s / 2)

    def facts(self) -> dict[str, object]:
        return {"sent": self.sent, "failed": self.failed, "watchdog_s": self.watchdog_s}
