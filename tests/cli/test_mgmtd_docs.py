"""docs/mgmtd.md: every line that can be typed is a command as it is, and every command is told of."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from svcmgr.cli.group import cli
from svcmgr.cli.mgmtd_args import NODE_TYPES, STATUSES, TAG_MODES
from svcmgr.services.mgmtd import ids, states
from tests.cli.test_docs import EVERY, SINGLE, path
from tests.kit.tracked import ROOT

DOC = (ROOT / "docs" / "mgmtd.md").read_text(encoding="utf-8")
LINES = re.findall(r"^svcmgr .*$", DOC, re.MULTILINE)
OWN = [case for case in SINGLE if path(case.values[1]).startswith("mgmtd ")]


def parse(line):
    """The path of the command that ``line`` would run; a usage error as click raises it."""
    words = shlex.split(line.partition(">")[0])[1:]
    group, context = cli, click.Context(cli, info_name="svcmgr")
    while isinstance(group, click.Group):
        name, command, words = group.resolve_command(context, words)
        assert command is not None
        if isinstance(command, click.Group):
            context = click.Context(command, parent=context, info_name=name)
        else:
            context = command.make_context(name, words, parent=context)
        group = command
    return path(context)


@pytest.mark.parametrize("line", LINES)
def test_what_can_be_typed_parses(line):
    assert parse(line)


def test_a_line_that_is_wrong_is_found():
    for line in ("svcmgr mgmtd nodes lst", "svcmgr mgmtd wait chain x", "svcmgr mgmtd nodes list --tpe storage"):
        with pytest.raises(click.UsageError):
            parse(line)


def test_every_command_is_in_an_example():
    assert {path(case.values[1]) for case in OWN} - {parse(line) for line in LINES} == set()


@pytest.mark.parametrize(("command", "context"), [case for case in EVERY if path(case.values[1]).startswith("mgmtd")])
def test_examples_of_the_help_parse(command, context):
    for line in re.findall(r"^    (svcmgr .*)$", command.get_help(context), re.MULTILINE):
        for one in re.split(r"&&|<|>", line):
            if one.strip().startswith("svcmgr"):
                assert parse(one)


@pytest.mark.parametrize(
    "words",
    [states.PublicState, states.LocalState, states.NodeStatus, states.ConfigStatus],
    ids=lambda kind: kind.__name__,
)
def test_every_state_is_told_of(words):
    for word in words.__members__:
        assert word == "INVALID" or f"`{word}`" in DOC, word


def test_the_command_line_knows_the_words_and_ranges_of_the_field():
    assert tuple(states.NodeType.__members__) == NODE_TYPES
    assert tuple(states.NodeStatus.__members__) == STATUSES
    assert tuple(states.TagMode.__members__) == TAG_MODES
    assert str(ids.U32_MAX) in DOC
    assert str(ids.U64_MAX) in DOC
