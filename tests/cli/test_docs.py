"""docs/cli.md and the help know every command and every option."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from svcmgr import errors
from svcmgr.cli.group import LazyGroup, cli
from svcmgr.cli.main import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED
from svcmgr.cli.rows import as_object, daemon_object
from svcmgr.host import wire

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
_TITLES = {name for line in re.findall(r"^###? (.*)$", DOC, re.MULTILINE) for name in line.split(", ")}


def walk(group=cli, context=None):
    """Every command below ``group`` with its context; a group comes before its own commands."""
    context = context or click.Context(cli, info_name="svcmgr")
    for name in group.table:
        command = group.get_command(context, name)
        assert command is not None, name
        own = click.Context(command, parent=context, info_name=name)
        yield command, own
        if isinstance(command, LazyGroup):
            yield from walk(command, own)


def path(context):
    return context.command_path.removeprefix("svcmgr ")


EVERY = [pytest.param(command, context, id=path(context)) for command, context in walk()]
SINGLE = [case for case in EVERY if not isinstance(case.values[0], click.Group)]


@pytest.mark.parametrize(("command", "context"), EVERY)
def test_every_command_is_documented(command, context):
    assert path(context) in _TITLES


@pytest.mark.parametrize(("command", "context"), EVERY)
def test_every_option_is_documented(command, context):
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for option in [*parameter.opts, *parameter.secondary_opts]:
                assert option in DOC, option


@pytest.mark.parametrize(("command", "context"), EVERY)
def test_every_help_has_an_example_that_parses(command, context):
    text = command.get_help(context)
    assert re.search(r"^  Examples?:\n    .*\bsvcmgr\b", text, re.MULTILINE), text
    assert command.get_short_help_str().strip()


@pytest.mark.parametrize(("command", "context"), SINGLE)
def test_every_command_that_prints_takes_json(command, context):
    assert any("--json" in parameter.opts for parameter in command.params)


def test_every_exit_code_is_documented():
    codes = {value for key, value in vars(errors).items() if key.startswith("EXIT_")}
    for code in codes | {EXIT_INTERRUPTED, EXIT_BROKEN_PIPE}:
        assert f"\n| {code} | " in DOC


def test_every_key_of_status_is_documented():
    row = wire.ServiceRow("web", "web", "up", "running", "online", 0.0)
    info = wire.DaemonInfo(1, "", 1, 0.0, "", 0.0, "read")
    for key in [*as_object(row, 0.0, 0.0), *daemon_object(info)]:
        assert f'"{key}"' in DOC, key
