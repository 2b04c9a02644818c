"""``svcmgr snapshot ls`` and ``svcmgr snapshot cat``: look into a snapshot without a mount.

snapd looks with the permissions of whoever asks, so these are commands for everybody.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.rows import seconds_only
from svcmgr.cli.snapshot_args import brick_option, snapshot_argument, volume_argument
from svcmgr.cli.snapshot_daemon import reach
from svcmgr.clock import rfc3339
from svcmgr.errors import EXIT_OK
from svcmgr.services.snapd.wire import READ_MAX, Entry, ListReply, PathRequest, ReadReply, ReadRequest

#: A disk may be slow, seconds for one directory or one piece of a file.
_PIECE_S = 60.0
_LETTERS = {"directory": "d", "symlink": "l", "fifo": "p", "socket": "s", "char": "c", "block": "b"}
_MARKS = {"directory": "/", "symlink": "@", "fifo": "|", "socket": "="}


@command("ls", "svcmgr snapshot ls v0 before-upgrade", "svcmgr snapshot ls v0 before-upgrade etc --long")
@volume_argument
@snapshot_argument
@click.argument("path", default="", metavar="[PATH]")
@json_option
@click.option("-l", "--long", "long", is_flag=True, help="Mode, owner, group, size and time as well.")
@brick_option
@click.pass_obj
def ls(app: App, volume: str, name: str, path: str, as_json: bool, long: bool, brick: int) -> int:
    """List a directory of a snapshot.

    The snapshot must be activated, and you see what you may read. PATH counts from the top of the volume.
    """
    with reach(app, volume, _PIECE_S) as client:
        reply = client.call("list", PathRequest(name, path, brick), type=ListReply)
    if as_json:
        entries = [_object(entry) for entry in reply.entries]
        render.write(render.json_document({"entries": entries, "truncated": reply.truncated}))
        return EXIT_OK
    render.out(*(_long_lines(reply.entries) if long else [render.clean(_marked(entry)) for entry in reply.entries]))
    if reply.truncated:
        render.flush()
        render.err(f"svcmgr: the directory holds more than the {len(reply.entries)} entries that are listed")
    return EXIT_OK


def _object(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": _moment(entry.mtime),
        "target": entry.target,
    }


def _moment(mtime: float) -> str | None:
    """None for a year that cannot be written: file systems keep any time that somebody set."""
    try:
        return rfc3339(mtime)
    except (ValueError, OverflowError, OSError):
        return None


def _marked(entry: Entry) -> str:
    return entry.name + _MARKS.get(entry.kind, "")


def _long_lines(entries: list[Entry]) -> list[str]:
    rows = [
        [
            _LETTERS.get(entry.kind, "-") + f"{entry.mode:04o}",
            str(entry.uid),
            str(entry.gid),
            str(entry.size),
            seconds_only(moment) if (moment := _moment(entry.mtime)) else "",
            entry.name if entry.target is None else f"{entry.name} -> {entry.target}",
        ]
        for entry in entries
    ]
    columns = [render.Column(title, right=title in ("UID", "GID", "SIZE")) for title in _TITLES]
    return render.table(columns, rows)[0]


_TITLES = ("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME")


@command(
    "cat", "svcmgr snapshot cat v0 before-upgrade etc/app.conf", "svcmgr snapshot cat v0 monday log/app.log --json"
)
@volume_argument
@snapshot_argument
@click.argument("path", metavar="PATH")
@json_option
@brick_option
@click.pass_obj
def cat(app: App, volume: str, name: str, path: str, as_json: bool, brick: int) -> int:
    """Print a file of a snapshot.

    The snapshot must be activated, and the file one that you may read. With --json each piece is one
    line with its offset and its data in base64.
    """
    offset = 0
    with reach(app, volume, _PIECE_S) as client:
        while True:
            piece = client.call("read", ReadRequest(name, path, offset, READ_MAX, brick), type=ReadReply)
            if as_json:
                render.write(render.json_line({"offset": offset, "data": piece.data, "eof": piece.eof}))
            elif sys.stdout is not None:
                sys.stdout.buffer.write(piece.data)
            offset += len(piece.data)
            if piece.eof or not piece.data:
                return EXIT_OK
