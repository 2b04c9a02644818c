"""Numbers of a primary, by name and labels, as a plain mapping."""

from __future__ import annotations

from collections import Counter

from svcmgr.services.mgmtd.chain import status_word
from svcmgr.services.mgmtd.cluster import Cluster

#: Name -> labels in words -> number; "" for a number without labels.
Numbers = dict[str, dict[str, int]]


def numbers(cluster: Cluster) -> Numbers:
    """Counts of everything by its states. Walks all of the cluster."""
    status: Counter[str] = Counter()
    configs: Counter[str] = Counter()
    for node in cluster.nodes.values():
        status[f"{node.type.name} {node.status.name}"] += 1
        newest = cluster.configs[node.type].newest.version
        shown = node.config_status.name
        if node.config_version == 0:
            shown = "UNKNOWN"
        elif node.config_version < newest:
            shown = "STALE"
        configs[f"{node.type.name} {shown}"] += 1
    chains = Counter(f"{len(chain.targets)} {status_word(chain.targets)}" for chain in cluster.chains.values())
    targets = Counter(f"{info.public.name} {info.local.name}" for info in cluster.targets.values())
    return {
        "node_status_count": dict(status),
        "config_status_count": dict(configs),
        "config_version": {type_.name: versions.newest.version for type_, versions in cluster.configs.items()},
        "chain_status_count": dict(chains),
        "target_status_count": dict(targets),
        "chain_count": {"": len(cluster.chains)},
        "target_count": {"": len(cluster.targets)},
        "orphan_target_count": {"": sum(map(len, cluster.orphans.values()))},
        "client_session_count": {"": len(cluster.sessions)},
        "young_chain_count": {"": len(cluster.births)},
        "routing_version": {"": cluster.version},
    }
