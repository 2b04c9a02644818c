"""``svcmgr mgmtd nodes``: which nodes there are, and which may take part."""

from __future__ import annotations

import click

from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import (
    NODE_TYPE,
    NODE_TYPES,
    STATUSES,
    U32_ID,
    changes,
    lists,
    node_argument,
    tags_argument,
    tags_of,
    type_argument,
)
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_rows import NODE_COLUMNS, node_cells, tag_words
from svcmgr.cli.render import plural
from svcmgr.services.mgmtd.wire import (
    ConfigVersions,
    ConfigVersionsRequest,
    DisableNodeRequest,
    NodeInfo,
    NodeRequest,
    NodesReply,
    NodesRequest,
    RegisterNodeRequest,
    SetTagsRequest,
)

TABLE = {
    "list": ("mgmtd_nodes", "list_nodes"),
    "register": ("mgmtd_nodes", "register"),
    "unregister": ("mgmtd_nodes", "unregister"),
    "enable": ("mgmtd_nodes", "enable"),
    "disable": ("mgmtd_nodes", "disable"),
    "tag": ("mgmtd_nodes", "tag"),
}


@subgroup("nodes", TABLE, "svcmgr mgmtd nodes list", "svcmgr mgmtd nodes register 10001 storage")
def nodes() -> None:
    """List, register, disable and tag nodes."""


@lists("list", "svcmgr mgmtd nodes list", "svcmgr mgmtd nodes list --type storage --status heartbeat_failed --json")
@click.argument("ids", nargs=-1, type=U32_ID, metavar="[NODE]...")
@click.option("--type", "types", multiple=True, type=NODE_TYPE, help="Of a type.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES, case_sensitive=False), help="As it is."
)
@click.option("--zone", "zones", default="", metavar="ZONES", help="Of these traffic zones, with commas between them.")
@click.option("--active", is_flag=True, help="That are connected, or the primary.")
def list_nodes(
    cluster: Cluster, ids: tuple[int, ...], types: tuple[str, ...], statuses: tuple[str, ...], zones: str, active: bool
) -> int:
    """List nodes, by type, status and id.

    All of them or those named. Options that are given together must all fit; --type and --status may be
    repeated.
    """
    request = NodesRequest(list(ids), list(types), list(statuses), zones, active)
    found = cluster.ask("nodes", request, NodesReply).nodes
    newest = newest_configs(cluster)
    found.sort(key=lambda node: (_place(NODE_TYPES, node.type), _place(STATUSES, node.status), node.app.node))
    rows = [node_cells(node, newest) for node in found]
    return cluster.listed(NODE_COLUMNS, rows, [plural(len(found), "node")], nodes=found)


def _place(words: tuple[str, ...], word: str) -> int:
    return words.index(word) if word in words else len(words)


def newest_configs(cluster: Cluster) -> dict[str, int]:
    """The newest version of the configuration of each type of nodes."""
    reply = cluster.ask("config-versions", ConfigVersionsRequest(), ConfigVersions)
    return {one.type: one.version for one in reply.versions}


@changes("register", "svcmgr mgmtd nodes register 10001 storage")
@node_argument
@type_argument
def register(cluster: Cluster, node: int, kind: str) -> int:
    """Allow a node to join the cluster.

    TYPE is mgmtd, meta, storage, client or fuse. The node is connected when its first heartbeat came.
    """
    request = RegisterNodeRequest(node, kind, dry_run=cluster.dry_run)
    found = cluster.ask("register-node", request, NodeInfo)
    return cluster.changed(f"node {node}: registered as {kind}", node=found)


@changes("unregister", "svcmgr mgmtd nodes unregister 10001")
@node_argument
def unregister(cluster: Cluster, node: int) -> int:
    """Forget a node.

    It must be disabled or failed, and none of its targets may be in a chain.
    """
    found = cluster.ask("unregister-node", NodeRequest(node, dry_run=cluster.dry_run), NodeInfo)
    return cluster.changed(f"node {node}: forgotten", node=found)


@changes("enable", "svcmgr mgmtd nodes enable 10001")
@node_argument
def enable(cluster: Cluster, node: int) -> int:
    """Let a disabled node take part again."""
    found = cluster.ask("enable-node", NodeRequest(node, dry_run=cluster.dry_run), NodeInfo)
    return cluster.changed(f"node {node}: {found.status}", node=found)


@changes("disable", "svcmgr mgmtd nodes disable 10001", "svcmgr mgmtd nodes disable 10001 --now --dry-run")
@node_argument
@click.option("--now", is_flag=True, help="Take its targets for dead at once.")
def disable(cluster: Cluster, node: int, now: bool) -> int:
    """Keep a node out of the cluster: its heartbeats are refused.

    Its targets are taken for dead when it was silent long enough, and with --now at once.
    """
    request = DisableNodeRequest(node, now, dry_run=cluster.dry_run)
    found = cluster.ask("disable-node", request, NodeInfo)
    return cluster.changed(f"node {node}: {found.status}", node=found)


@changes(
    "tag",
    "svcmgr mgmtd nodes tag 10001 TrafficZone=z1 rack=7",
    "svcmgr mgmtd nodes tag 10001 rack --mode remove",
    "svcmgr mgmtd nodes tag 10001 --mode replace",
)
@node_argument
@tags_argument
@click.option("--step-down", is_flag=True, help="Disable the node also when it is the primary mgmtd.")
def tag(cluster: Cluster, node: int, tags: tuple[str, ...], mode: str, step_down: bool) -> int:
    """Set, replace or remove tags of a node.

    Disable and TrafficZone have a meaning; others are yours.
    """
    request = SetTagsRequest(node, tags_of(tags, mode), mode, step_down, dry_run=cluster.dry_run)
    found = cluster.ask("set-node-tags", request, NodeInfo)
    return cluster.changed(f"node {node}: {tag_words(found.tags) or 'no tags'}", node=found)
