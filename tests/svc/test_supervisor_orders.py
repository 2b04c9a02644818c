"""Orders that were on the queue before a spawn could tell how it went."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from svcmgr.svc import Goal, State
from svcmgr.svc.backoff import BackoffSpec
from tests.kit.fakeos import Program
from tests.kit.world import World, advance, virtual


def at_once(world: World, *actions: Callable[[], None]) -> None:
    """Put all of them on the queue before the first is carried out."""

    def queue() -> None:
        for action in actions:
            world.supervisor.post(action)

    world.supervisor.post(queue)


def stop(world: World, key: str) -> Callable[[], None]:
    def act() -> None:
        world[key].lifecycle.goal = Goal.DOWN
        world[key].stop()

    return act


def start(world: World, key: str) -> Callable[[], None]:
    def act() -> None:
        world[key].lifecycle.goal = Goal.UP
        world[key].start()

    return act


RUNS = Program()
FAILS = Program(fails=errno.ENOENT)
BUSY = Program(fails=errno.EAGAIN)


@pytest.mark.parametrize("program", [RUNS, FAILS, BUSY], ids=["runs", "fails", "busy"])
@pytest.mark.parametrize("ready", ["none", "up:1"])
def test_a_stop_right_behind_a_start_ends_down(tmp_path: Path, program: Program, ready: str) -> None:
    @virtual
    async def history() -> None:
        async with World(tmp_path) as world:
            service = world.define("web", program, ready=ready, restart="always")
            at_once(world, start(world, "web"), stop(world, "web"))
            await advance(100)
            assert service.state is State.DOWN
            assert not service.present
            assert world.mains("web") == []

    history()


@pytest.mark.parametrize("ready", ["none", "up:1"])
def test_a_start_behind_that_ends_running(tmp_path: Path, ready: str) -> None:
    @virtual
    async def history() -> None:
        async with World(tmp_path) as world:
            service = world.define("web", RUNS, ready=ready)
            at_once(world, start(world, "web"), stop(world, "web"), start(world, "web"))
            await advance(100)
            assert service.state is State.RUNNING
            world.pid("web")
            await world.stop("web")

    history()


def test_a_restart_right_behind_a_start_that_fails_tries_again(tmp_path: Path) -> None:
    @virtual
    async def history() -> None:
        async with World(tmp_path) as world:
            service = world.define("web", FAILS)

            def mend() -> None:
                world.becomes("web", RUNS)
                service.rerun()

            at_once(world, start(world, "web"), mend)
            await advance(100)
            assert service.state is State.RUNNING
            await world.stop("web")

    history()


def test_a_stop_between_a_deadline_and_its_turn_disarms_it(tmp_path: Path) -> None:
    @virtual
    async def history() -> None:
        async with World(tmp_path) as world:
            service = world.define("web", BUSY, restart="always", backoff=BackoffSpec(delay=0.0))
            ends: list[State] = []

            def watch(turns: int) -> None:
                """In each turn of the queue until it backs off; the deadline of that is in the queue by then."""
                if service.state is State.BACKOFF:
                    stop(world, "web")()
                    ends.append(service.state)
                elif turns:
                    world.supervisor.post(lambda: watch(turns - 1))

            at_once(world, start(world, "web"), lambda: watch(10))
            await advance(100)
            assert (ends, service.state, service.restarts) == ([State.DOWN], State.DOWN, 0)

    history()
