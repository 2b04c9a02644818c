"""The tree of commands, each one imported when it is used."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

import click

from svcmgr import paths
from svcmgr.cli.app import App
from svcmgr.errors import BadInput

#: Command -> (module below svcmgr.cli, attribute), in the order of the help.
COMMANDS = {
    "status": ("status", "status"),
    "start": ("actions", "start"),
    "stop": ("actions", "stop"),
    "restart": ("actions", "restart"),
    "reload": ("reload", "reload"),
    "enable": ("actions", "enable"),
    "disable": ("actions", "disable"),
    "add": ("add", "add"),
    "remove": ("actions", "remove"),
    "show": ("show", "show"),
    "kinds": ("show", "kinds"),
    "logs": ("logs", "logs"),
    "events": ("events", "events"),
    "doctor": ("doctor", "doctor"),
    "up": ("daemon", "up"),
    "shutdown": ("daemon", "shutdown"),
    "install": ("install", "install"),
    "completion": ("completion", "completion"),
}


def near(name: str, known: Sequence[str]) -> list[str]:
    """The few of ``known`` that ``name`` may have been meant to be."""
    import difflib

    return difflib.get_close_matches(name, known, n=3)


class LazyGroup(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(f"svcmgr.cli.{module}"), attribute)
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            close = near(args[0], list(COMMANDS))
            hint = f"did you mean {' or '.join(close)}?" if close else "see svcmgr --help"
            raise click.UsageError(f"cannot find a command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from svcmgr import __version__

        click.echo(f"svcmgr {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  svcmgr up\n  svcmgr --root /tmp/try add web --start -- /usr/bin/python3 -m http.server",
)
@click.option("--root", metavar="DIR", help="Keep everything of this svcmgrd below DIR (or set SVCMGR_ROOT).")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def cli(ctx: click.Context, root: str | None) -> None:
    """Supervise the daemons of this host."""
    if root == "":
        raise BadInput("cannot use an empty --root: name a directory, or leave the option out")
    ctx.obj = App(paths.resolve(root, os.environ, os.getuid()), os.environ, os.getuid())
