"""Ending true processes: what is asked, what is forced, and that nothing of a service is left."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from svcmgr.errors import NotPermitted, NotRunning
from svcmgr.proc import ExitStatus, Process, State, StopOutcome, StopPlan, StopResult
from tests.kit.procs import Host, host, open_descriptors, py, running, sh, until

STOPPED = StopOutcome(StopResult.STOPPED)
KILLED = StopOutcome(StopResult.KILLED)
#: A short ladder: what ignores SIGTERM is killed after a tenth of a second.
QUICK = StopPlan(grace_s=0.1, leftover_grace_s=0.1, kill_deadline_s=5)
IGNORES = "trap '' TERM; echo $$; while :; do sleep 1000; done"


def run(tmp_path: Path, check: Callable[[Host], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with host(tmp_path) as it:
            await check(it)

    asyncio.run(inside())


async def stop(process: Process) -> StopOutcome:
    process.stop()
    return await process.wait_gone()


async def pids_of(it: Host, name: str, count: int) -> list[int]:
    """The numbers that ``name`` printed, all of which live."""
    pids = [int(line) for line in await it.lines(name, count)]
    assert all(map(running, pids))
    return pids


def died(pids: list[int]) -> bool:
    return not any(map(running, pids))


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", ExitStatus(code=0)),
        ("exit 3", ExitStatus(code=3)),
        ("exit 255", ExitStatus(code=255)),
        ("kill -9 $$", ExitStatus(signal=9)),
        ("kill -TERM $$", ExitStatus(signal=15)),
        ("kill -40 $$", ExitStatus(signal=40)),
    ],
)
def test_exit_status(tmp_path: Path, script: str, status: ExitStatus) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh(script))
        process.spawn()
        assert await it.exit_of("a") == status
        assert process.last_exit == status
        assert it.exits["a"] == [status]

    run(tmp_path, check)


def test_core_dumps_are_told(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()

    async def check(it: Host) -> None:
        limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
        core = 1 << 20 if limit == resource.RLIM_INFINITY else limit
        process = it.process("a", sh("kill -SEGV $$"), cwd=tmp_path, rlimits={"core": (core, core)})
        process.spawn()
        status = await it.exit_of("a")
        assert status.signal == signal.SIGSEGV
        # Where cores go to a file of the working directory, it is there exactly if the status says so.
        if "/" not in pattern and not pattern.startswith("|"):
            assert status.core == any(one.stat().st_size for one in tmp_path.glob("*core*"))

    run(tmp_path, check)


def test_stop_asks_and_then_nothing_is_left(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        script = "import signal, sys; signal.signal(15, lambda *_: sys.exit(15)); print(1, flush=True); signal.pause()"
        process = it.process("a", py(script), pidfile=tmp_path / "pid", write_pidfile=True)
        pid = process.spawn().pid
        await it.lines("a", 1)
        assert await stop(process) == STOPPED
        assert it.exits["a"] == [ExitStatus(code=15)]
        assert not Path(f"/proc/{pid}").exists()
        assert not (tmp_path / "pid").exists()
        assert await stop(process) == StopOutcome(StopResult.WAS_NOT_RUNNING)
        assert it.exits["a"] == [ExitStatus(code=15)]

    run(tmp_path, check)


def test_ignoring_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh(IGNORES), stop=QUICK)
        process.spawn()
        pids = await pids_of(it, "a", 1)
        begin = time.monotonic()
        assert await stop(process) == KILLED
        assert 0.1 <= time.monotonic() - begin < 2
        assert it.exits["a"] == [ExitStatus(signal=9)]
        assert died(pids)
        assert it.marked() == []

    run(tmp_path, check)


def test_a_stopped_process_obeys_term_or_is_killed(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        for script, outcome in (("echo $$; exec sleep 1000", STOPPED), (IGNORES, KILLED)):
            name = outcome.result.value
            process = it.process(name, sh(script), stop=QUICK if outcome is KILLED else StopPlan())
            process.spawn()
            [pid] = await pids_of(it, name, 1)
            process.signal(signal.SIGSTOP)
            await until(lambda pid=pid: Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "T")
            assert await stop(process) == outcome
            assert died([pid])

    run(tmp_path, check)


def test_force_skips_the_grace_and_many_may_wait(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh(IGNORES))
        process.spawn()
        await it.lines("a", 1)
        process.stop()
        waiters = [asyncio.create_task(process.wait_gone()) for _ in range(10)]
        await asyncio.sleep(0)
        process.stop()
        process.stop(force=True)
        assert await asyncio.wait_for(asyncio.gather(*waiters), 5) == [KILLED] * 10
        assert it.exits["a"] == [ExitStatus(signal=9)]

    run(tmp_path, check)


# Each prints its pid and then waits; {0} is how.
LEFT_BEHIND = {
    "in the same group": f"sh -c '{IGNORES.replace(chr(39), chr(34))}' & echo $$; wait",
    "in a session of its own": f"setsid sh -c '{IGNORES.replace(chr(39), chr(34))}' & echo $$; wait",
    "obeying": "setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait",
}


@pytest.mark.parametrize("kind", LEFT_BEHIND)
@pytest.mark.parametrize("how", ["stop", "crash"])
def test_children_go_with_their_service(tmp_path: Path, kind: str, how: str) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh(LEFT_BEHIND[kind]), stop=QUICK)
        process.spawn()
        pids = await pids_of(it, "a", 2)
        if how == "stop":
            outcome = await stop(process)
            assert outcome == (STOPPED if kind == "obeying" else KILLED)
        else:
            process.signal(signal.SIGKILL)
            status = await it.exit_of("a")
            assert status == ExitStatus(signal=9)
        assert died(pids)
        assert it.marked() == []

    run(tmp_path, check)


DOUBLE_FORK = """
import os, signal, sys, time
def detach():
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
if os.fork() == 0:
    detach()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    print(os.getpid(), flush=True)
    while True:
        time.sleep(1000)
os.wait()
print(os.getpid(), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("how", ["stop", "crash"])
def test_double_fork_with_own_session_ignoring_term(tmp_path: Path, how: str) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", py(DOUBLE_FORK), stop=QUICK)
        process.spawn()
        pids = await pids_of(it, "a", 3)
        assert len(set(pids)) == 3
        assert sorted(process.pids()) == sorted(pids)
        if how == "stop":
            assert await stop(process) == KILLED
        else:
            process.signal(signal.SIGSEGV)
            assert (await it.exit_of("a")).signal == signal.SIGSEGV
        assert died(pids)
        assert it.marked() == []
        # Dead is not enough: they were left to us, so they have to be reaped as well.
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    run(tmp_path, check)


def test_children_without_a_marker_are_remembered_when_asked_to_stop(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process(
            "a", sh("env -i /usr/bin/setsid /bin/sh -c 'echo $$; exec /bin/sleep 1000' & echo $$; wait")
        )
        process.spawn()
        pids = await pids_of(it, "a", 2)
        await until(lambda: len(process.pids()) == 2)
        assert await stop(process) == STOPPED
        assert died(pids)

    run(tmp_path, check)


def test_a_forking_storm_ends(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        # Each generation forks the next, in a session of its own, and exits: a moving target.
        script = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
main = os.getpid()
print(main, flush=True)
if os.fork() == 0:
    os.setsid()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        time.sleep(0.002)
    os._exit(0)
while True:
    signal.pause()
"""
        process = it.process("a", py(script), stop=QUICK)
        process.spawn()
        await it.lines("a", 1)
        assert await asyncio.wait_for(stop(process), 8) == KILLED
        assert it.marked() == []

    run(tmp_path, check)


def test_services_do_not_share_fates(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        both = "setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait"
        one, two = it.process("one", sh(both)), it.process("two", sh(both))
        one.spawn()
        two.spawn()
        first, second = await pids_of(it, "one", 2), await pids_of(it, "two", 2)
        one.signal(signal.SIGKILL)
        await it.exit_of("one")
        assert died(first)
        assert all(map(running, second))
        assert two.alive

    run(tmp_path, check)


def test_a_service_that_restarts_at_once_meets_a_clean_tree(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        seen: list[list[int]] = []
        process = it.process("a", sh("setsid sleep 1000 & echo $$; exec sleep 1000"))

        def again(one: Process, _: ExitStatus) -> None:
            seen.append(it.marked())
            if len(seen) < 5:
                one.spawn()

        process._on_exit = again
        process.spawn()
        for count in range(1, 6):
            await it.lines("a", count)
            await until(lambda: len(process.pids()) == 2)
            process.signal(signal.SIGKILL)
            await until(lambda count=count: len(seen) == count)
        assert seen == [[]] * 5

    run(tmp_path, check)


def test_strangers_are_reaped_and_children_keep_their_status(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        # Orphans that nothing ties to their service live 50 ms; meanwhile services exit with codes of their own.
        orphans = (
            "for i in 1 2 3 4 5 6 7 8 9 10; do (env -i /usr/bin/setsid /bin/sleep 0.05 & ) ; done; sleep 0.5; exit 7"
        )
        names = [f"s{number}" for number in range(20)]
        for number, name in enumerate(names):
            it.process(name, sh(orphans if number % 5 == 0 else f"sleep 0.0{number % 7}; exit {number}")).spawn()
        for number, name in enumerate(names):
            assert await it.exit_of(name) == ExitStatus(code=7 if number % 5 == 0 else number)
        await until(lambda: len(it.reaped) >= 40, "forty strangers reaped")
        assert {status for _, status in it.reaped} == {ExitStatus(code=0)}
        assert it.os.reap_strangers() == []

    run(tmp_path, check)


def test_many_exits_in_one_turn_are_all_seen(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        processes = [it.process(f"s{number}", ("/bin/sleep", "1000")) for number in range(200)]
        pids = [process.spawn().pid for process in processes]
        for process in processes:
            process.signal(signal.SIGKILL)
        end = time.monotonic() + 10
        while not died(pids):
            assert time.monotonic() < end
        await asyncio.gather(*(process.wait_gone() for process in processes))
        assert sum(map(len, it.exits.values())) == 200
        assert errors == []

    run(tmp_path, check)


def test_a_storm_of_exits_does_not_cost_us_another_signal(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        terms: list[int] = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, terms.append, 1)
        # The loop's wake-up pipe takes some hundreds of signals that are not read yet.
        for _ in range(2000):
            os.kill(os.getpid(), signal.SIGCHLD)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: terms, "SIGTERM")
        loop.remove_signal_handler(signal.SIGTERM)

    run(tmp_path, check)


def zombie() -> int:
    """A dead child of ours that nobody has reaped."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_an_orphan_that_ends_while_we_start_something_is_reaped(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        stranger = zombie()
        # Its SIGCHLD is pending, and starting a program has to unblock all signals for a moment.
        it.process("a", ("/bin/sleep", "1000")).spawn()
        await until(lambda: it.reaped, "the stranger reaped")
        assert it.reaped == [(stranger, ExitStatus(code=0))]

    run(tmp_path, check)


def test_signal_reaches_the_main_process_only(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh("trap 'echo hup' HUP; sleep 1000 & echo $!; while :; do wait; done"))
        process.spawn()
        [child] = await pids_of(it, "a", 1)
        process.signal(signal.SIGHUP)
        assert (await it.lines("a", 2))[1] == "hup"
        assert running(child)
        assert await stop(process) == STOPPED
        with pytest.raises(NotRunning):
            process.signal(signal.SIGHUP)

    run(tmp_path, check)


def test_a_forking_daemon_becomes_the_main_process(tmp_path: Path) -> None:
    daemon = py(
        f"""
import os, signal
if os.fork():
    os.wait()
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
helper = os.fork()
if helper == 0:
    signal.pause()
open({str(tmp_path / "d.pid")!r}, "w").write(str(os.getpid()))
print(os.getpid(), flush=True)
signal.pause()
"""
    )

    async def check(it: Host) -> None:
        process = it.process("a", daemon, forks=True, pidfile=tmp_path / "d.pid")
        first = process.spawn()
        main = await until(lambda: process.identity != first and process.identity)
        assert it.mains == [main]
        assert it.exits == {}
        [printed] = await pids_of(it, "a", 1)
        await until(lambda: (process.identity and process.identity.pid == printed) or len(process.pids()) == 2)
        if process.identity and process.identity.pid != printed:
            process.adopt_main(printed)
        os.kill(printed, signal.SIGUSR1)
        assert await it.exit_of("a") == ExitStatus(signal=signal.SIGUSR1)
        assert it.marked() == []

    run(tmp_path, check)


def test_main_process_may_be_handed_over_but_not_to_a_stranger(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh("setsid sh -c 'echo $$; sleep 1000; exit 4' & echo $$; wait"))
        old = process.spawn().pid
        other = it.process("b", sh("sleep 1000"))
        stranger = other.spawn().pid
        new = next(pid for pid in await pids_of(it, "a", 2) if pid != old)
        for pid in (stranger, os.getpid(), 1):
            with pytest.raises(NotPermitted):
                process.adopt_main(pid)
        with pytest.raises(NotRunning):
            process.adopt_main(4194304)
        assert process.pids()[0] == old
        assert process.adopt_main(new).pid == new
        assert [one.pid for one in it.mains] == [new]
        os.kill(old, signal.SIGKILL)
        await until(lambda: not Path(f"/proc/{old}").exists(), "the former main process reaped")
        assert process.alive
        assert it.exits == {}
        process.signal(signal.SIGKILL)
        assert await it.exit_of("a") == ExitStatus(signal=9)
        assert running(stranger)
        await stop(other)
        assert it.marked() == []

    run(tmp_path, check)


def test_detach_lets_it_run_on(tmp_path: Path) -> None:
    async def check(it: Host) -> None:
        process = it.process("a", sh("exec sleep 1000"))
        before = open_descriptors()
        identity = process.spawn()
        process.detach()
        process.detach()
        assert open_descriptors() == before
        assert running(identity.pid)
        assert process.state is State.GONE
        assert process.adopt(identity)
        assert await stop(process) == STOPPED
        assert it.exits["a"] == [ExitStatus(signal=15)]

    run(tmp_path, check)
