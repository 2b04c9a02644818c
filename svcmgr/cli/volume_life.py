"""``svcmgr volume create``, ``start``, ``stop``, ``delete``: the life of a volume."""

from __future__ import annotations

import click

from svcmgr.cli import render, volume_report
from svcmgr.cli.app import ANSWER_MARGIN_S, QUICK_S, App
from svcmgr.cli.options import command, json_option, no_wait_option, timeout_option
from svcmgr.cli.progress import watching
from svcmgr.cli.volume_args import absolute_brick, volume_argument
from svcmgr.host.wire_volumes import VolumeActionRequest, VolumeCreateRequest, VolumeDeleteRequest, VolumeReply


@command("create", "svcmgr volume create v0 /srv/bricks/v0", "svcmgr volume create wide /disk1/wide /disk2/wide")
@click.argument("name", metavar="VOL")
@click.argument("bricks", nargs=-1, required=True, metavar="BRICK...", type=click.Path(file_okay=False))
@json_option
@click.pass_obj
def create(app: App, name: str, bricks: tuple[str, ...], as_json: bool) -> int:
    """Make the volume VOL of directories, its bricks. It is not started.

    A relative BRICK counts from the current directory. What is in the directories stays there.
    """
    request = VolumeCreateRequest(name, [absolute_brick(brick) for brick in bricks])
    with app.connect() as client:
        reply = client.call("volume-create", request, type=VolumeReply)
    words = f"created with {render.plural(len(reply.volume.bricks), 'brick')}, not started"
    return volume_report.finish(reply, words, as_json)


def _act(app: App, verb: str, name: str, *, as_json: bool, wait: bool, timeout: float) -> int:
    request = VolumeActionRequest(name, wait=wait, timeout_s=timeout)
    patience = timeout + ANSWER_MARGIN_S if wait else QUICK_S
    with app.connect() as client, watching(app, wait):
        reply: VolumeReply = client.call(verb, request, timeout=patience, type=VolumeReply)
    return volume_report.finish(reply, reply.volume.status, as_json)


@command("start", "svcmgr volume start v0", "svcmgr volume start v0 --timeout 10")
@volume_argument
@json_option
@no_wait_option
@timeout_option
@click.pass_obj
def start(app: App, name: str, as_json: bool, no_wait: bool, timeout: float) -> int:
    """Start a volume and the services it wants, and wait until they are ready."""
    return _act(app, "volume-start", name, as_json=as_json, wait=not no_wait, timeout=timeout)


@command("stop", "svcmgr volume stop v0", "svcmgr volume stop v0 --no-wait")
@volume_argument
@json_option
@no_wait_option
@timeout_option
@click.pass_obj
def stop(app: App, name: str, as_json: bool, no_wait: bool, timeout: float) -> int:
    """Stop a volume and its services, and wait until nothing of them is left. Its data stays."""
    return _act(app, "volume-stop", name, as_json=as_json, wait=not no_wait, timeout=timeout)


@command("delete", "svcmgr volume delete v0", "svcmgr volume delete v0 --force")
@volume_argument
@json_option
@click.option("--force", is_flag=True, help="Also when it has snapshots; their data stays in the bricks.")
@click.pass_obj
def delete(app: App, name: str, as_json: bool, force: bool) -> int:
    """Forget a volume that is not started. Its bricks and what is in them stay.

    A volume with snapshots is refused: delete them first, while it is started.
    """
    with app.connect() as client:
        reply = client.call("volume-delete", VolumeDeleteRequest(name, force), type=VolumeReply)
    return volume_report.finish(reply, f"deleted, its data stays in {', '.join(reply.volume.bricks)}", as_json)
