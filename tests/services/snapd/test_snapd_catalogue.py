"""The records of a volume: on disk, in memory, and when they are wrong."""

import json
import os
import uuid

import attrs
import pytest

from svcmgr.errors import AlreadyExists, BadInput, BadVolfile, StorageFailed, UnknownSnapshot
from svcmgr.services.snapd import recordfile
from svcmgr.services.snapd.catalogue import Catalogue
from svcmgr.services.snapd.settings import Settings
from svcmgr.volume import Cost, Record
from tests.kit.snapds import VOLUME_ID, volfile


def record(name, created=1.0, **more):
    facts = {
        "name": name,
        "id": str(uuid.uuid4()),
        "volume_id": VOLUME_ID,
        "created": created,
        "method": "copy",
        "consistency": "per-file",
        "bricks": ("/b/rick",),
        **more,
    }
    return Record(**facts)


@pytest.fixture
def catalogue(tmp_path):
    return again(tmp_path)


def again(tmp_path):
    one = Catalogue(tmp_path / "store", VOLUME_ID)
    one.load()
    return one


def test_a_record_comes_back_as_it_was(tmp_path):
    one = record(
        "a",
        2.5,
        activated=True,
        origin="schedule:hourly",
        description="größer",
        cost=Cost(1.5, 2, 3, 4),
        skipped=("x: y",),
        volume_options={"method": "auto"},
    )
    recordfile.write(tmp_path / "r", one)
    assert recordfile.read(tmp_path / "r") == one


def test_listing_is_by_age_and_survives(tmp_path, catalogue):
    for name, created in (("new", 3.0), ("old", 1.0), ("middle", 2.0)):
        catalogue.commit(record(name, created))
    for one in (catalogue, again(tmp_path)):
        assert [r.name for r in one.records] == ["old", "middle", "new"]
        assert [r.name for r in one.match(["n*", "old", "new"])] == ["old", "new"]


def test_names_that_mean_nothing(catalogue):
    catalogue.commit(record("hourly-1"))
    for names in (["hourly-2"], ["hourly-1", "x*"], ["[hourly-1"]):
        with pytest.raises(UnknownSnapshot):
            catalogue.match(names)
    with pytest.raises(UnknownSnapshot) as caught:
        catalogue.get("hourly-2")
    assert caught.value.details["near"] == ["hourly-1"]
    for names in (["x" * 257], ["*"] * 33, ["a"] * 10_001):
        with pytest.raises(BadInput):
            catalogue.match(names)
    with pytest.raises(AlreadyExists):
        catalogue.check_free("hourly-1")


def test_what_was_begun_and_not_committed_is_doomed(tmp_path, catalogue):
    one = record("a")
    catalogue.begin(one.id)
    assert catalogue.doomed == frozenset()
    later = again(tmp_path)
    assert (later.records, later.doomed) == ((), {one.id})
    later.erased(one.id)
    assert os.listdir(tmp_path / "store") == []


def test_a_crash_between_record_and_mark_harms_nothing(tmp_path, catalogue):
    one = record("a")
    catalogue.commit(one)
    catalogue.begin(one.id)  # the mark as it was before the record was written
    later = again(tmp_path)
    assert (later.records, later.doomed) == ((one,), frozenset())
    assert os.listdir(tmp_path / "store") == [f"{one.id}.json"]


def test_deleted_is_doomed_until_erased(tmp_path, catalogue):
    one = record("a")
    catalogue.commit(one)
    catalogue.delete(one)
    for each in (catalogue, again(tmp_path)):
        assert (each.records, each.doomed) == ((), {one.id})
    catalogue.commit(record("a"))
    catalogue.erased(one.id)
    assert len(again(tmp_path).records) == 1


def test_activation_is_on_disk(tmp_path, catalogue):
    one = record("a")
    catalogue.commit(one)
    catalogue.activate(one, True)
    assert again(tmp_path).get("a") == catalogue.get("a") == attrs.evolve(one, activated=True)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"id": "x"},
        {"name": "../x"},
        {"bricks": []},
        {"bricks": ["relative"]},
        {"method": "magic"},
        {"created": "yesterday"},
        {"volume_id": str(uuid.UUID(int=8, version=4))},
        None,
    ],
)
def test_a_record_that_cannot_be_is_set_aside(tmp_path, catalogue, change):
    good, bad = record("good"), record("bad")
    for one in (good, bad):
        catalogue.commit(one)
    path = tmp_path / "store" / f"{bad.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) if change else "no JSON")
    later = again(tmp_path)
    assert later.records == (good,)
    assert len(later.quarantined) == 1
    assert (tmp_path / "store" / "quarantine" / path.name).exists()
    assert later.doomed == frozenset()
    assert again(tmp_path).quarantined == ()


def test_two_records_of_one_name(tmp_path, catalogue):
    catalogue.commit(record("a"))
    catalogue.commit(record("a"))
    later = again(tmp_path)
    assert (len(later.records), len(later.quarantined)) == (1, 1)


def test_a_store_that_cannot_be(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StorageFailed):
        again(tmp_path)


# --- settings


def test_settings_are_what_the_volume_says(tmp_path):
    text = volfile(
        ["/b/1", "/b/2"],
        "/store",
        mount="/run/snaps/vol",
        snapshot_view="on",
        snapshot_method="copy",
        snapshot_min_free="2GiB",
        snapshot_max_count="7",
        hide_dot_snapshots="on",
    )
    settings = Settings.from_volfile(text)
    assert list(map(str, settings.bricks)) == ["/b/1", "/b/2"]
    assert (settings.volume, settings.volume_id, str(settings.store)) == ("vol", VOLUME_ID, "/store")
    assert (settings.method, settings.min_free.bytes, settings.max_count) == ("copy", 2 << 30, 7)
    assert (str(settings.mount), settings.hide_dot, settings.activate_on_create) == ("/run/snaps/vol", True, True)
    assert Settings.from_volfile(volfile(["/b/1"], "/store")).mount is None
    other = Settings.from_volfile(text.replace("/b/2", "/b/3"))
    assert settings.differs_in_shape(other) == "bricks"
    assert settings.differs_in_shape(attrs.evolve(settings, max_count=9, hide_dot=False)) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("features/snapshots", "features/others"),
        ("option store /store", "option store store"),
        ("option method auto", "option method magic"),
        ("option max-count 1000", "option max-count 0"),
        ("option min-free 0", "option min-free much"),
        ("option activate-on-create on", "option activate-on-create maybe"),
        ("option directory /b/1", "option directory b"),
        ("option log-level info", "option loglevel info"),
        ("end-volume", ""),
    ],
)
def test_volfiles_that_are_not_for_snapd(old, new):
    text = volfile(["/b/1"], "/store")
    assert old in text
    with pytest.raises(BadVolfile):
        Settings.from_volfile(text.replace(old, new, 1))
