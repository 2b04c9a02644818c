"""snapd's host side: pure answers, as tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import BadDefinition, BadVolfile
from svcmgr.services.snapd.service import SnapdService
from svcmgr.svc import Verdict
from svcmgr.volume import Volume, parse
from tests.kit.world import World, make_spec, virtual

ID = "0f3c5b9e-6a63-4d5e-9d5b-111111111111"
CREATED = Volume.create("v", ID, ["/data/v"], 0.0)
STARTED = CREATED.start(1.0)
STOPPED = STARTED.stop(2.0)
ON = {"features.uss": "on"}

WANTED = [
    ({}, False, "svcmgr volume create v"),
    ({"w": STARTED.set(ON, 3.0)}, False, "svcmgr volume create v"),
    ({"v": CREATED}, False, "svcmgr volume start v"),
    ({"v": CREATED.set(ON, 3.0)}, False, "svcmgr volume start v"),
    ({"v": STOPPED.set(ON, 3.0)}, False, "svcmgr volume start v"),
    ({"v": STARTED}, False, "svcmgr volume set v features.uss on"),
    ({"v": STARTED.set({"features.uss": "off"}, 3.0)}, False, "svcmgr volume set v features.uss on"),
    ({"v": STARTED.set(ON, 3.0)}, True, ""),
    ({"v": "not a volume"}, False, "svcmgr volume create v"),
]


def made(world: World, key: str = "snapd@v", volumes: Mapping[str, Any] | None = None, **fields: Any) -> SnapdService:
    service = SnapdService(make_spec(key, **{"command": (), **fields}), world.seams)
    service.volumes = volumes or {}
    return service


@pytest.fixture
def snapd(tmp_path: Path) -> Any:
    holder: list[World] = []

    @virtual
    async def make() -> None:
        holder.append(World(tmp_path))

    make()

    def build(**volumes: Volume) -> SnapdService:
        return made(holder[0], volumes=volumes)

    build.world = holder[0]  # type: ignore[attr-defined]
    return build


@pytest.mark.parametrize(("volumes", "wanted", "advice"), WANTED)
def test_wanted_exactly_while_started_and_on(snapd: Any, volumes: Any, wanted: bool, advice: str) -> None:
    service = snapd()
    assert service.wanted(volumes) is wanted
    if not wanted:
        assert advice in service.why_unwanted(volumes)


def test_it_concerns_its_own_volume_alone(snapd: Any) -> None:
    service = snapd()
    assert [name for name in ("v", "w", "", "V", "snapd@v") if service.concerns(name)] == ["v"]


@pytest.mark.parametrize(
    ("key", "fields"),
    [("snapd", {}), ("snapd@v", {"command": ("/bin/true",)}), ("snapd@v", {"options": {"x": 1}})],
)
def test_what_it_cannot_be_defined_as(snapd: Any, key: str, fields: Any) -> None:
    with pytest.raises(BadDefinition):
        made(snapd.world, key, **fields)


def test_its_program_is_its_own(snapd: Any) -> None:
    argv = snapd().argv()
    assert argv[0] == sys.executable
    assert argv[-1] == "svcmgr.services.snapd.daemon:Snapd"


def test_its_volfile_is_of_its_volume(snapd: Any) -> None:
    assert snapd().volfile() is None
    service = snapd(v=STARTED.set(ON, 3.0))
    assert service.volfile_id() == "snapd/v"
    assert [node.type for node in parse(service.volfile()).nodes] == [
        "storage/posix",
        "features/snapshots",
        "mount/fuse",
    ]


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, Verdict.NONE, ""),
        ({"features.snapshot-max-count": "1000"}, Verdict.NONE, ""),
        ({"features.hide-dot-snapshots": "on"}, Verdict.TELL, "hide-dot off -> on"),
        ({"features.snapshot-mount": "/mnt/x"}, Verdict.TELL, "/mnt/x"),
        ({"features.snapshot-view": "off"}, Verdict.RESTART, "v-view"),
    ],
)
def test_what_a_change_means(snapd: Any, changes: Mapping[str, str], verdict: Verdict, words: str) -> None:
    before = STARTED.set(ON, 3.0)
    service = snapd(v=before)
    change = service.compare(service.volfile(), snapd(v=before.set(changes, 4.0)).volfile())
    assert change.verdict is verdict
    assert words in change.text


def test_many_changed_options_are_not_all_named(snapd: Any) -> None:
    before = STARTED.set(ON, 3.0)
    changed = before.set(
        {
            "features.hide-dot-snapshots": "on",
            "features.snapshot-mount": "/mnt/x",
            "features.snapshot-max-count": "7",
            "features.snapshot-method": "copy",
            "features.snapshot-min-free": "0",
            "diagnostics.snapd-log-level": "debug",
        },
        4.0,
    )
    change = snapd().compare(snapd(v=before).volfile(), snapd(v=changed).volfile())
    assert change.text.endswith("and 2 more")


def test_a_broken_new_volfile_is_refused_and_a_broken_old_one_is_replaced(snapd: Any) -> None:
    good = snapd(v=STARTED.set(ON, 3.0)).volfile()
    with pytest.raises(BadVolfile):
        snapd().compare(good, "volume broken\n")
    assert snapd().compare("volume broken\n", good).verdict is Verdict.TELL


def test_its_mount_is_what_the_volfiles_say(snapd: Any) -> None:
    service = snapd(v=STARTED.set({**ON, "features.snapshot-mount": "/mnt/new"}, 3.0))
    service.configuring.in_force = snapd(v=STARTED.set({**ON, "features.snapshot-mount": "/mnt/old"}, 3.0)).volfile()
    assert set(service.mounts()) == {Path("/mnt/new"), Path("/mnt/old")}
    assert snapd(v=STARTED.set({**ON, "features.snapshot-view": "off"}, 3.0)).mounts() == ()
    broken = snapd()
    broken.configuring.in_force = "not a volfile"
    assert broken.mounts() == ()


def test_a_volume_with_snapshots_is_held(snapd: Any) -> None:
    service = snapd(v=STARTED)
    assert service.holds("v") == ""
    store = snapd.world.layout.state / "snapd" / "v"
    store.mkdir(parents=True)
    (store / "schedules.json").touch()
    assert service.holds("v") == ""
    (store / f"{ID}.json").touch()
    assert "1 snapshot" in service.holds("v")
