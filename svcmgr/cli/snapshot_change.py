"""``svcmgr snapshot create``, ``activate``, ``deactivate``, ``delete``: the life of a snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import click

from svcmgr.cli import render
from svcmgr.cli.app import App
from svcmgr.cli.options import command, json_option
from svcmgr.cli.snapshot_args import (
    activate_option,
    confirmed,
    is_glob,
    long_timeout_option,
    snapshots_argument,
    volume_argument,
    yes_option,
)
from svcmgr.cli.snapshot_daemon import reach
from svcmgr.cli.snapshot_rows import as_object, cost_words
from svcmgr.errors import EXIT_FAILED, EXIT_OK
from svcmgr.services.snapd.wire import CreateRequest, NamesRequest, Snapshot, SnapshotsReply, SnapshotsRequest


@command(
    "create",
    "svcmgr snapshot create v0",
    "svcmgr snapshot create v0 before-upgrade --description 'before the upgrade to 2.0'",
)
@volume_argument
@click.argument("name", default="", metavar="[NAME]")
@json_option
@click.option("--description", default="", metavar="TEXT", help="What it is, for people.")
@activate_option
@long_timeout_option
@click.pass_obj
def create(
    app: App, volume: str, name: str, as_json: bool, description: str, activate: bool | None, timeout: float
) -> int:
    """Take a snapshot of a volume.

    Waits until it is there. Without NAME it is named by the time. It is there whole or not at all. The
    method and what it cost are printed.
    """
    with reach(app, volume) as client:
        request = CreateRequest(name, description, activate)
        taken = as_object(client.call("snapshot-create", request, timeout=timeout, type=Snapshot))
    if as_json:
        render.write(render.json_document({"snapshot": taken}))
        return EXIT_OK
    state = "" if taken["activated"] else ", not activated"
    how = f"{taken['method']}, {taken['consistency']}, {cost_words(taken['cost'])}"
    render.out(render.clean(f"{volume}: created {taken['name']} ({how}){state}"))
    return EXIT_OK


@command("activate", "svcmgr snapshot activate v0 before-upgrade", "svcmgr snapshot activate v0 'daily-*'")
@volume_argument
@snapshots_argument()
@json_option
@click.pass_obj
def activate(app: App, volume: str, names: tuple[str, ...], as_json: bool) -> int:
    """Serve snapshots to users.

    In the view, and to `ls` and `cat`.
    """
    return _change(app, volume, "snapshot-activate", names, "activated", as_json)


@command("deactivate", "svcmgr snapshot deactivate v0 'hourly-*'")
@volume_argument
@snapshots_argument()
@json_option
@click.pass_obj
def deactivate(app: App, volume: str, names: tuple[str, ...], as_json: bool) -> int:
    """Serve snapshots to users no more. They are kept."""
    return _change(app, volume, "snapshot-deactivate", names, "deactivated", as_json)


@command("delete", "svcmgr snapshot delete v0 before-upgrade", "svcmgr snapshot delete v0 'try-*' --yes")
@volume_argument
@snapshots_argument()
@json_option
@yes_option
@click.pass_obj
def delete(app: App, volume: str, names: tuple[str, ...], as_json: bool, yes: bool) -> int:
    """Delete snapshots.

    Names are deleted at once. A glob shows what it matches and asks, unless --yes is given.
    """
    if any(is_glob(name) for name in names) and not yes:
        chosen = _matches(app, volume, names)
        words = f"{render.plural(len(chosen), 'snapshot')} of volume {volume}: {', '.join(chosen)}"
        if not confirmed(yes, [f"This deletes {words}."], f"cannot delete {words} without a word: add --yes"):
            return EXIT_FAILED
        names = tuple(chosen)  # what was agreed to, not what a schedule adds meanwhile
    return _change(app, volume, "snapshot-delete", names, "deleted", as_json)


def _matches(app: App, volume: str, names: Sequence[str]) -> list[str]:
    with reach(app, volume) as client:
        reply = client.call("snapshots", SnapshotsRequest(list(names)), type=SnapshotsReply)
    return [one.name for one in reply.snapshots]


def _change(app: App, volume: str, verb: str, names: Sequence[str], word: str, as_json: bool) -> int:
    with reach(app, volume) as client:
        reply = client.call(verb, NamesRequest(list(names)), type=SnapshotsReply)
    if as_json:
        objects = [as_object(one) for one in reply.snapshots]
        render.write(render.json_document({"volume": volume, "snapshots": objects}))
    else:
        render.out(*(render.clean(f"{volume}: {word} {one.name}") for one in reply.snapshots))
    return EXIT_OK
