"""docs/volfile.md says what the code does."""

from __future__ import annotations

import re

import pytest

from svcmgr.errors import BadVolfile
from svcmgr.volume import OPTIONS, Volume, parse, render, snapd_graph, volfile, volgraph, volwords
from tests.kit.tracked import ROOT

TEXT = (ROOT / "docs" / "volfile.md").read_text(encoding="utf-8")
EXAMPLE, _, MESSAGE = re.findall(r"^```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
VOLUME = Volume.create("v0", "123e4567-e89b-42d3-a456-426614174000", ["/srv/v0"], 1.0)
GRAPH = snapd_graph(VOLUME, "/var/lib/svcmgr/snapd/v0", "/run/svcmgr/snaps/v0")


def rows(title: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = TEXT.partition(f"# {title}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_the_example_is_the_volfile_of_that_volume():
    assert render(GRAPH) == EXAMPLE


def test_the_example_of_a_message_is_one():
    with pytest.raises(BadVolfile) as caught:
        parse("volume v0-snapshots\ntype x/y\n subvolumes v0-brick-2\nend-volume")
    assert caught.value.message == MESSAGE.strip()


def test_the_limits():
    found = {name: int(re.sub(r"\D", "", text.partition(" ")[0].rstrip(","))) for name, text in rows("The grammar")}
    assert found == {
        "text": volfile.TEXT_MAX >> 20,
        "line": volfile.LINE_MAX,
        "word": volwords.WORD_MAX,
        "blocks, and subvolumes of one block": volgraph.NODES_MAX,
    }


def test_every_block_type_and_option_is_told_with_the_option_it_comes_from():
    kind = ""
    told = {}
    for row in rows("Our block types"):
        kind = row[0] or kind
        told[kind, row[1]] = row[3]
    assert set(told) == {(node.type, key) for node in GRAPH.nodes for key, _ in node.options}
    named = {source for source in told.values() if source in OPTIONS}
    assert named | {"features.uss", "features.snapshot-view"} == set(OPTIONS)
