"""What a command waits for and then says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from svcmgr.svc import Goal, Result, State, judge_start, judge_stop
from svcmgr.svc.results import Judge, Waiter
from tests.kit.fakeos import Program
from tests.kit.world import World, advance, virtual


def nothing() -> str:
    return ""


@pytest.mark.parametrize("state", State)
def test_a_start_is_judged_in_every_state(tmp_path: Path, state: State) -> None:
    expected = {
        State.RUNNING: ("started", ""),
        State.BACKOFF: ("failed", "because"),
        State.FAILED: ("failed", "because"),
        State.DOWN: ("failed", "because before it was ready"),
    }

    @virtual
    async def check() -> None:
        async with World(tmp_path) as world:
            service = world.define("web")
            service.lifecycle.goal, service.lifecycle.state, service.reason = Goal.UP, state, "because"
            result = judge_start(service, nothing).look()
            assert (None if result is None else (result.word, result.text)) == expected.get(state)

    check()


@pytest.mark.parametrize("state", State)
def test_a_stop_is_judged_in_every_state(tmp_path: Path, state: State) -> None:
    @virtual
    async def check() -> None:
        async with World(tmp_path) as world:
            service = world.define("web")
            service.lifecycle.state = state
            for was_down, word in ((True, "was-not-running"), (False, "stopped")):
                result = judge_stop(service, was_down=was_down).look()
                assert (result and result.word) == (word if state is State.DOWN else None)
            service.lifecycle.goal = Goal.UP
            result = judge_stop(service, was_down=False).look()
            if state in (State.STARTING, State.RUNNING):
                assert result is not None
                assert result.code == "busy"

    check()


@virtual
async def test_hopeless_waiting_is_told_only_while_it_waits(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        service.lifecycle.state = State.WAITING
        result = judge_start(service, lambda: "requires db").look()
        assert result == Result("web", "failed", ok=False, text="requires db", code="start-failed")
        assert judge_start(service, nothing).look() is None
        service.lifecycle.state = State.STARTING
        assert judge_start(service, lambda: "requires db").look() is None


@virtual
async def test_a_failure_carries_the_last_words(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", Program(exits_after=1, code=1), ready="up:2", restart="never")
        world.layout.service_log("web").write_text("out of memory\n")
        result = (await world.start("web"))["web"]
        assert result.log_tail == "out of memory\n"
        assert service.last_exit is not None


@virtual
async def test_time_over_names_the_state_and_the_reason(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        service.lifecycle.state, service.reason = State.WAITING, "waits for db"
        result = judge_start(service, nothing).late()
        assert result.text == "start did not end in time; it is waiting (waits for db)"
        assert (result.word, result.code, result.ok) == ("timeout", "timeout", False)


# --- the waiter ----------------------------------------------------------------------------------------------


class Scripted:
    """A judge that speaks when told to, and counts how often it is asked."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked = 0
        self.ready = False

    def judge(self) -> Judge:
        return Judge(self.look, lambda: Result(self.key, "timeout", ok=False))

    def look(self) -> Result | None:
        self.asked += 1
        return Result(self.key, "started") if self.ready else None


@virtual
async def test_only_what_changed_is_asked_again() -> None:
    one, two = Scripted("one"), Scripted("two")
    waiter = Waiter({"one": one.judge(), "two": two.judge()})
    waiter.touch(["one"])  # before the first look everything is asked anyway
    assert waiter.look()
    waiter.touch(["two", "stranger"])
    await waiter.wait()
    assert waiter.look()
    assert (one.asked, two.asked) == (1, 2)
    two.ready = True
    waiter.touch(["two"])
    assert waiter.look()
    waiter.touch(["two"])  # has spoken
    assert waiter.look()
    assert (one.asked, two.asked) == (1, 3)
    one.ready = True
    waiter.touch(["one"])
    assert not waiter.look()
    assert waiter.results == {"one": Result("one", "started"), "two": Result("two", "started")}


@virtual
async def test_touching_what_is_not_waited_for_wakes_nobody() -> None:
    waiter = Waiter({"one": Scripted("one").judge()})
    waiter.look()
    waiter.touch(["other"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await waiter.wait()


@virtual
async def test_giving_up_answers_for_the_silent_alone() -> None:
    one, two = Scripted("one"), Scripted("two")
    one.ready = True
    waiter = Waiter({"one": one.judge(), "two": two.judge()})
    waiter.look()
    waiter.give_up()
    assert {k: r.word for k, r in waiter.results.items()} == {"one": "started", "two": "timeout"}
    assert not waiter.look()


@virtual
async def test_a_cancelled_command_is_forgotten(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="up:5")
        starting = asyncio.create_task(world.start("web"))
        await advance(1)
        starting.cancel()
        await advance(1)
        assert world.supervisor._waiters == {}
        await advance(5)
        assert world["web"].state is State.RUNNING


@virtual
async def test_no_judges_no_wait(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        assert await world.supervisor.results({}, 60.0) == {}
        assert world.now == 0
