"""``svcmgr volume info`` and ``svcmgr volume list``: what volumes there are."""

from __future__ import annotations

import sys
from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.volume_args import complete_volumes
from svcmgr.cli.volume_rows import COLUMNS, as_object, block, cells
from svcmgr.errors import EXIT_FAILED, EXIT_OK
from svcmgr.host.wire_volumes import VolumesReply, VolumesRequest


@command("info", "svcmgr volume info", "svcmgr volume info v0 'test-*' --json")
@click.argument("names", nargs=-1, metavar="[VOL]...", shell_complete=complete_volumes)
@json_option
@click.pass_obj
def info(app: App, names: tuple[str, ...], as_json: bool) -> int:
    """Show every fact of volumes, all of them or those named; VOL may be a glob.

    Exit code 1 when a volume that was named cannot be used, because its file is damaged.
    """
    volumes, invalid = _ask(app, names)
    if as_json:
        render.write(_document(volumes, invalid))
    else:
        render.out(*(text for volume in volumes for text in block(volume)))
        _end(app, volumes, invalid)
    return EXIT_FAILED if names and invalid else EXIT_OK


@command("list", "svcmgr volume list", "svcmgr volume list --json")
@json_option
@click.pass_obj
def list_volumes(app: App, as_json: bool) -> int:
    """List the volumes, one line for each."""
    volumes, invalid = _ask(app, ())
    if as_json:
        render.write(_document(volumes, invalid))
        return EXIT_OK
    if volumes:
        render.out(*render.table(COLUMNS, [cells(volume) for volume in volumes])[0])
    _end(app, volumes, invalid)
    return EXIT_OK


def _ask(app: App, names: tuple[str, ...]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    with app.connect() as client:
        reply = client.call("volume-info", VolumesRequest(list(names)), type=VolumesReply)
    return [as_object(volume) for volume in reply.volumes], reply.invalid


def _document(volumes: list[dict[str, Any]], invalid: dict[str, str]) -> str:
    return render.json_document({"volumes": volumes, "invalid": invalid})


def _end(app: App, volumes: list[dict[str, Any]], invalid: dict[str, str]) -> None:
    if not volumes:
        render.out("no volumes")
    colour = render.use_colour(sys.stdout, app.environ)
    for name, reason in invalid.items():
        render.out(render.paint(f"invalid volume {render.clean(name)}: {render.clean(reason)}", "red", colour))
