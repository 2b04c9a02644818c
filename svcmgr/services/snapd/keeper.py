"""The driver of the schedules: writes them down, waits for the next moment, takes and deletes snapshots.

It decides nothing: when is :mod:`schedule`'s, which to delete is :mod:`retention`'s, how is the :class:`Taker`'s. One
task waits for the earliest deadline or a change, whichever comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from svcmgr.clock import Clock
from svcmgr.errors import InternalError, StorageFailed, SvcmgrError
from svcmgr.services.snapd import wire
from svcmgr.services.snapd.retention import Held, expire, parse_keep
from svcmgr.services.snapd.schedule import (
    Entry,
    Failed,
    Looked,
    Moment,
    Schedule,
    Scheduler,
    Take,
    Taken,
    every_text,
    parse_every,
)
from svcmgr.services.snapd.schedulefile import ScheduleFile

_Entries = Mapping[str, Entry]


class Taker(Protocol):
    """What takes and deletes snapshots."""

    async def take(self, name: str, origin: str, activate: bool | None) -> None:
        """Take a snapshot; it is there, or SvcmgrError is raised. ``activate`` None: as the volume's option says."""
        ...

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete those of ``ids`` that are still there. Raises SvcmgrError."""
        ...

    def held(self, origin: str) -> Sequence[Held]:
        """The snapshots of ``origin``, from memory, in any order."""
        ...


class Keeper:
    """The schedules of one volume: their verbs, and the task that keeps to them.

    Args:
        store: the directory for ``schedules.json``; it exists.
        rng: chance for the delays of retries.
    """

    def __init__(
        self, store: Path, taker: Taker, clock: Clock, log: logging.Logger, rng: random.Random | None = None
    ) -> None:
        self._file = ScheduleFile(store)
        self._taker = taker
        self._clock = clock
        self._log = log
        self._engine = Scheduler(rng or random.Random())  # noqa: S311 - jitter
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Keeper]:
        """Load what is stored and keep to it within the block. What is being taken at the end is cancelled."""
        self.load()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.run(), name="schedules")
            try:
                yield self
            finally:
                task.cancel()

    def load(self) -> None:
        """Read the file and find out how runs ended that a crash interrupted. Once, after the taker can answer."""
        entries = self._file.load(self._clock.utc())
        if self._file.trouble:
            self._log.error("%s", self._file.trouble)
        pending = [entry for entry in entries if entry.pending]
        there = {held.name for entry in pending for held in self._taker.held(entry.schedule.origin)}
        self._engine.resume(entries, frozenset(there), self._now())

    async def run(self) -> None:
        """Keep to the schedules until cancelled."""
        while True:
            take = self._engine.handle(Looked(), self._now())
            while take is not None:
                ended = await self._carry_out(take)
                take = self._engine.handle(ended, self._now())
                await self._remember()
                await self._expire(ended.schedule)
            await self._wait()

    def statistics(self) -> dict[str, Any]:
        """Facts: how many schedules, how many are failing, and what was wrong with the file."""
        entries = self._engine.entries.values()
        failing = sorted(entry.schedule.name for entry in entries if entry.failures)
        return {"schedules": len(entries), "failing": failing, "trouble": self._file.trouble}

    # The verbs.

    def schedules(self, _request: object = None, _ctx: object = None) -> wire.SchedulesReply:
        """Verb ``schedules``, by name."""
        return wire.SchedulesReply([self._shown(entry) for _, entry in sorted(self._engine.entries.items())])

    async def schedule_set(self, request: wire.ScheduleRequest, _ctx: object = None) -> wire.Schedule:
        """Verb ``schedule-set``. On disk when it answers.

        Raises:
            BadInput: a name, an interval or numbers that cannot be used.
            Busy: too many schedules.
            StorageFailed: it could not be written; the old one is in force.
        """
        schedule = Schedule(request.name, parse_every(request.every), parse_keep(request.keep), request.activate)

        def change(entries: _Entries) -> tuple[_Entries, Callable[[], None]]:
            entry = self._engine.proposed(schedule, self._now())
            return {**entries, schedule.name: entry}, lambda: self._engine.put(entry)

        await self._commit(change)
        self._log.info("schedule %s: every %s, keep %s", schedule.name, every_text(schedule.every), request.keep)
        return self._shown(self._engine.get(schedule.name))

    async def schedule_remove(self, request: wire.NameRequest, _ctx: object = None) -> wire.Schedule:
        """Verb ``schedule-remove``: answers what it was. Its snapshots stay. Raises UnknownSchedule, StorageFailed."""
        removed = self._shown(self._engine.get(request.name))

        def change(entries: _Entries) -> tuple[_Entries, Callable[[], None]]:
            self._engine.get(request.name)
            rest = {name: entry for name, entry in entries.items() if name != request.name}
            return rest, lambda: self._engine.remove(request.name)

        await self._commit(change)
        self._log.info("schedule %s was removed", request.name)
        return removed

    # The rest is how.

    def _now(self) -> Moment:
        return Moment(self._clock.utc(), self._clock.monotonic())

    def _shown(self, entry: Entry) -> wire.Schedule:
        schedule = entry.schedule
        return wire.Schedule(
            name=schedule.name,
            every=every_text(schedule.every),
            keep=schedule.keep.rules(),
            activate=schedule.activate,
            next_due=self._engine.next_due(schedule.name, self._now()),
            last_run=entry.last_run,
            last_result=entry.last_result,
            held=len(self._taker.held(schedule.origin)),
        )

    async def _commit(self, change: Callable[[_Entries], tuple[_Entries, Callable[[], None]]]) -> None:
        """Write what ``change`` makes of the entries, then let it count in memory: memory never says more than disk."""
        async with self._writing:
            entries, adopt = change(self._engine.entries)
            write = asyncio.get_running_loop().run_in_executor(None, self._file.write, list(entries.values()))
            try:
                await asyncio.wait([write])
            finally:
                # A write that has begun cannot be called back: whoever is cancelled outlasts it.
                if not write.done():
                    await asyncio.wait([write])
                if write.exception() is None:
                    adopt()
                    self._changed.set()
            write.result()

    async def _remember(self) -> None:
        """Write down how a run ended. Where that fails memory still knows, and the next write brings it to disk."""
        try:
            await self._commit(lambda entries: (entries, lambda: None))
        except StorageFailed as error:
            self._log.error("%s; the schedules go on from memory", error)

    async def _carry_out(self, take: Take) -> Taken | Failed:
        try:
            await self._commit(lambda entries: (entries, lambda: None))
            await self._taker.take(take.snapshot, take.origin, take.activate)
        except SvcmgrError as error:
            self._log.warning("schedule %s: %s", take.schedule, error)
            return Failed(take.schedule, take.snapshot, error.code, error.message)
        except Exception as error:  # a bug of the taker must not end the schedules of others
            self._log.exception("schedule %s: cannot take %s", take.schedule, take.snapshot)
            return Failed(take.schedule, take.snapshot, InternalError.code, f"{type(error).__name__}: {error}")
        return Taken(take.schedule, take.snapshot)

    async def _expire(self, name: str) -> None:
        entry = self._engine.entries.get(name)
        if entry is None:
            return
        gone = expire(self._taker.held(entry.schedule.origin), entry.schedule.keep, self._clock.utc())
        if not gone:
            return
        try:
            await self._taker.delete([held.id for held in gone])
        except SvcmgrError as error:
            self._log.warning("schedule %s: cannot delete what it need not keep: %s", name, error)
        except Exception:  # as above; what was not deleted is found again by the next run
            self._log.exception("schedule %s: cannot delete what it need not keep", name)
        else:
            self._log.info("schedule %s: deleted %s", name, ", ".join(held.name for held in gone))

    async def _wait(self) -> None:
        deadline = self._engine.next_deadline(self._now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        self._changed.clear()
