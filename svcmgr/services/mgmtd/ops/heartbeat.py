"""Heartbeats: who lives, with what, and what its targets are.

Theory of operation. A heartbeat is taken whole or refused whole, and most of them say what the last one said. So
everything is compared before anything is made: an unchanged one costs a few dictionary look-ups for each target,
touches neither lock nor store, and moves only the times of contact.

Two processes may claim one node id. The one that was heard lately is believed; the other is refused until the first has
been silent for twice the interval of heartbeats, or said goodbye. So a process that died hard is replaced soon, and a
second one started by mistake never displaces one that works.

Of a target that is in a chain, a report made under an older version of the chain is ignored: its node does not know yet
what it is told to be. Version 0 is "I do not know", which storage nodes send of targets that are offline, and is always
believed. Targets in no chain are orphans of the node. Order of checks and rules: deepseek-ai/3FS:
src/mgmtd/ops/HeartbeatOperation.cc, src/mgmtd/service/RoutingInfo.cc; incarnations are ours.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from svcmgr.services.mgmtd import infos, wire
from svcmgr.services.mgmtd.changes import Cause, Change, Kind, Origin
from svcmgr.services.mgmtd.errors import HeartbeatFail, HeartbeatVersionStale
from svcmgr.services.mgmtd.nodes import AppFacts, Node
from svcmgr.services.mgmtd.ops import configs
from svcmgr.services.mgmtd.ops.base import Caller, Decision, Given, Mutation, Scope
from svcmgr.services.mgmtd.ops.nodes import changed
from svcmgr.services.mgmtd.states import ConfigStatus, LocalState, NodeStatus, NodeType, from_word
from svcmgr.services.mgmtd.targets import LocalTarget, TargetInfo

#: Targets in one heartbeat.
REPORTS_MAX = 4096
#: A process that was heard within so many intervals is alive.
ALIVE_INTERVALS = 2

_LOCAL = {state.name: state for state in LocalState if state is not LocalState.INVALID}
_HEARD = (NodeStatus.HEARTBEAT_CONNECTED, NodeStatus.PRIMARY_MGMTD)


class Heartbeat(Mutation):
    verb = "heartbeat"
    request = wire.HeartbeatRequest
    scope = Scope.NODE
    cause = Cause.HEARTBEAT

    def origin(self, request: wire.HeartbeatRequest, caller: Caller) -> Origin:
        return Origin(Cause.HEARTBEAT, f"node {request.app.node}")

    def decide(self, given: Given, request: wire.HeartbeatRequest) -> Decision:
        _check_time(given, request)
        type_ = from_word(NodeType, request.type)
        config = configs.offer(given.cluster, type_, request.config_version)
        old = given.cluster.nodes.get(request.app.node)
        _check_node(given, request, old, type_)
        _check_reports(request)
        changes = list(changed(old, _heard(given, request, old, type_)))
        heard: list[int] = []
        if type_ is NodeType.STORAGE:
            changes += _targets(given, request, heard)
        contacts, now = given.cluster.contacts, given.now

        def note() -> None:
            contacts.hear_node(request.app, request.version, now)
            contacts.hear_targets(heard, now)

        reply = wire.HeartbeatReply(config, given.settings.send_heartbeat_interval)
        return Decision(tuple(changes), reply, note)


def _check_time(given: Given, request: wire.HeartbeatRequest) -> None:
    node, window = request.app.node, given.settings.heartbeat_timestamp_valid_window
    if node in (0, given.me):
        raise HeartbeatFail(f"cannot accept a heartbeat of node {node}: that is no other node's id")
    off = request.timestamp - given.now.utc
    if not math.isfinite(off) or (window and abs(off) > window):
        raise HeartbeatFail(
            f"cannot accept a heartbeat of node {node}: its clock is off by {off:.1f} s, the limit is {window:g} s; "
            "set its clock",
            off_s=off if math.isfinite(off) else 0.0,
        )


def _check_node(given: Given, request: wire.HeartbeatRequest, node: Node | None, type_: NodeType) -> None:
    name = f"cannot accept a heartbeat of node {request.app.node}"
    if node is None:
        if not given.settings.allow_heartbeat_from_unregistered:
            raise HeartbeatFail(f"{name}: it is not registered; register it first")
        return
    if node.type is not type_:
        raise HeartbeatFail(f"{name}: it is registered as {node.type.name}, not as {type_.name}")
    if node.status is NodeStatus.DISABLED:
        raise HeartbeatFail(f"{name}: it is disabled; enable it first")
    contacts = given.cluster.contacts
    alive = contacts.incarnations.get(node.node_id)
    if alive is not None and alive != request.app.incarnation:
        silence = contacts.node_silence(node.node_id, given.now)
        if silence <= ALIVE_INTERVALS * given.settings.send_heartbeat_interval:
            raise HeartbeatFail(
                f"{name}: another process of this id was heard {silence:.0f} s ago; end one of the two",
                incarnation=alive,
            )
        return
    last = contacts.beats.get(node.node_id, 0)
    if request.version <= last:
        raise HeartbeatVersionStale(f"{name}: its version {request.version} is not above {last}", version=last)


def _check_reports(request: wire.HeartbeatRequest) -> None:
    reports = request.targets
    if not reports:
        return
    name = f"cannot accept a heartbeat of node {request.app.node}"
    if len(reports) > REPORTS_MAX:
        raise HeartbeatFail(f"{name}: it tells of {len(reports)} targets, the limit is {REPORTS_MAX}")
    if len({report.target for report in reports}) != len(reports):
        raise HeartbeatFail(f"{name}: it tells of a target twice")
    for report in reports:
        if report.state not in _LOCAL:
            raise HeartbeatFail(f"{name}: target {report.target} is {report.state[:40]!r}; give {', '.join(_LOCAL)}")


def _heard(given: Given, request: wire.HeartbeatRequest, old: Node | None, type_: NodeType) -> Node:
    """The node after it was heard; ``old`` itself if nothing is new."""
    config_status = from_word(ConfigStatus, request.config_status)
    if (
        old is not None
        and given.cluster.contacts.said.get(old.node_id) == request.app
        and old.status in _HEARD
        and (old.config_version, old.config_status) == (request.config_version, config_status)
    ):
        return old
    app: AppFacts = infos.facts(request.app)
    base = old or Node(app=app, type=type_)
    return attrs.evolve(
        base,
        app=app,
        status=NodeStatus.HEARTBEAT_CONNECTED,
        config_version=request.config_version,
        config_status=config_status,
    )


def _targets(given: Given, request: wire.HeartbeatRequest, heard: list[int]) -> list[Change]:
    """What the reports change; ids of believed ones go to ``heard``."""
    cluster, node_id = given.cluster, request.app.node
    ignore_stale = given.settings.heartbeat_ignore_stale_targets
    changes: list[Change] = []
    orphans: list[wire.LocalTargetInfo] = []
    for report in request.targets:
        info = cluster.targets.get(report.target)
        if info is None:
            orphans.append(report)
            continue
        seen = report.chain_version
        if ignore_stale and seen and seen < cluster.chains[info.chain_id].version:
            continue
        heard.append(report.target)
        if (change := _reported(info, report, node_id)) is not None:
            changes.append(change)
    left = infos.reports(orphans)
    if left != cluster.orphans.get(node_id, ()):
        changes.append(_orphaned(cluster.orphans.get(node_id), left, node_id))
    return changes


def _reported(info: TargetInfo, report: wire.LocalTargetInfo, node_id: int) -> Change | None:
    local = _LOCAL[report.state]
    if (
        info.local is local
        and info.node_id == node_id
        and info.used_bytes == report.used
        and info.disk_index == report.disk
        and info.low_space == report.low_space
    ):
        return None
    new = attrs.evolve(
        info,
        local=local,
        node_id=node_id,
        disk_index=report.disk,
        used_bytes=report.used,
        low_space=report.low_space,
    )
    return Change(Kind.TARGET, info.target_id, info, new)


def _orphaned(old: Any, left: tuple[LocalTarget, ...], node_id: int) -> Change:
    return Change(Kind.ORPHANS, node_id, old, left or None)
