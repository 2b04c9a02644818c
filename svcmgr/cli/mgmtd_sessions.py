"""``svcmgr mgmtd sessions`` and ``svcmgr mgmtd host-tags``: clients, and tags of their hosts."""

from __future__ import annotations

import click

from svcmgr.cli.group import subgroup
from svcmgr.cli.mgmtd_args import asks, changes, lists, tags_argument, tags_of
from svcmgr.cli.mgmtd_cluster import Cluster
from svcmgr.cli.mgmtd_nodes import newest_configs
from svcmgr.cli.mgmtd_rows import SESSION_COLUMNS, session_cells, tag_words
from svcmgr.cli.options import F
from svcmgr.cli.render import plural
from svcmgr.services.mgmtd.wire import (
    HostTags,
    HostTagsRequest,
    SessionsReply,
    SessionsRequest,
    SetHostTagsRequest,
)


@subgroup("sessions", {"list": ("mgmtd_sessions", "list_sessions")}, "svcmgr mgmtd sessions list")
def sessions() -> None:
    """List the clients of the cluster."""


@lists("list", "svcmgr mgmtd sessions list", "svcmgr mgmtd sessions list --json")
@click.argument("client", default="", metavar="[CLIENT]")
def list_sessions(cluster: Cluster, client: str) -> int:
    """List clients that extend their session; one or all.

    A new primary hears of them one by one; until it had time for that, a client that is missing is not gone.
    """
    reply = cluster.ask("sessions", SessionsRequest(client), SessionsReply)
    newest = newest_configs(cluster)
    rows = [session_cells(one, newest) for one in reply.sessions]
    notes = [plural(len(rows), "session")]
    if reply.bootstrapping:
        notes.append("this primary is new: clients that are not listed may still come back")
    return cluster.listed(SESSION_COLUMNS, rows, notes, sessions=reply.sessions, bootstrapping=reply.bootstrapping)


@subgroup(
    "host-tags",
    {"show": ("mgmtd_sessions", "show"), "set": ("mgmtd_sessions", "set_tags")},
    "svcmgr mgmtd host-tags set client7 TrafficZone=z1",
)
def host_tags() -> None:
    """Show and set tags of hosts of clients.

    They may be set before a client comes, and it gets them with its session.
    """


def _host_argument(function: F) -> F:
    return click.argument("host", metavar="HOST")(function)


@asks("show", "svcmgr mgmtd host-tags show client7")
@_host_argument
def show(cluster: Cluster, host: str) -> int:
    """Show the tags of a host. One that nobody knows has none."""
    return _finish(cluster, cluster.ask("universal-tags", HostTagsRequest(host), HostTags))


@changes(
    "set", "svcmgr mgmtd host-tags set client7 TrafficZone=z1", "svcmgr mgmtd host-tags set client7 --mode replace"
)
@_host_argument
@tags_argument
def set_tags(cluster: Cluster, host: str, tags: tuple[str, ...], mode: str) -> int:
    """Set, replace or remove tags of a host of clients."""
    request = SetHostTagsRequest(host, tags_of(tags, mode), mode, dry_run=cluster.dry_run)
    return _finish(cluster, cluster.ask("set-universal-tags", request, HostTags), changed=True)


def _finish(cluster: Cluster, found: HostTags, changed: bool = False) -> int:
    words = f"{found.universal_id}: {tag_words(found.tags) or 'no tags'}"
    if changed:
        return cluster.changed(words, host=found.universal_id, tags=found.tags)
    return cluster.finish([words], host=found.universal_id, tags=found.tags)
