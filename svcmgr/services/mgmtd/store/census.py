"""Read all records of a store, and judge them: each by itself, and each against the others.

Theory of operation. A record that is no record, or that contradicts another one so that no memory could hold both, is
*bad*: it is named and left out, and the rest is served. What merely looks unfinished (a table that names a missing
chain, a location of a target in no chain) is *odd*: it is reported and kept. A record of a newer format, or the mark of
an import that was cut short, refuses the whole.

Losing the lease would let an epoch return. Every lease taken costs a commit, so the store's revision is above every
epoch there ever was; whoever finds no lease goes on from ``Census.revision``.
"""

from __future__ import annotations

from typing import TypeVar

import attrs

from svcmgr.errors import Busy
from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.faults import StoreCorrupt
from svcmgr.services.mgmtd.store.protocol import Entry, Snapshot, Span, prefixed, walk
from svcmgr.services.mgmtd.store.records import Chain, Record

R = TypeVar("R", bound=Record)
#: Of bad and odd entries each, how many are told; a store of garbage must not become a memory full of findings.
FINDINGS_MAX = 10_000


@attrs.frozen
class Bad:
    """An entry that cannot be used, and why."""

    entry: Entry
    why: str


@attrs.define
class Census:
    """What a store holds at ``revision``. Records are by key, in the order of keys."""

    revision: int
    bad: list[Bad] = attrs.field(factory=list)
    odd: list[str] = attrs.field(factory=list)
    quarantined: int = 0
    _by_type: dict[type[Record], dict[bytes, Record]] = attrs.field(factory=dict)
    _chain_of: dict[int, int] = attrs.field(factory=dict)

    def all(self, kind: type[R]) -> dict[bytes, R]:
        """The records of one kind."""
        return self._by_type.get(kind, {})  # type: ignore[return-value]  # keyed by the very type

    def counts(self) -> dict[str, int]:
        """How many records there are of each kind that there is."""
        return {kind.name: len(self.all(kind.type)) for kind in records.KINDS if self.all(kind.type)}

    def one(self, kind: type[R]) -> R | None:
        """The record of a kind of which there is at most one."""
        return next(iter(self.all(kind).values()), None)

    def add(self, entry: Entry) -> None:
        """Take an entry in. One that contradicts another is bad. Raises Unsupported."""
        if entry.key.startswith((keys.QUARANTINE, keys.REASON)):
            self.quarantined += entry.key.startswith(keys.QUARANTINE)
            return
        try:
            record = records.decode(entry.key, entry.value)
            if type(record) is Chain:
                self._claim(record)
        except StoreCorrupt as error:
            if len(self.bad) < FINDINGS_MAX:
                self.bad.append(Bad(entry, error.details["why"]))
        else:
            self._by_type.setdefault(type(record), {})[entry.key] = record

    def _claim(self, chain: Chain) -> None:
        """A target belongs to one chain; the one with the lower id has it."""
        for target in chain.targets:
            if (owner := self._chain_of.get(target.target_id)) is not None:
                why = f"target {target.target_id} is in chain {owner}, too"
                raise StoreCorrupt(f"cannot use chain {chain.chain_id}: {why}", why=why)
        self._chain_of.update((target.target_id, chain.chain_id) for target in chain.targets)

    def compare(self) -> None:
        """Fill in ``odd``, when all entries are there."""
        chains = self.all(Chain)
        for table in self.all(records.ChainTable).values():
            if missing := [chain for chain in table.chains if keys.chain(chain) not in chains]:
                self._note(f"chain table {table.table_id} version {table.version} names chain {missing[0]}", missing)
        nodes = self.all(records.Node)
        for target in self.all(records.Target).values():
            if target.target_id not in self._chain_of:
                self._note(f"target {target.target_id} has a location and is in no chain")
            elif keys.node(target.node_id) not in nodes:
                self._note(f"target {target.target_id} is on node {target.node_id}, which is not registered")
        if chains and self.one(records.RoutingVersion) is None:
            self._note("there are chains, but no routing version; the next primary counts from 1")

    def _note(self, text: str, missing: list[int] | None = None) -> None:
        if len(self.odd) < FINDINGS_MAX:
            more = f" and {len(missing) - 1} more" if missing and len(missing) > 1 else ""
            self.odd.append(f"{text}{more}, not there" if missing else text)


async def take(snapshot: Snapshot, *, events: bool = False) -> Census:
    """Read all records; those of the event log only if ``events`` says so.

    Raises:
        Unsupported: a newer mgmtd wrote one of them.
        Busy: an import was cut short; import again.
        StoreClosed, StoreCorrupt, StorageFailed: the store itself cannot be read.
    """
    census = Census(snapshot.revision)
    log = prefixed(keys.EVENT)
    for span in (Span(),) if events else (Span(b"", log.start), Span(log.end or b"", None)):
        async for entries in walk(snapshot, span):
            for entry in entries:
                census.add(entry)
    if census.one(records.Importing) is not None:
        raise Busy("cannot use the store: an import into it is under way or was cut short; import again, with replace")
    census.compare()
    return census
