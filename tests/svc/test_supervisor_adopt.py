"""Taking over what an earlier svcmgrd started: services over processes that are not our children."""

from __future__ import annotations

import asyncio
from pathlib import Path

from svcmgr.proc import ExitStatus, Identity
from svcmgr.sdnotify import notify
from svcmgr.svc import Goal, Past, Service, State
from svcmgr.svc.events import Adopted, Exited
from tests.kit.fakeos import Program
from tests.kit.vloop import START
from tests.kit.world import World, advance, virtual


def running_before(world: World, service: Service) -> Identity:
    """A process that an earlier svcmgrd started for this service."""
    service.lifecycle.goal = Goal.UP
    return world.os.start_elsewhere(world.adoptable(service.key))


@virtual
async def test_a_process_that_was_ready_is_running_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", ready="up:60")
        identity = running_before(world, service)
        assert service.adopt(identity, Past(7, START - 100, ready=True, digest="d"))
        assert service.state is State.RUNNING
        assert service.identity == identity
        assert (service.incarnation, service.running_digest, service.uptime()) == (7, "d", 100)
        assert world.os.spawns == []
        assert world.os.signals(identity.pid) == []
        (adopted,) = [s.event for s in world.facts if isinstance(s.event, Adopted)]
        assert (adopted.pid, adopted.incarnation, adopted.start_ticks) == (identity.pid, 7, identity.start_ticks)


@virtual
async def test_a_process_that_was_not_ready_is_waited_for(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", ready="up:60", start_timeout=90.0)
        identity = running_before(world, service)
        service.adopt(identity, Past(1, START - 50))
        assert service.state is State.STARTING
        results = await world.start("web")
        assert (results["web"].word, results["web"].pid, world.now) == ("started", identity.pid, 10)


@virtual
async def test_a_process_that_does_not_become_ready_after_all_is_replaced(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", ready="notify", start_timeout=5.0)
        identity = running_before(world, service)
        service.adopt(identity, Past(1, START))
        await advance(6.5)
        assert not world.os.processes[identity.pid].alive
        assert service.incarnation == 2
        assert world.times("web", "spawned") == [6]


@virtual
async def test_a_dead_process_is_not_adopted(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        identity = running_before(world, service)
        world.os.exit(identity.pid)
        assert not service.adopt(identity, Past(3, START))
        assert service.state is State.DOWN
        assert world.told("web") == ["definition-changed"]


@virtual
async def test_a_number_given_to_a_stranger_is_left_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        identity = running_before(world, service)
        world.os.exit(identity.pid)
        stranger = world.os.reuse(identity.pid)
        assert not service.adopt(identity, Past(3, START))
        await world.start("web")
        await world.stop("web")
        assert world.os.processes[stranger.pid].alive
        assert world.os.signals(stranger.pid) == []


@virtual
async def test_the_exit_of_an_adopted_process_is_an_exit_like_any(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        identity = running_before(world, service)
        service.adopt(identity, Past(1, START - 20, ready=True))
        await advance(5)
        world.os.exit(identity.pid, 4)
        await advance(0.5)
        assert service.state is State.BACKOFF
        assert service.last_exit is not None
        assert (service.last_exit.status, service.last_exit.uptime_s) == (ExitStatus(code=4), 25)
        await advance(1)
        assert service.state is State.RUNNING
        assert service.incarnation == 2


@virtual
async def test_an_adopted_process_whose_parent_does_not_reap_it_ended_somehow(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.os.reaps_foreign = False
        service = world.define("web", restart="never")
        identity = running_before(world, service)
        service.adopt(identity, Past(1, START, ready=True))
        world.os.exit(identity.pid, 4)
        await advance(1)
        assert service.state is State.FAILED
        assert service.reason == "exited, status unknown"


@virtual
async def test_an_adopted_process_is_stopped_like_any(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", Program(term_s=None, children=(Program(own_session=True),)), stop_grace=2.0)
        identity = running_before(world, service)
        service.adopt(identity, Past(1, START, ready=True))
        results = await world.stop("web")
        assert results["web"].word == "killed"
        assert world.os.living() == []


@virtual
async def test_an_adopted_watchdog_begins_with_a_full_period(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", watchdog=5.0)
        service.adopt(running_before(world, service), Past(1, START - 500, ready=True))
        path = world.layout.service_notify("web")
        await advance(4)
        notify({"NOTIFY_SOCKET": str(path)}, watchdog=True)
        await advance(4)
        assert service.state is State.RUNNING
        await advance(2)
        assert world.times("web", "unhealthy") == [9]


@virtual
async def test_an_adopted_process_tells_its_readiness_to_the_same_address(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", ready="notify")
        service.adopt(running_before(world, service), Past(1, START))
        starting = asyncio.create_task(world.start("web"))
        await advance(2)
        notify({"NOTIFY_SOCKET": str(world.layout.service_notify("web"))}, ready=True)
        assert (await starting)["web"].word == "started"


@virtual
async def test_a_death_that_nobody_saw_is_an_exit_of_unknown_status(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        service.lifecycle.goal = Goal.UP
        service.died_unseen(Past(4, START - 60, ready=True))
        assert service.state is State.BACKOFF
        assert service.reason == "exited, status unknown; next start in 1.0 s (failure 1)"
        (exited,) = [s.event for s in world.facts if isinstance(s.event, Exited)]
        assert (exited.code, exited.signal, exited.uptime_s) == (None, None, 60)
        await advance(2)
        assert (service.state, service.incarnation) == (State.RUNNING, 5)


@virtual
async def test_a_death_that_nobody_saw_of_what_should_be_down_is_the_end(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        service.died_unseen(Past(4, START - 60))
        await advance(10)
        assert service.state is State.DOWN
        assert world.os.spawns == []


@virtual
async def test_a_service_comes_back_to_its_rest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        service.lifecycle.goal = Goal.UP
        service.rest(State.FAILED, "gave up")
        await advance(100)
        assert (service.state, service.reason) == (State.FAILED, "gave up")
        assert (await world.start("web"))["web"].word == "started"


@virtual
async def test_dependents_of_an_adopted_requirement_start_when_it_is_ready(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        db = world.define("db", ready="up:10")
        world.define("web", requires=["db"])
        db.adopt(running_before(world, db), Past(1, START - 4))
        await world.start("web")
        assert world.times("web", "spawned") == [6]
        assert len(world.os.spawns) == 1
