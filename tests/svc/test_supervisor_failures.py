"""Crashes, policies, readiness and liveness: histories on the virtual clock."""

from __future__ import annotations

import asyncio
import errno
import signal
from pathlib import Path

import pytest

from svcmgr.errors import BadDefinition, SpawnFailed
from svcmgr.proc import ExitStatus
from svcmgr.sdnotify import notify
from svcmgr.svc import BackoffSpec, State
from svcmgr.svc.events import BackedOff
from tests.kit.fakeos import Program
from tests.kit.vloop import turns
from tests.kit.world import World, advance, make_spec, virtual

CRASHES = Program(exits_after=1, code=3)


# --- restarting ------------------------------------------------------------------------------------------


@virtual
async def test_a_crash_loop_slows_down_and_gives_up(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES)
        await world.start("bad")
        await advance(200)
        # Each run lasts 1 s; between them 1, 2, 4, 4, 4 s; the sixth failure within the period is one too many.
        assert world.times("bad", "spawned") == [0, 2, 5, 10, 15, 20]
        assert world["bad"].state is State.FAILED
        assert world["bad"].restarts == 5
        assert world["bad"].reason == "exited with code 3; gave up after 5 restarts"
        assert world.told("bad")[-2:] == ["exited", "gave-up"]


@virtual
async def test_a_manual_start_after_giving_up_begins_anew(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES)
        await world.start("bad")
        await advance(100)
        assert world["bad"].state is State.FAILED
        world.becomes("bad", Program(exits_after=1))
        await world.start("bad")
        assert world["bad"].restarts == 0
        assert world["bad"].lifecycle.backoff.streak == 0
        world.os.crash(world.pid("bad"))
        await advance(0.9)
        assert world["bad"].state is State.BACKOFF
        assert world["bad"].reason == "killed by SIGSEGV; next start in 1.0 s (failure 1)"


@virtual
async def test_a_manual_start_during_back_off_starts_now_and_keeps_the_count(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES)
        await world.start("bad")
        await advance(3.5)
        assert world["bad"].state is State.BACKOFF
        results = await world.start("bad")
        assert results["bad"].word == "started"
        assert world.now == 3.5
        await advance(1.1)
        assert world["bad"].lifecycle.backoff.streak == 3


@virtual
async def test_a_start_that_crashes_tells_the_starter(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES, ready="up:5")
        results = await world.start("bad")
        assert world.now == 1
        assert results["bad"].code == "start-failed"
        assert results["bad"].text == "exited with code 3; next start in 1.0 s (failure 1)"


@virtual
async def test_the_last_words_of_a_crash_are_kept(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES, ready="up:5")
        log = world.layout.service_log("bad")
        log.write_text("".join(f"line {n}\n" for n in range(50)))
        results = await world.start("bad")
        assert results["bad"].log_tail.splitlines() == [f"line {n}" for n in range(40, 50)]


@virtual
async def test_a_long_healthy_run_resets_the_delay(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(exits_after=10, code=1), backoff=BackoffSpec(1.0, 64.0, 0, 10.0))
        await world.start("web")
        await advance(60)
        delays = [s.event.delay_s for s in world.facts if isinstance(s.event, BackedOff)]
        assert delays == [1.0] * len(delays)
        assert len(delays) == 5


@pytest.mark.parametrize(
    ("policy", "code", "ends"),
    [
        ("always", 0, State.BACKOFF),
        ("always", 1, State.BACKOFF),
        ("on-failure", 0, State.DOWN),
        ("on-failure", 1, State.BACKOFF),
        ("never", 0, State.DOWN),
        ("never", 1, State.FAILED),
    ],
)
def test_what_the_policy_does_with_an_exit(tmp_path: Path, policy: str, code: int, ends: State) -> None:
    @virtual
    async def check() -> None:
        async with World(tmp_path) as world:
            world.define("web", Program(exits_after=5, code=code), restart=policy)
            await world.start("web")
            await advance(5.5)
            assert world["web"].state is ends

    check()


@pytest.mark.parametrize("policy", ["always", "on-failure", "never"])
def test_a_stop_is_no_failure_whatever_the_policy(tmp_path: Path, policy: str) -> None:
    @virtual
    async def check() -> None:
        async with World(tmp_path) as world:
            world.define("web", Program(term_code=9), restart=policy)
            await world.start("web")
            await world.stop("web")
            await advance(100)
            assert world["web"].state is State.DOWN
            assert len(world.os.spawns) == 1
            assert world["web"].last_exit is not None
            assert world["web"].last_exit.status == ExitStatus(code=9)

    check()


@virtual
async def test_a_program_that_does_its_work_and_ends_is_down(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("once", Program(exits_after=3))
        await world.start("once")
        await advance(4)
        assert world["once"].state is State.DOWN
        assert world["once"].reason == "exited with code 0"
        assert world.told("once")[-1] == "down"
        await world.start("once")
        assert world["once"].state is State.RUNNING


@virtual
async def test_a_program_that_ends_before_it_is_ready_is_told_as_such(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("once", Program(exits_after=1), ready="up:5")
        results = await world.start("once")
        assert results["once"].text == "exited with code 0 before it was ready"


@virtual
async def test_a_failure_to_spawn_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web")
        world.os.spawn_failures.append(SpawnFailed("cannot start web: no memory", errno=errno.ENOMEM))
        results = await world.start("web")
        assert results["web"].text == "cannot start web: no memory; next start in 1.0 s (failure 1)"
        await advance(1.5)
        assert world["web"].state is State.RUNNING


@virtual
async def test_a_stop_during_back_off_is_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES)
        await world.start("bad")
        await advance(1.5)
        results = await world.stop("bad")
        assert results["bad"].word == "was-not-running"
        assert world["bad"].state is State.DOWN
        await advance(100)
        assert len(world.os.spawns) == 1


@virtual
async def test_the_crash_of_a_service_that_is_being_stopped_is_its_stop(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(term_s=None))
        await world.start("web")
        stopping = asyncio.create_task(world.stop("web"))
        await advance(1)
        world.os.crash(world.pid("web"))
        assert (await stopping)["web"].word == "stopped"
        assert world["web"].state is State.DOWN


@virtual
async def test_a_redefinition_takes_over_policy_and_delays_at_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        await world.start("web")
        service.redefine(make_spec("web", restart="never"))
        world.os.crash(world.pid("web"))
        await advance(1)
        assert service.state is State.FAILED


# --- readiness -------------------------------------------------------------------------------------------


@virtual
async def test_ready_by_time_is_exact(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="up:7.25")
        await world.start("web")
        assert world.times("web", "ready") == [7.25]


@virtual
async def test_not_ready_in_time_is_a_failure(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("slow", Program(term_s=1), ready="up:100", start_timeout=5.0)
        results = await world.start("slow")
        text = "not ready within 5 s (up:100)"
        assert results["slow"].text == f"{text}; next start in 1.0 s (failure 1)"
        assert world.now == 6
        assert world.told("slow")[2:] == ["spawned", "not-ready", "stopping", "exited", "backing-off"]
        await advance(1.5)
        assert world["slow"].state is State.STARTING


@virtual
async def test_not_ready_in_time_fails_for_good_where_the_policy_says_never(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("slow", ready="up:100", start_timeout=5.0, restart="never")
        assert (await world.start("slow"))["slow"].text == "not ready within 5 s (up:100)"
        assert world["slow"].state is State.FAILED


@virtual
async def test_ready_when_its_port_answers(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        path = tmp_path / "port"
        world.define("web", ready=f"unix:{path}")
        starting = asyncio.create_task(world.start("web"))
        await advance(3)
        assert world["web"].state is State.STARTING
        server = await asyncio.start_unix_server(lambda r, w: w.close(), path)
        assert (await starting)["web"].word == "started"
        assert 3 <= world.now <= 3.3
        server.close()
        await server.wait_closed()
        await turns()


@virtual
async def test_ready_when_its_command_succeeds(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="command:probe --fast")
        world.becomes("probe", Program(exits_after=0.1, code=1))
        starting = asyncio.create_task(world.start("web"))
        await advance(3)
        assert world["web"].state is State.STARTING
        world.becomes("probe", Program(exits_after=0.1))
        assert (await starting)["web"].word == "started"
        assert world.os.spawns[-1].argv == ("probe", "--fast")
        assert world.os.living() == [world.pid("web")]


@virtual
async def test_a_probe_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="command:probe", start_timeout=9.0, restart="never")
        world.becomes("probe", Program(term_s=None, children=(Program(term_s=None),)))
        await world.start("web")
        await advance(10)
        assert world["web"].state is State.FAILED
        assert world.os.living() == []


@virtual
async def test_ready_when_it_says_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="notify")
        starting = asyncio.create_task(world.start("web"))
        await advance(4)
        env = world.os.spawns[-1].env
        notify(env, status="warming up")
        await advance(1)
        assert world["web"].reason == "warming up"
        notify(env, ready=True, status="serves")
        result = (await starting)["web"]
        assert (result.word, result.text, world.now) == ("started", "serves", 5)


@virtual
async def test_a_service_may_ask_for_more_time(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="notify", start_timeout=5.0)
        starting = asyncio.create_task(world.start("web"))
        await advance(4)
        notify(world.os.spawns[-1].env, extend_timeout_usec=20_000_000)
        await advance(15)
        assert world["web"].state is State.STARTING
        notify(world.os.spawns[-1].env, ready=True)
        assert (await starting)["web"].word == "started"


@virtual
async def test_a_notification_names_another_main_process_only_within_its_tree(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", Program(children=(Program(),)), ready="notify")
        stranger = world.os.start_elsewhere(world.adoptable("other"))
        starting = asyncio.create_task(world.start("web"))
        await advance(1)
        env = world.os.spawns[-1].env
        first = world.pid("web")
        (child,) = [p.pid for p in world.os.processes.values() if p.ppid == first]
        notify(env, mainpid=stranger.pid)
        await advance(1)
        assert world["web"].identity is not None
        assert world["web"].identity.pid == first
        assert str(stranger.pid) in world["web"].reason
        notify(env, mainpid=child, ready=True)
        assert (await starting)["web"].pid == child


# --- liveness --------------------------------------------------------------------------------------------


@virtual
async def test_a_watchdog_that_is_not_fed_ends_the_process(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", watchdog=4.0)
        await world.start("web")
        env = world.os.spawns[-1].env
        assert env["WATCHDOG_USEC"] == "4000000"
        for _ in range(10):
            await advance(3)
            notify(env, watchdog=True)
        assert world["web"].state is State.RUNNING
        await advance(4.5)
        assert world["web"].state is State.BACKOFF
        assert world["web"].reason == "watchdog: no sign of life for 4 s; next start in 1.0 s (failure 1)"
        assert world.times("web", "unhealthy") == [34]


@virtual
async def test_a_watchdog_begins_anew_with_each_process(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", watchdog=4.0)
        await world.start("web")
        await advance(3)
        await world.restart("web")
        await advance(3.5)
        assert world["web"].state is State.RUNNING
        await world.stop("web")
        await advance(20)
        assert "unhealthy" not in world.told("web")


@virtual
async def test_a_service_may_ask_for_its_own_end(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", watchdog=60.0)
        await world.start("web")
        notify(world.os.spawns[-1].env, watchdog_trigger=True)
        await advance(0.5)
        assert world["web"].state is State.BACKOFF


@virtual
async def test_reload_signals_the_main_process_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web", Program(children=(Program(),)), reload_signal="SIGUSR1")
        plain = world.define("plain")
        with pytest.raises(BadDefinition):
            service.reconfigure()
        await world.start("web", "plain")
        assert service.reconfigure() == "sent SIGUSR1"
        first = world.pid("web")
        (child,) = [p.pid for p in world.os.processes.values() if p.ppid == first]
        assert world.os.signals(first) == [signal.SIGUSR1]
        assert world.os.signals(child) == []
        with pytest.raises(BadDefinition):
            plain.reconfigure()


# --- time and lateness -------------------------------------------------------------------------------------


@virtual
async def test_setting_the_date_back_an_hour_changes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("bad", CRASHES)
        world.define("slow", Program(term_s=2), ready="up:100", start_timeout=5.0, restart="never")
        world.define("guarded", watchdog=4.0, restart="never")
        async with asyncio.TaskGroup() as group:
            for key in ("bad", "slow", "guarded"):
                group.create_task(world.start(key))
            await advance(0.5)
            world.clock.offset = -3600.0
        assert world.now == 7  # when the slow one was given up
        await advance(200 - world.now)
        spawned = [s for s in world.facts if (s.event.name, s.event.what) == ("bad", "spawned")]
        assert len(spawned) == 6
        assert world.states("bad", "slow", "guarded") == ["failed", "failed", "failed"]
        assert world["guarded"].last_exit is not None
        assert world["guarded"].last_exit.uptime_s == 4
        assert world["bad"].last_exit is not None
        assert world["bad"].last_exit.uptime_s == 1


@virtual
async def test_setting_the_date_forward_does_not_fire_timers(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="up:10", watchdog=20.0)
        starting = asyncio.create_task(world.start("web"))
        await advance(1)
        world.clock.offset = 1e6
        await advance(1)
        assert world["web"].state is State.STARTING
        await starting
        assert world.now == 10


@virtual
async def test_uptime_is_of_the_present_process(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        service = world.define("web")
        assert service.uptime() == 0
        await world.start("web")
        await advance(5)
        assert service.uptime() == 5
        world.clock.offset = -100
        assert service.uptime() == 5
        await world.stop("web")
        assert service.uptime() == 0


@virtual
async def test_words_of_an_old_process_are_not_the_new_ones(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.define("web", ready="notify", start_timeout=60.0)
        starting = asyncio.create_task(world.start("web"))
        await advance(1)
        env = world.os.spawns[-1].env
        notify(env, status="old")
        await advance(0)
        world.os.crash(world.pid("web"))
        await advance(0.5)
        assert (await starting)["web"].word == "failed"
        await advance(1)
        assert world["web"].state is State.STARTING
        assert world["web"].reason == ""
