"""Background workers as rows of one table: a name, an async callable, an interval.

The interval is a callable read before every round, so a changed configuration takes effect at the next
round without a restart. A round that fails is reported and does not end the worker; cancellation ends it
at once. Durations are monotonic seconds of the running loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs


@attrs.frozen
class Worker:
    """One row: ``run`` is awaited every ``interval()`` seconds, first after one interval."""

    name: str
    run: Callable[[], Awaitable[None]]
    interval: Callable[[], float]


async def run_workers(workers: Iterable[Worker], report: Callable[[str, Exception], None]) -> None:
    """Run all workers until cancelled. ``report(name, error)`` is told of every failed round."""
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(_loop(worker, report), name=f"worker:{worker.name}")


async def outlast(doing: asyncio.Future[Any]) -> None:
    """Wait until ``doing`` is done, however often the waiting is cancelled; the cancellation goes on afterwards.

    For what cannot be called back once it has begun, such as a write in a thread. Its result is not looked at.
    """
    try:
        await asyncio.wait([doing])
    finally:
        if not doing.done():
            await outlast(doing)


async def _loop(worker: Worker, report: Callable[[str, Exception], None]) -> None:
    while True:
        await asyncio.sleep(worker.interval())
        try:
            await worker.run()
        except Exception as error:  # any failure of a round is the worker's, not the daemon's
            report(worker.name, error)
