"""``svcmgr events``: what happened, from the ring svcmgrd keeps, and what happens from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.cli.options import command, json_option, names_argument
from svcmgr.clock import rfc3339
from svcmgr.errors import EXIT_OK, Disconnected, NoSvcmgrd
from svcmgr.host.wire import EventRow, EventsReply, EventsRequest

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient

#: How long one request waits for something to happen, seconds; then it is asked again.
WAIT_S = 30.0
#: Events per request.
BATCH = 1000


def as_object(event: EventRow) -> dict[str, Any]:
    """One event, all keys present."""
    return {
        "seq": event.seq,
        "at": rfc3339(event.at),
        "what": event.what,
        "name": event.name or None,
        "fields": event.fields,
    }


def words(event: EventRow) -> str:
    """``web Exited code=2``: the event without its place in time."""
    fields = " ".join(f"{key}={value}" for key, value in event.fields.items() if value is not None and value != "")
    return render.clean(" ".join(part for part in (event.name, event.what, fields) if part))


def _line(event: EventRow) -> str:
    return f"{event.seq:>6}  {rfc3339(event.at)}  {words(event)}"


@command("events", "svcmgr events web", "svcmgr events -f", "svcmgr events --since 120 --json")
@names_argument(required=False)
@json_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens; alone, begin now.")
@click.option("--since", type=click.IntRange(min=0), metavar="SEQ", help="Begin after this sequence number.")
@click.pass_obj
def events(app: App, names: tuple[str, ...], as_json: bool, follow: bool, since: int | None) -> int:
    """Show events of svcmgrd and its services, oldest first.

    svcmgrd keeps a limited number of them; those that are gone are counted on standard error.
    """
    with app.connect() as client:
        if follow:
            return _follow(client, names, -1 if since is None else since, as_json)
        return _show(client, names, since or 0, as_json)


def _show(client: BlockingClient, names: tuple[str, ...], since: int, as_json: bool) -> int:
    found: list[EventRow] = []
    lost, cursor = 0, since
    while True:
        reply = client.call("events", EventsRequest(cursor, names=list(names), limit=BATCH), type=EventsReply)
        found += reply.events
        lost += reply.lost
        if reply.next <= cursor:
            break
        cursor = reply.next
    if as_json:
        document = {"events": [as_object(event) for event in found], "next": reply.next, "lost": lost}
        render.write(render.json_document(document))
        return EXIT_OK
    _say_lost(lost)
    render.out(*map(_line, found))
    return EXIT_OK


def _follow(client: BlockingClient, names: tuple[str, ...], since: int, as_json: bool) -> int:
    while True:
        request = EventsRequest(since, wait_s=WAIT_S, names=list(names), limit=BATCH)
        try:
            reply = client.call("events", request, timeout=WAIT_S + ANSWER_MARGIN_S, type=EventsReply)
        except Disconnected as error:
            raise NoSvcmgrd("cannot follow events any longer: svcmgrd has ended", next=since) from error
        _say_lost(reply.lost)
        for event in reply.events:
            render.write(render.json_line(as_object(event)) if as_json else _line(event) + "\n")
        render.flush()
        since = reply.next


def _say_lost(lost: int) -> None:
    if lost:
        render.err(f"svcmgr: {render.plural(lost, 'event')} before these {'is' if lost == 1 else 'are'} no longer kept")
