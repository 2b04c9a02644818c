"""``svcmgr mgmtd routing``: what clients find data by, and how it changes."""

from __future__ import annotations

import click

from svcmgr.cli import render
from svcmgr.cli.app import ANSWER_MARGIN_S
from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import asks
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_objects import whole
from svcmgr.cli.mgmtd_rows import chain_words
from svcmgr.errors import ProtocolFault
from svcmgr.services.mgmtd.wire import (
    ClusterRequest,
    Delta,
    LeaseInfo,
    RoutingReply,
    RoutingRequest,
    WatchReply,
    WatchRequest,
)

TABLE = {"show": ("mgmtd_routing", "show"), "watch": ("mgmtd_routing", "watch")}
KINDS = ("nodes", "chains", "tables", "targets")
#: How long one request waits for a change, seconds; then it is asked again.
WAIT_S = 30.0


@subgroup("routing", TABLE, "svcmgr mgmtd routing show --json", "svcmgr mgmtd routing watch --kind chains")
def routing() -> None:
    """Show or follow what clients find data by."""


@asks("show", "svcmgr mgmtd routing show", "svcmgr mgmtd routing show --json")
def show(cluster: Cluster) -> int:
    """Show the routing version and how much it covers; with --json, all of it."""
    found = cluster.ask("routing", RoutingRequest(), RoutingReply).routing
    if found is None:
        raise ProtocolFault("cannot read the routing: mgmtd has nothing newer than nothing; see its log")
    lines = [f"routing version {found.version}, digest {found.digest}"]
    lines += [f"  {kind}: {len(getattr(found, kind))}" for kind in KINDS]
    if found.bootstrapping:
        lines.append("  this primary is new: not all nodes have reported yet")
    return cluster.finish(lines, routing=found)


@asks("watch", "svcmgr mgmtd routing watch", "svcmgr mgmtd routing watch --since 120 --kind chains --json")
@click.option("--since", type=click.IntRange(0, 2**64 - 1), metavar="VERSION", help="Begin after this routing version.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these; may be repeated.")
def watch(cluster: Cluster, since: int | None, kinds: tuple[str, ...]) -> int:
    """Follow changes of the routing, from now on, until Ctrl-C.

    One line for each thing that changed; with --json one for each version.
    """
    version = version_now(cluster) if since is None else since
    while True:
        reply = ask_watch(cluster, version, list(kinds), WAIT_S)
        if reply.resync:
            version = version_now(cluster)
            _print(cluster, {"resync": version}, [f"{version:>6}  changes before this version are not known any more"])
        elif reply.delta is not None:
            version = reply.delta.version
            _print(cluster, reply.delta, _lines(reply.delta))


def version_now(cluster: Cluster) -> int:
    """The routing version as it is."""
    cluster.ask("lease", ClusterRequest(), LeaseInfo)
    return cluster.version


def ask_watch(cluster: Cluster, version: int, kinds: list[str], wait_s: float) -> WatchReply:
    """Changes after ``version``, within ``wait_s`` seconds."""
    request = WatchRequest(version, kinds, wait_s)
    return cluster.ask("watch", request, WatchReply, timeout=wait_s + ANSWER_MARGIN_S)


def _print(cluster: Cluster, value: object, lines: list[str]) -> None:
    if cluster.as_json:
        render.write(render.json_line(whole(value)))
    else:
        render.out(*map(render.clean, lines))
    render.flush()


def _lines(delta: Delta) -> list[str]:
    words = [f"node {node.app.node}: {node.type} {node.status}" for node in delta.nodes]
    words += [chain_words(chain) for chain in delta.chains]
    words += [f"table {table.table}: version {table.version}" for table in delta.tables]
    words += [
        f"target {target.target}: {target.public or 'in no chain'}-{target.local}" + _place(target.node)
        for target in delta.targets
    ]
    words += [f"{kind.removesuffix('s')} {one}: gone" for kind, ids in delta.gone.items() for one in ids]
    return [f"{delta.version:>6}  {one}" for one in words or ["nothing of these kinds"]]


def _place(node: int | None) -> str:
    return "" if node is None else f" on node {node}"
