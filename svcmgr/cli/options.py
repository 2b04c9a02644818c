"""What several commands share: how a command is declared, its common options, completion of names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Seconds an action waits unless told otherwise.
ACTION_TIMEOUT_S = 60.0
#: poll(2) takes milliseconds in 32 bits; this is the round number below, over 23 days.
SECONDS_MAX = 2_000_000.0


def _check_seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    # Written so that a NaN fails it.
    if value is not None and not 0.0 <= value <= SECONDS_MAX:
        raise click.BadParameter(f"cannot use {value:g}: write seconds, from 0 to {SECONDS_MAX:g}", ctx, param)
    return value


def seconds_option(*declarations: str, **settings: Any) -> Callable[[F], F]:
    """An option whose value is a finite duration in seconds."""
    return click.option(*declarations, type=float, metavar="SECONDS", callback=_check_seconds, **settings)


def command(name: str, *examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """``click.command`` with worked examples below the help text. The docstring is the help."""
    return click.command(name, epilog=epilog(examples))


def epilog(examples: Sequence[str]) -> str:
    """Worked examples as they stand below a help text."""
    heading = "Example:" if len(examples) == 1 else "Examples:"
    return "\b\n" + "\n".join([heading, *("  " + example for example in examples)])


def json_option(function: F) -> F:
    """``--json``: facts for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def timeout_option(function: F) -> F:
    """``--timeout SECONDS``."""
    return seconds_option(
        "--timeout",
        default=ACTION_TIMEOUT_S,
        show_default=True,
        help="Give up waiting after this long (exit code 5).",
    )(function)


def no_wait_option(function: F) -> F:
    """``--no-wait``."""
    return click.option("--no-wait", is_flag=True, help="Ask for it and return at once.")(function)


def ask_quietly(ctx: click.Context, verb: str, request: Any, kind: type[T]) -> T | None:
    """What svcmgrd answers while the user types, or None: a completion has nobody to complain to, and no patience."""
    import os

    from svcmgr import paths
    from svcmgr.cli.app import App
    from svcmgr.errors import SvcmgrError

    layout = paths.resolve(ctx.find_root().params.get("root"), os.environ, os.getuid())
    try:
        with App(layout, os.environ, os.getuid()).connect(timeout=1.0) as client:
            reply: T = client.call(verb, request, type=kind)
    except SvcmgrError:
        return None
    return reply


def complete_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of services for the shell; none when svcmgrd is not there to tell."""
    from svcmgr.host.wire_status import StatusReply, StatusRequest

    reply = ask_quietly(ctx, "status", StatusRequest(), StatusReply)
    return [] if reply is None else [row.name for row in reply.services if row.name.startswith(incomplete)]


def names_argument(required: bool = True) -> Callable[[F], F]:
    """``NAME...``: names or globs of services."""
    return click.argument(
        "names",
        nargs=-1,
        required=required,
        metavar="NAME..." if required else "[NAME]...",
        shell_complete=complete_names,
    )
