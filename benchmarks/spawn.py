"""What starting and ending a process costs, against the kernel's own price in the same run.

    python benchmarks/spawn.py [--count N] [--services N]

Prints, in microseconds: posix_spawn(3) and subprocess.Popen of the same program, each until it returns;
Process.spawn() and its ratio to both; SIGKILL -> on_exit, and the same while many services run; SIGKILL ->
replacement started; and in seconds: starting many services, and stopping all at once until nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from svcmgr.clock import SystemClock
from svcmgr.proc import ExitStatus, Process, ProcSpec, RealOs, Reaper

ENV = {"PATH": "/usr/bin:/bin", "SVCMGR_ROOT": "/run/bench"}
SLEEP = ("/bin/sleep", "1000")


def micros(samples: list[float]) -> str:
    ordered = sorted(samples)
    return f"median {statistics.median(ordered) * 1e6:7.0f}   p99 {ordered[int(len(ordered) * 0.99)] * 1e6:7.0f}"


def bare(start: Callable[[], int]) -> float:
    """Seconds until ``start`` returned; the child is ended outside of the measurement."""
    begin = time.perf_counter()
    pid = start()
    spent = time.perf_counter() - begin
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return spent


def posix_spawn() -> int:
    return os.posix_spawn(SLEEP[0], SLEEP, ENV, setsid=True)


def popen() -> int:
    process = subprocess.Popen(SLEEP, env=ENV, stdin=subprocess.DEVNULL, start_new_session=True)
    process.returncode = 0
    return process.pid


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.os = RealOs()
        self.os.become_subreaper()
        self.clock = SystemClock()
        self.plain: list[float] = []
        self.popen: list[float] = []
        self.spawn: list[float] = []
        self.exit: list[float] = []
        self.replaced: list[float] = []

    def process(self, name: str, on_exit: Callable[[Process, ExitStatus], None]) -> Process:
        process = Process(name, os=self.os, clock=self.clock, on_exit=on_exit)
        log = self.directory / f"{name}.log"
        process.init(
            ProcSpec(name=name, argv=SLEEP, env={**ENV, "SVCMGR_SERVICE": name}, logdir=self.directory, logfile=log)
        )
        return process

    async def crashes(self, count: int) -> None:
        """Kill and replace one service ``count`` times, with bare spawns in between, so that all see one machine."""
        gone = asyncio.Event()
        killed = 0.0

        def ended(process: Process, _: ExitStatus) -> None:
            seen = time.perf_counter()
            process.spawn()
            now = time.perf_counter()
            self.exit.append(seen - killed)
            self.spawn.append(now - seen)
            self.replaced.append(now - killed)
            gone.set()

        process = self.process("one", ended)
        process.spawn()
        rivals = [(self.plain, posix_spawn), (self.popen, popen)]
        for turn in range(count):
            # Whoever comes first pays for caches that went cold in the pause, so each is first in turn.
            for samples, start in rivals if turn % 2 else reversed(rivals):
                samples.append(bare(start))
            gone.clear()
            killed = time.perf_counter()
            process.signal(signal.SIGKILL)
            await gone.wait()
        pid = process.pids()[0]
        process.detach()
        os.kill(pid, signal.SIGKILL)

    async def many(self, count: int) -> tuple[float, float, float, list[float]]:
        gone = asyncio.Event()
        processes = [self.process(f"s{number}", lambda *_: gone.set()) for number in range(count)]
        begin = time.perf_counter()
        for process in processes:
            process.spawn()
        started = time.perf_counter() - begin
        crowded = []
        for process in processes[:50]:
            gone.clear()
            begin = time.perf_counter()
            process.signal(signal.SIGKILL)
            await gone.wait()
            crowded.append(time.perf_counter() - begin)
            process.spawn()
        begin, cpu = time.perf_counter(), time.process_time()
        for process in processes:
            process.stop()
        await asyncio.gather(*(process.wait_gone() for process in processes))
        return started, time.perf_counter() - begin, time.process_time() - cpu, crowded


async def main(count: int, services: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        reaper = Reaper(bench.os)
        reaper.open()
        await bench.crashes(count)
        started, stopped, cpu, crowded = await bench.many(services)
        reaper.close()
    ours, plain, opened = (statistics.median(one) for one in (bench.spawn, bench.plain, bench.popen))
    print(f"posix_spawn        us  {micros(bench.plain)}")
    print(f"subprocess.Popen   us  {micros(bench.popen)}")
    print(f"Process.spawn      us  {micros(bench.spawn)}   x{ours / plain:.2f} posix_spawn, x{ours / opened:.2f} Popen")
    print(f"kill -> on_exit    us  {micros(bench.exit)}")
    print(f"kill -> replaced   us  {micros(bench.replaced)}")
    print(f"the same of {services}    us  {micros(crowded)}")
    print(f"start {services} one by one  s   {started:.3f}")
    print(f"stop {services} at once      s   {stopped:.3f}   (our cpu {cpu:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--services", type=int, default=500)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.count, arguments.services))
