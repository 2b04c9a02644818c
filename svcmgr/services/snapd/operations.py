"""Everything that changes the snapshots of one volume, one at a time, each in a thread.

Whoever asked may go away: what he asked for is given up then, at the next file. Only a restore in place that has begun
to move things goes on to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from svcmgr.clock import Clock
from svcmgr.errors import BadInput, StorageFailed, SvcmgrError
from svcmgr.services.snapd import differences, restore, swap, wire
from svcmgr.services.snapd.catalogue import Catalogue
from svcmgr.services.snapd.job import Job, in_thread
from svcmgr.services.snapd.leftovers import Leftovers
from svcmgr.services.snapd.restore import Source
from svcmgr.services.snapd.retention import Held
from svcmgr.services.snapd.settings import Settings
from svcmgr.services.snapd.taking import Order, Taking
from svcmgr.volume import Record, default_name

T = TypeVar("T")

SAFETY = "safety"
#: After a failed round the collector looks again this many seconds later, though nobody asked.
COLLECT_EVERY_S = 600.0


class Operations:
    """Settings may be replaced at any time; what is under way goes on with those it began with."""

    def __init__(self, settings: Settings, clock: Clock, log: logging.Logger, changed: Callable[[], None]) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings.store, settings.volume_id)
        self.leftovers = Leftovers(settings, self.catalogue, log)
        self._clock = clock
        self._log = log
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()
        self._collecting = asyncio.Event()
        self.counts = dict.fromkeys(("taken", "deleted", "restored", "diffs", "failed"), 0)
        self.last_error = ""

    async def start(self) -> None:
        """Load, carry out what was interrupted, look for leftovers. Raises StorageFailed: there is no store."""
        job = Job()

        def work() -> None:
            self.catalogue.load()
            self.leftovers.recover(job)
            self.leftovers.survey()

        await in_thread(job, work)
        for line in self.catalogue.quarantined:
            self._log.error("a record was moved to quarantine, its data is kept: %s", line)
        self._collecting.set()
        self._changed()

    async def collect(self) -> None:
        """Wait until there may be something to remove, then remove it; the round of a background worker."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COLLECT_EVERY_S):
                await self._collecting.wait()
        self._collecting.clear()
        job = Job()
        async with self._one_at_a_time:
            gathered = await in_thread(job, self.leftovers.gather)
        await in_thread(job, lambda: self.leftovers.collect(gathered, job))

    @contextlib.asynccontextmanager
    async def _changing(self, what: str) -> AsyncIterator[None]:
        """One at a time; whatever comes of it, the others learn what is there then."""
        async with self._one_at_a_time:
            try:
                yield
            except SvcmgrError as error:
                self.counts["failed"] += 1
                self.last_error = error.message
                self._log.warning("%s: %s", what, error.message)
                raise
            finally:
                self._collecting.set()
                self._changed()

    # --- snapshots

    async def take(self, name: str, origin: str, activate: bool | None, description: str = "") -> Record:
        """Take one; ``name`` "" makes one from the time. Raises as :meth:`Taking.take`."""
        async with self._changing(f"snapshot {name}"):
            return await self._take(name, origin, activate, description)

    async def _take(self, name: str, origin: str, activate: bool | None, description: str = "") -> Record:
        now = self._clock.utc()
        order = Order(
            name=name or default_name(now, self.catalogue.names),
            created=now,
            origin=origin,
            description=description,
            activated=self.settings.activate_on_create if activate is None else activate,
        )
        job = Job()
        taking = Taking(self.settings, self.catalogue, self._clock)
        record = await in_thread(job, lambda: taking.take(order, job))
        self.counts["taken"] += 1
        self._log.info("took snapshot %s by %s in %.3f s", record.name, record.method, record.cost.seconds)
        return record

    async def activate(self, names: Sequence[str], activated: bool) -> list[Record]:
        """Serve those that ``names`` mean in the view, or no more. Raises UnknownSnapshot, BadInput, StorageFailed."""
        async with self._changing("activation"):
            records = self.catalogue.match(_some(names))
            return await self._each(records, lambda record: self.catalogue.activate(record, activated))

    async def delete(self, names: Sequence[str]) -> list[Record]:
        """Delete those that ``names`` mean. Raises UnknownSnapshot, BadInput, StorageFailed."""
        async with self._changing("deletion"):
            return await self._delete(self.catalogue.match(_some(names)))

    async def delete_ids(self, ids: Sequence[str]) -> None:
        """Delete those of ``ids`` that are still there. Raises StorageFailed."""
        async with self._changing("deletion"):
            await self._delete([record for record in self.catalogue.records if record.id in set(ids)])

    async def _delete(self, records: Sequence[Record]) -> list[Record]:
        def one(record: Record) -> Record:
            self.catalogue.delete(record)
            return record

        deleted = await self._each(records, one)
        self.counts["deleted"] += len(deleted)
        self._log.info("deleted %d snapshots: %s", len(deleted), ", ".join(record.name for record in deleted[:20]))
        return deleted

    async def _each(self, records: Sequence[Record], change: Callable[[Record], T]) -> list[T]:
        job = Job()

        def work() -> list[T]:
            done = []
            for record in records:
                job.check()
                done.append(change(record))
            return done

        return await in_thread(job, work)

    # --- content

    async def diff(self, request: wire.DiffRequest) -> wire.DiffReply:
        """Raises as :func:`differences.answer`. Others may change things meanwhile, as the users of the volume do."""
        other = self.catalogue.get(request.other) if request.other else None
        question = differences.Question.of(request, self.catalogue.get(request.name), other)
        job = Job()
        reply = await in_thread(job, lambda: differences.answer(question, job))
        self.counts["diffs"] += 1
        return reply

    async def restore(self, request: wire.RestoreRequest) -> wire.RestoreReply:
        """Raises as :mod:`restore` does, and BadInput for a request that does not say exactly one thing."""
        _check_restore(request)
        began = self._clock.monotonic()
        job = Job()
        async with self._changing(f"restore of {request.name}"):
            source = Source.of(self.catalogue.get(request.name), request.path, request.brick)
            if request.in_place:
                where, safety = await self._in_place(source, job)
            else:
                where, safety = await self._to_new_place(source, request.to, job), ""
        self.counts["restored"] += 1
        seconds = self._clock.monotonic() - began
        self._log.info("restored %r of %s to %s in %.3f s", source.path, request.name, ", ".join(where), seconds)
        return wire.RestoreReply(where, job.files, job.copied + job.shared, round(seconds, 6), safety)

    async def _to_new_place(self, source: Source, to: str, job: Job) -> list[str]:
        work_id = restore.new_id()

        def work() -> list[str]:
            place = restore.check_place(to)
            self.leftovers.placing(work_id, place.parent)
            try:
                made = restore.to_new_place(source, place, work_id, job)
            except SvcmgrError:
                self.leftovers.clear_place(work_id, place.parent, job)
                raise
            self.leftovers.placed(work_id)
            return made

        return await in_thread(job, work)

    async def _in_place(self, source: Source, job: Job) -> tuple[list[str], str]:
        settings = self.settings
        await in_thread(job, lambda: restore.check_in_place(source, job))
        safety = await self._take(self._safety_name(), SAFETY, False, f"before {source.record.name} was restored")

        def prepare() -> swap.Plan:
            try:
                return restore.prepare(source, settings, job)
            except BaseException:
                self.catalogue.delete(safety)  # nothing was changed, so it saves nobody
                raise

        plan = await in_thread(job, prepare)

        def carry_out() -> list[str]:
            swap.write(settings.store, plan)
            failed = swap.carry_out(plan, Job())
            swap.forget(settings.store, plan)
            return failed

        # From here on nobody can call it off: the job that is told to give up is not the one that works.
        failed = await in_thread(Job(), carry_out)
        if failed:
            raise StorageFailed(
                f"cannot put {len(failed)} restored entries in place: {'; '.join(failed[:3])}; all others are, and "
                f"what was there before is in snapshot {safety.name}",
                failed=failed[:100],
                safety=safety.name,
            )
        return [str(Path(place.brick, *place.parents, place.name)) for place in plan.places], safety.name

    def _safety_name(self) -> str:
        stamp = default_name(self._clock.utc()).removeprefix("snap-")
        base = name = f"{SAFETY}-{stamp}"
        number = 1
        while name in self.catalogue.names:
            number += 1
            name = f"{base}-{number}"
        return name


class ScheduledTaker:
    """What the schedules ask of :class:`Operations`."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def take(self, name: str, origin: str, activate: bool | None) -> None:
        """Raises as :meth:`Operations.take`."""
        await self._operations.take(name, origin, activate)

    async def delete(self, ids: Sequence[str]) -> None:
        """Raises as :meth:`Operations.delete_ids`."""
        await self._operations.delete_ids(ids)

    def held(self, origin: str) -> Sequence[Held]:
        """From memory."""
        records = self._operations.catalogue.records
        return [Held(record.id, record.name, record.created) for record in records if record.origin == origin]


def _some(names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise BadInput("cannot do this to no snapshot: name at least one")
    return names


def _check_restore(request: wire.RestoreRequest) -> None:
    if bool(request.to) == request.in_place:
        raise BadInput("cannot restore: say either where to, or in place")
    if request.in_place and not request.confirmed:
        raise BadInput(
            "cannot restore in place without confirmation: what is there now would be replaced (a safety snapshot "
            "keeps it); confirm, or restore to a new place"
        )
