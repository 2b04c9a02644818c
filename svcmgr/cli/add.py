"""``svcmgr add``: define a service."""

from __future__ import annotations

import os
from typing import Any

import click

from svcmgr import paths
from svcmgr.cli import definition, outcomes
from svcmgr.cli.app import ANSWER_MARGIN_S, App
from svcmgr.cli.options import command, json_option, seconds_option, timeout_option
from svcmgr.cli.progress import watching
from svcmgr.errors import BadDefinition
from svcmgr.host.wire import ActionReply, AddRequest


@command(
    "add",
    "svcmgr add web --enable --start -- /usr/bin/python3 -m http.server 8080",
    "svcmgr add db --user db --ready tcp:127.0.0.1:5432 --restart always -- /usr/sbin/dbd -F",
    "svcmgr add cache --file cache.toml --replace",
)
@click.argument("name")
@click.argument("argv", nargs=-1, metavar="[--] [COMMAND]...", type=click.UNPROCESSED)
@json_option
@click.option("--file", "file", metavar="TOML", help="Begin with this definition; options win over it.")
@click.option("--kind", help="Kind of service (svcmgr kinds); the default is command.")
@click.option("--description", metavar="TEXT", help="What it is, for people.")
@click.option("--cwd", metavar="DIR", help="Working directory.")
@click.option("--env", metavar="NAME=VALUE", multiple=True, help="Environment variable; repeatable.")
@click.option("--user", help="Run as this user.")
@click.option("--group", help="Run as this group.")
@click.option("--umask", metavar="OCTAL", help="File mode creation mask, for example 022.")
@click.option("--nice", type=click.IntRange(-20, 19), help="Scheduling priority, -20 to 19.")
@click.option("--rlimit", metavar="NAME=SOFT[:HARD]", multiple=True, help="Resource limit; repeatable.")
@click.option("--restart", type=click.Choice(["always", "on-failure", "never"]), help="When to start it again.")
@seconds_option("--restart-delay", help="First delay before a restart.")
@click.option("--ready", metavar="RULE", help=f"When it counts as up: {definition.READY_FORMS}.")
@seconds_option("--start-timeout", help="It must be ready by then.")
@click.option("--stop-signal", metavar="SIGNAL", help="Signal that asks it to end.")
@seconds_option("--stop-grace", help="Time between that signal and SIGKILL.")
@click.option("--requires", metavar="NAME", multiple=True, help="Needs this service up; repeatable.")
@click.option("--after", metavar="NAME", multiple=True, help="Starts after this service; repeatable.")
@click.option("--enable/--no-enable", "enabled", default=None, help="Start it when svcmgrd starts, or not.")
@click.option(
    "--start/--no-start", default=False, help="Start it now, and wait until it is ready.  [default: no-start]"
)
@click.option("--replace", is_flag=True, help="Replace the definition of that name.")
@timeout_option
@click.pass_obj
def add(app: App, /, name: str, as_json: bool, start: bool, replace: bool, timeout: float, **options: Any) -> int:
    """Define service NAME, run as COMMAND (program and arguments, no shell).

    The definition is stored by svcmgrd. Options that are left out keep svcmgrd's defaults.
    """
    paths.check_key(name)
    request = AddRequest(name, _definition(options), start=start, replace=replace, timeout_s=timeout)
    with app.connect() as client, watching(app, start):
        reply = client.call("add", request, timeout=timeout + ANSWER_MARGIN_S, type=ActionReply)
    return outcomes.finish(reply.outcomes, as_json)


def _definition(options: dict[str, Any]) -> dict[str, Any]:
    base = definition.read_file(options["file"]) if options["file"] else {}
    cwd = os.path.abspath(options["cwd"]) if options["cwd"] else None
    argv = options["argv"]
    given = {
        "kind": options["kind"],
        "command": definition.check_command(argv, cwd or base.get("cwd")) if argv else None,
        "description": options["description"],
        "cwd": cwd,
        "env": {**_table(base, "env"), **definition.env_table(options["env"])},
        "user": options["user"] and definition.check_owner(options["user"], group=False),
        "group": options["group"] and definition.check_owner(options["group"], group=True),
        "umask": options["umask"] and definition.umask_text(options["umask"]),
        "nice": options["nice"],
        "rlimits": {**_table(base, "rlimits"), **definition.rlimit_table(options["rlimit"])},
        "restart": options["restart"],
        "restart_delay": options["restart_delay"],
        "ready": options["ready"] and definition.ready_text(options["ready"]),
        "start_timeout": options["start_timeout"],
        "stop_signal": options["stop_signal"] and definition.signal_name(options["stop_signal"], "--stop-signal"),
        "stop_grace": options["stop_grace"],
        "requires": [paths.check_key(one) and one for one in options["requires"]],
        "after": [paths.check_key(one) and one for one in options["after"]],
        "enabled": options["enabled"],
    }
    return definition.build(base, given)


def _table(base: dict[str, Any], key: str) -> dict[str, Any]:
    value = base.get(key, {})
    if not isinstance(value, dict):
        raise BadDefinition(f"cannot use the definition file: {key} must be a table", key=key)
    return value
