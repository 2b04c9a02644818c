"""``svcmgr show`` and ``svcmgr kinds``: what svcmgrd knows about one service, and which kinds there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option, names_argument
from svcmgr.errors import EXIT_OK
from svcmgr.host.wire import KindInfo, NameRequest, StatusReply, StatusRequest

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient


@command("show", "svcmgr show web", "svcmgr show 'web@*' --json")
@names_argument()
@json_option
@click.pass_obj
def show(app: App, names: tuple[str, ...], as_json: bool) -> int:
    """Show the definition of services and every fact derived from it."""
    with app.connect() as client:
        found = {name: client.call("show", NameRequest(name), type=dict[str, Any]) for name in _expand(client, names)}
    if as_json:
        render.write(render.json_document({"services": found}))
        return EXIT_OK
    for name, facts in found.items():
        render.out(render.clean(name), *render.facts(facts, "  "))
    return EXIT_OK


def _expand(client: BlockingClient, names: tuple[str, ...]) -> list[str]:
    if not any(character in name for name in names for character in "*?["):
        return list(dict.fromkeys(names))
    reply = client.call("status", StatusRequest(list(names)), type=StatusReply)
    return [row.name for row in reply.services]


_KIND_COLUMNS = (render.Column("KIND"), render.Column("SOURCE"), render.Column("SUMMARY"))


@command("kinds", "svcmgr kinds")
@json_option
@click.pass_obj
def kinds(app: App, as_json: bool) -> int:
    """List the kinds of service that can be defined, and those that could not be loaded."""
    with app.connect() as client:
        found = client.call("kinds", type=list[KindInfo])
    if as_json:
        objects = [{"kind": k.kind, "summary": k.summary, "source": k.source, "error": k.error} for k in found]
        render.write(render.json_document({"kinds": objects}))
    else:
        rows = [[k.kind, k.source, f"cannot be used: {k.error}" if k.error else k.summary] for k in found]
        render.out(*render.table(_KIND_COLUMNS, rows)[0])
    return EXIT_OK
