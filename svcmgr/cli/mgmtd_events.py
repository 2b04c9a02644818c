"""``svcmgr mgmtd events``: what happened in the cluster and why, from the log that mgmtd stores."""

from __future__ import annotations

from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import ANSWER_MARGIN_S
from svcmgr.cli.mgmtd_args import asks
from svcmgr.cli.mgmtd_cluster import ANSWER_S, Cluster
from svcmgr.cli.mgmtd_objects import moment, whole
from svcmgr.services.mgmtd.wire import EventInfo, EventsReply, EventsRequest

KINDS = ("node", "chain", "table", "config", "host", "lease")
#: How long one request waits for something to happen, seconds; then it is asked again.
WAIT_S = 30.0
#: Events per request.
BATCH = 1000


@asks("events", "svcmgr mgmtd events", "svcmgr mgmtd events chain 900100001", "svcmgr mgmtd events -f --json")
@click.argument("kind", default=None, required=False, type=click.Choice(KINDS), metavar="[KIND")
@click.argument("name", default="", metavar="[ID]]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens.")
@click.option("--since", type=click.IntRange(0, 2**63 - 1), default=0, metavar="SEQ", help="Begin after this number.")
def events(cluster: Cluster, kind: str | None, name: str, follow: bool, since: int) -> int:
    """Show what changed in the cluster and why, oldest first.

    Everything, one kind of things, or the history of one thing. KIND is node, chain, table, config, host or
    lease. ID is that of a node, chain or table, the type of a configuration, the name of a host, or an epoch.
    """
    request = EventsRequest(kind or "", name.upper() if kind == "config" else name, since, BATCH)
    return _follow(cluster, request) if follow else _show(cluster, request)


def _after(request: EventsRequest, since: int, wait_s: float = 0.0) -> EventsRequest:
    return EventsRequest(request.kind, request.id, since, request.limit, wait_s)


def _show(cluster: Cluster, request: EventsRequest) -> int:
    found: list[EventInfo] = []
    lost, cursor = 0, request.since
    while True:
        reply = cluster.ask("events", _after(request, cursor), EventsReply)
        found += reply.events
        lost += reply.lost
        if reply.next <= cursor or not reply.events:
            break
        cursor = reply.next
    if not cluster.as_json:
        _say_lost(lost)
    return cluster.finish(list(map(_line, found)), events=found, next=reply.next, lost=lost)


def _follow(cluster: Cluster, request: EventsRequest) -> int:
    since, wait_s = request.since, 0.0
    while True:
        reply = cluster.ask("events", _after(request, since, wait_s), EventsReply, wait_s + ANSWER_MARGIN_S + ANSWER_S)
        _say_lost(reply.lost)
        for event in reply.events:
            render.write(render.json_line(whole(event)) if cluster.as_json else _line(event) + "\n")
        render.flush()
        since = reply.next
        wait_s = WAIT_S


def _line(event: EventInfo) -> str:
    why = f" ({', '.join(part for part in (event.cause, event.by) if part)})" if event.cause or event.by else ""
    turn = "" if event.old is None and event.new is None else f": {_short(event.old)} -> {_short(event.new)}"
    when = moment(event.at) or "-"
    return render.clean(f"{event.seq:>6}  {when}  {event.kind} {event.id} {event.what}{turn}{why}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "-" if value is None else render.json_line(value).rstrip()
    return text if len(text) <= 120 else text[:117] + "..."


def _say_lost(lost: int) -> None:
    if lost:
        render.err(f"svcmgr: {render.plural(lost, 'event')} before these {'is' if lost == 1 else 'are'} no longer kept")
