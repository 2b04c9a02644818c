"""Readiness and liveness of one service: runs its probe, hears its notifications, keeps its watchdog.

Each start begins one probe and ends it when the service is ready, exits, or runs out of time. The notification socket
and the watchdog live as long as the process does, and are taken up again when a process is adopted. Watchdog pings
only note the time; the single timer looks at that note when it fires, so a ping costs no timer operation.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from svcmgr.conn import Connection
from svcmgr.errors import SvcmgrError
from svcmgr.paths import socket_path
from svcmgr.proc import Process, ProcSpec
from svcmgr.sdnotify import Notification
from svcmgr.svc import probes
from svcmgr.svc.notify import NotifySocket
from svcmgr.svc.seams import Seams, Timer
from svcmgr.svc.spec import Readiness, ReadyKind, ServiceSpec

#: EXTEND_TIMEOUT_USEC is honoured up to this many seconds at a time.
_EXTEND_MAX_S = 3600.0


class Owner(Protocol):
    """The service, as far as it is needed here."""

    spec: ServiceSpec
    seams: Seams
    conn: Connection | None
    process: Process | None

    def ready(self) -> Readiness: ...
    def uptime(self) -> float: ...
    def became_ready(self) -> None: ...
    def unhealthy(self, text: str) -> None: ...
    def tell(self, text: str) -> None: ...
    def arm(self, delay: float) -> None: ...
    def main_moved(self, pid: int) -> None: ...
    def probe_spec(self, argv: tuple[str, ...]) -> ProcSpec: ...


class Readying:
    """One per service, made with its process object."""

    __slots__ = ("_hang", "_notify", "_owner", "_pinged", "_task", "_timer", "_watch", "waiting")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.waiting = False
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._watch: Timer | None = None
        self._hang: Timer | None = None
        self._notify: NotifySocket | None = None
        self._pinged = 0.0

    # --- before the spawn ----------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Open what the next process will talk to; the variables that tell it where. Raises StorageFailed."""
        spec = self._owner.spec
        if spec.watchdog <= 0 and self._owner.ready().kind is not ReadyKind.NOTIFY:
            return {}
        env = {"NOTIFY_SOCKET": str(self._open_notify())}
        if spec.watchdog > 0:
            env["WATCHDOG_USEC"] = str(int(spec.watchdog * 1e6))
        return env

    def _open_notify(self) -> Path:
        seams, spec = self._owner.seams, self._owner.spec
        if self._notify is None:
            path = socket_path(seams.layout.service_notify(spec.key), seams.short_dir)
            self._notify = NotifySocket(path, _uid_of(spec.user), self._heard)
        self._notify.open(_uid_of(spec.user))
        return self._notify.path

    # --- the probe -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start waiting for readiness of the process that was just spawned or adopted."""
        self.waiting = True
        self.resume()
        readiness = self._owner.ready()
        listener = self._owner.seams.listener
        kind = readiness.kind
        if kind is ReadyKind.NONE:
            listener.post(self._owner.became_ready)
        elif kind is ReadyKind.UP:
            left = max(0.0, readiness.seconds - self._owner.uptime())
            self._timer = listener.call_later(left, self._owner.became_ready)
        elif kind not in (ReadyKind.NOTIFY, ReadyKind.PING):
            self._task = listener.run(self._probe(readiness), f"probe:{self._owner.spec.key}")

    async def _probe(self, readiness: Readiness) -> None:
        ask: Callable[[], Awaitable[bool]]
        if readiness.kind is ReadyKind.PIDFILE:
            path = Path(readiness.target)
            ask = lambda: self._main_from(path)  # noqa: E731 - one of three small questions
        elif readiness.kind is ReadyKind.COMMAND:
            seams, spec = self._owner.seams, self._owner.probe_spec(tuple(shlex.split(readiness.target)))
            ask = lambda: probes.command_succeeds(spec, seams.os, seams.clock)  # noqa: E731
        else:
            ask = lambda: probes.port_answers(readiness)  # noqa: E731
        await probes.until(ask)
        self._owner.seams.listener.post(self._owner.became_ready)

    async def _main_from(self, path: Path) -> bool:
        """Whether the pidfile of a forking daemon names its main process by now."""
        pid = probes.pid_in(path)
        if pid is None or self._owner.process is None:
            return False
        if self._owner.process.identity is not None and self._owner.process.identity.pid == pid:
            return True
        try:
            self._owner.main_moved(pid)
        except SvcmgrError:
            return False  # a number of an earlier life, or of a stranger: the daemon has not written yet
        return True

    def connected(self) -> None:
        """The connection is up; when readiness is a ping, ask."""
        self._cancel_hang()
        if self.waiting and self._owner.ready().kind is ReadyKind.PING:
            self._task = self._owner.seams.listener.run(self._ping(), f"ping:{self._owner.spec.key}")

    async def _ping(self) -> None:
        conn = self._owner.conn
        assert conn is not None
        try:
            await conn.call("ping")
        except SvcmgrError:
            return  # the connection reports its end itself, and connects again
        self._owner.seams.listener.post(self._owner.became_ready)

    def end(self) -> None:
        """Stop waiting; the process goes on."""
        self.waiting = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Take up the socket and the watchdog of a process; of an adopted one, from where they were left."""
        if self._owner.spec.watchdog > 0 or self._owner.ready().kind is ReadyKind.NOTIFY:
            self._open_notify()
        self._start_watchdog()

    def close(self) -> None:
        """The process is gone."""
        self.end()
        self._cancel_hang()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._notify is not None:
            self._notify.close()

    # --- liveness --------------------------------------------------------------------------------------

    def hung(self) -> None:
        """The connection fell silent; with ``hang_timeout`` set, that is allowed only for so long."""
        limit = self._owner.spec.hang_timeout
        if limit > 0 and self._hang is None:
            text = f"not answering for {limit:g} s"
            self._hang = self._owner.seams.listener.call_later(limit, lambda: self._owner.unhealthy(text))

    def recovered(self) -> None:
        """It answers again."""
        self._cancel_hang()

    def _cancel_hang(self) -> None:
        if self._hang is not None:
            self._hang.cancel()
            self._hang = None

    def _start_watchdog(self) -> None:
        period = self._owner.spec.watchdog
        if period > 0 and self._watch is None:
            self._pinged = self._owner.seams.clock.monotonic()
            self._watch = self._owner.seams.listener.call_later(period, self._look)

    def _look(self) -> None:
        self._watch = None
        period = self._owner.spec.watchdog
        left = self._pinged + period - self._owner.seams.clock.monotonic()
        if left <= 0:
            self._owner.unhealthy(f"watchdog: no sign of life for {period:g} s")
        else:
            self._watch = self._owner.seams.listener.call_later(left, self._look)

    def _heard(self, note: Notification, pid: int) -> None:
        self._owner.seams.listener.post(lambda: self._handle(note))

    def _handle(self, note: Notification) -> None:
        owner = self._owner
        if note.mainpid is not None:
            try:
                owner.main_moved(note.mainpid)
            except SvcmgrError as error:
                owner.tell(error.message)
        if note.watchdog:
            self._pinged = owner.seams.clock.monotonic()
        if note.status is not None:
            owner.tell(note.status)
        if note.extend_timeout_usec is not None and self.waiting:
            owner.arm(min(note.extend_timeout_usec / 1e6, _EXTEND_MAX_S))
        if note.watchdog_trigger:
            owner.unhealthy("watchdog: the service asked for its own end")
        elif note.ready and self.waiting and owner.ready().kind is ReadyKind.NOTIFY:
            owner.became_ready()


def _uid_of(user: str | None) -> int:
    if user is None:
        return os.getuid()
    try:
        return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        return os.getuid()  # the spawn refuses an unknown user with its own message
