"""Groups of commands nest, load a module per command, and name near commands."""

from __future__ import annotations

import sys

import click
import pytest
from click.shell_completion import ShellComplete

from svcmgr.cli.group import LazyGroup, subgroup


@subgroup("inner", {"kinds": ("show", "kinds"), "show": ("show", "show")}, "svcmgr inner kinds")
def inner() -> None:
    """A group in a group."""


@pytest.fixture
def outer(monkeypatch):
    monkeypatch.setitem(sys.modules, "svcmgr.cli.inner_for_test", sys.modules[__name__])
    return LazyGroup("svcmgr", table={"inner": ("inner_for_test", "inner"), "logs": ("logs", "logs")})


def resolve(group, *args):
    with group.make_context("svcmgr", list(args)) as context:
        return group.resolve_command(context, list(args))


def test_a_group_is_a_row_of_another(outer):
    with outer.make_context("svcmgr", ["inner", "kinds"]) as context:
        assert isinstance(outer.get_command(context, "inner"), LazyGroup)
        assert outer.list_commands(context) == ["inner", "logs"]
    assert resolve(inner, "kinds")[0] == "kinds"


def test_a_group_has_help_and_examples(outer):
    text = inner.get_help(click.Context(inner, info_name="svcmgr inner"))
    assert "A group in a group." in text
    assert "    svcmgr inner kinds" in text
    assert "\n  show " in text


@pytest.mark.parametrize(
    ("asked", "message"),
    [("shwo", "'inner shwo'; did you mean show?"), ("zzz", "'inner zzz'; see svcmgr inner --help")],
)
def test_a_mistyped_command_of_a_group_has_near_ones_of_that_group(outer, asked, message):
    with outer.make_context("svcmgr", ["inner", asked]) as context, pytest.raises(click.UsageError) as caught:
        outer.invoke(context)
    assert message in caught.value.format_message()


def test_the_shell_completes_inside_a_group(outer):
    found = ShellComplete(outer, {}, "svcmgr", "_X").get_completions(["inner"], "")
    assert [item.value for item in found] == ["kinds", "show"]
