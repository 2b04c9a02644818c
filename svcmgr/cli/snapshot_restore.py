"""``svcmgr snapshot restore``: bring back what a snapshot holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.snapshot_args import (
    brick_option,
    confirmed,
    long_timeout_option,
    snapshot_argument,
    volume_argument,
    yes_option,
)
from svcmgr.cli.snapshot_daemon import reach
from svcmgr.cli.snapshot_rows import short_duration
from svcmgr.errors import EXIT_FAILED, EXIT_OK, BadInput
from svcmgr.services.snapd.wire import NameRequest, RestoreReply, RestoreRequest, SnapshotInfo

if TYPE_CHECKING:
    from svcmgr.conn.blocking import BlockingClient


@command(
    "restore",
    "svcmgr snapshot restore v0 before-upgrade etc/app.conf --to /tmp/app.conf",
    "svcmgr snapshot restore v0 before-upgrade etc --in-place",
    "svcmgr snapshot restore v0 before-upgrade --in-place --yes",
)
@volume_argument
@snapshot_argument
@click.argument("path", default="", metavar="[PATH]")
@json_option
@click.option("--to", metavar="DIR", help="Write it here; nothing of that name may exist yet.")
@click.option("--in-place", is_flag=True, help="Replace what is in the volume now.")
@brick_option
@yes_option
@long_timeout_option
@click.pass_obj
def restore(app: App, /, volume: str, as_json: bool, yes: bool, timeout: float, **asked: Any) -> int:
    """Bring back what a snapshot holds.

    A file, a directory, or without PATH the whole volume. PATH counts from the top of the volume. --to
    writes a copy to a new place. --in-place replaces what is in the volume now, after it was kept in a
    safety snapshot; it asks first, unless --yes is given.
    """
    request = _request(**asked)
    with reach(app, volume) as client:
        if request.in_place and not _agreed(client, volume, request, yes):
            return EXIT_FAILED
        reply = client.call("snapshot-restore", request, timeout=timeout, type=RestoreReply)
    if as_json:
        render.write(render.json_document(_document(reply)))
    else:
        render.out(*(render.clean(line) for line in _lines(volume, reply)))
    return EXIT_OK


def _request(name: str, path: str, to: str | None, in_place: bool, brick: int) -> RestoreRequest:
    if in_place == (to is not None):
        raise BadInput("cannot restore: say either --to DIR, for a copy in a new place, or --in-place")
    if to == "":
        raise BadInput("cannot restore to an empty --to: name a directory or a file that does not exist yet")
    where = os.path.abspath(to) if to else ""
    return RestoreRequest(name, path, where, in_place=in_place, confirmed=in_place, brick=brick)


def _agreed(client: BlockingClient, volume: str, request: RestoreRequest, yes: bool) -> bool:
    if yes:
        return True
    info = client.call("snapshot-info", NameRequest(request.name), type=SnapshotInfo)
    what = " and ".join(_replaced(info.bricks, request))
    lines = [
        f"This replaces {what} by what snapshot {request.name} of volume {volume} holds.",
        "What is there now is kept in a new safety snapshot, whose name begins with safety-.",
    ]
    return confirmed(yes, lines, f"cannot replace {what} without a word: add --yes; a safety snapshot is taken first")


def _replaced(bricks: list[str], request: RestoreRequest) -> list[str]:
    """The paths whose content would be another, as far as they can be known here."""
    chosen = bricks[request.brick - 1 : request.brick] if request.brick else bricks
    path = request.path.strip("/")
    return [f"{brick}/{path}" if path else f"everything in {brick}" for brick in chosen or bricks]


def _document(reply: RestoreReply) -> dict[str, object]:
    return {
        "where": reply.where,
        "files": reply.files,
        "bytes": reply.bytes,
        "duration_s": round(reply.seconds, 3),
        "safety": reply.safety or None,
    }


def _lines(volume: str, reply: RestoreReply) -> list[str]:
    amount = f"{render.plural(reply.files, 'file')}, {render.size(reply.bytes)}, {short_duration(reply.seconds)}"
    lines = [f"{volume}: restored {' and '.join(reply.where)} ({amount})"]
    if reply.safety:
        lines.append(f"{volume}: what was there before is in snapshot {reply.safety}")
    return lines
