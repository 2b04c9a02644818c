"""Which nodes somebody means: by type, by being active, by id, by status, by traffic zone.

Theory of operation. A selector is a conjunction of conditions; one that is not given holds for every node. A zone
condition is a list as people type it, separated by commas and blanks, and an empty list is no condition. A node
without the tag ``TrafficZone`` is in no zone. As deepseek-ai/3FS: src/fbs/mgmtd/NodeInfo.h.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.states import NodeStatus, NodeType
from svcmgr.services.mgmtd.tags import TRAFFIC_ZONE, value_of


@attrs.frozen(kw_only=True)
class Selector:
    """A condition on nodes; empty sets and an empty ``zones`` hold for all."""

    types: frozenset[NodeType] = frozenset()
    active: bool = False
    node_ids: frozenset[int] = frozenset()
    statuses: frozenset[NodeStatus] = frozenset()
    zones: str = ""

    def matches(self, node: Node) -> bool:
        """Whether this node is meant."""
        return (
            (not self.types or node.type in self.types)
            and (not self.active or node.active)
            and (not self.node_ids or node.node_id in self.node_ids)
            and (not self.statuses or node.status in self.statuses)
            and self._in_zone(node)
        )

    def _in_zone(self, node: Node) -> bool:
        zones = self.zones.replace(",", " ").split()
        return not zones or value_of(node.tags, TRAFFIC_ZONE) in zones


def select(nodes: Iterable[Node], selector: Selector) -> tuple[Node, ...]:
    """The nodes that are meant, in their order."""
    return tuple(node for node in nodes if selector.matches(node))
