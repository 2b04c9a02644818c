"""Keeps the logs of running services within their limits: tells the keeper which logs there are."""

from __future__ import annotations

import asyncio

from svcmgr.paths import RESERVED, Layout
from svcmgr.proc.logs import LogEvent, LogKeeper, LogRotated
from svcmgr.svc import Supervisor, events

_OWN_MAX_BYTES = 10 * 1024 * 1024
_OWN_KEEP = 5


class LogKeeping:
    """A sink of the supervisor, and a context: the keeper works while it is open.

    A log is watched from its service's first process on and stays watched when the process is gone, since what a
    service left running may still write to it.
    """

    def __init__(self, supervisor: Supervisor, layout: Layout) -> None:
        self._supervisor = supervisor
        self._layout = layout
        self._keeper = LogKeeper(supervisor.clock, self._report)
        self._task: asyncio.Task[None] | None = None
        self._watched: set[str] = set()

    async def __aenter__(self) -> LogKeeping:
        self._task = self._supervisor.run(self._keeper.run(), "logs")
        # Ours too: `svcmgr up` sends what we print to it. Under another supervisor there is none to watch.
        if self._layout.daemon_log.is_file():
            self._keeper.watch(RESERVED, self._layout.daemon_log, _OWN_MAX_BYTES, _OWN_KEEP)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def __call__(self, stamped: events.Stamped) -> None:
        """Follow which services have logs."""
        event = stamped.event
        if isinstance(event, events.HasProcess):
            self._watch(event.name)
        elif isinstance(event, events.DefinitionChanged):
            self._watched.discard(event.name)
            self._keeper.unwatch(event.name)
            if event.action != "remove":
                self._watch(event.name)

    def _watch(self, key: str) -> None:
        service = self._supervisor.services.get(key)
        if service is None or key in self._watched:
            return
        self._watched.add(key)
        spec = service.spec
        self._keeper.watch(key, self._layout.service_log(key), spec.log_max_bytes, spec.log_keep)

    def _report(self, event: LogEvent) -> None:
        if isinstance(event, LogRotated):
            return  # ordinary housekeeping; `svcmgr show` tells how the log is kept
        self._supervisor.emit(events.Troubled(event.key, event.error.message))

    def rotation(self, key: str) -> str | None:
        """``lossless``, or ``lossy`` where the file system can only copy and truncate; None while there is no log."""
        try:
            return "lossy" if self._keeper.lossy(key) else "lossless"
        except (KeyError, OSError):
            return None
