"""Supervising 500 trivial services, against a supervisor of about sixty lines of C in the same run.

    python -m benchmarks.supervise [--count 500] [--idle 20] [--root DIR]

Prints each figure, the floor's where the floor can do it at all, and the ratio with its goal.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kit import (
    Svcmgrd,
    compile_c,
    cpu_seconds,
    percentile,
    pss_mib,
    running_floor,
    starts,
    svcmgrd,
    switches,
    until,
)
from svcmgr.conn import BlockingClient
from svcmgr.host.wire import ActionReply, StatusReply

INSTALLED = Path(sys.executable).with_name("svcmgr")
SVCMGR = [str(INSTALLED)] if INSTALLED.exists() else [sys.executable, "-m", "svcmgr.cli"]


def restart_latency(report: Path, current: dict[int, int], rounds: int) -> list[float]:
    """Milliseconds from kill -9 of a random service to the report of its replacement."""
    found = []
    rng = random.Random(1)
    for _ in range(rounds):
        index = rng.choice(sorted(current))
        seen = report.stat().st_size
        began = time.monotonic()
        os.kill(current[index], signal.SIGKILL)
        until(lambda seen=seen: report.stat().st_size > seen)
        again, pid, at = starts(report)[-1]
        assert again == index
        current[index] = pid
        found.append((at - began) * 1e3)
        time.sleep(0.01)
    return found


def floor(count: int, work: Path, rounds: int) -> dict[str, float]:
    with running_floor(count, work) as (process, report, started):
        records = starts(report)
        launched = max(at for _, _, at in records) - started
        latency = restart_latency(report, {i: pid for i, pid, _ in records}, rounds)
        pss = pss_mib(process.pid)
        began = time.monotonic()
    stopped = time.monotonic() - began
    return {
        "launch": launched,
        "restart p50": percentile(latency, 0.5),
        "restart p99": percentile(latency, 0.99),
        "pss": pss,
        "stop": stopped,
    }


def define(daemon: Svcmgrd, count: int, work: Path, report: Path) -> None:
    for i in range(count):
        daemon.define(
            f"t{i:04d}",
            f'command = ["{work}/child", "{i}", "{report}"]\nready = "none"\nenabled = false\n'
            "restart_delay = 0.0\nrestart_intensity = 0\n",
        )


def timed(client: BlockingClient, count: int) -> list[float]:
    found = []
    for _ in range(50):
        began = time.perf_counter()
        reply = client.call("status", {}, type=StatusReply)
        found.append((time.perf_counter() - began) * 1e3)
        assert len(reply.services) == count
    return found


def measure(daemon: Svcmgrd, args: argparse.Namespace, work: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    report = work / "svcmgr.report"
    define(daemon, args.count, work, report)
    daemon.up()
    with daemon.client() as client:
        began = time.monotonic()
        reply = client.call("start", {"names": ["*"], "timeout_s": 60.0}, timeout=70.0, type=ActionReply)
        figures["launch, to the answer"] = time.monotonic() - began
        assert all(o.ok for o in reply.outcomes), reply
        until(lambda: len(starts(report)) >= args.count)
        records = starts(report)
        figures["launch"] = max(at for _, _, at in records) - began
        current = {i: pid for i, pid, _ in records}
        latency = restart_latency(report, current, args.rounds)
        figures["restart p50"], figures["restart p99"] = percentile(latency, 0.5), percentile(latency, 0.99)
        status = timed(client, args.count)
        figures["status of all, RPC p50"], figures["status of all, RPC p99"] = (
            percentile(status, 0.5),
            percentile(status, 0.99),
        )
    commands = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run(
            [*SVCMGR, "--root", str(daemon.root), "status"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        commands.append((time.perf_counter() - began) * 1e3)
    figures["status command"] = percentile(commands, 0.5)
    time.sleep(2.0)  # let one-time work after the last command end before counting idleness
    cpu, woken = cpu_seconds(daemon.pid), switches(daemon.pid)
    time.sleep(args.idle)
    figures["idle CPU"] = (cpu_seconds(daemon.pid) - cpu) / args.idle * 100
    figures["idle wake-ups"] = (switches(daemon.pid) - woken) / args.idle
    figures["pss"] = pss_mib(daemon.pid)
    daemon.kill()
    figures["kill -9 and up again"] = daemon.up()
    with daemon.client() as client:
        reply = client.call("status", {}, type=StatusReply)
        pids = {int(row.name[1:]): row.pid for row in reply.services}
        assert pids == current, "adopted with other pids"
        began = time.monotonic()
        stopped = client.call("stop", {"names": ["*"], "timeout_s": 60.0}, timeout=70.0, type=ActionReply)
        figures["stop, adopted"] = time.monotonic() - began
        assert all(o.ok for o in stopped.outcomes)
        client.call("start", {"names": ["*"], "timeout_s": 60.0}, timeout=70.0, type=ActionReply)
        began = time.monotonic()
        stopped = client.call("stop", {"names": ["*"], "timeout_s": 60.0}, timeout=70.0, type=ActionReply)
        figures["stop"] = time.monotonic() - began
        assert all(o.result == "stopped" for o in stopped.outcomes)
    return figures


def line(name: str, value: float, unit: str, base: float | None, goal: str) -> str:
    ratio = f"{value / base:6.2f}x" if base else "      -"
    shown = f"{base:9.3f}" if base is not None else "        -"
    return f"{name:28s} {value:9.3f} {unit:4s} {shown} {ratio}   {goal}"


GOALS = {
    "launch": ("s", "at most 2x the floor"),
    "launch, to the answer": ("s", ""),
    "restart p50": ("ms", "below 3x the floor"),
    "restart p99": ("ms", ""),
    "status of all, RPC p50": ("ms", "below 1 ms"),
    "status of all, RPC p99": ("ms", ""),
    "status command": ("ms", "below 100 ms"),
    "idle CPU": ("%", "below 0.05 %"),
    "idle wake-ups": ("/s", "0"),
    "pss": ("MiB", "below 32 MB"),
    "kill -9 and up again": ("s", "below 1 s, all adopted"),
    "stop": ("s", "below 0.3 s"),
    "stop, adopted": ("s", ""),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--idle", type=float, default=20.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="svcmgr-bench-") as name:
        work = Path(name)
        compile_c("child", work)
        compile_c("floor", work)
        base = floor(args.count, work, args.rounds)
        with svcmgrd(work / "root") as daemon:
            figures = measure(daemon, args, work)
    print(f"{args.count} services; svcmgr | floor | ratio | goal")
    for key, (unit, goal) in GOALS.items():
        print(line(key, figures[key], unit, base.get(key), goal))


if __name__ == "__main__":
    main()
