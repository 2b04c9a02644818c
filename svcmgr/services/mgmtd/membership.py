"""Registering, disabling and tagging nodes.

Theory of operation. A node is DISABLED exactly while it carries the tag ``Disable``; the two never disagree, whichever
way the tag came. What is already so succeeds and changes nothing. The primary is the exception: disabling it ends its
service, so that is a wish of its own (``step_down``), and not a side effect of a tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from svcmgr.errors import BadInput
from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.errors import NodeNotFound, RegisterFail
from svcmgr.services.mgmtd.nodes import AppFacts, Node, unheard
from svcmgr.services.mgmtd.states import NodeStatus, NodeType, TagMode
from svcmgr.services.mgmtd.tags import DISABLE, TagPair, Tags, set_tags, value_of
from svcmgr.services.mgmtd.targets import TargetInfo

Nodes = Mapping[int, Node]


def register(nodes: Nodes, node_id: int, type_: NodeType) -> Node:
    """The node to add; it is CONNECTING until it is heard.

    Raises:
        RegisterFail: the id is taken, or out of range.
    """
    if not ids.NODE_ID.first <= node_id <= ids.NODE_ID.last:
        raise RegisterFail(f"cannot register node {str(node_id)[:40]}: give an id from 1 to {ids.NODE_ID.last}")
    if node_id in nodes:
        raise RegisterFail(f"cannot register node {node_id}: it is a {nodes[node_id].type.name} node already")
    return Node(app=AppFacts(node_id=node_id), type=type_)


def find(nodes: Nodes, node_id: int) -> Node:
    """The node with this id. Raises NodeNotFound."""
    node = nodes.get(node_id)
    if node is None:
        raise NodeNotFound(f"cannot find node {str(node_id)[:40]}: it is not registered")
    return node


def check_unregister(node: Node, targets: Iterable[TargetInfo]) -> None:
    """Whether a node may be forgotten, given all targets of chains.

    Raises:
        BadInput: it is not DISABLED, FAILED or STOPPED, or a target is known to be on it.
    """
    if node.status not in (NodeStatus.DISABLED, NodeStatus.HEARTBEAT_FAILED, NodeStatus.STOPPED):
        raise BadInput(f"cannot unregister node {node.node_id}: it is {node.status.name}; disable it first")
    for target in targets:
        if target.node_id == node.node_id:
            raise BadInput(
                f"cannot unregister node {node.node_id}: target {target.target_id} of chain {target.chain_id} is on "
                "it; remove the target from its chain first",
                target=target.target_id,
                chain=target.chain_id,
            )


def enable(node: Node) -> Node:
    """The node without the tag ``Disable``, CONNECTING; itself when it is not DISABLED. BadInput: the primary."""
    _not_primary(node, "enable")
    if node.status is not NodeStatus.DISABLED:
        return node
    return _tagged(node, set_tags(node.tags, [TagPair(DISABLE)], TagMode.REMOVE))


def disable(node: Node) -> Node:
    """The node with the tag ``Disable``, DISABLED; itself when it is so. BadInput: the primary."""
    _not_primary(node, "disable")
    if node.status is NodeStatus.DISABLED:
        return node
    return _tagged(node, set_tags(node.tags, [TagPair(DISABLE)], TagMode.UPSERT))


def retag(node: Node, given: Iterable[TagPair], mode: TagMode, *, step_down: bool = False) -> Node:
    """The node with its tags changed, and its status where ``Disable`` came or went; itself when they are the same.

    Raises:
        InvalidTag: see :func:`set_tags`.
        BadInput: the primary would be disabled, and ``step_down`` is not given.
    """
    tags = set_tags(node.tags, given, mode)
    if value_of(tags, DISABLE) is not None and not step_down:
        _not_primary(node, "disable")
    return node if tags == node.tags else _tagged(node, tags)


def _tagged(node: Node, tags: Tags) -> Node:
    was, now = unheard(node.tags), unheard(tags)
    status = node.status if was is now else now
    return attrs.evolve(node, tags=tags, status=status)


def _not_primary(node: Node, verb: str) -> None:
    if node.status is NodeStatus.PRIMARY_MGMTD:
        raise BadInput(
            f"cannot {verb} node {node.node_id}: it is the primary; let it step down first", node=node.node_id
        )
