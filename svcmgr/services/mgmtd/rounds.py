"""What the background workers of a primary decide, as pure functions from the cluster and the time to changes.

Theory of operation. Silence makes a node FAILED, and a target dead, each by its own count: a node may live and one of
its disks not. A chain is judged when something of it changed. One that became known lately is *young*: it is left alone
until all its targets were heard of, or its time to gather is over, since judging it by silence alone would take every
target for dead that has merely not reported yet. One that never served opens with those that are alive by then.

Numbers: deepseek-ai/3FS: src/mgmtd/service/MgmtdConfig.h. Ending youth as soon as everybody was heard is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from svcmgr.services.mgmtd import reorder, sessions
from svcmgr.services.mgmtd.chain import Chain, Targets, count, differs, never_served
from svcmgr.services.mgmtd.chains import judge, open_chain
from svcmgr.services.mgmtd.changes import Change, Kind
from svcmgr.services.mgmtd.cluster import Cluster
from svcmgr.services.mgmtd.explain import explain
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.settings import Settings
from svcmgr.services.mgmtd.states import LocalState, NodeStatus, PublicState

#: Statuses of nodes that are expected to be heard.
_EXPECTED = (NodeStatus.HEARTBEAT_CONNECTED, NodeStatus.HEARTBEAT_CONNECTING)


def silent_nodes(cluster: Cluster, settings: Settings, now: Moment) -> list[Change]:
    """Nodes that were not heard for longer than the interval."""
    limit = settings.heartbeat_fail_interval
    return [
        Change(
            Kind.NODE,
            node.node_id,
            node,
            attrs.evolve(node, status=NodeStatus.HEARTBEAT_FAILED),
            f"{node.status.name} -> HEARTBEAT_FAILED: silent for more than {limit:g} s",
        )
        for node in cluster.nodes.values()
        if node.status in _EXPECTED and cluster.contacts.node_silence(node.node_id, now) > limit
    ]


def silent_targets(cluster: Cluster, ids: Iterable[int], settings: Settings, now: Moment) -> list[Change]:
    """Of these targets, those that live and of which nothing was heard for longer than the interval."""
    limit = settings.heartbeat_fail_interval
    silent = []
    for id in ids:
        info = cluster.targets.get(id)
        alive = info is not None and info.local is not LocalState.OFFLINE
        if info is not None and alive and cluster.contacts.target_silence(id, now) > limit:
            silent.append(Change(Kind.TARGET, id, info, attrs.evolve(info, local=LocalState.OFFLINE)))
    return silent


def grown_up(cluster: Cluster, settings: Settings, now: Moment) -> list[Change]:
    """Young chains whose time to gather is over."""
    age = settings.new_chain_bootstrap_interval
    return [Change(Kind.BIRTH, id, born, None) for id, born in cluster.births.items() if now.monotonic - born >= age]


def ended_sessions(cluster: Cluster, settings: Settings, now: Moment) -> list[Change]:
    """Sessions that were not extended in time."""
    timeout = settings.client_session_timeout
    return [
        Change(Kind.SESSION, client, session, None)
        for client, session in cluster.sessions.items()
        if sessions.expired(session, timeout, now)
    ]


def unplaced(cluster: Cluster, most: int) -> list[Change]:
    """Targets whose place the store does not have as it is, at most so many."""
    found: list[Change] = []
    for id in cluster.moved:
        if len(found) == most:
            break
        info = cluster.targets[id]
        found.append(Change(Kind.PLACE, id, cluster.places.get(id), (info.node_id, info.disk_index)))
    return found


def judged(cluster: Cluster, chain_id: int) -> Iterator[Change]:
    """What the rules make of a chain, as it is now."""
    chain = cluster.chains.get(chain_id)
    if chain is None:
        return
    born = cluster.births.get(chain_id)
    live = cluster.live(chain)
    if born is not None:
        if not all(map(cluster.contacts.heard_target, chain.target_ids)):
            return
        yield Change(Kind.BIRTH, chain_id, born, None)
    targets = judge(live.targets)
    if born is None and never_served(targets):
        targets = open_chain(targets)
    if differs(chain.targets, targets):
        new = chain.arranged(targets)
        yield Change(Kind.CHAIN, chain_id, chain, new, _told(chain, live.targets, new))


def _told(old: Chain, live: Targets, new: Chain) -> str:
    moves = [line for line in explain(live, new.targets) if " stays " not in line]
    return f"version {old.version} -> {new.version}: {'; '.join(moves) or 'another order'}"


def reordered(cluster: Cluster, ids: Iterable[int], running: dict[int, int]) -> Iterator[Change]:
    """One step towards the preferred order for chains that may take one now.

    ``running``: chains that took one whose sync is not over, with the node that syncs; kept up to date here.
    """
    for chain_id in [id for id in running if _whole(cluster.chains.get(id))]:
        del running[chain_id]
    wanting: list[tuple[int, int]] = []
    for chain_id in ids:
        chain = cluster.chains.get(chain_id)
        if chain is not None and chain.preferred and _whole(chain) and chain_id not in cluster.births:
            victim = reorder.in_the_way(chain.targets, chain.preferred)
            if victim is not None:
                wanting.append((chain_id, cluster.targets[victim.target_id].node_id or 0))
    nodes = dict(wanting)
    for chain_id in reorder.admit(wanting, running, reorder.Limits()):
        running[chain_id] = nodes[chain_id]
        chain = cluster.chains[chain_id]
        new = reorder.step(cluster.live(chain))
        yield Change(Kind.CHAIN, chain_id, chain, new, f"version {chain.version} -> {new.version}: preferred order")


def _whole(chain: Chain | None) -> bool:
    return chain is None or count(chain.targets, PublicState.SERVING) == len(chain.targets)
