"""Values as the records that are stored, and back; and what a change writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from svcmgr.services.mgmtd.chain import Chain
from svcmgr.services.mgmtd.changes import Change, Kind, stored
from svcmgr.services.mgmtd.config.version import ConfigVersion, Proposal
from svcmgr.services.mgmtd.nodes import Endpoint, PersistentNode, ServiceGroup
from svcmgr.services.mgmtd.states import NodeType, PublicState, from_number
from svcmgr.services.mgmtd.store import keys, records
from svcmgr.services.mgmtd.store.protocol import Delete, Put, Write
from svcmgr.services.mgmtd.tables import ChainTable
from svcmgr.services.mgmtd.tags import TagPair, Tags
from svcmgr.services.mgmtd.targets import ChainTarget


def put(record: records.Record) -> Put:
    """The write that stores a record under its own key."""
    return Put(record.key, records.encode(record))


def write(change: Change) -> Write | None:
    """What the store is told of a change; None when nothing. Raises BadInput: an id can have no key."""
    if not stored(change):
        return None
    if change.new is None:
        return Delete(_KEYS[change.kind](change.id))
    return put(_RECORDS[change.kind](change.id, change.new))


def version(number: int) -> Put:
    """The write that makes ``number`` the routing version."""
    return put(records.RoutingVersion(number))


def tags_record(tags: Tags) -> tuple[records.Tag, ...]:
    return tuple(records.Tag(tag.key, tag.value) for tag in tags)


def tags_of(tags: tuple[records.Tag, ...]) -> Tags:
    """Raises InvalidTag."""
    return tuple(TagPair(tag.key, tag.value) for tag in tags)


def node_record(node: PersistentNode) -> records.Node:
    groups = tuple(
        records.ServiceGroup(
            tuple(sorted(group.services)),
            tuple(records.Endpoint(one.transport, one.address) for one in group.endpoints),
        )
        for group in node.service_groups
    )
    return records.Node(node.node_id, node.type.value, node.hostname, groups, tags_record(node.tags))


def node_of(record: records.Node) -> PersistentNode:
    """Raises BadInput: the record says what no node can be."""
    return PersistentNode(
        node_id=record.node_id,
        type=from_number(NodeType, record.type),
        hostname=record.hostname,
        service_groups=[
            ServiceGroup(group.services, [Endpoint(one.transport, one.address) for one in group.endpoints])
            for group in record.service_groups
        ],
        tags=tags_of(record.tags),
    )


def chain_record(chain: Chain) -> records.Chain:
    targets = tuple(
        records.ChainTarget(target.target_id, target.public.value)  # type: ignore[arg-type]  # INVALID is refused there
        for target in chain.targets
    )
    return records.Chain(chain.chain_id, chain.version, targets, chain.preferred)


def chain_of(record: records.Chain) -> Chain:
    """Raises BadInput: the record says what no chain can be."""
    targets = tuple(ChainTarget(target.target_id, from_number(PublicState, target.state)) for target in record.targets)
    return Chain(record.chain_id, record.version, targets, record.preferred)


def table_record(table: ChainTable) -> records.ChainTable:
    return records.ChainTable(table.table_id, table.version, table.chains, table.desc)


def table_of(record: records.ChainTable) -> ChainTable:
    """Raises BadInput."""
    return ChainTable(record.table_id, record.version, record.chains, record.desc)


def config_record(node_type: str, config: ConfigVersion) -> records.Config:
    return records.Config(
        node_type,  # type: ignore[arg-type]  # the name of a node type
        config.version,
        config.content,
        config.hash,
        config.desc,
        config.author,
        config.created,
        config.origin,
    )


def config_of(record: records.Config) -> ConfigVersion:
    """Raises BadInput."""
    proposal = Proposal(record.content, record.author, record.desc)
    return ConfigVersion(record.version, proposal, record.created, record.sha256, record.origin)


_RECORDS: Mapping[Kind, Callable[[Any, Any], records.Record]] = {
    Kind.NODE: lambda id, new: node_record(new.persistent),
    Kind.CHAIN: lambda id, new: chain_record(new),
    Kind.TABLE: lambda id, new: table_record(new),
    Kind.PLACE: lambda id, new: records.Target(id, *new),
    Kind.CONFIG: lambda id, new: config_record(id[0], new),
    Kind.HOST: lambda id, new: records.UniversalTags(id, tags_record(new)),
}
_KEYS: Mapping[Kind, Callable[[Any], bytes]] = {
    Kind.NODE: keys.node,
    Kind.CHAIN: keys.chain,
    Kind.TABLE: lambda id: keys.table(*id),
    Kind.PLACE: keys.target,
    Kind.CONFIG: lambda id: keys.config(*id),
    Kind.HOST: keys.universal_tags,
}
