"""The tree of commands, each one imported when it is used."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from svcmgr import paths
from svcmgr.cli.app import App
from svcmgr.cli.options import epilog
from svcmgr.errors import BadInput

#: Command -> (module below svcmgr.cli, attribute).
CommandTable = Mapping[str, tuple[str, str]]

#: Command -> (module below svcmgr.cli, attribute), in the order of the help.
COMMANDS: CommandTable = {
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
    "volume": ("volume", "volume"),
    "snapshot": ("snapshot", "snapshot"),
    "mgmtd": ("mgmtd", "mgmtd"),
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
    """A group whose commands are modules: ``table`` maps a command to its module below svcmgr.cli and its attribute.

    Groups nest: what a table names may be a LazyGroup again (see :func:`subgroup`).
    """

    def __init__(self, *args: Any, table: CommandTable, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module, attribute = self.table[cmd_name]
        found = getattr(importlib.import_module(f"svcmgr.cli.{module}"), attribute)
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.table and not args[0].startswith("-"):
            close = near(args[0], list(self.table))
            hint = f"did you mean {' or '.join(close)}?" if close else f"see {ctx.command_path} --help"
            asked = " ".join([*ctx.command_path.split()[1:], args[0]])
            raise click.UsageError(f"cannot find a command {asked!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def subgroup(name: str, table: CommandTable, *examples: str) -> Callable[[Callable[..., Any]], LazyGroup]:
    """A group below ``svcmgr``, declared like a command: the docstring is the help, examples follow it."""
    return click.group(name, cls=LazyGroup, table=table, epilog=epilog(examples))


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from svcmgr import __version__

        click.echo(f"svcmgr {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
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
