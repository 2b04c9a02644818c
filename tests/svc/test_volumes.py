"""Services that live by volumes: whose manager is called, what it does, and how a new volfile reaches a daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from svcmgr.conn import Access, Verb
from svcmgr.errors import BadVolfile, ReconfigureFailed
from svcmgr.services.daemon import DaemonService
from svcmgr.svc import Change, Goal, State, Status, Verdict
from svcmgr.svc.configuring import checksum
from svcmgr.svc.volumes import Moved, refresh, revolume
from tests.kit.conformance_service import DaemonOs
from tests.kit.fakeos import Program
from tests.kit.world import World, advance, virtual


@attrs.frozen
class Vol:
    """A volume as these services see it."""

    on: bool = True
    shape: str = "round"
    colour: str = "red"


class Viewer(DaemonService):
    """One for each volume, wanted while the volume is on."""

    kind = "viewer"
    per_volume = True

    def wanted(self, volumes: Mapping[str, Any]) -> bool:
        volume = volumes.get(self.spec.instance or "")
        return volume is not None and volume.on

    def why_unwanted(self, volumes: Mapping[str, Any]) -> str:
        return f"volume {self.spec.instance} is off"

    def volfile(self) -> str | None:
        volume = self.volumes.get(self.spec.instance or "")
        return None if volume is None else f"{volume.shape}\n{volume.colour}\n"

    def volfile_id(self) -> str:
        return f"viewer/{self.spec.instance}"

    def compare(self, old: str, new: str) -> Change:
        (old_shape, old_colour), (shape, colour) = old.split(), new.split()
        if shape == "broken":
            raise BadVolfile("cannot draw a broken shape")
        if shape != old_shape:
            return Change(Verdict.RESTART, f"{old_shape} became {shape}")
        return Change(Verdict.TELL, f"{old_colour} -> {colour}")


class Served:
    """A volfile server that is a dict."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def publish(self, volfile_id: str, text: str, owner: str) -> None:
        self.texts[volfile_id] = text

    def withdraw(self, owner: str) -> None:
        self.texts = {key: text for key, text in self.texts.items() if key.partition("/")[2] != owner.partition("@")[2]}


class Scene:
    """A world with viewers of the volumes a and b, and a service that has nothing to do with volumes."""

    def __init__(self, world: World, system: DaemonOs) -> None:
        self.world, self.system = world, system
        self.served = Served()
        self.asked = 0
        world.seams = attrs.evolve(world.seams, volfiles=self.served)
        system.verbs = {"reconfigure": Verb(self.reconfigure, Access.READ)}
        self.refuses = False

    def reconfigure(self, request: Any, ctx: Any) -> dict[str, Any]:
        self.asked += 1
        if self.refuses:
            raise ReconfigureFailed("cannot like it")
        return {"result": "configured", "checksum": checksum(self.served.texts["viewer/a"])}

    def define(self) -> None:
        for key in ("viewer@a", "viewer@b"):
            self.world.define(key, cls=Viewer, ready="ping", restart="always")
        self.world.define("other")

    async def change(self, **volumes: Vol) -> dict[str, Moved]:
        """Volume a changed."""
        moved = await revolume(self.world.supervisor, {**self.world.supervisor.volumes, **volumes}, "a", 30.0)
        return {one.key: one for one in moved}


@asynccontextmanager
async def scene(place: Path, **volumes: Vol) -> AsyncIterator[Scene]:
    system = DaemonOs()
    async with World(place, system=system) as world:
        it = Scene(world, system)
        world.supervisor.volumes = volumes
        it.define()
        await world.start("viewer@a", "viewer@b", "other")
        yield it
        for key in world.supervisor.services:
            if world[key].alive:
                await world.stop(key)
    await system.aclose()


OFF = Vol(on=False)


@virtual
async def test_a_start_is_refused_while_the_volume_does_not_want_it(tmp_path: Path) -> None:
    async with scene(tmp_path, a=OFF, b=Vol()) as it:
        service = it.world["viewer@a"]
        assert (service.goal, service.state, service.reason) == (Goal.UP, State.DOWN, "volume a is off")
        result = (await it.world.start("viewer@a"))["viewer@a"]
        assert (result.ok, result.code, result.text) == (False, "not-wanted", "volume a is off")
        result = (await it.world.restart("viewer@a"))["viewer@a"]
        assert (result.ok, result.code) == (False, "not-wanted")
        assert it.world["viewer@b"].status is Status.ONLINE


@virtual
async def test_it_starts_by_itself_when_the_volume_wants_it_and_stops_when_it_does_not(tmp_path: Path) -> None:
    async with scene(tmp_path, a=OFF, b=Vol()) as it:
        other, b = it.world.pid("other"), it.world.pid("viewer@b")
        assert (await it.change(a=Vol()))["viewer@a"].action == "started"
        assert it.world["viewer@a"].status is Status.ONLINE
        moved = await it.change(a=OFF)
        assert moved == {"viewer@a": Moved("viewer@a", "stopped", text="volume a is off")}
        service = it.world["viewer@a"]
        assert (service.goal, service.state, service.reason) == (Goal.UP, State.DOWN, "volume a is off")
        assert (it.world.pid("other"), it.world.pid("viewer@b")) == (other, b)


@virtual
async def test_one_that_dies_while_it_is_not_wanted_stays_down(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        it.world.becomes("viewer@a", Program(term_s=None))
        await it.world.restart("viewer@a")
        assert (await it.change(a=OFF))["viewer@a"].action == "killed"
        await advance(1000)
        assert it.world["viewer@a"].state is State.DOWN
        assert it.world["viewer@a"].reason == "volume a is off"


@virtual
async def test_wanted_again_while_it_still_stops_gives_a_new_process(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        it.world.becomes("viewer@a", Program(term_s=3.0))
        await it.world.restart("viewer@a")
        old = it.world.pid("viewer@a")
        await revolume(it.world.supervisor, {"a": OFF, "b": Vol()}, "a", 0.0)
        assert it.world["viewer@a"].state is State.STOPPING
        assert (await it.change(a=Vol()))["viewer@a"].ok
        await advance(10)
        assert it.world["viewer@a"].status is Status.ONLINE
        assert it.world.pid("viewer@a") != old


@virtual
async def test_what_its_operator_stopped_stays_stopped(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        await it.world.stop("viewer@a")
        assert (await it.change(a=OFF))["viewer@a"].action == "none"
        assert (await it.change(a=Vol()))["viewer@a"].action == "none"
        assert it.world["viewer@a"].state is State.DOWN


@virtual
async def test_the_same_volfile_disturbs_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        pid = it.world.pid("viewer@a")
        assert (await it.change(a=Vol()))["viewer@a"] == Moved("viewer@a", "unchanged")
        assert (it.world.pid("viewer@a"), it.asked) == (pid, 0)


@virtual
async def test_other_options_are_told_and_confirmed(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        pid = it.world.pid("viewer@a")
        moved = await it.change(a=Vol(colour="blue"))
        assert moved == {"viewer@a": Moved("viewer@a", "reconfigured", text="red -> blue")}
        assert (it.world.pid("viewer@a"), it.asked) == (pid, 1)
        assert it.served.texts["viewer/a"] == it.world.layout.service_volfile("viewer@a").read_text() == "round\nblue\n"
        assert it.world.told("viewer@a")[-1] == "reconfigured"
        assert it.world["viewer@a"].reason == "red -> blue"


@virtual
async def test_another_shape_takes_a_new_process_and_says_why(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        pid, b = it.world.pid("viewer@a"), it.world.pid("viewer@b")
        moved = await it.change(a=Vol(shape="square"))
        assert moved == {"viewer@a": Moved("viewer@a", "restarted", text="round became square")}
        assert it.world.pid("viewer@a") != pid
        assert it.world.pid("viewer@b") == b
        assert (it.asked, it.served.texts["viewer/a"]) == (0, "square\nred\n")
        assert it.world["viewer@a"].reason == "restarted: round became square"
        assert "reconfigured" in it.world.told("viewer@a")
        it.system.crash(it.world.pid("viewer@a"))
        await advance(30)
        assert it.world["viewer@a"].status is Status.ONLINE
        assert it.world["viewer@a"].reason == "", "the crash came later and had another cause"


@virtual
async def test_a_broken_volfile_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        pid = it.world.pid("viewer@a")
        moved = (await it.change(a=Vol(shape="broken")))["viewer@a"]
        assert (moved.action, moved.ok, moved.code) == ("failed", False, "bad-volfile")
        assert (it.world.pid("viewer@a"), it.asked) == (pid, 0)
        assert it.served.texts["viewer/a"] == it.world.layout.service_volfile("viewer@a").read_text() == "round\nred\n"
        assert it.world.told("viewer@a")[-1] == "reconfigure-failed"


@virtual
async def test_what_the_daemon_refuses_is_taken_back(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        it.refuses = True
        moved = (await it.change(a=Vol(colour="blue")))["viewer@a"]
        assert (moved.action, moved.ok, moved.code) == ("failed", False, "reconfigure-failed")
        assert it.served.texts["viewer/a"] == it.world.layout.service_volfile("viewer@a").read_text() == "round\nred\n"
        assert it.world["viewer@a"].configuring.in_force == "round\nred\n"


@virtual
async def test_one_that_does_not_answer_is_told_when_it_does(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        from svcmgr.conn import Server, ServerSpec
        from tests.kit.vloop import VirtualClock

        service, pid = it.world["viewer@a"], it.world.pid("viewer@a")
        await it.system._hang_up(pid)
        await advance(0.1)
        moved = (await it.change(a=Vol(colour="blue")))["viewer@a"]
        assert (moved.action, moved.ok) == ("deferred", True)
        assert it.asked == 0
        server = Server(ServerSpec(address=f"unix:{service.socket}"), it.system.verbs, clock=VirtualClock())
        await server.start()
        await advance(10)
        assert (it.asked, it.world.pid("viewer@a")) == (1, pid)
        assert service.configuring.stale == ""
        assert service.configuring.in_force == "round\nblue\n"
        await server.aclose()


@virtual
async def test_what_runs_no_more_gets_the_new_volfile_with_its_next_process(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        it.world.becomes("viewer@a", Program(exits_after=0.1, code=1))
        it.system.crash(it.world.pid("viewer@a"))
        await advance(200)
        assert it.world["viewer@a"].state is State.FAILED
        assert (await it.change(a=Vol(colour="blue")))["viewer@a"].action == "none"
        assert it.served.texts["viewer/a"] == "round\nblue\n"
        it.world.becomes("viewer@a", Program())
        await it.world.start("viewer@a")
        assert it.world["viewer@a"].configuring.in_force == "round\nblue\n"


@virtual
async def test_a_later_svcmgrd_brings_an_adopted_daemon_up_to_date(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        service, pid = it.world["viewer@a"], it.world.pid("viewer@a")
        service.configuring.in_force = None
        service.configuring.resume()
        assert service.configuring.in_force == "round\nred\n"
        service.look_at({"a": Vol(colour="blue")})
        it.world.supervisor.volumes = {"a": Vol(colour="blue"), "b": Vol()}
        (moved,) = await refresh(it.world.supervisor, ["viewer@a"])
        assert (moved.action, it.world.pid("viewer@a")) == ("reconfigured", pid)
        service.configuring.in_force = None
        it.world.layout.service_volfile("viewer@a").unlink()
        service.configuring.resume()
        (moved,) = await refresh(it.world.supervisor, ["viewer@a"])
        assert (moved.action, it.asked) == ("reconfigured", 2), "what it runs with was lost, so it is told"


@virtual
async def test_a_svcmgrd_that_died_while_it_asked_asks_again(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(colour="blue"), b=Vol()) as it:
        service = it.world["viewer@a"]
        path = it.world.layout.service_volfile("viewer@a")
        path.with_name(path.name + ".new").write_text("round\nblue\n")
        service.configuring.resume()
        (moved,) = await refresh(it.world.supervisor, ["viewer@a"])
        assert (moved.action, it.asked) == ("reconfigured", 1)
        assert [one.name for one in path.parent.iterdir() if "@a" in one.name] == ["viewer@a.vol"]


@virtual
async def test_a_removed_service_is_served_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path, a=OFF, b=Vol()) as it:
        await it.change(a=OFF)
        assert it.served.texts["viewer/a"] == "round\nred\n", "for one that is started by hand"
        it.world.supervisor.remove("viewer@a")
        assert "viewer/a" not in it.served.texts


@virtual
async def test_a_full_disk_leaves_the_daemon_as_it_is(tmp_path: Path) -> None:
    async with scene(tmp_path, a=Vol(), b=Vol()) as it:
        path = it.world.layout.service_volfile("viewer@a")
        path.with_name(path.name + ".new").mkdir()
        moved = (await it.change(a=Vol(colour="blue")))["viewer@a"]
        assert (moved.action, moved.code, it.asked) == ("failed", "storage-failed", 0)
        assert it.served.texts["viewer/a"] == "round\nred\n", "what is served is what is on disk"


def test_a_checksum_is_of_the_text() -> None:
    assert checksum("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    with pytest.raises(UnicodeEncodeError):
        checksum("\ud800")
