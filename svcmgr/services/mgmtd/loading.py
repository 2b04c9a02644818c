"""Bringing a stored cluster into memory, as the first act of a new primary.

Records are read in pages and taken over some at a time, so the loop is never held up for long. A record that cannot be
used is named and left out; ``fsck`` moves it away. Local states are not stored: every target is OFFLINE until its node
is heard, and no chain is judged before that, or before its time to gather is over.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import recording
from svcmgr.services.mgmtd.bell import Bell
from svcmgr.services.mgmtd.changes import Change, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.journal import Journal, bounds
from svcmgr.services.mgmtd.ledger import Ledger
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import AppFacts, Node, restored
from svcmgr.services.mgmtd.reign import Reign
from svcmgr.services.mgmtd.states import NodeStatus, NodeType
from svcmgr.services.mgmtd.store import records
from svcmgr.services.mgmtd.store.census import Census, take
from svcmgr.services.mgmtd.store.protocol import Store
from svcmgr.services.mgmtd.store.records import Record

#: Changes that are applied in one piece; some milliseconds.
_SLICE = 300


@attrs.frozen
class Loaded:
    """What the store held: the cluster, its events, and what could not be used."""

    cluster: Cluster
    journal: Journal
    bad: tuple[str, ...]


async def load(ledger: Ledger, me: AppFacts, epoch: int, bell: Bell, now: Callable[[], Moment]) -> tuple[Reign, Loaded]:
    """The reign to begin. The stored routing version is one higher afterwards.

    Raises:
        BadInput: our node id is another node's.
        NotPrimary, SvcmgrError: as the store.
    """
    found = await read(ledger.store, now())
    cluster = found.cluster
    stored = cluster.nodes.get(me.node_id)
    own = _own(me, stored)
    version = cluster.version + 1
    changed = stored is None or own.persistent != stored.persistent
    await ledger.write(
        [recording.put(recording.node_record(own.persistent))] if changed else [], [recording.version(version)]
    )
    cluster.apply([Change(Kind.NODE, me.node_id, stored, own)])
    cluster.version = version
    cluster.begin()
    return Reign(epoch, cluster, found.journal, ledger, bell), found


def _own(me: AppFacts, stored: Node | None) -> Node:
    if stored is not None and stored.type is not NodeType.MGMTD:
        raise BadInput(
            f"cannot be node {me.node_id}: it is registered as {stored.type.name}; give this mgmtd another id"
        )
    return Node(
        app=me,
        type=NodeType.MGMTD,
        status=NodeStatus.PRIMARY_MGMTD,
        tags=stored.tags if stored else (),
    )


async def read(store: Store, now: Moment) -> Loaded:
    """Everything, in one snapshot. Raises as :func:`census.take`."""
    async with store.snapshot() as snapshot:
        census = await take(snapshot)
        first, last = await bounds(snapshot)
    version = census.one(records.RoutingVersion)
    cluster = Cluster(version.version if version else 0, now)
    bad = [f"{records.named(one.entry.key)}: {one.why}" for one in census.bad]
    for kind in _MAKERS:
        for changes in _sliced(_changes(census, kind, cluster, bad)):
            cluster.apply(changes)
            await asyncio.sleep(0)
    cluster.begin()
    return Loaded(cluster, Journal(first, last), tuple(bad))


def _sliced(changes: Iterator[Change]) -> Iterator[list[Change]]:
    while piece := list(itertools.islice(changes, _SLICE)):
        yield piece


def _changes(census: Census, kind: type[Record], cluster: Cluster, bad: list[str]) -> Iterator[Change]:
    """All records of a kind as new; kinds before it were applied."""
    found: list[Record] = list(census.all(kind).values())
    if kind is records.Config:
        found.reverse()  # the store has the newest version of a type first
    for record in found:
        try:
            yield from _MAKERS[kind](record, cluster)
        except BadInput as error:
            bad.append(f"{records.named(record.key)}: {error.message}")


def _node(record: records.Node, cluster: Cluster) -> Iterable[Change]:
    return [Change(Kind.NODE, record.node_id, None, restored(recording.node_of(record)))]


def _chain(record: records.Chain, cluster: Cluster) -> Iterable[Change]:
    chain = recording.chain_of(record)
    birth = Change(Kind.BIRTH, chain.chain_id, None, cluster.began.monotonic)
    return [Change(Kind.CHAIN, chain.chain_id, None, chain), birth]


def _table(record: records.ChainTable, cluster: Cluster) -> Iterable[Change]:
    return [Change(Kind.TABLE, (record.table_id, record.version), None, recording.table_of(record))]


def _host(record: records.UniversalTags, cluster: Cluster) -> Iterable[Change]:
    return [Change(Kind.HOST, record.universal_id, None, recording.tags_of(record.tags))]


def _target(record: records.Target, cluster: Cluster) -> Iterable[Change]:
    """Where a target was seen last; its chain takes that over."""
    return [Change(Kind.PLACE, record.target_id, None, (record.node_id, record.disk_index))]


def _config(record: records.Config, cluster: Cluster) -> Iterable[Change]:
    return [Change(Kind.CONFIG, (record.node_type, record.version), None, recording.config_of(record))]


#: In the order in which one kind needs another.
_MAKERS: Mapping[type[Record], Callable[[Any, Cluster], Iterable[Change]]] = {
    records.Node: _node,
    records.Target: _target,
    records.Chain: _chain,
    records.ChainTable: _table,
    records.Config: _config,
    records.UniversalTags: _host,
}
