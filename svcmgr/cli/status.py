"""``svcmgr status``: what is, from svcmgrd's memory, or from its files when it is down."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option, names_argument
from svcmgr.cli.rows import COLUMNS, UP, as_object, block, cells, daemon_line, daemon_object, tail_lines
from svcmgr.clock import SystemClock
from svcmgr.errors import EXIT_NO_SVCMGRD, EXIT_NOT_RUNNING, EXIT_OK, NoSvcmgrd
from svcmgr.host.wire_status import ServiceRow, StatusReply, StatusRequest


@command("status", "svcmgr status", "svcmgr status 'web@*' --json", "svcmgr status --long db")
@names_argument(required=False)
@json_option
@click.option("-l", "--long", "long", is_flag=True, help="Every fact of each service, one per line.")
@click.option("-w", "--wide", is_flag=True, help="All columns, also where the terminal is too narrow.")
@click.pass_obj
def status(app: App, names: tuple[str, ...], as_json: bool, long: bool, wide: bool) -> int:
    """Show what services do, all of them or those named.

    Exit code 3 when a service was named that is not up, 4 when svcmgrd is down: what is shown then comes
    from its files and from the processes.
    """
    svcmgrd, services, down = _ask(app, names)
    if as_json:
        render.write(render.json_document({"svcmgrd": svcmgrd, "services": services}))
    else:
        _print(app, svcmgrd, services, down, long=long, wide=wide)
    if down is not None:
        if as_json:
            render.err(_down_line(down))
        return EXIT_NO_SVCMGRD
    if names and any(service["status"].lower() not in UP for service in services):
        return EXIT_NOT_RUNNING
    return EXIT_OK


def _ask(app: App, names: Sequence[str]) -> tuple[dict[str, Any] | None, list[dict[str, Any]], NoSvcmgrd | None]:
    try:
        with app.connect() as client:
            reply = client.call("status", StatusRequest(list(names), paths=True), type=StatusReply)
    except NoSvcmgrd as error:
        from svcmgr.cli import offline

        return None, _objects(offline.rows(app.layout, names), SystemClock().monotonic()), error
    return daemon_object(reply.svcmgrd), _objects(reply.services, reply.monotonic), None


def _objects(rows: Sequence[ServiceRow], monotonic: float) -> list[dict[str, Any]]:
    now = SystemClock().utc()
    return [as_object(row, now, monotonic) for row in rows]


def _down_line(error: NoSvcmgrd) -> str:
    return f"svcmgrd is down: {render.clean(error.message)}"


def _print(
    app: App,
    svcmgrd: dict[str, Any] | None,
    services: list[dict[str, Any]],
    down: NoSvcmgrd | None,
    *,
    long: bool,
    wide: bool,
) -> None:
    colour = render.use_colour(sys.stdout, app.environ)
    if svcmgrd is not None:
        render.out(render.paint(daemon_line(svcmgrd), "dim", colour))
        if long:
            render.out(*render.facts({key: value for key, value in svcmgrd.items() if key != "invalid"}, "  "))
    if down is not None:
        render.out(
            render.paint(_down_line(down), "red", colour), "what follows is from its files and from the processes"
        )
    if not services:
        render.out("no services")
    elif long:
        for service in services:
            render.out(*block(service))
    else:
        _print_table(services, None if wide else render.terminal_width(sys.stdout, app.environ), colour)
    for name, reason in (svcmgrd or {}).get("invalid", {}).items():
        render.out(render.paint(f"invalid definition {render.clean(name)}: {render.clean(reason)}", "red", colour))


def _print_table(services: list[dict[str, Any]], room: int | None, colour: bool) -> None:
    lines, left_out = render.table(COLUMNS, [cells(service) for service in services], room=room, colour=colour)
    render.out(*lines)
    for service in services:
        render.out(*tail_lines(service))
    if left_out:
        titles = ", ".join(title.lower() for title in left_out)
        render.out(render.paint(f"left out for lack of room: {titles} (--wide or --long shows all)", "dim", colour))
