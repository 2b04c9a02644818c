"""What a command waits for, and what it then says about each service.

A judge looks at one service and says nothing yet, or gives the result. Judges never wait; the supervisor calls them
when something they care about has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import attrs

from svcmgr.svc.lifecycle import Goal, State
from svcmgr.svc.service import Service


@attrs.frozen
class Result:
    """What became of one service. ``word`` is one of those listed at svcmgr.host.wire.Outcome."""

    key: str
    word: str
    ok: bool = True
    text: str = ""
    code: str = ""
    pid: int | None = None
    log_tail: str = ""


@attrs.frozen
class Judge:
    """``look`` gives the result or None; ``late`` gives it when time is up."""

    look: Callable[[], Result | None]
    late: Callable[[], Result]


class Waiter:
    """One command waiting for several services."""

    def __init__(self, judges: dict[str, Judge]) -> None:
        self._pending = judges
        self._touched: set[str] | None = None
        self._wake = asyncio.Event()
        self.results: dict[str, Result] = {}

    def touch(self, keys: Iterable[str]) -> None:
        """Some services changed."""
        mine = [key for key in keys if key in self._pending]
        if mine and self._touched is not None:
            self._touched.update(mine)
            self._wake.set()

    def look(self) -> bool:
        """Ask the judges of what changed since the last look (all, at first). True while any is silent."""
        keys = list(self._pending) if self._touched is None else list(self._touched)
        self._touched = set()
        self._wake.clear()
        for key in keys:
            result = self._pending[key].look() if key in self._pending else None
            if result is not None:
                self.results[key] = result
                del self._pending[key]
        return bool(self._pending)

    async def wait(self) -> None:
        """Return when something changed."""
        await self._wake.wait()

    def give_up(self) -> None:
        """Time is up."""
        for key, judge in self._pending.items():
            self.results[key] = judge.late()
        self._pending = {}


def judge_start(service: Service, hopeless: Callable[[], str], word: str = "started") -> Judge:
    """Judge of a start. ``hopeless()`` says why waiting is in vain, or ""."""
    before = service.readied

    def look() -> Result | None:
        state = service.state
        if state is State.RUNNING:
            pid = service.identity.pid if service.identity is not None else None
            return Result(service.key, word, pid=pid, text=service.told)
        if state in (State.BACKOFF, State.FAILED):
            return _failed(service, service.reason)
        if state is State.DOWN and service.goal is Goal.UP and not service.lifecycle.wanted:
            return Result(service.key, "failed", ok=False, text=service.reason, code="not-wanted")
        if state is State.DOWN and service.goal is not Goal.DOWN and service.readied > before:
            return Result(service.key, word, text=service.reason)  # it was ready, did its work and ended
        if state is State.DOWN:
            why = "it was stopped meanwhile" if service.goal is Goal.DOWN else f"{service.reason} before it was ready"
            return _failed(service, why)
        if state is State.WAITING and (why := hopeless()):
            return _failed(service, why)
        return None

    return Judge(look, lambda: _late(service, "start"))


def judge_stop(service: Service, *, was_down: bool) -> Judge:
    """Judge of a stop. ``was_down``: it had no process when the command came."""

    def look() -> Result | None:
        if service.state is State.DOWN and not service.present:
            if was_down:
                return Result(service.key, "was-not-running")
            return Result(service.key, "killed" if service.was_killed else "stopped")
        if service.state is State.FAILED and service.present:
            if service.being_killed:
                return None  # another round has begun
            return Result(service.key, "failed", ok=False, text=service.reason, code="stop-failed")
        if service.goal is Goal.UP and service.state in (State.STARTING, State.RUNNING):
            return Result(service.key, "failed", ok=False, text="it was started meanwhile", code="busy")
        return None

    return Judge(look, lambda: _late(service, "stop"))


def _failed(service: Service, why: str) -> Result:
    tail = service.last_exit.log_tail if service.last_exit is not None else ""
    return Result(service.key, "failed", ok=False, text=why, code="start-failed", log_tail=tail)


def _late(service: Service, what: str) -> Result:
    text = f"{what} did not end in time; it is {service.status.value}"
    if service.reason:
        text += f" ({service.reason})"
    return Result(service.key, "timeout", ok=False, text=text, code="timeout")
