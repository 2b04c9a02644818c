"""Which heartbeats are taken, what they change, and who has been silent for too long.

Theory of operation. A heartbeat is taken whole or refused whole; the checks run in a fixed order, so that the same
mistake always gives the same answer. One that says nothing new changes only when the node was last heard, and needs no
write and no new version of anything. Durations are measured on our monotonic clock; the sender's wall clock is compared
once, because a node whose clock is far off will be wrong about everything else that has a time.

A process is told from its predecessor by its *incarnation*. Versions count within one. A second process with the same
node id is refused while the first is alive, which is: was heard lately and did not leave. A process that can name its
predecessor's incarnation, because it keeps it on the disk that both worked from, has replaced it and is taken at once.

Rules: deepseek-ai/3FS: src/mgmtd/ops/HeartbeatOperation.cc, src/mgmtd/background/MgmtdHeartbeatChecker.cc;
incarnations and leaving are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from svcmgr.services.mgmtd import ids
from svcmgr.services.mgmtd.errors import (
    ClusterIdMismatch,
    HeartbeatFail,
    HeartbeatVersionStale,
    InvalidConfigVersion,
)
from svcmgr.services.mgmtd.moment import Moment
from svcmgr.services.mgmtd.nodes import AppFacts, Node
from svcmgr.services.mgmtd.states import ConfigStatus, LocalState, NodeStatus, NodeType
from svcmgr.services.mgmtd.targets import LocalTarget

#: Targets in one heartbeat; a node of the largest known cluster has 96.
TARGETS_MAX = 4096


@attrs.frozen(kw_only=True)
class Policy:
    """Durations in seconds; defaults of deepseek-ai/3FS: src/mgmtd/service/MgmtdConfig.h.

    ``valid_window_s``: how far the sender's clock may be off, 0 for any. ``duplicate_s``: a process that was heard
    within this time is alive, and another one of the same node id is refused.
    """

    valid_window_s: float = 30.0
    allow_unregistered: bool = False
    fail_s: float = 60.0
    duplicate_s: float = 30.0


@attrs.frozen(kw_only=True)
class Heartbeat:
    """What a node sends. ``timestamp`` in UTC seconds by its clock. ``leaving``: it stops now, in good order.

    ``replaces``: the incarnation that this process took over from, "" when it does not know.
    """

    cluster_id: str
    app: AppFacts
    type: NodeType
    timestamp: float
    version: int = attrs.field(validator=ids.HEARTBEAT_VERSION.validate)
    config_version: int = attrs.field(default=0, validator=ids.CONFIG_VERSION.validate)
    config_status: ConfigStatus = ConfigStatus.NORMAL
    targets: tuple[LocalTarget, ...] = attrs.field(default=(), converter=tuple[LocalTarget, ...])
    replaces: str = ""
    leaving: bool = False


@attrs.frozen
class Contact:
    """A node and when it was heard: monotonic seconds, and the version it counted to."""

    node: Node
    heard: float
    version: int = 0


@attrs.frozen
class Server:
    """What a heartbeat is checked against. ``newest``: the newest config version of each node type."""

    cluster_id: str
    node_id: int
    newest: Mapping[NodeType, int]


@attrs.frozen
class Taken:
    """What a heartbeat changes. ``persist``: the node has to be stored, and the routing version raised with it.

    ``bump_due``: something changed that clients see, and that may wait for the next bump. ``send_config``: the node
    does not have the newest one.
    """

    contact: Contact
    persist: bool
    bump_due: bool
    send_config: bool


def take(heartbeat: Heartbeat, known: Contact | None, server: Server, policy: Policy, now: Moment) -> Taken:
    """What becomes of the node by this heartbeat; ``known`` is None when it is not registered.

    Raises:
        ClusterIdMismatch, InvalidConfigVersion, HeartbeatVersionStale, HeartbeatFail: refused, and nothing changes.
    """
    _check_sender(heartbeat, server, policy, now)
    newest = _check_config(heartbeat, server)
    before = known or _unregistered(heartbeat, policy)
    _check_node(heartbeat, before.node)
    _check_process(heartbeat, before, policy, now)
    _check_targets(heartbeat)
    node = _after(heartbeat, before.node, now)
    persist = known is None or node.persistent != before.node.persistent
    return Taken(
        Contact(node, now.monotonic, heartbeat.version),
        persist=persist,
        bump_due=not persist and node.status is not before.node.status,
        send_config=newest > heartbeat.config_version,
    )


def _check_sender(heartbeat: Heartbeat, server: Server, policy: Policy, now: Moment) -> None:
    if heartbeat.cluster_id != server.cluster_id:
        raise ClusterIdMismatch(
            f"cannot take a heartbeat for cluster {heartbeat.cluster_id[:40]!r}: this is {server.cluster_id!r}"
        )
    if heartbeat.app.node_id == server.node_id:
        raise _refused(heartbeat, "this is the primary's own id; give the other process an id of its own")
    off = heartbeat.timestamp - now.utc
    if policy.valid_window_s and not abs(off) <= policy.valid_window_s:  # so that NaN is refused too
        raise _refused(
            heartbeat, f"its clock is {off:+.1f} s off and {policy.valid_window_s:g} s are allowed; set the clock"
        )


def _check_config(heartbeat: Heartbeat, server: Server) -> int:
    newest = server.newest.get(heartbeat.type, 0)
    if heartbeat.config_version > newest:
        raise InvalidConfigVersion(
            f"cannot take a heartbeat with config version {heartbeat.config_version} of {heartbeat.type.name}: the "
            f"newest is {newest}; was the store restored?",
            newest=newest,
        )
    return newest


def _unregistered(heartbeat: Heartbeat, policy: Policy) -> Contact:
    if not policy.allow_unregistered:
        raise _refused(heartbeat, "it is not registered; register it first")
    return Contact(Node(app=AppFacts(node_id=heartbeat.app.node_id), type=heartbeat.type), heard=float("-inf"))


def _check_node(heartbeat: Heartbeat, node: Node) -> None:
    if heartbeat.type is not node.type:
        raise _refused(heartbeat, f"it is registered as {node.type.name} and says {heartbeat.type.name}")
    if node.status is NodeStatus.DISABLED:
        raise _refused(heartbeat, "it is disabled; enable it first")


def _check_process(heartbeat: Heartbeat, before: Contact, policy: Policy, now: Moment) -> None:
    """Versions count within one incarnation, and only one incarnation is alive."""
    first = before.node.app.incarnation
    if heartbeat.app.incarnation == first or before.version == 0:
        if heartbeat.version <= before.version:
            raise HeartbeatVersionStale(
                f"cannot take heartbeat {heartbeat.version} of node {heartbeat.app.node_id}: the last one was "
                f"{before.version}; go on from there",
                version=before.version,
            )
        return
    silent = now.monotonic - before.heard
    alive = before.node.status is NodeStatus.HEARTBEAT_CONNECTED and silent < policy.duplicate_s
    if alive and not (first and heartbeat.replaces == first):
        raise _refused(
            heartbeat,
            f"another process of this id was heard {silent:.1f} s ago, on host {before.node.app.hostname!r} with pid "
            f"{before.node.app.pid}; stop one of the two",
        )


def _check_targets(heartbeat: Heartbeat) -> None:
    targets = heartbeat.targets
    if targets and heartbeat.type is not NodeType.STORAGE:
        raise _refused(heartbeat, f"a {heartbeat.type.name} node has no targets")
    if len(targets) > TARGETS_MAX:
        raise _refused(heartbeat, f"it has {len(targets)} targets, the limit is {TARGETS_MAX}")
    if len({target.target_id for target in targets}) != len(targets):
        raise _refused(heartbeat, "it names a target twice")
    for target in targets:
        if target.local is LocalState.INVALID:
            raise _refused(heartbeat, f"the state of target {target.target_id} is INVALID")


def _after(heartbeat: Heartbeat, node: Node, now: Moment) -> Node:
    return Node(
        app=heartbeat.app,
        type=node.type,
        status=NodeStatus.STOPPED if heartbeat.leaving else NodeStatus.HEARTBEAT_CONNECTED,
        last_heartbeat=now.utc,
        tags=node.tags,
        config_version=heartbeat.config_version,
        config_status=heartbeat.config_status,
    )


def _refused(heartbeat: Heartbeat, why: str) -> HeartbeatFail:
    return HeartbeatFail(f"cannot take the heartbeat of node {heartbeat.app.node_id}: {why}")


#: Who is judged by silence. The others are not expected to be heard, or have been judged.
_EXPECTED = frozenset({NodeStatus.HEARTBEAT_CONNECTED, NodeStatus.HEARTBEAT_CONNECTING})


def silent_nodes(contacts: Iterable[Contact], policy: Policy, now: Moment) -> tuple[Node, ...]:
    """The nodes that failed by now, with their new status."""
    return tuple(
        attrs.evolve(contact.node, status=NodeStatus.HEARTBEAT_FAILED)
        for contact in contacts
        if contact.node.status in _EXPECTED and now.monotonic - contact.heard > policy.fail_s
    )
