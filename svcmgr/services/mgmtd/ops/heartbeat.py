"""Heartbeats: who lives, with what, and what its targets are.

Theory of operation. The rules are in :mod:`heartbeats` and :mod:`reports`. Here is what makes them cheap: most
heartbeats say what the last one said, so what was made of that one is kept beside the contact, and a new one is first
compared in the form of the wire. One that says nothing new touches neither lock nor store, and moves only the times of
contact.
"""

from __future__ import annotations

from typing import Any

import attrs

from svcmgr.services.mgmtd import heartbeats, infos, wire
from svcmgr.services.mgmtd.changes import Cause, Change, Kind, Origin
from svcmgr.services.mgmtd.contacts import Said
from svcmgr.services.mgmtd.errors import HeartbeatFail
from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.ops import configs
from svcmgr.services.mgmtd.ops.base import Caller, Decision, Given, Mutation, Scope
from svcmgr.services.mgmtd.ops.nodes import changed
from svcmgr.services.mgmtd.reports import Known, apply_report
from svcmgr.services.mgmtd.states import ConfigStatus, NodeType, from_word
from svcmgr.services.mgmtd.targets import LocalTarget


class Heartbeat(Mutation):
    verb = "heartbeat"
    request = wire.HeartbeatRequest
    scope = Scope.NODE
    cause = Cause.HEARTBEAT

    def origin(self, request: wire.HeartbeatRequest, caller: Caller) -> Origin:
        return Origin(Cause.HEARTBEAT, f"node {request.app.node}")

    def check(self, request: wire.HeartbeatRequest) -> None:
        if len(request.targets) > heartbeats.TARGETS_MAX:  # before anything is made of them
            raise HeartbeatFail(
                f"cannot take the heartbeat of node {request.app.node}: it has {len(request.targets)} targets, the "
                f"limit is {heartbeats.TARGETS_MAX}"
            )

    def decide(self, given: Given, request: wire.HeartbeatRequest) -> Decision:
        cluster, now = given.cluster, given.now
        type_ = from_word(NodeType, request.type)
        said = _said(given, request)
        old = cluster.nodes.get(request.app.node)
        taken = _taken(given, request, said, old, type_)
        changes = list(changed(old, _unless_same(old, taken.contact.node)))
        heard = _report(given, said.reports, request.app.node, changes)

        def note() -> None:
            cluster.contacts.hear_node(said, request.version, now)
            cluster.contacts.hear_targets(heard, now)
            cluster.touch_young(heard)

        node = taken.contact.node
        config = configs.offer(cluster, type_, request.config_version, node) if taken.send_config else None
        reply = wire.HeartbeatReply(config, given.settings.send_heartbeat_interval)
        return Decision(tuple(changes), reply, note)


def _said(given: Given, request: wire.HeartbeatRequest) -> Said:
    """What the node says, made anew only where it differs from the last time. Raises BadInput."""
    last = given.cluster.contacts.said.get(request.app.node)
    if last is None:
        return Said(request.app, infos.facts(request.app), request.targets, infos.reports(request.targets))
    facts = last.facts if last.app == request.app else infos.facts(request.app)
    reports = last.reports if last.targets == request.targets else infos.reports(request.targets)
    return Said(request.app, facts, request.targets, reports)


def _taken(
    given: Given, request: wire.HeartbeatRequest, said: Said, old: Node | None, type_: NodeType
) -> heartbeats.Taken:
    """What the rules make of it; they refuse what cannot be taken. The cluster's id was checked before."""
    cluster, settings, node_id = given.cluster, given.settings, request.app.node
    beat = heartbeats.Heartbeat(
        cluster_id="",
        app=said.facts,
        type=type_,
        timestamp=request.timestamp,
        version=request.version,
        config_version=request.config_version,
        config_status=from_word(ConfigStatus, request.config_status),
        targets=said.reports,
        replaces=request.replaces,
    )
    known = None
    if old is not None:
        heard = given.now.monotonic - cluster.contacts.node_silence(node_id, given.now)
        known = heartbeats.Contact(old, heard, cluster.contacts.beats.get(node_id, 0))
    server = heartbeats.Server("", given.me, {type_: cluster.configs[type_].newest.version})
    policy = heartbeats.Policy(
        valid_window_s=settings.heartbeat_timestamp_valid_window,
        allow_unregistered=settings.allow_heartbeat_from_unregistered,
        fail_s=settings.heartbeat_fail_interval,
    )
    return heartbeats.take(beat, known, server, policy, given.now)


def _unless_same(old: Node | None, new: Node) -> Node:
    """``old`` itself where only the time of the last heartbeat differs, which is kept with the contacts."""
    if old is None:
        return new
    kept = attrs.evolve(new, last_heartbeat=old.last_heartbeat)
    return old if kept == old else kept


def _report(given: Given, reports: tuple[LocalTarget, ...], node_id: int, changes: list[Change]) -> tuple[int, ...]:
    """Add what the reports change; the ids of targets that were heard."""
    cluster = given.cluster
    chains = cluster.chains
    known = Known(cluster.targets, lambda chain_id: chains[chain_id].version)
    reported = apply_report(node_id, reports, known, ignore_stale=given.settings.heartbeat_ignore_stale_targets)
    for info in reported.changed:
        changes.append(Change(Kind.TARGET, info.target_id, cluster.targets[info.target_id], info))
    left: Any = tuple(orphan.report for orphan in reported.orphans) or None
    had = cluster.orphans.get(node_id)
    if left != (had or None):
        changes.append(Change(Kind.ORPHANS, node_id, had, left))
    return reported.heard
