"""Numbers of a primary, by name and labels, as a plain mapping."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from svcmgr.services.mgmtd.chain import Chain, status_word
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.targets import TargetInfo

T = TypeVar("T")

#: Name -> labels in words -> number; "" for a number without labels.
Numbers = dict[str, dict[str, int]]

#: Things counted in one piece; a few milliseconds.
_SLICE = 1000


async def numbers(cluster: Cluster) -> Numbers:
    """Counts of everything by its states. Walks all of the cluster, some at a time."""

    def config(node: Node) -> str:
        shown = node.config_status.name
        if node.config_version == 0:
            shown = "UNKNOWN"
        elif node.config_version < cluster.configs[node.type].newest.version:
            shown = "STALE"
        return f"{node.type.name} {shown}"

    return {
        "node_status_count": await _counted(cluster.nodes.values(), _node),
        "config_status_count": await _counted(cluster.nodes.values(), config),
        "config_version": {type_.name: versions.newest.version for type_, versions in cluster.configs.items()},
        "chain_status_count": await _counted(cluster.chains.values(), _chain),
        "target_status_count": await _counted(cluster.targets.values(), _target),
        "chain_count": {"": len(cluster.chains)},
        "target_count": {"": len(cluster.targets)},
        "orphan_target_count": {"": sum(map(len, cluster.orphans.values()))},
        "client_session_count": {"": len(cluster.sessions)},
        "young_chain_count": {"": len(cluster.births)},
        "routing_version": {"": cluster.version},
    }


def _node(node: Node) -> str:
    return f"{node.type.name} {node.status.name}"


def _chain(chain: Chain) -> str:
    return f"{len(chain.targets)} {status_word(chain.targets)}"


def _target(info: TargetInfo) -> str:
    return f"{info.public.name} {info.local.name}"


async def _counted(things: Iterable[T], label: Callable[[T], str]) -> dict[str, int]:
    found: Counter[str] = Counter()
    rest = iter(list(things))
    while piece := list(itertools.islice(rest, _SLICE)):
        found.update(map(label, piece))
        await asyncio.sleep(0)
    return dict(found)
