"""Whole histories: commands, order, and what is told, with a real supervisor over a fake operating system."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import Busy, DependencyCycle, UnknownService
from svcmgr.services.command.service import CommandService
from svcmgr.svc import BackoffSpec, Goal, Result, State
from svcmgr.svc.events import Stamped
from tests.kit.fakeos import Program
from tests.kit.world import World, advance, virtual


def words(results: dict[str, Result]) -> dict[str, str]:
    return {key: result.word for key, result in results.items()}


@virtual
async def test_a_start_gives_a_process_and_says_which(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        results = await world.start("web")
        assert results == {"web": Result("web", "started", pid=world.pid("web"))}
        assert world["web"].state is State.RUNNING
        assert world.told("web") == ["definition-changed", "goal-set", "spawned", "ready"]
        assert world.os.pidfiles[world.layout.service_pidfile("web")] == world.pid("web")


@virtual
async def test_a_stop_ends_it_and_says_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        await world.start("web")
        assert words(await world.stop("web")) == {"web": "stopped"}
        assert world["web"].state is State.DOWN
        assert world["web"].reason == "stopped"
        assert world.mains("web") == []
        assert world.os.pidfiles == {}


@virtual
async def test_stopping_what_is_down_changes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        assert words(await world.stop("web")) == {"web": "was-not-running"}
        assert world.os.spawns == []
        assert world.told("web") == ["definition-changed"]


@virtual
async def test_a_second_start_of_what_runs_starts_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        await world.start("web")
        assert words(await world.start("web")) == {"web": "started"}
        assert len(world.os.spawns) == 1


@virtual
async def test_ten_starts_share_one_attempt(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="up:2")
        results = await asyncio.gather(*(world.start("web") for _ in range(10)))
        assert [words(r) for r in results] == [{"web": "started"}] * 10
        assert len(world.os.spawns) == 1
        assert world.now == 2


@virtual
async def test_ten_starts_share_one_failure(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(exits_after=1, code=3), ready="up:2", restart="never")
        results = await asyncio.gather(*(world.start("web") for _ in range(10)))
        assert {r["web"].text for r in results} == {"exited with code 3"}
        assert len(world.os.spawns) == 1
        assert world.now == 1


@virtual
async def test_stop_during_start_wins(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(term_s=1), ready="up:5")
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(world.start("web"))
            await advance(2)
            assert words(await world.stop("web")) == {"web": "stopped"}
        assert world.now == 3
        assert starting.result()["web"].text == "it was stopped meanwhile"
        assert world["web"].state is State.DOWN
        assert "ready" not in world.told("web")
        await advance(100)
        assert world.mains("web") == []


@virtual
async def test_start_during_stop_is_a_restart(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(term_s=3))
        await world.start("web")
        first = world.pid("web")
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(world.stop("web"))
            await advance(1)
            assert words(await world.start("web")) == {"web": "started"}
        assert world.now == 3
        assert stopping.result()["web"] == Result(
            "web", "failed", ok=False, text="it was started meanwhile", code="busy"
        )
        assert world.pid("web") != first
        assert world["web"].goal is Goal.UP


@virtual
async def test_the_last_of_many_words_counts(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(term_s=1), ready="up:1")
        async with asyncio.TaskGroup() as group:
            for command in (world.start, world.stop, world.start, world.restart, world.start, world.stop):
                group.create_task(command("web"))
        await advance(30)
        assert world["web"].state is State.DOWN
        assert world.mains("web") == []


@virtual
async def test_restart_gives_a_fresh_process_after_the_old_one_is_gone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(term_s=2))
        await world.start("web")
        first = world.pid("web")
        assert words(await world.restart("web")) == {"web": "restarted"}
        assert world.pid("web") != first
        assert world.now == 2
        assert world["web"].restarts == 0
        assert world["web"].incarnation == 2


@virtual
async def test_restart_of_what_is_down_starts_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        assert words(await world.restart("web")) == {"web": "restarted"}


@virtual
async def test_a_stop_that_needs_sigkill_says_killed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("deaf", Program(term_s=None), stop_grace=3.0)
        await world.start("deaf")
        assert words(await world.stop("deaf")) == {"deaf": "killed"}
        assert world.now == 3


@virtual
async def test_the_stop_signal_of_the_definition_is_used(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", stop_signal="SIGQUIT")
        await world.start("web")
        pid = world.pid("web")
        await world.stop("web")
        assert world.os.signals(pid)[0] == 3


@virtual
async def test_children_that_are_left_behind_are_ended_before_it_is_down(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        child = Program(term_s=0.5, own_session=True)
        world.define("web", Program(children=(child, Program(term_s=None))))
        await world.start("web")
        assert len(world.os.living()) == 3
        assert words(await world.stop("web")) == {"web": "killed"}
        assert world.os.living() == []


@virtual
async def test_what_a_crash_leaves_is_ended_before_the_next_process(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(children=(Program(term_s=0.3),)))
        await world.start("web")
        first = world.pid("web")
        world.os.crash(first)
        await advance(0.2)
        assert world["web"].present
        assert not world["web"].alive
        await advance(5)
        assert len(world.os.living()) == 2
        assert world.pid("web") != first


@virtual
async def test_a_forking_daemon_is_followed_by_its_pidfile(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        pidfile = tmp_path / "forkd.pid"
        world.define("forkd", Program(exits_after=0.1, children=(Program(),)), ready=f"pidfile:{pidfile}")
        starting = asyncio.create_task(world.start("forkd"))
        await advance(0.05)
        (child,) = [p.pid for p in world.os.processes.values() if p.spec is None]
        pidfile.write_text(f"{child}\n")
        world.os.pidfiles[pidfile] = child
        results = await starting
        assert results["forkd"].pid == child
        assert world["forkd"].state is State.RUNNING
        await advance(10)
        world.os.crash(child)
        await advance(0.5)
        assert world["forkd"].state is State.BACKOFF


# --- what cannot be started ----------------------------------------------------------------------------


@virtual
async def test_a_missing_program_fails_at_once_and_is_not_tried_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("ghost", Program(fails=2))
        results = await world.start("ghost")
        assert results["ghost"].word == "failed"
        assert "ENOENT" in results["ghost"].text
        assert world["ghost"].state is State.FAILED
        await advance(1000)
        assert world.told("ghost").count("spawn-failed") == 1


@virtual
async def test_a_pidfile_that_somebody_holds_is_a_failure_that_names_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        stranger = world.os.start_elsewhere(world.adoptable("other"))
        world.os.locks[world.layout.service_pidfile("web")] = stranger.pid
        results = await world.start("web")
        assert str(stranger.pid) in results["web"].text
        assert world["web"].state is State.FAILED
        assert world.os.signals(stranger.pid) == []


@virtual
async def test_an_unkillable_process_is_refused_a_second_beside_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("stuck", Program(unkillable=True), stop_grace=2.0)
        await world.start("stuck")
        pid = world.pid("stuck")
        stopped = (await world.stop("stuck"))["stuck"]
        assert (stopped.word, stopped.code) == ("failed", "stop-failed")
        assert str(pid) in stopped.text
        assert world.now == 7
        for command in (world.start, world.restart):
            refused = (await command("stuck"))["stuck"]
            assert (refused.word, refused.code) == ("failed", "stop-failed")
        assert world["stuck"].state is State.FAILED
        assert world.mains("stuck") == [pid]
        assert len(world.os.spawns) == 1


@virtual
async def test_an_unkillable_process_that_ends_late_frees_its_service(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("stuck", Program(unkillable=True), stop_grace=1.0)
        await world.start("stuck")
        await world.stop("stuck")
        world.os.exit(world.pid("stuck"))
        await advance(1)
        assert world["stuck"].state is State.DOWN
        world.becomes("stuck", Program())
        assert words(await world.start("stuck")) == {"stuck": "started"}


# --- order -----------------------------------------------------------------------------------------------


@virtual
async def test_requirements_start_first_and_stop_last(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        slow = Program(term_s=1)
        world.define("web", slow, ready="up:1", requires=["app"])
        world.define("app", slow, ready="up:1", requires=["db"])
        world.define("db", slow, ready="up:1")
        assert words(await world.start("web")) == {"web": "started"}
        assert world.order("spawned") == ["db", "app", "web"]
        assert world.times("app", "spawned") == [1]
        assert world.times("web", "spawned") == [2]
        assert world.now == 3
        assert set(words(await world.stop("db")).values()) == {"stopped"}
        assert world.order("stopping") == ["web", "app", "db"]
        assert world.now == 6


@virtual
async def test_what_does_not_depend_goes_in_parallel(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        keys = [f"s{n}" for n in range(20)]
        for key in keys:
            world.define(key, Program(term_s=2), ready="up:3")
        await world.start(*keys)
        assert world.now == 3
        await world.stop(*keys)
        assert world.now == 5


@virtual
async def test_after_is_order_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("first", ready="up:2")
        world.define("second", after=["first", "never-defined"])
        await world.start("second")
        assert world.now == 0
        assert world["first"].state is State.DOWN
        await world.stop("second")
        await world.start("second", "first")
        assert world.order("spawned")[1:] == ["first", "second"]
        assert world.now == 2


@virtual
async def test_after_does_not_wait_for_what_failed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("first", Program(exits_after=1, code=1), ready="up:5", restart="never")
        world.define("second", after=["first"])
        results = await world.start("first", "second")
        assert words(results) == {"first": "failed", "second": "started"}
        assert world.now == 1


@virtual
async def test_the_wait_is_told_and_ends(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db", ready="up:4")
        world.define("web", requires=["db"])
        async with asyncio.TaskGroup() as group:
            group.create_task(world.start("web"))
            await advance(1)
            assert world["web"].state is State.WAITING
            assert world["web"].reason == "waits for db"
        assert world["web"].state is State.RUNNING
        assert world["web"].reason == ""


@virtual
async def test_a_requirement_that_is_not_defined_is_told_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", requires=["db"])
        results = await world.start("web")
        assert results["web"].text == "requires db, which is not defined"
        assert world.now == 0
        assert world["web"].state is State.WAITING
        world.define("db")
        await world.start("db")
        assert world["web"].state is State.RUNNING


@virtual
async def test_a_requirement_that_fails_is_told_at_once_and_waited_for(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db", Program(exits_after=1, code=1), ready="up:5", restart="never")
        world.define("web", requires=["db"])
        results = await world.start("web")
        assert results["web"].text == "requires db, which is failed"
        assert world.now == 1
        assert world["web"].state is State.WAITING
        world.becomes("db", Program())
        await world.start("db")
        assert world["web"].state is State.RUNNING


@virtual
async def test_a_failure_further_down_is_told_at_once_too(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db", Program(exits_after=1, code=1), ready="up:5", restart="never")
        world.define("side", ready="up:90", start_timeout=100.0)
        world.define("app", requires=["side", "db"])
        world.define("web", requires=["app"])
        world.define("top", requires=["web"])
        results = await world.start("top", "web", "app")
        assert world.now == 1
        assert {r.text for k, r in results.items() if k != "app"} == {
            "waits for app, which requires db, which is failed"
        }
        assert results["app"].text == "requires db, which is failed"


@virtual
async def test_dependents_stop_first_in_whatever_order_the_goals_are_given(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("app", Program(term_s=1), requires=["db"])
        world.define("db", Program(term_s=1))
        world.define("web", Program(term_s=1), requires=["app"])
        await world.start("web")
        world.supervisor.want(["app", "db", "web"], Goal.DOWN)
        await world.supervisor.stop(["app", "db", "web"])
        await advance(10)
        assert world.order("stopping") == ["web", "app", "db"]


@virtual
async def test_a_waiting_service_can_be_stopped(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db", ready="up:9")
        world.define("web", requires=["db"])
        async with asyncio.TaskGroup() as group:
            group.create_task(world.start("web"))
            await advance(1)
            assert words(await world.stop("web")) == {"web": "was-not-running"}
        await advance(20)
        assert world.states("db", "web") == ["running", "down"]


@virtual
async def test_a_crash_of_a_requirement_leaves_its_dependents_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db")
        world.define("web", requires=["db"])
        await world.start("web")
        web = world.pid("web")
        world.os.crash(world.pid("db"))
        await advance(10)
        assert world.states("db", "web") == ["running", "running"]
        assert world.pid("web") == web


@virtual
async def test_a_stop_of_a_requirement_waits_for_those_that_still_run(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db")
        for key, seconds in (("a", 1), ("b", 4), ("c", 2)):
            world.define(key, Program(term_s=seconds), requires=["db"])
        await world.start("a", "b", "c")
        await world.stop("db")
        assert world.times("db", "stopping") == [4]
        assert world.order("exited") == ["a", "c", "b", "db"]


@virtual
async def test_a_dependent_whose_start_is_under_way_is_stopped_before_its_requirement(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db")
        world.define("web", Program(term_s=1), requires=["db"], ready="up:10")
        async with asyncio.TaskGroup() as group:
            group.create_task(world.start("web"))
            await advance(1)
            await world.stop("db")
        assert world.order("exited") == ["web", "db"]


@virtual
async def test_an_unkillable_dependent_does_not_hold_the_stop_of_the_rest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db")
        world.define("web", Program(unkillable=True), requires=["db"], stop_grace=1.0)
        await world.start("web")
        results = await world.stop("db")
        assert words(results) == {"web": "failed", "db": "stopped"}
        assert world.now == 6


@virtual
async def test_a_long_chain_starts_in_order(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        keys = [f"s{n}" for n in range(60)]
        for before, key in zip([None, *keys], keys, strict=False):
            world.define(key, requires=[before] if before else [])
        await world.start(keys[-1])
        assert world.order("spawned") == keys
        await world.stop(keys[0])
        assert world.order("exited") == keys[::-1]


# --- definitions -----------------------------------------------------------------------------------------


@virtual
async def test_a_cycle_is_refused_and_nothing_is_owned(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("a", requires=["b"])
        with pytest.raises(DependencyCycle) as caught:
            world.define("b", after=["a"])
        assert set(caught.value.details["path"]) == {"a", "b"}
        assert list(world.supervisor.services) == ["a"]
        assert world.supervisor.graph.before("b") == ()


@virtual
async def test_remove_refuses_what_runs_and_forgets_what_does_not(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        await world.start("web")
        with pytest.raises(Busy):
            world.supervisor.remove("web")
        await world.stop("web")
        world.supervisor.remove("web")
        with pytest.raises(UnknownService):
            world.supervisor.find("web")


@virtual
async def test_remove_takes_the_timer_of_a_backing_off_service_along(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(exits_after=1, code=1))
        await world.start("web")
        await advance(1.5)
        assert world["web"].state is State.BACKOFF
        world.supervisor.remove("web")
        await advance(100)
        assert len(world.os.spawns) == 1


@virtual
async def test_commands_for_unknown_names_are_left_out(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        world.supervisor.want(["web", "ghost"], Goal.UP)
        assert await world.supervisor.start(["ghost", "web"]) == {}
        assert world["web"].state is State.RUNNING


# --- waiting and telling -----------------------------------------------------------------------------------


@virtual
async def test_a_command_gives_up_when_its_time_is_over_and_the_start_goes_on(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="up:9")
        late = (await world.start("web", timeout_s=4.0))["web"]
        assert (late.word, late.code, world.now) == ("timeout", "timeout", 4)
        assert late.text == "start did not end in time; it is starting"
        await advance(6)
        assert world["web"].state is State.RUNNING


@virtual
async def test_a_stop_that_takes_too_long_says_where_it_is(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(term_s=8))
        await world.start("web")
        late = (await world.stop("web", timeout_s=2.0))["web"]
        assert late.text.startswith("stop did not end in time; it is stopping")
        await advance(7)
        assert world["web"].state is State.DOWN


@virtual
async def test_next_event_returns_at_the_next_event(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(exits_after=5))
        await world.start("web")
        async with asyncio.timeout(10):
            await world.supervisor.next_event()
        assert world.now == 5


@virtual
async def test_a_fault_in_one_service_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        world.supervisor.post(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        assert [type(e) for e in world.bugs] == [ZeroDivisionError]
        assert world.facts[-1].event.what == "trouble"
        world.bugs.clear()
        assert words(await world.start("web")) == {"web": "started"}


class Wrong(CommandService):
    """A kind whose answers raise."""

    def argv(self) -> list[str]:
        raise KeyError("volume")


@virtual
async def test_a_kind_whose_answer_raises_fails_alone_and_is_told(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("wrong", cls=Wrong)
        result = (await world.start("wrong"))["wrong"]
        assert (result.word, world.now) == ("failed", 0)
        assert result.text == "cannot start wrong: kind command failed: KeyError: 'volume'"
        assert world["wrong"].state is State.FAILED
        assert [type(e) for e in world.bugs] == [KeyError]
        assert words(await world.stop("wrong")) == {"wrong": "was-not-running"}
        world.bugs.clear()


@virtual
async def test_a_listener_that_raises_breaks_nothing(tmp_path: Path) -> None:
    def full(stamped: Stamped) -> None:
        raise OSError("disk full")

    async with World(tmp_path) as world:
        world.supervisor.sinks.insert(0, full)
        world.define("web", ready="up:1")
        assert words(await world.start("web")) == {"web": "started"}
        assert words(await world.stop("web")) == {"web": "stopped"}
        assert {type(e) for e in world.bugs} == {OSError}
        assert len(world.bugs) == len(world.facts)
        world.bugs.clear()


@virtual
async def test_a_task_that_fails_fails_alone(tmp_path: Path) -> None:
    async def broken() -> None:
        raise ValueError("no")

    async with World(tmp_path) as world:
        world.supervisor.run(broken(), "broken")
        await advance(1)
        assert [type(e) for e in world.bugs] == [ValueError]
        world.bugs.clear()


@virtual
async def test_the_queue_is_carried_out_in_slices(tmp_path: Path) -> None:
    """A reader must not wait for a thousand starts: after each slice of time the loop serves others."""

    async with World(tmp_path) as world:
        done: list[Any] = []
        ticks = iter(range(10_000))
        world.supervisor.clock.monotonic = lambda: next(ticks) / 1000  # type: ignore[method-assign]
        for n in range(6):
            world.supervisor.post(lambda n=n: done.append(n))  # type: ignore[misc]
        asyncio.get_running_loop().call_soon(done.append, "reader")
        for n in range(6, 12):
            world.supervisor.post(lambda n=n: done.append(n))  # type: ignore[misc]
        await asyncio.sleep(0.1)
        assert [n for n in done if n != "reader"] == list(range(12))
        del world.supervisor.clock.monotonic  # type: ignore[method-assign]


@virtual
async def test_leaving_lets_the_processes_run(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        await world.start("web")
        pid = world.pid("web")
    assert world.os.living() == [pid]
    assert world.os.signals(pid) == []


@virtual
async def test_a_restart_of_several_keeps_their_order(tmp_path: Path) -> None:
    """A dependent that has stopped first waits for its requirement to be ready again."""
    async with World(tmp_path) as world:
        world.define("db", Program(term_s=3), ready="up:1")
        world.define("web", Program(term_s=1), requires=["db"])
        await world.start("web")
        began = world.now
        assert words(await world.restart("web", "db")) == {"web": "restarted", "db": "restarted"}
        assert world.times("db", "spawned")[-1] == began + 3
        assert world.times("web", "spawned")[-1] == began + 4


@virtual
async def test_a_crashed_service_waits_for_what_it_requires(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("db", backoff=BackoffSpec(delay=5.0), ready="up:1")
        world.define("web", requires=["db"], backoff=BackoffSpec(delay=0.5))
        await world.start("web")
        began = world.now
        world.os.exit(world.pid("web"), 1)
        world.os.exit(world.pid("db"), 1)
        await advance(1)
        assert world["web"].state is State.WAITING
        assert world["web"].reason == "requires db, which is backoff"
        await advance(10)
        assert world["web"].state is State.RUNNING
        assert world.times("web", "spawned")[-1] == began + 6
        assert words(await world.stop("web")) == {"web": "stopped"}


@virtual
async def test_a_second_stop_of_an_unkillable_process_waits_for_its_own_verdict(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(unkillable=True), stop_grace=1.0)
        await world.start("web")
        assert words(await world.stop("web")) == {"web": "failed"}
        first = world.now
        assert words(await world.stop("web")) == {"web": "failed"}
        assert world.now - first == 5  # the deadline after SIGKILL, once more
