"""Taking over processes that are not our children, and never touching one that is not meant."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import Busy
from svcmgr.proc import ExitStatus, Identity, Process, StopOutcome, StopPlan, StopResult, procfs
from tests.kit.procs import PYTHON, Host, host, py, running, sh, until

HERE = Path(__file__).parents[2]
QUICK = StopPlan(grace_s=0.1, leftover_grace_s=0.1)
#: PIDFD_INFO_EXIT came with Linux 6.15.
TELLS_EXIT = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 15)

# Another parent for daemons: a subreaper like init, which reaps at once or never.
FOSTER = f"""
import json, os, signal, subprocess, sys
sys.path.insert(0, {str(HERE)!r})
from svcmgr.proc.linux import set_subreaper
set_subreaper()
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
if sys.argv[1] == "reaps":
    signal.signal(signal.SIGCHLD, reap)
for line in sys.stdin:
    order = json.loads(line)
    log = open(order["log"], "a")
    child = subprocess.Popen(order["argv"], env=order["env"], start_new_session=True, stdout=log, stderr=log)
    child.returncode = 0
    print(child.pid, flush=True)
"""


class Foster:
    def __init__(self, it: Host, process: subprocess.Popen[str]) -> None:
        self.it = it
        self.process = process

    async def start(self, name: str, argv: tuple[str, ...]) -> Identity:
        """A daemon of ours that another process has started."""
        spec = self.it.spec(name, argv)
        spec.logdir.mkdir(exist_ok=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"argv": argv, "env": dict(spec.env), "log": str(spec.logfile)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        pid = int(await asyncio.to_thread(self.process.stdout.readline))
        identity = self.it.os.identity(pid)
        assert identity is not None
        return identity


def run(tmp_path: Path, check: Callable[[Host, Foster], Awaitable[None]], habit: str = "reaps") -> None:
    async def inside(process: subprocess.Popen[str]) -> None:
        async with host(tmp_path) as it:
            # A known child: its status is for this test, not for the reaper.
            it.os._known[process.pid] = Identity(process.pid, 0, "")
            await check(it, Foster(it, process))

    command = [PYTHON, "-c", FOSTER, habit]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asyncio.run(inside(process))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


async def stop(process: Process) -> StopOutcome:
    process.stop()
    return await process.wait_gone()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("read line < {fifo}; exit 3", ExitStatus(code=3)),
        ("read line < {fifo}; exit 0", ExitStatus(code=0)),
        ("read line < {fifo}; kill -9 $$", ExitStatus(signal=9)),
    ],
)
def test_exit_status_of_a_process_that_is_not_our_child(tmp_path: Path, script: str, status: ExitStatus) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def check(it: Host, parent: Foster) -> None:
        identity = await parent.start("a", sh(script.format(fifo=fifo)))
        process = it.process("a", ("/bin/false",))
        assert process.adopt(identity)
        assert process.alive
        assert process.identity == identity
        with pytest.raises(Busy):
            process.adopt(identity)
        with pytest.raises(Busy):
            process.spawn()
        await asyncio.to_thread(fifo.write_text, "go\n")
        assert await it.exit_of("a") == (status if TELLS_EXIT else ExitStatus())

    run(tmp_path, check)


def test_a_parent_that_does_not_reap_hides_nothing(tmp_path: Path) -> None:
    async def check(it: Host, parent: Foster) -> None:
        identity = await parent.start("a", sh("exec sleep 1000"))
        process = it.process("a", ("/bin/false",))
        assert process.adopt(identity)
        begin = time.monotonic()
        process.signal(signal.SIGKILL)
        assert await it.exit_of("a") == ExitStatus(signal=9)
        assert time.monotonic() - begin < 2
        # It is a zombie now, and a zombie is dead.
        assert Path(f"/proc/{identity.pid}/stat").read_text().split(") ")[1][0] == "Z"
        assert it.os.identity(identity.pid) is None
        assert it.os.open(identity) is None
        assert not process.adopt(identity)
        assert process.identity is None

    run(tmp_path, check, "never reaps")


def test_stop_of_an_adopted_tree_leaves_nothing(tmp_path: Path) -> None:
    script = """
trap '' TERM
sh -c 'trap "" TERM; echo $$; while :; do sleep 1000; done' &
setsid sh -c 'trap "" TERM; echo $$; while :; do sleep 1000; done' &
(setsid sh -c 'echo $$; exec sleep 1000' &)
echo $$
while :; do wait; done
"""

    async def check(it: Host, parent: Foster) -> None:
        identity = await parent.start("a", sh(script))
        pids = [int(line) for line in await it.lines("a", 4)]
        process = it.process("a", ("/bin/false",), stop=QUICK)
        assert process.adopt(identity)
        assert set(pids) <= set(process.pids())
        assert await stop(process) == StopOutcome(StopResult.KILLED)
        assert not any(map(running, pids))
        assert it.marked() == []
        assert it.exits["a"] == [ExitStatus(signal=9) if TELLS_EXIT else ExitStatus()]

    run(tmp_path, check)


def test_crash_of_an_adopted_tree_leaves_nothing(tmp_path: Path) -> None:
    script = "(setsid sh -c 'echo $$; exec sleep 1000' &); setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait"

    async def check(it: Host, parent: Foster) -> None:
        services = [f"s{number}" for number in range(5)]
        pids: list[int] = []
        for name in services:
            identity = await parent.start(name, sh(script))
            pids += [int(line) for line in await it.lines(name, 3)]
            assert it.process(name, ("/bin/false",)).adopt(identity)
        for process in it.processes:
            process.signal(signal.SIGKILL)
        for name in services:
            await it.exit_of(name)
        assert not any(map(running, pids))
        assert it.marked() == []

    run(tmp_path, check)


SUPERVISOR = f"""
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from tests.kit.procs import Host, sh
async def main():
    it = Host(Path(sys.argv[1]))
    it.os.become_subreaper()
    for number in range(20):
        it.process(f"s{{number}}", sh("(setsid sleep 1000 &); read line < go; exit 6"), cwd=it.directory).spawn()
    print("started", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def test_a_killed_supervisor_is_succeeded_without_a_daemon_noticing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    # Someone holds the fifo open, so that no daemon sees its end early.
    hold = os.open(tmp_path / "go", os.O_RDWR)

    async def check(it: Host, parent: Foster) -> None:
        first = await parent.start("supervisor", (PYTHON, "-c", SUPERVISOR, str(tmp_path)))
        await it.lines("supervisor", 1)
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: not running(first.pid))
        found = it.os.marked(str(tmp_path))
        found.pop("supervisor", None)
        assert len(found) == 20
        begin = time.monotonic()
        for name, group in found.items():
            assert it.process(name, ("/bin/false",)).adopt(group[0])
        assert time.monotonic() - begin < 1
        assert all(process.alive for process in it.processes)
        os.write(hold, b"x\n" * 20)
        for name in found:
            assert await it.exit_of(name) == (ExitStatus(code=6) if TELLS_EXIT else ExitStatus())
        assert it.marked() == []

    try:
        run(tmp_path, check)
    finally:
        os.close(hold)


def test_a_stale_identity_is_never_signalled(tmp_path: Path) -> None:
    async def check(it: Host, parent: Foster) -> None:
        # Every signal that this stranger gets would be seen: in its log, or by its death.
        script = "trap 'echo got TERM' TERM; trap 'echo got CONT' CONT; echo ready; while :; do sleep 0.05; done"
        stranger = await parent.start("stranger", sh(script))
        await it.lines("stranger", 1)
        process = it.process("a", sh("exec sleep 1000"), pidfile=tmp_path / "pid")
        (tmp_path / "pid").write_text(f"{stranger.pid}\n")
        stale = [
            Identity(stranger.pid, stranger.start_ticks - 1, stranger.boot_id),
            Identity(stranger.pid, stranger.start_ticks + 1, stranger.boot_id),
            Identity(stranger.pid, stranger.start_ticks, "another-boot"),
        ]
        for identity in stale:
            assert not process.adopt(identity)
            process.stop(force=True)
            assert await process.wait_gone() == StopOutcome(StopResult.WAS_NOT_RUNNING)
        # A pidfile that names it is no reason either: the start replaces what is stale.
        process.spawn()
        assert await stop(process) == StopOutcome(StopResult.STOPPED)
        assert (tmp_path / "pid").read_text() == f"{stranger.pid}\n"
        assert running(stranger.pid)
        assert it.log("stranger") == "ready\n"

    run(tmp_path, check)


@pytest.mark.parametrize("pid", [0, -1, 1 << 22, 1 << 31, 1 << 70])
def test_impossible_numbers(tmp_path: Path, pid: int) -> None:
    async def check(it: Host, parent: Foster) -> None:
        process = it.process("a", ("/bin/false",))
        assert not process.adopt(Identity(pid, 5, procfs.boot_id()))
        assert it.os.identity(pid) is None

    run(tmp_path, check)


def test_a_thread_is_not_a_process(tmp_path: Path) -> None:
    async def check(it: Host, parent: Foster) -> None:
        go, ids = threading.Event(), []

        def work() -> None:
            ids.append(threading.get_native_id())
            go.wait()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            await until(lambda: ids)
            found = procfs.stat(ids[0])
            assert found is not None
            assert it.os.open(Identity(ids[0], found.start_ticks, procfs.boot_id())) is None
        finally:
            go.set()
            thread.join()

    run(tmp_path, check)


def test_a_dead_leader_with_living_threads_lives(tmp_path: Path) -> None:
    script = """
import ctypes, threading, time
def work():
    time.sleep(0.05)
    print("still here", flush=True)
    time.sleep(1000)
threading.Thread(target=work).start()
print("leader", flush=True)
ctypes.CDLL(None).syscall(60, 0)  # exit(2) of this thread alone; exit_group(2) is another number
"""

    async def check(it: Host, parent: Foster) -> None:
        identity = await parent.start("a", py(script))
        await it.lines("a", 2)
        await until(lambda: Path(f"/proc/{identity.pid}/stat").read_text().split(") ")[1][0] == "Z")
        assert it.os.identity(identity.pid) == identity
        process = it.process("a", ("/bin/false",), stop=QUICK)
        assert process.adopt(identity)
        await asyncio.sleep(0)
        assert process.alive
        await stop(process)
        assert not running(identity.pid)

    if os.uname().machine != "x86_64":
        script = script.replace("syscall(60", "syscall(93")
    run(tmp_path, check)


def test_adopting_what_ends_at_this_moment(tmp_path: Path) -> None:
    async def check(it: Host, parent: Foster) -> None:
        for number in range(20):
            name = f"s{number}"
            identity = await parent.start(name, sh("exec sleep 1000"))
            process = it.process(name, ("/bin/false",))
            assert process.adopt(identity)
            # Dead before the loop has polled even once.
            os.kill(identity.pid, signal.SIGKILL)
            status = await it.exit_of(name)
            assert status in (ExitStatus(signal=9), ExitStatus())
            assert len(it.exits[name]) == 1

    run(tmp_path, check)


def test_no_descriptor_for_a_pidfd_is_not_taken_for_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(it: Host, parent: Foster) -> None:
        identity = await parent.start("a", sh("exec sleep 1000"))
        process = it.process("a", ("/bin/false",))

        def refuse(_pid: int) -> Any:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pidfd_open", refuse)
            with pytest.raises(Busy, match="nofile"):
                process.adopt(identity)
        assert process.adopt(identity)
        assert await stop(process) == StopOutcome(StopResult.STOPPED)

    run(tmp_path, check)
