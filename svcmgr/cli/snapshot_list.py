"""``svcmgr snapshot list`` and ``svcmgr snapshot info``: what snapshots there are."""

from __future__ import annotations

import sys
from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.snapshot_args import snapshot_argument, snapshots_argument, volume_argument
from svcmgr.cli.snapshot_daemon import reach
from svcmgr.cli.snapshot_rows import COLUMNS, as_object, cells, cost_words
from svcmgr.errors import EXIT_OK
from svcmgr.services.snapd.wire import NameRequest, SnapshotInfo, SnapshotsReply, SnapshotsRequest


@command("list", "svcmgr snapshot list v0", "svcmgr snapshot list v0 'hourly-*' --json")
@volume_argument
@snapshots_argument(required=False)
@json_option
@click.option("-w", "--wide", is_flag=True, help="All columns, also where the terminal is too narrow.")
@click.pass_obj
def list_snapshots(app: App, volume: str, names: tuple[str, ...], as_json: bool, wide: bool) -> int:
    """List the snapshots of a volume, oldest first.

    All of them or those named; SNAP may be a glob.
    """
    with reach(app, volume) as client:
        reply = client.call("snapshots", SnapshotsRequest(list(names)), type=SnapshotsReply)
    found = [as_object(one) for one in reply.snapshots]
    if as_json:
        render.write(render.json_document(_document(reply, found)))
        return EXIT_OK
    colour = render.use_colour(sys.stdout, app.environ)
    if found:
        room = None if wide else render.terminal_width(sys.stdout, app.environ)
        lines, left_out = render.table(COLUMNS, [cells(one) for one in found], room=room)
        render.out(*lines)
        if left_out:
            titles = ", ".join(title.lower() for title in left_out)
            render.out(render.paint(f"left out for lack of room: {titles} (--wide shows all)", "dim", colour))
    render.out(render.paint(_summary(reply), "dim", colour))
    return EXIT_OK


def _document(reply: SnapshotsReply, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "volume": reply.volume,
        "limit": reply.limit,
        "free_bytes": reply.free_bytes,
        "total_bytes": reply.total_bytes,
        "snapshots": found,
    }


def _summary(reply: SnapshotsReply) -> str:
    """``2 snapshots, at most 1000; 5.0 GiB of 20.0 GiB free``."""
    words = render.plural(len(reply.snapshots), "snapshot") if reply.snapshots else "no snapshots"
    if reply.limit:
        words += f", at most {reply.limit}"
    if reply.total_bytes:
        words += f"; {render.size(reply.free_bytes)} of {render.size(reply.total_bytes)} free"
    return words


@command("info", "svcmgr snapshot info v0 before-upgrade", "svcmgr snapshot info v0 before-upgrade --json")
@volume_argument
@snapshot_argument
@json_option
@click.pass_obj
def info(app: App, volume: str, name: str, as_json: bool) -> int:
    """Show everything about one snapshot.

    Method and cost, where its data is, what could not be taken and why.
    """
    with reach(app, volume) as client:
        found = client.call("snapshot-info", NameRequest(name), type=SnapshotInfo)
    shown = _info_object(found)
    if as_json:
        render.write(render.json_document({"snapshot": shown}))
    else:
        render.out(*_block(shown))
    return EXIT_OK


def _info_object(found: SnapshotInfo) -> dict[str, Any]:
    return {
        **as_object(found.snapshot),
        "volume": found.volume,
        "volume_id": found.volume_id,
        "bricks": found.bricks,
        "paths": found.paths,
        "volume_options": found.volume_options,
        "skipped": found.skipped,
        "view": found.view,
    }


def _block(shown: dict[str, Any]) -> list[str]:
    facts = {key: value for key, value in shown.items() if key != "name"}
    facts["cost"] = f"{cost_words(shown['cost'])}, {render.plural(shown['cost']['files'], 'file')}"
    for key in ("bricks", "paths", "skipped"):
        facts[key] = {str(number): text for number, text in enumerate(shown[key], 1)} or ""
    facts["volume_options"] = shown["volume_options"] or ""
    return [render.clean(shown["name"]), *render.facts(facts, "  ")]
