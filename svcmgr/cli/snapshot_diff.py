"""``svcmgr snapshot diff``: what changed between two snapshots, or since one."""

from __future__ import annotations

from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.snapshot_args import complete_snapshots, long_timeout_option, snapshot_argument, volume_argument
from svcmgr.cli.snapshot_daemon import reach
from svcmgr.errors import EXIT_OK
from svcmgr.services.snapd.wire import Difference, DiffReply, DiffRequest

_SIGNS = {"added": "+", "removed": "-", "modified": "~", "metadata": ".", "type": "!"}
_LIMIT_MAX = 100_000


@command("diff", "svcmgr snapshot diff v0 before-upgrade", "svcmgr snapshot diff v0 monday tuesday --path etc --json")
@volume_argument
@snapshot_argument
@click.argument("other", default="", metavar="[OTHER]", shell_complete=complete_snapshots)
@json_option
@click.option("--path", default="", metavar="PATH", help="Only this file or directory.")
@click.option("--content", is_flag=True, help="Read files whose size and time are equal as well.")
@click.option(
    "--limit", type=click.IntRange(1, _LIMIT_MAX), default=10_000, show_default=True, help="List at most so many."
)
@long_timeout_option
@click.pass_obj
def diff(app: App, /, volume: str, name: str, other: str, as_json: bool, timeout: float, **asked: Any) -> int:
    """Show what changed since a snapshot.

    From snapshot SNAP to snapshot OTHER, or without it to the volume as it is now.

    \b
    + added   - removed   ~ content modified   . owner, mode, attributes or time   ! of another type
    """
    request = DiffRequest(name, other, **asked)
    with reach(app, volume) as client:
        reply = client.call("snapshot-diff", request, timeout=timeout, type=DiffReply)
    if as_json:
        render.write(render.json_document(_document(reply)))
        return EXIT_OK
    render.out(*(render.clean(_line(one)) for one in reply.differences), _summary(reply))
    return EXIT_OK


def _document(reply: DiffReply) -> dict[str, Any]:
    differences = [
        {"change": d.change, "path": d.path, "kind": d.kind, "old_size": d.old_size, "new_size": d.new_size}
        for d in reply.differences
    ]
    return {"differences": differences, "counts": reply.counts, "truncated": reply.truncated}


def _line(difference: Difference) -> str:
    path = difference.path + ("/" if difference.kind == "directory" else "")
    sizes = (difference.old_size, difference.new_size)
    words = ""
    if difference.kind == "file" and sizes[0] != sizes[1]:
        words = " (" + " -> ".join(render.size(count) for count in sizes if count is not None) + ")"
    return f"{_SIGNS.get(difference.change, '?')} {path}{words}"


def _summary(reply: DiffReply) -> str:
    words = ", ".join(f"{count} {change}" for change, count in reply.counts.items() if count) or "no differences"
    more = f"; {len(reply.differences)} of them are listed, --limit lists more" if reply.truncated else ""
    return render.clean(words + more)
