"""Arguments and options of the commands about snapshots, what the shell completes, and asking before harm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from svcmgr.cli import render
from svcmgr.cli.options import F, seconds_option
from svcmgr.cli.volume_args import complete_volumes
from svcmgr.errors import BadInput

#: Copying or comparing a volume may take this long, seconds.
LONG_S = 3600.0


def complete_snapshots(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of snapshots of the volume that was typed before, for the shell; none when snapd does not tell."""
    import os

    from svcmgr import paths
    from svcmgr.cli.app import App
    from svcmgr.cli.snapshot_daemon import key_of
    from svcmgr.errors import SvcmgrError
    from svcmgr.services.snapd.wire import SnapshotsReply, SnapshotsRequest

    layout = paths.resolve(ctx.find_root().params.get("root"), os.environ, os.getuid())
    try:
        app = App(layout, os.environ, os.getuid())
        with app.connect_service(key_of(ctx.params.get("volume") or ""), timeout=1.0) as client:
            reply = client.call("snapshots", SnapshotsRequest(), type=SnapshotsReply)
    except SvcmgrError:
        return []
    return [one.name for one in reply.snapshots if one.name.startswith(incomplete)]


def volume_argument(function: F) -> F:
    """``VOL``: the exact name of one volume, as ``volume``."""
    return click.argument("volume", metavar="VOL", shell_complete=complete_volumes)(function)


def snapshot_argument(function: F) -> F:
    """``SNAP``: the exact name of one snapshot, as ``name``."""
    return click.argument("name", metavar="SNAP", shell_complete=complete_snapshots)(function)


def snapshots_argument(required: bool = True) -> Callable[[F], F]:
    """``SNAP...``: names or globs of snapshots, as ``names``."""
    metavar = "SNAP..." if required else "[SNAP]..."
    return click.argument("names", nargs=-1, required=required, metavar=metavar, shell_complete=complete_snapshots)


def brick_option(function: F) -> F:
    """``--brick N``: which brick, 0 where it is left out."""
    return click.option(
        "--brick",
        type=click.IntRange(1),
        callback=lambda _ctx, _param, value: value or 0,
        metavar="N",
        help="Which brick, from 1, where there are several.",
    )(function)


def long_timeout_option(function: F) -> F:
    """``--timeout SECONDS`` of what reads or writes much."""
    return seconds_option(
        "--timeout", default=LONG_S, show_default=True, help="Give up waiting after this long (exit code 5)."
    )(function)


def yes_option(function: F) -> F:
    """``--yes``, as ``yes``."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def is_glob(name: str) -> bool:
    """Whether snapd would take ``name`` for a pattern."""
    return any(character in name for character in "*?[")


def confirmed(yes: bool, lines: Sequence[str], refusal: str) -> bool:
    """Whether to go on with what ``lines`` announce: told so by ``yes``, or by somebody at a terminal.

    Raises:
        BadInput: with ``refusal``, when there is nobody to ask.
    """
    if yes:
        return True
    if not (render.is_tty(sys.stdin) and render.is_tty(sys.stderr)):
        raise BadInput(refusal)
    render.err(*(render.clean(line) for line in lines))
    if click.confirm("Go on?", default=False, err=True):
        return True
    render.err("nothing was changed")
    return False


def activate_option(function: F) -> F:
    """``--activate/--no-activate``, as ``activate``; None where it is left out."""
    settings: dict[str, Any] = {
        "default": None,
        "help": "Serve it in the view or not; the default is the volume's option.",
    }
    return click.option("--activate/--no-activate", "activate", **settings)(function)
