"""``svcmgr volume set``, ``reset``, ``get``, ``options``: what can be said about a volume.

Which options there are, and what they may be, only svcmgrd knows: it is asked, so the command line loads no table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from svcmgr.cli import render
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.cli.options import command, json_option, timeout_option
from svcmgr.cli.volume_args import keys_argument, pairs, volume_argument
from svcmgr.errors import EXIT_OK, BadInput
from svcmgr.host.wire_volumes import (
    OptionInfo,
    OptionsReply,
    OptionsRequest,
    VolumeReply,
    VolumeResetRequest,
    VolumeSetRequest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: As a KEY of ``get`` and ``reset``: every option.
_ALL = "all"
_COLUMNS = (render.Column("OPTION"), render.Column("VALUE"), render.Column("SET"), render.Column("DEFAULT"))


@command(
    "set",
    "svcmgr volume set v0 features.uss on",
    "svcmgr volume set v0 features.uss=on features.snapshot-min-free=2GiB",
)
@volume_argument
@keys_argument("KEY VALUE [KEY VALUE]...", required=True)
@json_option
@timeout_option
@click.pass_obj
def set_options(app: App, name: str, keys: tuple[str, ...], as_json: bool, timeout: float) -> int:
    """Set options of a volume, all of them or none, and wait until its services have taken them over.

    KEY=VALUE is understood as well. `svcmgr volume options` lists the options.
    """
    return _change(app, "volume-set", VolumeSetRequest(name, pairs(keys), timeout), timeout, as_json)


@command("reset", "svcmgr volume reset v0 features.uss", "svcmgr volume reset v0")
@volume_argument
@keys_argument("[KEY]...")
@json_option
@timeout_option
@click.pass_obj
def reset(app: App, name: str, keys: tuple[str, ...], as_json: bool, timeout: float) -> int:
    """Set options of a volume back to their defaults, those named or all, and wait as `set` does."""
    return _change(app, "volume-reset", VolumeResetRequest(name, _chosen(keys), timeout), timeout, as_json)


def _change(app: App, verb: str, request: VolumeSetRequest | VolumeResetRequest, timeout: float, as_json: bool) -> int:
    from svcmgr.cli import volume_report
    from svcmgr.cli.progress import watching

    with app.connect() as client, watching(app, True):
        reply = client.call(verb, request, timeout=timeout + ANSWER_MARGIN_S, type=VolumeReply)
    return volume_report.finish(reply, volume_report.changes(reply) or "nothing changed", as_json)


@command("get", "svcmgr volume get v0", "svcmgr volume get v0 features.uss", "svcmgr volume get v0 all --json")
@volume_argument
@keys_argument("[KEY]...")
@json_option
@click.pass_obj
def get(app: App, name: str, keys: tuple[str, ...], as_json: bool) -> int:
    """Show the options of a volume as they are in force, those named or all.

    One KEY alone prints its value and nothing else.
    """
    found = _ask(app, name, keys)
    if as_json:
        render.write(
            render.json_document({"volume": name, "options": [_object(one, with_value=True) for one in found]})
        )
    elif len(keys) == 1 and keys[0] != _ALL:
        render.out(*(render.clean(one.value) for one in found))
    else:
        rows = [[one.name, one.value, "yes" if one.is_set else "no", one.default] for one in found]
        render.out(*render.table(_COLUMNS, rows)[0])
    return EXIT_OK


@command("options", "svcmgr volume options", "svcmgr volume options features.uss --json")
@keys_argument("[KEY]...")
@json_option
@click.pass_obj
def options(app: App, keys: tuple[str, ...], as_json: bool) -> int:
    """List the options a volume can have, with type, default, who reacts, and what they are for."""
    found = _ask(app, "", keys)
    if as_json:
        render.write(render.json_document({"options": [_object(one, with_value=False) for one in found]}))
    else:
        render.out(*(line for one in found for line in _block(one)))
    return EXIT_OK


def _ask(app: App, name: str, keys: Sequence[str]) -> list[OptionInfo]:
    request = OptionsRequest(name, _chosen(keys))
    with app.connect() as client:
        reply: OptionsReply = client.call("volume-options", request, type=OptionsReply)
    return reply.options


def _chosen(keys: Sequence[str]) -> list[str]:
    """The options named; empty for all of them. Raises BadInput where ``all`` stands beside others."""
    if _ALL not in keys:
        return list(dict.fromkeys(keys))
    if len(keys) > 1:
        raise BadInput(f"cannot take {_ALL!r} and other options: name the options, or say {_ALL!r} alone")
    return []


def _object(option: OptionInfo, *, with_value: bool) -> dict[str, Any]:
    value = {"value": option.value, "is_set": option.is_set} if with_value else {}
    return {
        "name": option.name,
        "type": option.type,
        "default": option.default,
        **value,
        "kinds": option.kinds,
        "help": option.help,
    }


def _block(option: OptionInfo) -> list[str]:
    default = f"default {option.default}" if option.default else "empty by default"
    reacts = f", for {', '.join(option.kinds)}" if option.kinds else ""
    return [render.clean(f"{option.name}: {option.type}, {default}{reacts}"), *render.indented(option.help)]
