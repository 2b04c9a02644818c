"""Volumes in svcmgrd: validated, on disk before anybody acts, and told to the services concerned alone."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from svcmgr.conn import Access, Peer, Verb
from svcmgr.errors import (
    AlreadyExists,
    BadInput,
    Busy,
    ReconfigureFailed,
    StorageFailed,
    UnknownOption,
    UnknownVolume,
)
from svcmgr.host import wire_volumes as wire
from svcmgr.host.volume_api import VolumeApi
from svcmgr.services.wire import VolfileReply, VolfileRequest
from svcmgr.svc import Goal, Service, State, Status
from svcmgr.svc.configuring import checksum
from tests.kit.conformance_service import DaemonOs
from tests.kit.fakeos import Program
from tests.kit.life import Life, write
from tests.kit.world import advance, virtual

USS = "features.uss"
HIDE = "features.hide-dot-snapshots"
VIEW = "features.snapshot-view"
PEER = Peer(1, 0, 0)


class Host:
    """A life with daemons that fetch their volfile when they are told to."""

    def __init__(self, life: Life, system: DaemonOs, place: Path) -> None:
        self.life, self.system, self.place = life, system, place
        self.told: list[str] = []
        self.refuses = False
        system.verbs = {"reconfigure": Verb(self.reconfigure, Access.READ)}
        system.programs[sys.executable] = Program()
        self.volumes = life.volumes

    def served(self, name: str) -> str:
        reply = self.life.volfiles.serve(VolfileRequest(f"snapd/{name}"), PEER)
        return msgspec.msgpack.decode(bytes(reply), type=VolfileReply).text

    def reconfigure(self, request: Any, ctx: Any) -> dict[str, Any]:
        self.told.append("told")
        if self.refuses:
            raise ReconfigureFailed("cannot mount there")
        return {"result": "configured", "checksum": checksum(self.served("v"))}

    def brick(self, name: str) -> str:
        return str(self.place / name)

    async def create(self, name: str = "v", *bricks: str) -> wire.VolumeReply:
        return await self.volumes.create(wire.VolumeCreateRequest(name, list(bricks) or [self.brick(name)]))

    async def started(self, name: str = "v", **options: str) -> None:
        """A started volume with snapshots on."""
        await self.create(name)
        await self.volumes.start(wire.VolumeActionRequest(name))
        await self.set(name, {USS: "on"})

    async def set(self, name: str, options: dict[str, str]) -> wire.VolumeReply:
        return await self.volumes.set(wire.VolumeSetRequest(name, options))

    def service(self, name: str = "v") -> Service:
        return self.life.supervisor.find(f"snapd@{name}")

    def stored(self, name: str = "v") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.life.layout.state / "volumes" / f"{name}.json").read_text())
        return found


@asynccontextmanager
async def host(tmp_path: Path, system: DaemonOs | None = None) -> AsyncIterator[Host]:
    system = system or DaemonOs()
    place = tmp_path / "bricks"
    place.mkdir(exist_ok=True)
    system.programs[sys.executable] = Program()
    async with Life(tmp_path / "root", system=system) as life:
        it = Host(life, system, place)
        yield it
        for key, service in life.supervisor.services.items():
            if service.alive:
                await life.stop(key)
    await system.aclose()


def actions(reply: wire.VolumeReply) -> dict[str, str]:
    return {one.name: one.action for one in reply.outcomes}


# --- create, start, stop, delete -------------------------------------------------------------------------------


@virtual
async def test_a_new_volume_has_its_bricks_and_a_snapd_that_is_not_wanted_yet(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        reply = await it.create()
        assert (reply.volume.status, reply.volume.version, actions(reply)) == ("created", 1, {"snapd@v": "none"})
        assert Path(it.brick("v")).is_dir()
        assert it.stored()["name"] == "v"
        service = it.service()
        assert (service.goal, service.state) == (Goal.UP, State.DOWN)
        assert "svcmgr volume start v" in service.reason
        assert it.life.facts[-1].event.what == "volume-changed"


@virtual
async def test_snapd_runs_exactly_while_the_volume_is_started_and_snapshots_are_on(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.create()
        assert actions(await it.set("v", {USS: "on"})) == {"snapd@v": "none"}, "not started"
        assert actions(await it.volumes.start(wire.VolumeActionRequest("v"))) == {"snapd@v": "started"}
        assert it.service().status is Status.ONLINE
        assert actions(await it.set("v", {USS: "off"})) == {"snapd@v": "stopped"}
        assert f"svcmgr volume set v {USS} on" in it.service().reason
        assert actions(await it.set("v", {USS: "on"})) == {"snapd@v": "started"}
        assert actions(await it.volumes.stop(wire.VolumeActionRequest("v"))) == {"snapd@v": "stopped"}
        assert it.service().state is State.DOWN


@virtual
async def test_a_change_calls_nobody_else(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started("v")
        await it.started("w")
        await it.life.add("web")
        await it.life.command("start", "web")
        called: list[str] = []
        for key, service in it.life.supervisor.services.items():
            _spy(service, key, called)
        reply = await it.set("v", {HIDE: "on"})
        assert actions(reply) == {"snapd@v": "reconfigured"}
        assert called == ["snapd@v"]


def _spy(service: Service, key: str, called: list[str]) -> None:
    manager: Callable[..., None] = service.manager

    def spy(*args: Any, **kwargs: Any) -> None:
        called.append(key)
        manager(*args, **kwargs)

    service.manager = spy  # type: ignore[method-assign]


@virtual
async def test_a_started_volume_is_neither_deleted_nor_started_again(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        with pytest.raises(Busy):
            await it.volumes.delete(wire.VolumeDeleteRequest("v"))
        with pytest.raises(Busy):
            await it.volumes.start(wire.VolumeActionRequest("v"))
        assert it.service().status is Status.ONLINE


@virtual
async def test_deleting_forgets_the_volume_and_its_services_and_keeps_the_data(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        (Path(it.brick("v")) / "precious").touch()
        await it.volumes.stop(wire.VolumeActionRequest("v"))
        await it.volumes.delete(wire.VolumeDeleteRequest("v"))
        assert not (it.life.layout.state / "volumes" / "v.json").exists()
        assert "snapd@v" not in it.life.supervisor.services
        assert "snapd@v" not in it.life.store.intent.goals
        assert (Path(it.brick("v")) / "precious").exists()
        with pytest.raises(BadInput):
            it.served("v")
        with pytest.raises(UnknownVolume):
            await it.volumes.stop(wire.VolumeActionRequest("v"))
        await it.create()
        assert it.stored()["version"] == 1


@virtual
async def test_a_volume_with_snapshots_is_deleted_by_force_only(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.create()
        record = it.life.layout.state / "snapd" / "v" / "0f3c.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
        with pytest.raises(Busy):
            await it.volumes.delete(wire.VolumeDeleteRequest("v"))
        await it.volumes.delete(wire.VolumeDeleteRequest("v", force=True))
        assert record.exists()


@virtual
async def test_what_cannot_be_a_brick(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.create("v")
        (it.place / "file").touch()
        (it.place / "link").symlink_to(it.place / "v")
        for bad in ("file", "link", "no/parent", "../root/state/x"):
            with pytest.raises(BadInput):
                await it.create("w", str(it.place / bad) if ".." not in bad else str(tmp_path / "root" / "state" / "x"))
        with pytest.raises(BadInput):
            await it.create("w", str(tmp_path / "root"))
        with pytest.raises(AlreadyExists):
            await it.create("w", str(it.place / "v" / "inside"))
        with pytest.raises(AlreadyExists):
            await it.create("v", it.brick("other"))
        assert list(it.volumes.store.volumes) == ["v"]
        assert not (it.place / "other").exists()


@virtual
async def test_bricks_that_cannot_be_made_leave_no_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with host(tmp_path) as it:
        from svcmgr.host import bricks

        make = bricks._make_one

        def fail(brick: str) -> None:
            if brick.endswith("b"):
                raise OSError(28, "No space left on device")
            make(brick)

        monkeypatch.setattr(bricks, "_make_one", fail)
        with pytest.raises(StorageFailed):
            await it.create("v", it.brick("a"), it.brick("b"))
        assert not Path(it.brick("a")).exists()
        assert it.volumes.store.volumes == {}
        assert not (it.life.layout.state / "volumes" / "v.json").exists()


@virtual
async def test_a_brick_that_went_away_keeps_the_volume_from_starting(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.create()
        Path(it.brick("v")).rmdir()
        with pytest.raises(BadInput):
            await it.volumes.start(wire.VolumeActionRequest("v"))
        assert it.stored()["status"] == "created"


# --- options ---------------------------------------------------------------------------------------------------


@virtual
async def test_the_same_value_changes_nothing(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        version = it.stored()["version"]
        reply = await it.set("v", {USS: "yes"})
        assert (reply.changed, reply.outcomes, it.stored()["version"]) == ({}, [], version)
        assert it.told == []


@virtual
async def test_an_option_is_told_and_another_shape_restarts(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        pid = it.life.pid("snapd@v")
        reply = await it.set("v", {HIDE: "on"})
        assert (actions(reply), reply.changed) == ({"snapd@v": "reconfigured"}, {HIDE: ["off", "on"]})
        assert (it.life.pid("snapd@v"), len(it.told)) == (pid, 1)
        assert "hide-dot on" in it.served("v")
        reply = await it.set("v", {VIEW: "off"})
        assert actions(reply) == {"snapd@v": "restarted"}
        assert it.life.pid("snapd@v") != pid
        assert it.service().reason.startswith("restarted: ")
        assert reply.outcomes[0].text in it.service().reason
        reply = await it.volumes.reset(wire.VolumeResetRequest("v", [VIEW]))
        assert (actions(reply), reply.changed) == ({"snapd@v": "restarted"}, {VIEW: ["off", "on"]})


@virtual
async def test_a_refused_option_is_taken_back(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        before = it.served("v")
        it.refuses = True
        with pytest.raises(ReconfigureFailed):
            await it.set("v", {HIDE: "on"})
        it.refuses = False
        assert it.stored()["options"] == {USS: "on"}
        assert it.served("v") == before
        assert actions(await it.set("v", {HIDE: "on"})) == {"snapd@v": "reconfigured"}


@virtual
async def test_a_wrong_option_or_value_changes_nothing(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        before = it.stored()
        with pytest.raises(UnknownOption):
            await it.set("v", {HIDE: "on", "features.usss": "on"})
        with pytest.raises(BadInput):
            await it.set("v", {HIDE: "perhaps"})
        with pytest.raises(BadInput):
            await it.set("v", {})
        with pytest.raises(UnknownVolume):
            await it.set("w", {HIDE: "on"})
        assert it.stored() == before


@virtual
async def test_a_broken_volfile_is_refused_before_anything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host(tmp_path) as it:
        await it.started()
        before, pid = it.stored(), it.life.pid("snapd@v")
        monkeypatch.setattr(type(it.service()), "volfile", lambda self: "volume broken\n")
        with pytest.raises(BadInput):
            await it.set("v", {HIDE: "on"})
        monkeypatch.undo()
        assert (it.stored(), it.life.pid("snapd@v"), it.told) == (before, pid, [])


@virtual
async def test_a_disk_that_refuses_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with host(tmp_path) as it:
        await it.started()

        async def refuse(volume: Any) -> None:
            raise StorageFailed("cannot write v.json: No space left on device (errno 28)")

        monkeypatch.setattr(it.volumes.store, "commit", refuse)
        with pytest.raises(StorageFailed):
            await it.set("v", {HIDE: "on"})
        assert it.volumes.find("v").options == {USS: "on"}
        assert it.told == []


# --- the services of volumes -----------------------------------------------------------------------------------


@virtual
async def test_what_the_operator_stopped_stays_stopped_and_can_be_started(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        await it.life.command("stop", "snapd@v")
        assert actions(await it.set("v", {HIDE: "on"})) == {"snapd@v": "none"}
        assert it.service().state is State.DOWN
        assert await it.life.command("start", "snapd@v") == {"snapd@v": "started"}


@virtual
async def test_a_service_of_a_volume_is_not_removed_and_reread_leaves_it_alone(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        (outcome,) = await it.life.commander.remove(["snapd@v"], stop=False, timeout_s=1.0)
        assert (outcome.ok, outcome.code) == (False, "busy")
        assert (await it.life.commander.plan()).changes == []
        await it.life.commander.reread()
        assert it.service().status is Status.ONLINE


@virtual
async def test_the_operator_may_define_it_himself(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        write(tmp_path / "root", "snapd@v", text='kind = "snapd"\nstop_grace = 99.0\n')
        reply = await it.life.commander.reread()
        assert {c.name: c.action for c in reply.changes} == {"snapd@v": "live"}
        assert it.service().spec.stop_grace == 99.0
        (tmp_path / "root" / "etc" / "services.d" / "snapd@v.toml").unlink()
        await it.life.commander.reread()
        assert it.service().spec.stop_grace == 15.0
        assert it.service().status is Status.ONLINE


@virtual
async def test_its_mount_is_taken_away_when_it_is_gone(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started()
        mount = it.life.layout.run / "snaps" / "v"
        assert it.system.detached == []
        it.system.crash(it.life.pid("snapd@v"))
        await advance(5)
        assert it.system.detached == [mount]
        assert it.service().status is Status.ONLINE


# --- over the death of svcmgrd -----------------------------------------------------------------------------------


@virtual
async def test_the_next_svcmgrd_adopts_and_applies_what_changed_meanwhile(tmp_path: Path) -> None:
    system = DaemonOs()
    place = tmp_path / "bricks"
    place.mkdir()
    system.programs[sys.executable] = Program()
    async with Life(tmp_path / "root", system=system) as life:
        it = Host(life, system, place)
        await it.started("v")
        await it.create("w")
        await it.volumes.start(wire.VolumeActionRequest("w"))
        await it.started("x")
        pid, ending = life.pid("snapd@v"), life.pid("snapd@x")
    for name, option, value in (("v", HIDE, "on"), ("w", USS, "on"), ("x", USS, "off")):
        path = tmp_path / "root" / "state" / "volumes" / f"{name}.json"
        stored = json.loads(path.read_text())
        stored["options"][option] = value
        path.write_text(json.dumps(stored))
    async with Life(tmp_path / "root", system=system) as life:
        it.life, it.volumes = life, life.volumes
        await advance(10)
        assert life.pid("snapd@v") == pid
        assert "hide-dot on" in it.served("v")
        assert len(it.told) >= 1
        assert it.service("w").status is Status.ONLINE, "turned on while svcmgrd was down"
        assert it.service("x").state is State.DOWN, "turned off while svcmgrd was down"
        assert not system.processes[ending].alive
        for key in ("snapd@v", "snapd@w"):
            await life.stop(key)
    await system.aclose()


@virtual
async def test_a_volume_stopped_by_its_operator_is_not_started_by_the_next_svcmgrd(tmp_path: Path) -> None:
    system = DaemonOs()
    async with host(tmp_path, system) as it:
        await it.started()
        await it.volumes.stop(wire.VolumeActionRequest("v"))
    async with host(tmp_path, DaemonOs()) as it:
        assert it.service().state is State.DOWN
        assert it.volumes.find("v").status.value == "stopped"
        assert actions(await it.volumes.start(wire.VolumeActionRequest("v"))) == {"snapd@v": "started"}


# --- looking -----------------------------------------------------------------------------------------------------


@virtual
async def test_info_and_options(tmp_path: Path) -> None:
    async with host(tmp_path) as it:
        await it.started("v")
        await it.create("w")
        api = VolumeApi(it.volumes, it.life.volfiles)
        reply = api.info(wire.VolumesRequest(), None)  # type: ignore[arg-type]
        assert [(v.name, [s.wanted for s in v.services]) for v in reply.volumes] == [("v", [True]), ("w", [False])]
        reply = api.info(wire.VolumesRequest(["w*"]), None)  # type: ignore[arg-type]
        assert [v.name for v in reply.volumes] == ["w"]
        with pytest.raises(UnknownVolume):
            api.info(wire.VolumesRequest(["u"]), None)  # type: ignore[arg-type]
        (option,) = api.options(wire.OptionsRequest("v", [USS]), None).options  # type: ignore[arg-type]
        assert (option.value, option.is_set, option.kinds) == ("on", True, ["snapd"])
        with pytest.raises(UnknownOption):
            api.options(wire.OptionsRequest("v", ["features.nothing"]), None)  # type: ignore[arg-type]
        assert len(api.options(wire.OptionsRequest(), None).options) > 5  # type: ignore[arg-type]
