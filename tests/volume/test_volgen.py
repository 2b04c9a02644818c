"""The graphs of our own daemons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.volume import OPTIONS, Verdict, Volume, compare, parse, render, snapd_graph, snapd_volfile_id

ID = "123e4567-e89b-42d3-a456-426614174000"
STORE, MOUNT = "/var/lib/svcmgr/snapd/v0", "/run/svcmgr/snaps/v0"

EXPECTED = """volume v0-brick-1
    type storage/posix
    option directory /srv/a
end-volume

volume v0-brick-2
    type storage/posix
    option directory "/srv/b c"
end-volume

volume v0-snapshots
    type features/snapshots
    option "volume" v0
    option volume-id 123e4567-e89b-42d3-a456-426614174000
    option store /var/lib/svcmgr/snapd/v0
    option method auto
    option min-free 5%
    option max-count 1000
    option activate-on-create on
    option log-level info
    subvolumes v0-brick-1 v0-brick-2
end-volume

volume v0-view
    type mount/fuse
    option mount-point /run/svcmgr/snaps/v0
    option hide-dot off
    subvolumes v0-snapshots
end-volume
"""


def volume(**options: str) -> Volume:
    made = Volume.create("v0", ID, ["/srv/a", "/srv/b c"], 1.0)
    return made.set({name.replace("_", "-").replace("--", "."): text for name, text in options.items()}, 2.0)


def graph(made: Volume):
    return snapd_graph(made, STORE, MOUNT)


def test_the_volfile_of_snapd():
    assert render(graph(volume())) == EXPECTED


def test_without_a_view_the_snapshots_are_the_top():
    bare = graph(volume(features__snapshot_view="off"))
    assert bare.top.name == "v0-snapshots"
    assert compare(graph(volume()), bare).first == "v0-view (mount/fuse) is gone from the top"


@pytest.mark.parametrize(
    ("option", "text", "node", "key", "shown"),
    [
        ("features.snapshot-mount", "/mnt/x", "v0-view", "mount-point", "/mnt/x"),
        ("features.hide-dot-snapshots", "yes", "v0-view", "hide-dot", "on"),
        ("features.snapshot-activate-on-create", "0", "v0-snapshots", "activate-on-create", "off"),
        ("features.snapshot-method", "copy", "v0-snapshots", "method", "copy"),
        ("features.snapshot-min-free", "1024MiB", "v0-snapshots", "min-free", "1GiB"),
        ("features.snapshot-max-count", "7", "v0-snapshots", "max-count", "7"),
        ("diagnostics.snapd-log-level", "DEBUG", "v0-snapshots", "log-level", "debug"),
    ],
)
def test_an_option_of_the_volume_is_one_of_a_block(option, text, node, key, shown):
    found = compare(graph(volume()), graph(volume().set({option: text}, 3.0)))
    assert found.verdict is Verdict.OPTIONS
    assert [(change.node, change.option, change.new) for change in found.changes] == [(node, key, shown)]


def test_what_is_no_business_of_snapd_changes_nothing():
    changed = volume().start(3.0).set({"features.uss": "on"}, 4.0)
    assert graph(changed) == graph(volume())


def test_setting_a_default_changes_nothing():
    for name, option in OPTIONS.items():
        assert graph(volume().set({name: option.default}, 3.0)) == graph(volume())


@pytest.mark.parametrize(("store", "mount"), [("store", MOUNT), ("", MOUNT), (STORE, "run"), (STORE, "/a/../b")])
def test_places_are_absolute(store, mount):
    with pytest.raises(BadInput):
        snapd_graph(volume(), store, mount)


def test_its_id_is_that_of_glusterd():
    assert snapd_volfile_id("v0") == "snapd/v0"


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=10)


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_bricks_of_any_name(names):
    bricks = [f"/srv/{number}/{name}" for number, name in enumerate(names) if name not in (".", "..", ".svcmgr")]
    made = graph(Volume.create("all-1", ID, bricks or ["/srv/x"], 1.0))
    assert parse(render(made)) == made
    assert [dict(node.options)["directory"] for node in made.nodes[:-2]] == (bricks or ["/srv/x"])
