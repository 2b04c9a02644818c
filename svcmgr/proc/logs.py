"""Keeping the logs of all services within their limits, at no cost while nobody writes.

Theory of operation. Growth is noticed through one inotify descriptor (see ``lognotices``): the first write to a log
gives one event, the next million give none until the log is armed again. After an event the keeper waits
``check_delay`` seconds, in which it does not look at the descriptor either, then handles all logs that grew in
one round: over the limit, rotate in a worker thread; else arm again. So the cost is bounded by two wake-ups per
delay for any number of busy services, and is zero for idle ones.

The delay is also what keeps writers fast: a burst shorter than the delay is never disturbed. The price is that
a live file may be over its limit by what is written in one delay; it is then cut into several pieces at once.

A rotation that fails leaves the log alone, is reported once per cause, and is tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from svcmgr.clock import Clock
from svcmgr.errors import StorageFailed, SvcmgrError
from svcmgr.proc import logrecord
from svcmgr.proc.lognotices import LogNotices
from svcmgr.proc.rotate import Rotation, Rotator

#: Seconds from the first write to the look at the size. See benchmarks/log_throughput.py for what it costs writers.
CHECK_DELAY = 1.0
#: Logs handled before others get the loop and the interpreter: about a millisecond's worth.
_AT_A_TIME = 20
#: First and longest pause before a failed rotation is tried again, in seconds.
RETRY_FIRST = 1.0
RETRY_MAX = 60.0


@attrs.frozen
class LogRotated:
    """A log was rotated."""

    key: str
    path: Path
    rotation: Rotation


@attrs.frozen
class LogTroubled:
    """A log could not be kept; it is tried again after ``retry_in`` seconds (0: when it is written again)."""

    key: str
    path: Path
    error: SvcmgrError
    retry_in: float


LogEvent = LogRotated | LogTroubled


@attrs.define
class KeeperStatistics:
    """Counters since the start. ``wakeups`` counts how often the keeper ran at all."""

    wakeups: int = 0
    checks: int = 0
    rotations: int = 0
    lossy: int = 0
    failures: int = 0
    moved_bytes: int = 0
    dropped_bytes: int = 0


@attrs.define
class _Log:
    key: str
    path: Path
    max_bytes: int
    keep: int
    fresh: bool = True
    retry_at: float | None = None
    pause: float = 0.0
    trouble: str | None = None


class LogKeeper:
    """Watches live logs and rotates them. Call ``watch`` and ``unwatch`` on the loop that runs :meth:`run`."""

    def __init__(
        self,
        clock: Clock,
        report: Callable[[LogEvent], None],
        *,
        check_delay: float = CHECK_DELAY,
        rotator: Rotator | None = None,
    ) -> None:
        self._clock = clock
        self._report = report
        self._check_delay = check_delay
        self._rotator = rotator or Rotator()
        self._logs: dict[str, _Log] = {}
        self._due: set[str] = set()
        self._grown: set[str] = set()  # over the limit again right after a look
        self._notices: LogNotices | None = None
        self._wake: Callable[[], None] = lambda: None
        self._closing = False
        self._statistics = KeeperStatistics()

    def watch(self, key: str, path: Path, max_bytes: int, keep: int) -> None:
        """Keep ``path`` at about ``max_bytes`` with at most ``keep`` older pieces of that size.

        The file may come into being later. What is not a regular file, for example /dev/null, is left alone. An
        interrupted rotation is finished first. Again for the same key: the new numbers hold. ``max_bytes`` 0: never
        rotate.
        """
        self.unwatch(key)
        self._logs[key] = _Log(key, path, max_bytes, keep)
        self._due.add(key)
        self._wake()

    def unwatch(self, key: str) -> None:
        """Forget a log; idempotent. A rotation that runs is finished."""
        self._logs.pop(key, None)
        if self._notices is not None:
            self._notices.forget(key)

    def lossy(self, key: str) -> bool:
        """Whether the file system of this log can only copy and truncate. Raises KeyError, OSError."""
        return self._rotator.lossy(self._logs[key].path)

    def statistics(self) -> KeeperStatistics:
        """A copy of the counters."""
        return attrs.evolve(self._statistics)

    async def run(self) -> None:
        """Keep all logs until cancelled; then a rotation that is under way is finished first."""
        self._closing = False
        self._notices = _notices()
        try:
            while True:
                gather = await self._next()
                self._statistics.wakeups += 1
                if gather:
                    await asyncio.sleep(self._check_delay)
                await self._round()
        finally:
            if self._notices is not None:
                self._notices.close()
            self._notices = None
            self._due.update(self._logs)

    async def _next(self) -> bool:
        """Wait for something to do; True when more of it is likely to come at once.

        That is when a log was written, or a new one is to be watched: hundreds of services that start together make one
        round, after their start.
        """
        if self._due or self._grown:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()

        def wake(gather: bool) -> None:
            if not waiter.done():
                waiter.set_result(gather)

        self._wake = lambda: wake(True)
        retries = [log.retry_at for log in self._logs.values() if log.retry_at is not None]
        timer = loop.call_at(min(retries), wake, False) if retries else None
        if self._notices is not None:
            loop.add_reader(self._notices.fileno(), wake, True)
        try:
            return await waiter
        finally:
            self._wake = lambda: None
            if timer is not None:
                timer.cancel()
            if self._notices is not None:
                loop.remove_reader(self._notices.fileno())

    async def _round(self) -> None:
        """Look at all logs that grew, are new or wait for another try."""
        logs = [self._logs[key] for key in sorted(self._collect())]
        self._statistics.checks += len(logs)
        for start in range(0, len(logs), _AT_A_TIME):
            await self._handle(logs[start : start + _AT_A_TIME])

    async def _handle(self, logs: list[_Log]) -> None:
        heavy = [log for log in logs if self._is_heavy(log)]
        if heavy:
            for log, outcome in await self._in_thread(heavy):
                if self._logs.get(log.key) is log:
                    self._settle(log, outcome)
        for log in logs:
            if self._logs.get(log.key) is log and log.retry_at is None:
                self._arm(log)

    def _collect(self) -> set[str]:
        now = self._clock.monotonic()
        due = self._due | self._grown
        self._due, self._grown = set(), set()
        if self._notices is not None:
            told, lost = self._notices.drain()
            due.update(self._logs if lost else told)
        due.update(log.key for log in self._logs.values() if log.retry_at is not None and log.retry_at <= now)
        return due & self._logs.keys()

    async def _in_thread(self, logs: list[_Log]) -> list[tuple[_Log, Rotation | SvcmgrError | None]]:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(None, lambda: list(self._rotate_all(logs)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._closing = True
            await asyncio.wait([work])
            raise

    def _rotate_all(self, logs: list[_Log]) -> Iterable[tuple[_Log, Rotation | SvcmgrError | None]]:
        """In the worker thread: touches nothing of ours but the rotator."""
        for log in logs:
            if self._closing:
                return
            try:
                yield log, self._rotate(log)
            except SvcmgrError as error:
                yield log, error

    def _rotate(self, log: _Log) -> Rotation | None:
        return self._rotator.rotate(log.path, log.max_bytes, log.keep)

    def _settle(self, log: _Log, outcome: Rotation | SvcmgrError | None) -> None:
        log.retry_at = None
        if isinstance(outcome, SvcmgrError):
            self._failed(log, outcome)
            return
        log.pause, log.trouble = 0.0, None
        if outcome is not None:
            self._statistics.rotations += 1
            self._statistics.lossy += outcome.lossy
            self._statistics.moved_bytes += outcome.moved
            self._statistics.dropped_bytes += outcome.dropped
            self._report(LogRotated(log.key, log.path, outcome))

    def _failed(self, log: _Log, error: SvcmgrError) -> None:
        self._statistics.failures += 1
        log.pause = min(max(RETRY_FIRST, 2 * log.pause), RETRY_MAX)
        log.retry_at = self._clock.monotonic() + log.pause
        if log.trouble != error.message:
            log.trouble = error.message
            self._report(LogTroubled(log.key, log.path, error, log.pause))

    def _is_heavy(self, log: _Log) -> bool:
        """Whether the worker thread must see it: to rotate, or to finish what a killed rotator left."""
        size = _size(log.path)
        if size is None:
            self._vanished(log)
            return False
        interrupted = log.fresh and not logrecord.at_rest(log.path)
        log.fresh = False
        return interrupted or log.retry_at is not None or 0 < log.max_bytes < size

    def _vanished(self, log: _Log) -> None:
        log.retry_at = None
        if log.fresh:
            return  # never seen: its service was not started yet
        message = f"cannot keep log {log.path}: it was removed; its service goes on writing to the removed file"
        self._report(LogTroubled(log.key, log.path, StorageFailed(message, path=str(log.path)), 0.0))
        log.fresh, log.pause, log.trouble = True, 0.0, None

    def _arm(self, log: _Log) -> None:
        """Ask for one event at the next write, then look once more: what came before gives no event."""
        if not log.max_bytes:
            return
        if self._notices is None:
            log.retry_at = self._clock.monotonic() + RETRY_MAX
            return
        try:
            if (size := _size(log.path)) is None:
                self._notices.expect(log.key, log.path)
            elif log.path.is_file():  # a device is written by everybody
                self._notices.arm(log.key, log.path)
        except OSError as error:
            what = f"cannot watch log {log.path}: {error.strerror} (errno {error.errno}); it is looked at now and then"
            self._failed(log, StorageFailed(what, path=str(log.path), errno=error.errno))
            return
        now = _size(log.path)
        if now is not None and (size is None or now > log.max_bytes):
            self._grown.add(log.key)


def _notices() -> LogNotices | None:
    try:
        return LogNotices()
    except OSError:
        return None


def _size(path: Path) -> int | None:
    """Size in bytes, 0 for a device; None when there is no such file, or none that we may see."""
    try:
        return path.stat().st_size
    except OSError:
        return None
