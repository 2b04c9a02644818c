"""Snapshots as values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.volume import Record, check_snapshot_name, default_name, snapshot_dir
from svcmgr.volume.civil import LAST

ID, VOLUME_ID = "123e4567-e89b-42d3-a456-426614174000", "00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize("name", ["a", "1", ".hidden", "...", "daily_1", "A-b.c_d", "n" * 100])
def test_names(name):
    assert check_snapshot_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".svcmgr", "-a", "_a", "a/b", "/", "a b", "a\n", "a\0", "é", "*", "n" * 101]
)
def test_other_names(name):
    with pytest.raises(BadInput):
        check_snapshot_name(name)


def test_a_name_from_the_time():
    assert default_name(1_795_725_660.9) == "snap-2026-11-26T20-41-00Z"
    assert default_name(0) == "snap-1970-01-01T00-00-00Z"


def test_a_name_that_is_taken_is_numbered():
    first = default_name(0)
    assert default_name(0, {first}) == f"{first}-2"
    assert default_name(0, {first, f"{first}-2"}) == f"{first}-3"


@given(st.floats(0, LAST))
def test_every_name_from_a_time_is_a_name(utc):
    check_snapshot_name(default_name(utc))


def test_where_its_data_is():
    assert snapshot_dir("/srv/a", ID) == f"/srv/a/.svcmgr/snapshots/{ID}"
    with pytest.raises(BadInput):
        snapshot_dir("/srv/a", "../../etc")


GOOD = {
    "name": "s1",
    "id": ID,
    "volume_id": VOLUME_ID,
    "created": 5.0,
    "method": "copy",
    "consistency": "per-file",
    "bricks": ["/srv/a", "/srv/b"],
}


def test_a_record():
    record = Record(**GOOD, volume_options={"features.uss": "on"})
    assert record.paths() == (f"/srv/a/.svcmgr/snapshots/{ID}", f"/srv/b/.svcmgr/snapshots/{ID}")
    assert (record.activated, record.origin, record.description, record.skipped) == (False, "operator", "", ())
    with pytest.raises(TypeError):
        record.volume_options["features.uss"] = "off"  # type: ignore[index]


@pytest.mark.parametrize("origin", ["operator", "safety", "schedule:hourly", "schedule:" + "h" * 100])
def test_origins(origin):
    assert Record(**GOOD, origin=origin).origin == origin


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("name", ".."),
        ("id", "1"),
        ("volume_id", ID.upper()),
        ("created", math.nan),
        ("method", "auto"),
        ("consistency", "maybe"),
        ("bricks", ()),
        ("bricks", ("/a/..",)),
        *(("origin", origin) for origin in ("", "root", "schedule:", "schedule:a/b", "schedule:" + "h" * 101)),
        *(("description", text) for text in ("two\nlines", "\x1b[31m", "d" * 1001, "\udc80")),
    ],
)
def test_no_wrong_record_can_be_made(field, bad):
    with pytest.raises(BadInput):
        Record(**{**GOOD, field: bad})
