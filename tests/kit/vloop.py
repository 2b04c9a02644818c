"""An event loop whose clock jumps: when nothing is ready, time becomes the next deadline at once.

Driver tests run the real drivers here, so a 600 s timeout takes microseconds and is exact. The rules:

- Time moves only when no callback is ready, no descriptor is readable and no executor thread works; then it
  becomes exactly the time of the earliest timer.
- When there is no timer either, nothing can ever happen again: :class:`SleepsForever` is raised out of
  :func:`run`, naming the tasks and where they wait.
- While a thread of the default executor works, the loop waits for it in real time (virtual time stands still).
- Real sockets work, but a peer in *another process* is not waited for: time jumps past it. Such tests
  belong in ``tests/real`` on a real loop.
"""

from __future__ import annotations

import asyncio
import gc
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Where virtual monotonic time starts. Not zero, so that code which takes 0.0 for "never" is caught.
START = 1000.0
#: UTC at START: 2026-01-01T00:00:00Z.
UTC_AT_START = 1767225600.0


class SleepsForever(AssertionError):
    """Every task waits and no timer is set."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop on virtual time."""

    def __init__(self, limit: float = math.inf) -> None:
        self._virtual_now = START
        self._limit = limit
        self._threads_busy = 0
        self._real = selectors.DefaultSelector()
        super().__init__(_JumpingSelector(self, self._real))

    def time(self) -> float:
        return self._virtual_now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        self._threads_busy += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        # Joins the threads from one more thread of its own, which is not one of the executor.
        self._threads_busy += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._threads_busy -= 1

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._threads_busy -= 1

    def wait_for_events(self, timeout: float | None) -> list[Any]:
        """Called in place of select(2) with the loop's wish to sleep ``timeout`` seconds (None: for ever)."""
        if timeout is not None and timeout <= 0:
            return self._real.select(0)
        ready = self._real.select(60.0 if self._threads_busy else 0)
        if ready:
            return ready
        if self._threads_busy:
            raise SleepsForever("a thread of the executor has worked for more than 60 s of real time")
        if timeout is None:
            raise SleepsForever("nothing will ever happen again:\n" + "\n".join(_waiting(self)))
        # The exact time of the timer, not now + timeout, which may differ in the last bit.
        timer = self._scheduled[0].when()  # type: ignore[attr-defined]
        target = timer if timer - self._virtual_now <= timeout + 1e-6 else self._virtual_now + timeout
        if target > self._limit:
            limit, self._limit = self._limit, math.inf  # the clean-up that follows may need time
            raise TimeoutError(f"not done after {limit - START:g} virtual seconds:\n" + "\n".join(_waiting(self)))
        self._virtual_now = target
        return []


class _JumpingSelector(selectors.BaseSelector):
    """Delegates registration to a real selector and waiting to the loop."""

    def __init__(self, loop: VirtualLoop, real: selectors.BaseSelector) -> None:
        self._loop = loop
        self._real = real

    def select(self, timeout: float | None = None) -> list[Any]:
        return self._loop.wait_for_events(timeout)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def _waiting(loop: asyncio.AbstractEventLoop) -> list[str]:
    lines = []
    for task in asyncio.all_tasks(loop):
        frames = task.get_stack(limit=1)
        where = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "not started"
        lines.append(f"  {task.get_name()} at {where}")
    return sorted(lines) or ["  no task at all"]


class VirtualClock:
    """:class:`svcmgr.clock.Clock` on the time of a :class:`VirtualLoop` (default: the running one)."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()

    def monotonic(self) -> float:
        return self._loop.time()

    def utc(self) -> float:
        return UTC_AT_START + (self._loop.time() - START)


def run(coro: Coroutine[Any, Any, T], *, timeout: float = 86400.0) -> T:
    """Run ``coro`` on a fresh virtual loop.

    Args:
        timeout: virtual seconds after which TimeoutError is raised; ends histories with periodic timers.

    Raises:
        SleepsForever: everything waits and no timer is set.
        AssertionError: a callback raised, or a task failed and nobody looked.
    """

    unhandled: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(limit=START + timeout)) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        result = runner.run(coro)
    gc.collect(1)  # a task whose error nobody looked at says so when it is collected
    if unhandled:
        raise AssertionError(f"an exception reached the loop: {unhandled}") from unhandled[0].get("exception")
    return result


async def turns(count: int = 10) -> None:
    """Let the loop turn ``count`` times without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], within: float = 5.0, step: float = 0.001) -> None:
    """Wait until ``condition()`` is true, asking every ``step`` seconds; AssertionError after ``within``.

    Works on real loops (in ``tests/real``) and on virtual ones.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not condition():
        assert loop.time() < end, f"the condition did not become true within {within} s"
        await asyncio.sleep(step)
