"""Volumes: no sequence of changes makes a wrong one."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import AlreadyExists, BadInput, Busy, SvcmgrError, UnknownOption
from svcmgr.volume import OPTIONS, Status, Volume, canonical, check_bricks, check_mount
from svcmgr.volume.info import BRICKS_MAX

ID, OTHER_ID = "123e4567-e89b-42d3-a456-426614174000", "00000000-0000-4000-8000-000000000001"
USS, MOUNT = "features.uss", "features.snapshot-mount"


def volume(*bricks: str, name: str = "v0", id: str = ID, **options: str) -> Volume:
    made = Volume.create(name, id, bricks or ("/srv/v0",), 10.0)
    return made.set({USS: "on"} | options, 11.0) if options else made


def test_a_new_volume():
    made = Volume.create("v0", ID, ["/a", "/b"], 10.0)
    assert made == Volume("v0", ID, ("/a", "/b"), Status.CREATED, {}, 1, 10.0, 10.0)
    assert not made.started
    assert made.value(USS) is False
    assert made.value("features.snapshot-max-count") == 1000


def test_its_life():
    started = volume().start(20.0)
    assert (started.status, started.started, started.version, started.modified) == (Status.STARTED, True, 2, 20.0)
    stopped = started.stop(5.0)
    assert (stopped.status, stopped.version, stopped.modified, stopped.created) == (Status.STOPPED, 3, 5.0, 10.0)
    assert stopped.start(6.0).started


def test_starting_and_stopping_twice_is_refused():
    with pytest.raises(Busy):
        volume().stop(1.0)
    started = volume().start(1.0)
    with pytest.raises(Busy):
        started.start(2.0)
    with pytest.raises(Busy):
        started.stop(2.0).stop(3.0)


def test_options_are_kept_in_canonical_text_and_forgotten():
    on = volume().set({USS: "YES", "features.snapshot-min-free": "1024MiB"}, 2.0)
    assert dict(on.options) == {USS: "on", "features.snapshot-min-free": "1GiB"}
    assert on.value(USS) is True
    off = on.reset([USS], 3.0)
    assert dict(off.options) == {"features.snapshot-min-free": "1GiB"}
    assert off.reset([USS], 4.0).options == off.options


def test_one_bad_option_and_nothing_is_set():
    with pytest.raises(BadInput):
        volume().set({USS: "on", "features.snapshot-max-count": "0"}, 1.0)
    with pytest.raises(UnknownOption):
        volume().set({"features.ussr": "on"}, 1.0)
    with pytest.raises(UnknownOption):
        volume().reset(["features.ussr"], 1.0)
    with pytest.raises(UnknownOption):
        volume().value("features.ussr")


def test_the_options_of_a_volume_cannot_be_changed_behind_its_back():
    given = {USS: "on"}
    made = Volume("v0", ID, ("/a",), Status.CREATED, given, 1, 0, 0)
    given[USS] = "off"
    assert made.value(USS) is True
    with pytest.raises(TypeError):
        made.options[USS] = "off"  # type: ignore[index]


GOOD = {
    "name": "v0",
    "id": ID,
    "bricks": ("/srv/a",),
    "status": Status.CREATED,
    "options": {},
    "version": 1,
    "created": 1.0,
    "modified": 2.0,
}


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(("name", name) for name in ("", "all", ".v", "a/b", "../v", "a\n", "v" * 101, "é")),
        *(("id", text) for text in ("", "1", ID.upper())),
        *(
            ("bricks", bricks)
            for bricks in (
                (), ("",), ("srv",), ("/",), ("/a/",), ("/a\nb",), ("/a/../b",), ("/a", "/a"), ("/a", "/a/b"),
                ("/a/b/c", "/a"),
                ("/a/.svcmgr",), ("/a/.svcmgr/b",), ("/\udc80",),
            )
        ),
        ("status", "started"),
        *(("options", options) for options in ({USS: "yes"}, {"features.snapshot-max-count": "0"}, {"x": "y"})),
        *(("options", {MOUNT: path}) for path in ("/srv/a", "/srv", "/mnt/.svcmgr/x")),
        ("version", 0),
        *((field, time) for field in ("created", "modified") for time in (math.nan, math.inf)),
    ],
)  # fmt: skip
def test_no_wrong_volume_can_be_made(field, bad):
    Volume(**GOOD)
    with pytest.raises(SvcmgrError) as caught:
        Volume(**{**GOOD, field: bad})
    assert isinstance(caught.value, BadInput)


def test_names_that_only_look_alike_do_not_overlap():
    assert volume("/a/b", "/a/bc", "/a/.svcmgrx").bricks == ("/a/b", "/a/bc", "/a/.svcmgrx")


def test_the_mount_may_be_inside_a_brick():
    assert volume("/srv/a").set({MOUNT: "/srv/a/.snaps"}, 2.0).value(MOUNT) == "/srv/a/.snaps"


def test_a_clock_may_jump():
    assert Volume(**{**GOOD, "created": 100.0, "modified": 1.0}).modified == 1.0


def test_the_most_bricks():
    assert len(volume(*(f"/srv/{n}" for n in range(BRICKS_MAX))).bricks) == BRICKS_MAX
    with pytest.raises(BadInput):
        volume(*(f"/srv/{n}" for n in range(BRICKS_MAX + 1)))


@pytest.mark.parametrize("brick", ["/srv/a", "/srv/a/deep/er", "/srv"])
def test_bricks_of_two_volumes_do_not_overlap(brick):
    other = volume("/srv/a", "/srv/b", name="other", id=OTHER_ID)
    with pytest.raises(AlreadyExists) as caught:
        check_bricks(volume("/free", brick), [volume("/x", id=OTHER_ID, name="x"), other])
    assert caught.value.details == {"brick": brick, "volume": "other"}


def test_bricks_apart_and_earlier_states_of_oneself():
    check_bricks(volume("/srv/ab"), [volume("/srv/a", name="other", id=OTHER_ID), volume("/srv/ab")])


@pytest.mark.parametrize("mount", ["/mnt/s", "/mnt", "/srv", "/srv/a"])
def test_a_mount_hides_nothing_of_another_volume(mount):
    other = volume("/srv/a", name="other", id=OTHER_ID).set({MOUNT: "/mnt/s"}, 1.0)
    mine = volume("/free")
    check_mount(mine, [other])
    with pytest.raises(AlreadyExists):
        check_mount(mine.set({MOUNT: mount}, 1.0), [mine, other])


def test_a_mount_beside_all_others():
    other = volume("/srv/a", name="other", id=OTHER_ID).set({MOUNT: "/mnt/s"}, 1.0)
    check_mount(volume("/free").set({MOUNT: "/mnt/s2"}, 1.0), [other, volume("/mnt/s2")])


VALUES = st.sampled_from(
    ["on", "off", "NO", "1", "7", "auto", "copy", "", "/mnt/x", "/srv", "/srv/v0", "3%", "2GB", "junk"]
)
TIMES = st.floats(-1e12, 1e12)
STEPS = st.one_of(
    st.tuples(st.just("start"), TIMES),
    st.tuples(st.just("stop"), TIMES),
    st.tuples(st.just("set"), st.dictionaries(st.sampled_from([*OPTIONS, "unknown"]), VALUES, max_size=3), TIMES),
    st.tuples(st.just("reset"), st.lists(st.sampled_from([*OPTIONS, "unknown"]), max_size=3), TIMES),
)


@given(st.lists(STEPS, max_size=20))
def test_any_sequence_of_changes_keeps_a_volume_right(steps):
    current = volume()
    for action, *args in steps:
        try:
            changed = getattr(current, action)(*args)
        except (BadInput, Busy):
            continue
        assert changed.version == current.version + 1
        assert (changed.name, changed.id, changed.bricks, changed.created) == ("v0", ID, ("/srv/v0",), 10.0)
        assert changed.modified == args[-1]
        assert all(canonical(name, text) == text for name, text in changed.options.items())
        assert Volume(**attrs.asdict(changed, recurse=False)) == changed
        current = changed
