"""Drives the lease engine: asks the store, waits for deadlines, tells who must know.

Looking, writing and loading are tasks of their own, so that time goes on for the engine while a store hangs. What they
find out comes back as an event. One request of the store is under way at a time; the engine sees to that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol

import attrs

from svcmgr.clock import Clock
from svcmgr.errors import SvcmgrError
from svcmgr.services.mgmtd import lease_terms as t
from svcmgr.services.mgmtd import recording
from svcmgr.services.mgmtd.lease import Leadership
from svcmgr.services.mgmtd.ledger import Ledger
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import unheard
from svcmgr.services.mgmtd.release import parse_release
from svcmgr.services.mgmtd.states import NodeStatus
from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.faults import StoreConflict, StoreCorrupt
from svcmgr.services.mgmtd.store.protocol import Entry

#: How long the end waits for the store to take the lease back, seconds.
CLOSE_WITHIN_S = 5.0


class Throne(Protocol):
    """Who is told."""

    async def load(self, epoch: int) -> None:
        """Bring the cluster into memory. Raises SvcmgrError."""
        ...

    def serve(self, epoch: int) -> None:
        """Answer as primary."""
        ...

    def retire(self) -> None:
        """Another may be primary now: drop the cluster."""
        ...

    def trouble(self, what: str, error: SvcmgrError) -> None:
        """Tell the operator."""
        ...


@attrs.frozen
class _Read:
    """The lease as it was read or written last, at which revision, and who owns it."""

    lease: t.Lease | None
    revision: int
    owner: records.Node | None
    since: float


class Leasing:
    """``me`` is our own record, which a lease of ours carries."""

    def __init__(self, lead: Leadership, ledger: Ledger, clock: Clock, me: records.Node, throne: Throne) -> None:
        self.lead = lead
        self._ledger = ledger
        self._clock = clock
        self._me = me
        self._throne = throne
        self._read = _Read(None, 0, None, 0.0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._closing = False

    def now(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.utc())

    @property
    def owner(self) -> records.Node | None:
        """The owner of the lease as last seen, whether it still holds or not."""
        return self._read.owner

    def remaining_s(self) -> float:
        """Seconds until the lease as last seen runs out; 0 when there is none."""
        lease = self._read.lease
        if lease is None or lease.released:
            return 0.0
        return max(0.0, self._read.since + lease.length_s - self.now().monotonic)

    async def run(self) -> None:
        """Until cancelled. What was begun then comes to its end in :meth:`aclose`."""
        self.tell(t.Tick())
        while True:
            self._moved.clear()
            deadline = self.lead.next_deadline
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._moved.wait()
            if deadline is not None and self._clock.monotonic() >= deadline:
                self.tell(t.Tick())

    def tell(self, event: t.Event) -> None:
        """Something happened. Raises NotPrimary: a StepDown without a lease."""
        for effect in self.lead.handle(event, self.now()):
            self._do(effect)
        self._moved.set()

    async def settled(self) -> None:
        """Wait until no request of the store is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def look(self) -> None:
        """Ask the store who owns the lease, unless it is being asked."""
        if not self._tasks:
            self._begin(self._look())
        await self.settled()

    async def aclose(self) -> None:
        """Give the lease back, so that another can serve at once; a store that does not answer in time keeps it."""
        self._closing = True
        if self.lead.epoch is not None:
            self.tell(t.StepDown())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self.settled()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _do(self, effect: t.Effect) -> None:
        match effect:
            case t.Look():
                self._begin(self._look())
            case t.Put(_, new):
                self._begin(self._put(new))
            case t.Load(epoch):
                if not self._closing:
                    self._begin(self._load(epoch))
            case t.Serve(epoch):
                self._throne.serve(epoch)
            case t.Retire():
                self._ledger.adopt_lease(None)
                self._throne.retire()
            case t.Pause():
                pass  # whoever asks is refused by the engine; the cluster stays in memory

    def _begin(self, doing: Coroutine[Any, Any, t.Event]) -> None:
        task = asyncio.get_running_loop().create_task(self._report(doing), name="lease")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, doing: Coroutine[Any, Any, t.Event]) -> None:
        event = await doing
        # Leave the set first: what the event leads to may wait for those in it.
        if (task := asyncio.current_task()) is not None:
            self._tasks.discard(task)
        self.tell(event)

    async def _look(self) -> t.Event:
        try:
            lease = await self._fetch()
        except SvcmgrError as error:
            self._throne.trouble("read the lease", error)
            return t.StoreFailed()
        return t.Found(lease)

    async def _fetch(self) -> t.Lease | None:
        """The lease in the store; takes note of our own tag Disable on the way."""
        async with self._ledger.store.snapshot() as snapshot:
            entry = await snapshot.get(keys.LEASE)
            mine = await snapshot.get(keys.node(self._me.node_id))
        lease, owner = self._understood(entry, snapshot.revision)
        self._note(lease, entry.revision if entry else 0, owner)
        disabled = mine is not None and _is_disabled(mine.key, mine.value)
        self.tell(t.Disabled(disabled))
        if lease is not None and lease.epoch == self.lead.epoch and not lease.released and self._is_mine(lease):
            self._ledger.adopt_lease(self._read.revision)
        return lease

    def _understood(self, entry: Entry | None, revision: int) -> tuple[t.Lease | None, records.Node | None]:
        """The lease in this entry. One that is lost or damaged is taken for released, under an epoch above all others.

        Every taking of the lease was a commit, so no epoch was ever above the store's revision.
        """
        if entry is not None:
            try:
                return _decoded(entry.key, entry.value)
            except StoreCorrupt as error:
                self._throne.trouble("use the lease", error)
        if revision == 0:
            return None, None
        lost = t.Lease(
            holder=t.Holder(self._me.node_id, "lost"),
            epoch=revision,
            length_s=self.lead.policy.length_s,
            released=True,
        )
        return lost, None

    def _is_mine(self, lease: t.Lease) -> bool:
        return self.lead.seen is not None and self.lead.seen.holder == lease.holder

    def _note(self, lease: t.Lease | None, revision: int, owner: records.Node | None) -> None:
        same = lease == self._read.lease
        self._read = _Read(lease, revision, owner, self._read.since if same else self.now().monotonic)

    async def _put(self, new: t.Lease) -> t.Event:
        mine = not new.released
        owner = self._me if mine else (self._read.owner or self._me)
        write = recording.put(_record(new, owner))
        begun = self.now().monotonic
        try:
            revision = await self._ledger.write_lease(write, self._read.revision, ours=mine)
        except StoreConflict:
            return await self._after_conflict()
        except SvcmgrError as error:
            self._throne.trouble("write the lease", error)
            return t.StoreFailed()
        self._read = _Read(new, revision, owner, begun)
        return t.Stored()

    async def _after_conflict(self) -> t.Event:
        try:
            return t.Conflict(await self._fetch())
        except SvcmgrError as error:
            self._throne.trouble("read the lease", error)
            return t.StoreFailed()

    async def _load(self, epoch: int) -> t.Event:
        try:
            await self._throne.load(epoch)
        except SvcmgrError as error:
            self._throne.trouble("load the cluster", error)
            return t.LoadFailed(epoch)
        return t.Loaded(epoch)


def _record(lease: t.Lease, owner: records.Node) -> records.Lease:
    return records.Lease(
        lease.epoch,
        owner,
        lease.holder.incarnation,
        str(lease.release) if lease.release else "",
        lease.serial,
        lease.length_s,
        max(0.0, lease.started_utc),
        max(0.0, lease.renewed_utc),
        lease.released,
    )


def _decoded(key: bytes, value: bytes) -> tuple[t.Lease, records.Node]:
    record = records.decode(key, value)
    if not isinstance(record, records.Lease):
        raise StoreCorrupt("cannot use the lease of the store: it is another record; run fsck", why="another record")
    lease = t.Lease(
        holder=t.Holder(record.owner.node_id, record.incarnation),
        epoch=record.epoch,
        length_s=record.length_s,
        serial=record.beat,
        release=parse_release(record.release) if record.release else None,
        released=record.released,
        started_utc=record.started,
        renewed_utc=record.extended,
    )
    return lease, record.owner


def _is_disabled(key: bytes, value: bytes) -> bool:
    record = records.decode(key, value)
    return isinstance(record, records.Node) and unheard(recording.tags_of(record.tags)) is NodeStatus.DISABLED
