"""What is known, in the form of the wire.

Theory of operation. One function for each kind of thing, from the value to its ``Info``, and the way back for what
clients send. What comes from a client passes the constructors of the values, which check it; nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from svcmgr.services.mgmtd import wire
from svcmgr.services.mgmtd.chain import Chain, role_word, status_word
from svcmgr.services.mgmtd.nodes import AppFacts, Endpoint, Node, ServiceGroup
from svcmgr.services.mgmtd.release import parse_release
from svcmgr.services.mgmtd.states import LocalState, from_word
from svcmgr.services.mgmtd.tables import ChainTable
from svcmgr.services.mgmtd.tags import TagPair
from svcmgr.services.mgmtd.targets import ChainTarget, LocalTarget, TargetInfo

Known = Mapping[int, TargetInfo]


def tags(pairs: Iterable[TagPair]) -> list[wire.Tag]:
    return [wire.Tag(pair.key, pair.value) for pair in pairs]


def pairs(given: Iterable[wire.Tag]) -> tuple[TagPair, ...]:
    """Raises InvalidTag."""
    return tuple(TagPair(tag.key, tag.value) for tag in given)


def groups(given: Iterable[wire.ServiceGroupInfo]) -> tuple[ServiceGroup, ...]:
    """Raises BadInput."""
    return tuple(
        ServiceGroup(group.services, [Endpoint(one.transport, one.address) for one in group.endpoints])
        for group in given
    )


def group_infos(given: Iterable[ServiceGroup]) -> list[wire.ServiceGroupInfo]:
    """Services in alphabetical order, so that equal nodes look equal."""
    return [
        wire.ServiceGroupInfo(
            sorted(group.services), [wire.EndpointInfo(one.transport, one.address) for one in group.endpoints]
        )
        for group in given
    ]


def facts(app: wire.AppInfo) -> AppFacts:
    """Raises BadInput."""
    return AppFacts(
        node_id=app.node,
        hostname=app.hostname,
        pid=app.pid,
        service_groups=groups(app.services),
        release=parse_release(app.release) if app.release else None,
        podname=app.podname,
        incarnation=app.incarnation,
    )


def app_info(app: AppFacts) -> wire.AppInfo:
    return wire.AppInfo(
        app.node_id,
        app.incarnation,
        app.hostname,
        app.pid,
        group_infos(app.service_groups),
        str(app.release) if app.release else "",
        app.podname,
    )


def node_info(node: Node, last_heartbeat: float | None = None) -> wire.NodeInfo:
    """``last_heartbeat``: UTC seconds, where something newer is known than what the node has."""
    return wire.NodeInfo(
        app_info(node.app),
        node.type.name,
        node.status.name,
        node.last_heartbeat if last_heartbeat is None else last_heartbeat,
        tags(node.tags),
        node.config_version,
        node.config_status.name,
    )


def chain_info(chain: Chain, known: Known, tables: Iterable[int] = ()) -> wire.ChainInfo:
    """``known`` has the local states and places of its targets."""
    return wire.ChainInfo(
        chain.chain_id,
        chain.version,
        status_word(chain.targets),
        [_chain_target(target, known.get(target.target_id)) for target in chain.targets],
        list(chain.preferred),
        list(tables),
    )


def _chain_target(target: ChainTarget, info: TargetInfo | None) -> wire.ChainTargetInfo:
    local, node = (info.local, info.node_id) if info else (LocalState.OFFLINE, None)
    return wire.ChainTargetInfo(target.target_id, target.public.name, local.name, node)


def target_info(info: TargetInfo, chain: Chain | None) -> wire.TargetInfo:
    """A target of ``chain``."""
    role = role_word(chain.target_ids.index(info.target_id), len(chain.targets)) if chain else ""
    return wire.TargetInfo(
        info.target_id,
        info.public.name,
        info.local.name,
        info.chain_id,
        role,
        info.node_id,
        info.disk_index,
        info.used_bytes,
        info.low_space,
    )


def orphan_info(report: LocalTarget, node_id: int) -> wire.TargetInfo:
    """A target that a node reports and no chain has."""
    return wire.TargetInfo(
        report.target_id,
        local=report.local.name,
        node=node_id,
        disk=report.disk_index,
        used=report.used_bytes,
        low_space=report.low_space,
    )


def table_info(table: ChainTable, replicas: int) -> wire.TableInfo:
    return wire.TableInfo(table.table_id, table.version, list(table.chains), replicas, table.desc)


def reports(given: Iterable[wire.LocalTargetInfo]) -> tuple[LocalTarget, ...]:
    """Raises BadInput."""
    return tuple(
        LocalTarget(
            target_id=one.target,
            local=from_word(LocalState, one.state),
            chain_version=one.chain_version,
            disk_index=one.disk,
            used_bytes=one.used,
            low_space=one.low_space,
        )
        for one in given
    )
