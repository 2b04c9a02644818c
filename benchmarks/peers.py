"""kill -9 of a service to its replacement: svcmgr, the floor in C and runit, side by side in one run.

    python -m benchmarks.peers [--count 200]

runit is Debian's package; without it the line is left out. supervisord looks at its children once a second and
circus every five, s6 waits a second before it starts again: what they would print is their pause.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.kit import compile_c, percentile, running_floor, starts, svcmgrd, until
from benchmarks.supervise import define, restart_latency


def runit(count: int, work: Path, rounds: int) -> list[float]:
    """Latencies in ms under one runsv per service, as runit means it."""
    report = work / "runit.report"
    keepers = []
    for i in range(count):
        place = work / "runit" / f"t{i}"
        place.mkdir(parents=True)
        script = place / "run"
        script.write_text(f"#!/bin/sh\nexec {work}/child {i} {report}\n")
        script.chmod(0o755)
        keepers.append(subprocess.Popen(["runsv", str(place)]))
    try:
        until(lambda: len(starts(report)) >= count)
        time.sleep(1.5)  # runsv starts nothing again that ran for less than a second
        return restart_latency(report, {i: pid for i, pid, _ in starts(report)}, rounds)
    finally:
        for keeper in keepers:
            keeper.terminate()  # runsv(8): ends its service, then itself
        for keeper in keepers:
            keeper.wait(timeout=30)


def floor(count: int, work: Path, rounds: int) -> list[float]:
    with running_floor(count, work) as (_, report, _):
        return restart_latency(report, {i: pid for i, pid, _ in starts(report)}, rounds)


def svcmgr(count: int, work: Path, rounds: int) -> list[float]:
    report = work / "svcmgr.report"
    with svcmgrd(work / "root") as daemon:
        define(daemon, count, work, report)
        daemon.up()
        with daemon.client() as client:
            client.call("start", {"names": ["*"]}, timeout=70.0)
        until(lambda: len(starts(report)) >= count)
        time.sleep(1.5)  # as long as runit is given
        return restart_latency(report, {i: pid for i, pid, _ in starts(report)}, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="svcmgr-bench-") as name:
        work = Path(name)
        compile_c("child", work)
        compile_c("floor", work)
        rows = {"floor": floor, "svcmgr": svcmgr, **({"runit": runit} if shutil.which("runsv") else {})}
        found = {name: measure(args.count, work, args.rounds) for name, measure in rows.items()}
    base = percentile(found["floor"], 0.5)
    print(f"kill -9 to replacement, {args.count} services, ms: p50 | p99 | p50 to the floor's")
    for name, values in found.items():
        p50 = percentile(values, 0.5)
        print(f"{name:10s} {p50:8.2f} {percentile(values, 0.99):8.2f} {p50 / base:8.2f}x")


if __name__ == "__main__":
    main()
