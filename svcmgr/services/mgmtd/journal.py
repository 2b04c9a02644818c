"""The event log: what changed, why and through whom, kept in the store for some time.

An event is written together with what it tells of. Changes that write nothing leave their events to the next batch, or
to a round of the worker. Reading goes to the store, so it costs the primary no memory; what waits is read with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from svcmgr.services.mgmtd import recording, wire
from svcmgr.services.mgmtd.changes import Change, Kind, Origin
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.faults import StoreCorrupt
from svcmgr.services.mgmtd.store.protocol import Delete, Snapshot, Span, Store, Write, prefixed, walk

#: Events that are kept; the oldest go first, some at a time.
KEPT, TRIMMED_AT_ONCE = 100_000, 1000
TEXT_MAX = 4096
_WORD_MAX = 255


class Journal:
    """``first`` and ``last``: numbers of the oldest and newest stored event; ``last`` 0 when there is none."""

    def __init__(self, first: int, last: int, kept: int = KEPT) -> None:
        self.first = first
        self.last = last
        self._kept = kept
        self._waiting: list[records.Event] = []

    @property
    def waiting(self) -> Sequence[records.Event]:
        """Events that are not in the store yet."""
        return self._waiting

    def note(self, changes: Iterable[Change], origin: Origin, now: Moment, version: int) -> None:
        """Changes happen, under the routing version ``version``."""
        for change in changes:
            if change.what:
                self.last += 1
                self._waiting.append(_event(self.last, change, origin, now, version))

    def writes(self) -> list[Write]:
        """What is to be written of it now; call :meth:`written` after that is done."""
        return [recording.put(event) for event in self._waiting]

    def written(self, count: int) -> None:
        """The first ``count`` of what waits are in the store."""
        del self._waiting[:count]

    def retract(self, count: int) -> None:
        """The last ``count`` did not happen."""
        if count:
            del self._waiting[-count:]
            self.last -= count

    def surplus(self) -> list[Write]:
        """Deletes of what is too old; call :meth:`trimmed` after that is done."""
        count = min(TRIMMED_AT_ONCE, self.last - self.first + 1 - self._kept)
        return [Delete(keys.event(number)) for number in range(self.first, self.first + max(0, count))]

    def trimmed(self, count: int) -> None:
        """The ``count`` oldest are gone."""
        self.first += count


def _event(number: int, change: Change, origin: Origin, now: Moment, version: int) -> records.Event:
    cause = f"{origin.cause.value} by {origin.by or 'mgmtd'}: {change.what}"
    return records.Event(number, max(0.0, now.utc), change.kind.value, _subject(change), cause[:TEXT_MAX], version)


def _subject(change: Change) -> str:
    parts = change.id if isinstance(change.id, tuple) else (change.id,)
    return " ".join(str(part) for part in parts)[:_WORD_MAX]


def info(event: records.Event) -> wire.EventInfo:
    """As it is told."""
    cause, _, rest = event.cause.partition(" by ")
    by, _, what = rest.partition(": ")
    return wire.EventInfo(
        event.number, event.utc, event.kind, event.subject, what, cause, by, version=event.routing_version
    )


async def bounds(snapshot: Snapshot) -> tuple[int, int]:
    """Numbers of the first and last event in the store; (1, 0) when there is none."""
    span = prefixed(keys.EVENT)
    page = await snapshot.scan(span, 1)
    if not page.entries:
        return 1, 0
    first = last = int(keys.ids_of(page.entries[0].key)[0])
    # Numbers have no gaps beyond what was quarantined, so the end is found by doubling and halving.
    step = 1
    while step:
        page = await snapshot.scan(Span(keys.event(last + step), span.end), 1)
        if page.entries:
            last = int(keys.ids_of(page.entries[0].key)[0])
            step *= 2
        else:
            step //= 2
    return first, last


async def read(store: Store, request: wire.EventsRequest, waiting: Sequence[records.Event]) -> wire.EventsReply:
    """Events after ``request.since`` that it wants, at most ``request.limit`` of them."""
    found: list[wire.EventInfo] = []
    seen, lost = request.since, 0
    async for event in _after(store, request.since, waiting):
        if seen == request.since:
            lost = event.number - seen - 1
        seen = event.number
        if request.kind in ("", event.kind) and request.id in ("", event.subject, event.subject.partition(" ")[0]):
            found.append(info(event))
            if len(found) == request.limit:
                break
    return wire.EventsReply(found, seen, lost)


async def _after(store: Store, since: int, waiting: Sequence[records.Event]) -> AsyncIterator[records.Event]:
    last = since
    async with store.snapshot() as snapshot:
        span = Span(keys.event(since + 1), prefixed(keys.EVENT).end)
        async for entries in walk(snapshot, span):
            for entry in entries:
                try:
                    record = records.decode(entry.key, entry.value)
                except StoreCorrupt:
                    continue  # fsck names it
                if isinstance(record, records.Event):
                    last = record.number
                    yield record
    for event in waiting:
        if event.number > last:
            yield event


#: Kinds whose events somebody may ask for.
KINDS = frozenset(kind.value for kind in (Kind.NODE, Kind.CHAIN, Kind.TABLE, Kind.CONFIG, Kind.HOST, Kind.LEASE))
