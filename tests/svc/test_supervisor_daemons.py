"""Services that speak: readiness by ping, online and degraded, silence, strangers on our socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from svcmgr.conn import Disconnected, Hung, Recovered, Server, ServerSpec
from svcmgr.errors import Disconnected as Lost
from svcmgr.services.daemon import DaemonService
from svcmgr.svc import Goal, State, Status
from tests.kit.conformance_service import DaemonOs
from tests.kit.vloop import VirtualClock
from tests.kit.world import World, advance, virtual


@asynccontextmanager
async def daemons(place: Path) -> AsyncIterator[tuple[World, DaemonOs]]:
    """A world in which programs behave as daemonkit's do."""
    system = DaemonOs()
    async with World(place, system=system) as world:
        yield world, system
        for key in world.supervisor.services:
            await world.stop(key)
    await system.aclose()


@virtual
async def test_ready_when_it_answers_a_ping(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, system):
        system.mute = True
        service = world.define("d", cls=DaemonService, ready="ping")
        starting = asyncio.create_task(world.start("d"))
        await advance(5)
        assert service.state is State.STARTING
        assert service.socket is not None
        server = Server(ServerSpec(address=f"unix:{service.socket}"), {}, clock=VirtualClock())
        await server.start()
        result = (await starting)["d"]
        assert result.word == "started"
        assert world.now < 8
        assert service.status is Status.ONLINE
        await server.aclose()


@virtual
async def test_alive_and_not_answering_is_degraded_until_it_answers_again(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, system):
        service = world.define("d", cls=DaemonService, ready="ping")
        await world.start("d")
        pid = world.pid("d")
        await system._hang_up(pid)
        await advance(0.1)
        assert service.status is Status.DEGRADED
        assert world.told("d")[-1] == "degraded"
        await advance(60)
        assert world.pid("d") == pid
        assert service.state is State.RUNNING
        server = Server(ServerSpec(address=f"unix:{service.socket}"), {}, clock=VirtualClock())
        await server.start()
        await advance(5)
        assert service.status is Status.ONLINE
        await server.aclose()


@virtual
async def test_its_death_is_no_degradation(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, system):
        world.define("d", cls=DaemonService, ready="ping")
        await world.start("d")
        system.crash(world.pid("d"))
        await advance(10)
        assert world["d"].status is Status.ONLINE
        assert "degraded" not in world.told("d")


@virtual
async def test_silence_is_told_and_with_a_limit_it_ends_the_process(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, _):
        patient = world.define("patient", cls=DaemonService, ready="ping")
        strict = world.define("strict", cls=DaemonService, ready="ping", hang_timeout=5.0, restart="never")
        await world.start("patient", "strict")
        for service in (patient, strict):
            service._on_conn(Hung(service.incarnation, 20.0))
        await advance(4)
        strict._on_conn(Recovered(strict.incarnation))
        await advance(4)
        assert strict.state is State.RUNNING
        strict._on_conn(Hung(strict.incarnation, 20.0))
        strict._on_conn(Hung(strict.incarnation - 1, 90.0))
        await advance(4.5)
        assert strict.state is State.RUNNING
        await advance(1)
        assert strict.state is State.FAILED
        assert strict.reason == "not answering for 5 s"
        await advance(100)
        assert patient.state is State.RUNNING
        assert world.told("patient")[-1] == "degraded"


@virtual
async def test_words_of_an_earlier_connection_change_nothing(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, _):
        service = world.define("d", cls=DaemonService, ready="ping")
        await world.start("d")
        await world.restart("d")
        told, version = len(world.facts), service.version
        for late in (Disconnected(1, Lost("old")), Hung(1, 9.0), Recovered(1)):
            service._on_conn(late)
        assert (len(world.facts), service.version) == (told, version)
        assert service.status is Status.ONLINE


@virtual
async def test_a_stranger_who_has_our_socket_makes_nothing_ready(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, system):
        service = world.define("d", cls=DaemonService, ready="ping", restart="never")
        await world.start("d")
        assert service.socket is not None
        assert service.conn is not None
        await world.stop("d")
        assert service.status is Status.DOWN
        system.mute = True
        stranger = socket.socket(socket.AF_UNIX)
        stranger.bind(str(service.socket))
        stranger.listen()
        await world.start("d", timeout_s=3.0)
        assert service.status is not Status.ONLINE
        await world.stop("d")
        stranger.close()
        service.socket.unlink(missing_ok=True)


@virtual
async def test_the_standard_flags_and_the_locked_pidfile(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, system):
        service = world.define("d", cls=DaemonService, ready="ping")
        await world.start("d")
        (spec,) = system.spawns
        assert spec.argv[:3] == ("d", "-p", str(world.layout.service_pidfile("d")))
        assert spec.argv[-2:] == ("-S", str(service.socket))
        assert not spec.write_pidfile
        assert system.locks == {world.layout.service_pidfile("d"): world.pid("d")}


@virtual
async def test_reload_of_a_daemon_is_sighup_by_default(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (world, system):
        service = world.define("d", cls=DaemonService, ready="ping")
        await world.start("d")
        assert service.reconfigure() == "sent SIGHUP"
        assert system.signals(world.pid("d")) == [1]
        assert world["d"].goal is Goal.UP
