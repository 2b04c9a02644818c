"""Operations on mgmtd itself: who is primary, the lease, the event log, the store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol

from svcmgr.errors import BadInput, NotPermitted
from svcmgr.services.mgmtd import journal, wire
from svcmgr.services.mgmtd import lease_terms as t
from svcmgr.services.mgmtd.errors import NotPrimary
from svcmgr.services.mgmtd.leasing import Leasing
from svcmgr.services.mgmtd.ops.base import Caller, Desk, Operation, Scope
from svcmgr.services.mgmtd.ops.routes import check_wait
from svcmgr.services.mgmtd.store import dump, exportfile
from svcmgr.services.mgmtd.store.census import take
from svcmgr.services.mgmtd.store.fsck import fsck
from svcmgr.services.mgmtd.store.protocol import Store

#: Events in one answer.
EVENTS_MAX = 10_000
#: PATH_MAX of limits.h, without its final zero.
PATH_MAX = 4095


class Seat(Desk, Protocol):
    """What these operations need beside a desk."""

    @property
    def leasing(self) -> Leasing:
        """Who drives the lease."""
        ...

    @property
    def store(self) -> Store:
        """Where all is kept."""
        ...


class Primary(Operation):
    """Every mgmtd answers it, from memory while that can be trusted, else from the store."""

    verb = "primary"
    request = wire.PrimaryRequest

    async def run(self, desk: Any, request: Any, caller: Caller) -> Any:
        seat: Seat = desk
        answer = seat.leasing.lead.answer(seat.now())
        if not answer.fresh:
            await seat.leasing.look()
            answer = seat.leasing.lead.answer(seat.now())
        if answer.primary is None:
            return wire.PrimaryInfo(last=answer.last.node_id if answer.last else 0)
        owner = seat.leasing.owner
        places = [one.address for group in owner.service_groups for one in group.endpoints] if owner else []
        return wire.PrimaryInfo(answer.primary.node_id, places)


def lease_info(seat: Seat) -> wire.LeaseInfo:
    """The lease as it was seen last."""
    leasing = seat.leasing
    lease = leasing.lead.seen
    if lease is None or lease.released:
        return wire.LeaseInfo(0, lease.epoch if lease else 0)
    answer = leasing.lead.answer(seat.now())
    mine = leasing.lead.epoch is not None
    return wire.LeaseInfo(
        lease.holder.node_id,
        lease.epoch,
        lease.started_utc,
        leasing.remaining_s(),
        answer.fresh,
        mine and not leasing.lead.serves(seat.now()),
        str(lease.release) if lease.release else "",
        leasing.owner.hostname if leasing.owner else "",
    )


class Lease(Operation):
    verb = "lease"
    request = wire.ClusterRequest

    async def run(self, desk: Any, request: Any, caller: Caller) -> Any:
        return lease_info(desk)


class ReleaseLease(Operation):
    verb = "release-lease"
    request = wire.ReleaseLeaseRequest
    scope = Scope.ADMIN

    async def run(self, desk: Any, request: wire.ReleaseLeaseRequest, caller: Caller) -> Any:
        seat: Seat = desk
        if seat.leasing.lead.epoch is None and not request.force:
            raise NotPrimary(
                "cannot release the lease: this mgmtd does not hold it; ask the primary, or use force", primary=None
            )
        seat.leasing.tell(t.ForceRelease() if request.force else t.StepDown())
        await seat.leasing.settled()
        return lease_info(seat)


class Events(Operation):
    """May wait for the next event."""

    verb = "events"
    request = wire.EventsRequest

    def check(self, request: wire.EventsRequest) -> None:
        check_wait(request.wait_s)
        if request.kind and request.kind not in journal.KINDS:
            raise BadInput(f"cannot list events of {request.kind[:40]!r}: known are {', '.join(sorted(journal.KINDS))}")
        if not 0 < request.limit <= EVENTS_MAX or not 0 <= request.since < 2**63:
            raise BadInput(f"cannot list {request.limit} events since {request.since}: give 1 to {EVENTS_MAX}, since 0")

    async def run(self, desk: Any, request: wire.EventsRequest, caller: Caller) -> Any:
        seat: Seat = desk
        deadline = seat.now().monotonic + request.wait_s
        while True:
            found = await journal.read(seat.store, request, seat.reign().journal.waiting)
            if found.events or not await seat.bell.wait_until(deadline):
                return found


class Fsck(Operation):
    """Finds what is bad in the store and moves it to the quarantine."""

    verb = "fsck"
    request = wire.ClusterRequest
    scope = Scope.ADMIN

    async def run(self, desk: Any, request: Any, caller: Caller) -> Any:
        seat: Seat = desk
        reign = seat.reign()
        async with reign.lock:
            report = await fsck(seat.store, repair=True, utc=seat.now().utc)
        bad = [_finding(text, report.moved == len(report.bad)) for text in report.bad]
        return wire.FsckReply(sum(report.records.values()), [*bad, *(wire.FsckFinding("", odd) for odd in report.odd)])


def _finding(text: str, moved: bool) -> wire.FsckFinding:
    key, _, why = text.partition(": ")
    return wire.FsckFinding(key, why, moved)


class Export(Operation):
    """Writes a file of this host, so it is for those who call from this host."""

    verb = "export"
    request = wire.ExportRequest
    scope = Scope.ADMIN

    def check(self, request: wire.ExportRequest) -> None:
        path = request.path
        if not path.startswith("/") or len(path) > PATH_MAX or not path.isprintable():
            raise BadInput(f"cannot export to {path[:40]!r}: give an absolute path of at most {PATH_MAX} characters")

    async def run(self, desk: Any, request: wire.ExportRequest, caller: Caller) -> Any:
        seat: Seat = desk
        if not caller.local:
            raise NotPermitted(f"cannot export for {caller.name}: ask on the host of this mgmtd")
        async with seat.store.snapshot() as snapshot:
            census = await take(snapshot, events=True)
        lines = dump.export(census, seat.now().utc)
        size = await asyncio.to_thread(exportfile.write, Path(request.path), lines)
        return wire.ExportReply(request.path, sum(census.counts().values()), size)
