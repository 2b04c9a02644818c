"""Operations on nodes: registering, disabling, tagging, listing, saying goodbye."""

from __future__ import annotations

from typing import Any

import attrs

from svcmgr.services.mgmtd import infos, membership, wire
from svcmgr.services.mgmtd.changes import Cause, Change, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.errors import HeartbeatFail
from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.ops.base import Decision, Given, Mutation, Query, Scope
from svcmgr.services.mgmtd.selectors import Selector, select
from svcmgr.services.mgmtd.states import LocalState, NodeStatus, NodeType, TagMode, from_word
from svcmgr.services.mgmtd.tags import TagPair


def info_of(given: Given, node: Node) -> wire.NodeInfo:
    """With the time of its last heartbeat, which is kept beside it."""
    return infos.node_info(node, given.cluster.contacts.utc.get(node.node_id, node.last_heartbeat))


def changed(old: Node | None, new: Node | None) -> tuple[Change, ...]:
    """The change of a node, if it is one."""
    if old == new:
        return ()
    node = new or old
    assert node is not None
    return (Change(Kind.NODE, node.node_id, old, new, told(old, new)),)


def told(old: Node | None, new: Node | None) -> str:
    """What the event log says of it; "" when people need not know."""
    if old is None or new is None:
        return f"registered as {new.type.name}" if new else "unregistered"
    parts = []
    if old.status is not new.status:
        parts.append(f"{old.status.name} -> {new.status.name}")
    if old.tags != new.tags:
        parts.append(f"tags {_listed(old.tags)} -> {_listed(new.tags)}")
    if old.app.hostname != new.app.hostname:
        parts.append(f"host {old.app.hostname or 'unknown'} -> {new.app.hostname or 'unknown'}")
    if old.app.service_groups != new.app.service_groups:
        parts.append("it serves at other addresses")
    return "; ".join(parts)


def _listed(tags: tuple[TagPair, ...]) -> str:
    return f"[{', '.join(map(str, tags))}]"


def silenced(cluster: Cluster, node_id: int) -> tuple[Change, ...]:
    """All targets of a node taken for dead."""
    return tuple(
        Change(Kind.TARGET, info.target_id, info, attrs.evolve(info, local=LocalState.OFFLINE))
        for info in cluster.targets_on(node_id)
        if info.local is not LocalState.OFFLINE
    )


class RegisterNode(Mutation):
    verb = "register-node"
    request = wire.RegisterNodeRequest

    def decide(self, given: Given, request: wire.RegisterNodeRequest) -> Decision:
        node = membership.register(given.cluster.nodes, request.node, from_word(NodeType, request.type))
        return Decision(changed(None, node), info_of(given, node), lambda: _touch(given, node))


class UnregisterNode(Mutation):
    verb = "unregister-node"
    request = wire.NodeRequest

    def decide(self, given: Given, request: wire.NodeRequest) -> Decision:
        node = membership.find(given.cluster.nodes, request.node)
        membership.check_unregister(node, given.cluster.targets_on(node.node_id))
        return Decision(changed(node, None), info_of(given, node))


class EnableNode(Mutation):
    verb = "enable-node"
    request = wire.NodeRequest

    def decide(self, given: Given, request: wire.NodeRequest) -> Decision:
        node = membership.find(given.cluster.nodes, request.node)
        new = membership.enable(node)
        return Decision(changed(node, new), info_of(given, new), lambda: _touch(given, new))


class DisableNode(Mutation):
    verb = "disable-node"
    request = wire.DisableNodeRequest

    def decide(self, given: Given, request: wire.DisableNodeRequest) -> Decision:
        node = membership.find(given.cluster.nodes, request.node)
        new = membership.disable(node)
        dead = silenced(given.cluster, node.node_id) if request.now else ()
        return Decision((*changed(node, new), *dead), info_of(given, new))


class SetNodeTags(Mutation):
    verb = "set-node-tags"
    request = wire.SetTagsRequest

    def check(self, request: wire.SetTagsRequest) -> None:
        infos.pairs(request.tags)
        from_word(TagMode, request.mode)

    def decide(self, given: Given, request: wire.SetTagsRequest) -> Decision:
        node = membership.find(given.cluster.nodes, request.node)
        mode = from_word(TagMode, request.mode)
        new = membership.retag(node, infos.pairs(request.tags), mode, step_down=request.step_down)
        again = node.status is NodeStatus.DISABLED and new.status is not NodeStatus.DISABLED
        return Decision(changed(node, new), info_of(given, new), (lambda: _touch(given, new)) if again else None)


def _touch(given: Given, node: Node) -> None:
    """It may come now, so its silence counts from now."""
    given.cluster.contacts.touch_node(node.node_id, given.now)


class Leave(Mutation):
    """A node says that it ends. Its targets are taken for dead at once, and its id is free for its next process."""

    verb = "leave"
    request = wire.LeaveRequest
    scope = Scope.NODE
    cause = Cause.HEARTBEAT

    def decide(self, given: Given, request: wire.LeaveRequest) -> Decision:
        node = membership.find(given.cluster.nodes, request.app.node)
        alive = given.cluster.contacts.incarnations.get(node.node_id)
        if node.node_id == given.me or (alive is not None and alive != request.app.incarnation):
            raise HeartbeatFail(
                f"cannot let node {node.node_id} leave: another process speaks for it", incarnation=alive or ""
            )
        free = node.status in (NodeStatus.DISABLED, NodeStatus.STOPPED)
        new = node if free else attrs.evolve(node, status=NodeStatus.STOPPED)
        changes = (*changed(node, new), *silenced(given.cluster, node.node_id))
        contacts = given.cluster.contacts
        return Decision(changes, info_of(given, new), lambda: contacts.forget_process(node.node_id))


class Nodes(Query):
    verb = "nodes"
    request = wire.NodesRequest

    def answer(self, given: Given, request: wire.NodesRequest) -> Any:
        selector = Selector(
            types=frozenset(from_word(NodeType, word) for word in request.types),
            active=request.active,
            node_ids=frozenset(request.ids),
            statuses=frozenset(from_word(NodeStatus, word) for word in request.statuses),
            zones=request.zones,
        )
        nodes = given.cluster.nodes
        found = select((nodes[id] for id in sorted(nodes)), selector)
        return wire.NodesReply([info_of(given, node) for node in found])
