"""``svcmgr volume volfiles`` and ``svcmgr volume volfile``: what svcmgrd serves to daemons, and who asked for it."""

from __future__ import annotations

from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.clock import rfc3339
from svcmgr.errors import EXIT_OK
from svcmgr.host.wire_volumes import VolfileAsk, VolfileFacts
from svcmgr.services.wire import VolfileReply, VolfileRequest

_COLUMNS = (
    render.Column("ID"),
    render.Column("BYTES", right=True),
    render.Column("ASKED", right=True),
    render.Column("LAST"),
    render.Column("PID", right=True),
    render.Column("UID", right=True),
)


@command("volfiles", "svcmgr volume volfiles", "svcmgr volume volfiles --json")
@json_option
@click.pass_obj
def volfiles(app: App, as_json: bool) -> int:
    """List the volfiles that svcmgrd serves, and who asked for each of them last.

    Counted since svcmgrd started.
    """
    with app.connect() as client:
        facts = client.call("volfile-facts", None, type=VolfileFacts)
    asks = [_object(ask) for ask in facts.asks]
    if as_json:
        counts = {"served": facts.served, "refused": facts.refused, "bytes": facts.bytes}
        render.write(render.json_document({"volfiles": asks, **counts}))
        return EXIT_OK
    if asks:
        render.out(*render.table(_COLUMNS, [_cells(ask) for ask in asks])[0])
    render.out(f"{render.plural(facts.served, 'request')} served, {facts.refused} refused")
    return EXIT_OK


@command("volfile", "svcmgr volume volfile snapd/v0", "svcmgr volume volfile snapd/v0 --json")
@click.argument("volfile_id", metavar="ID")
@json_option
@click.pass_obj
def volfile(app: App, volfile_id: str, as_json: bool) -> int:
    """Print the volfile of that id, as its daemon gets it. It counts as a request."""
    with app.connect() as client:
        reply = client.call("volfile", VolfileRequest(volfile_id), type=VolfileReply)
    if as_json:
        document = {"id": volfile_id, "checksum": reply.checksum, "text": reply.text}
        render.write(render.json_document(document))
    else:
        render.write(reply.text)
    return EXIT_OK


def _object(ask: VolfileAsk) -> dict[str, Any]:
    asked = ask.last_at is not None
    return {
        "id": ask.id,
        "bytes": ask.bytes,
        "asked": ask.count,
        "last": rfc3339(ask.last_at) if ask.last_at is not None else None,
        "last_pid": ask.last_pid if asked else None,
        "last_uid": ask.last_uid if asked else None,
    }


def _cells(ask: dict[str, Any]) -> list[str]:
    return ["-" if value is None else str(value) for value in ask.values()]
