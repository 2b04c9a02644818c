"""Arguments of the commands about volumes, and what the shell completes them with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import click

from svcmgr.cli.options import F, ask_quietly
from svcmgr.errors import BadInput
from svcmgr.host.wire_volumes import OptionsReply, OptionsRequest, VolumesReply, VolumesRequest


def complete_volumes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of volumes for the shell; none when svcmgrd is not there to tell."""
    reply = ask_quietly(ctx, "volume-info", VolumesRequest(), VolumesReply)
    return [] if reply is None else [one.name for one in reply.volumes if one.name.startswith(incomplete)]


def complete_options(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of options for the shell."""
    reply = ask_quietly(ctx, "volume-options", OptionsRequest(), OptionsReply)
    return [] if reply is None else [one.name for one in reply.options if one.name.startswith(incomplete)]


def volume_argument(function: F) -> F:
    """``VOL``: the exact name of one volume."""
    return click.argument("name", metavar="VOL", shell_complete=complete_volumes)(function)


def keys_argument(metavar: str, required: bool = False) -> Callable[[F], F]:
    """Options of a volume, as ``keys``."""
    return click.argument("keys", nargs=-1, required=required, metavar=metavar, shell_complete=complete_options)


def absolute_brick(brick: str) -> str:
    """``brick`` as svcmgrd wants it: absolute and without detours; a relative one counts from the current directory.

    A ``..`` goes where the kernel would go, also behind a symbolic link.

    Raises:
        BadInput: it is empty, or it is relative and there is no current directory any more.
    """
    if not brick:
        raise BadInput("cannot use an empty brick: name a directory")
    try:
        path = brick if brick.startswith("/") else os.path.join(os.getcwd(), brick)
    except FileNotFoundError as error:
        raise BadInput(f"cannot use {brick} as brick: the current directory is gone; give an absolute path") from error
    plain = os.path.realpath(path) if ".." in path.split("/") else os.path.abspath(path)
    return "/" + plain.lstrip("/")  # POSIX lets a path begin with two slashes, and they mean nothing here


def pairs(words: Sequence[str]) -> dict[str, str]:
    """``KEY VALUE`` and ``KEY=VALUE``, in any mixture. No option has a ``=`` in its name; a value may.

    Raises:
        BadInput: a value is missing, a key is empty or comes twice.
    """
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            given = next(rest, None)
            if given is None:
                raise BadInput(f"cannot set {key!r}: its value is missing; write KEY VALUE or KEY=VALUE")
            value = given
        if not key:
            raise BadInput(f"cannot set {word!r}: the name of the option is missing; write KEY VALUE or KEY=VALUE")
        if key in found:
            raise BadInput(f"cannot set {key!r} twice, to {found[key]!r} and to {value!r}: give it once")
        found[key] = value
    return found
