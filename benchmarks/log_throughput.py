"""What keeping a log costs its writer: the same writer alone and under a keeper that rotates, in alternated runs.

    python benchmarks/log_throughput.py [--runs N] [--directory DIR] [burst] [lines] [steady]

burst   100 MB in 64 KiB writes, as fast as the kernel takes them
lines   100 MB in writes of one line of 100 bytes each
steady  1 GB in 64 KiB writes at 50 MB/s (the time that counts is the time spent in write(2))

For each: the writer's median time alone and kept, their ratio, the longest single write, the CPU seconds and
wake-ups of the keeper's process, the number of rotations, and whether every byte came back in order (SHA-256
over all pieces). "blocked" is the time that the writer neither ran nor waited for a processor: what is left on a
machine where others compute, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from svcmgr.proc import logread

MB = 1_000_000
ROTATE_AT = 10 * MB
KEEP = 1000

#: Lines of exactly 100 bytes that begin with their number, made before the clock starts.
WRITER = """
import hashlib, json, os, sys, time
path, total, size, rate = sys.argv[1], *map(int, sys.argv[2:5])
block = b"".join(b"%011d %s\\n" % (n, b"x" * 87) for n in range(min(total, 100_000_000) // 100))
digest = hashlib.sha256()
for _ in range(total // len(block)):
    digest.update(block)
view = memoryview(block)
fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
def waited():  # seconds runnable without a processor (linux: Documentation/scheduler/sched-stats.rst)
    with open("/proc/self/schedstat") as file:
        return int(file.read().split()[1]) / 1e9
longest = inside = 0.0
written = 0
queued, used = waited(), time.process_time()
start = time.perf_counter()
while written < total:
    for at in range(0, len(block), size):
        if rate:
            ahead = written / rate - (time.perf_counter() - start)
            if ahead > 0.002:
                time.sleep(ahead)
            before = time.perf_counter()
            written += os.write(fd, view[at:at + size])
            took = time.perf_counter() - before
            inside += took
            longest = max(longest, took)
        else:
            written += os.write(fd, view[at:at + size])
elapsed = time.perf_counter() - start
own = elapsed - (waited() - queued)
blocked = own - (time.process_time() - used)
print(json.dumps({"seconds": inside if rate else elapsed, "elapsed": elapsed, "longest": longest, "blocked": blocked,
                  "own": own,
                  "digest": digest.hexdigest()}))
"""

#: Keeps one log until stdin is closed, then until it is within its limit.
KEEPER = """
import asyncio, json, os, sys, time
from pathlib import Path
from svcmgr.clock import SystemClock
from svcmgr.proc.logs import LogKeeper, LogTroubled
async def main():
    troubles = []
    path, limit, keep = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    def report(event):
        if isinstance(event, LogTroubled):
            troubles.append(event.error.message)
    keeper = LogKeeper(SystemClock(), report)
    keeper.watch("log", path, limit, keep)
    running = asyncio.create_task(keeper.run())
    while keeper.statistics().wakeups == 0:
        await asyncio.sleep(0.01)
    before = time.process_time()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    while path.stat().st_size > limit:
        await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait([running])
    s = keeper.statistics()
    print(json.dumps({"cpu": time.process_time() - before, "wakeups": s.wakeups, "rotations": s.rotations,
                      "troubles": troubles}))
asyncio.run(main())
"""

MODES: dict[str, tuple[int, int, int]] = {
    "burst": (100 * MB, 65536, 0),
    "lines": (100 * MB, 100, 0),
    "steady": (1000 * MB, 65536, 50 * MB),
}


def write(path: Path, mode: str) -> dict[str, Any]:
    command = [sys.executable, "-c", WRITER, str(path), *map(str, MODES[mode])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def one_run(directory: Path, mode: str, kept: bool) -> dict[str, Any]:
    path = directory / "log"
    path.touch()
    # What earlier runs left to be written out must not slow this one.
    os.sync()
    if not kept:
        return write(path, mode)
    command = [sys.executable, "-c", KEEPER, str(path), str(ROTATE_AT), str(KEEP)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        result = write(path, mode)
        out, _ = keeper.communicate()
    result.update(json.loads(out))
    digest = hashlib.sha256()
    for chunk in logread.read_pieces(path):
        digest.update(chunk)
    result["intact"] = digest.hexdigest() == result["digest"]
    return result


def measure(parent: Path, mode: str, runs: int) -> bool:
    results: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for number in range(2 * runs):
        # alone, kept, kept, alone, ...: neither always comes first
        kept = number % 4 in (1, 2)
        directory = Path(tempfile.mkdtemp(prefix="log-throughput-", dir=parent))
        try:
            results[kept].append(one_run(directory, mode, kept))
        finally:
            shutil.rmtree(directory)
    report(mode, results[False], results[True])
    return all(row["intact"] and not row["troubles"] for row in results[True])


def report(mode: str, alone: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
    def median(rows: list[dict[str, Any]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    total, _, rate = MODES[mode]
    base, under = median(alone, "seconds"), median(kept, "seconds")
    print(f"{mode}: {total // MB} MB, rotated at {ROTATE_AT // MB} MB, {len(kept)} alternated runs, medians")
    print(f"  writer alone {base:.3f} s, kept {under:.3f} s, ratio {under / base:.3f}", end="")
    print(" (time in write)" if rate else f" ({total / MB / base:.0f} and {total / MB / under:.0f} MB/s)")
    if not rate:
        blocked = median(kept, "blocked") - median(alone, "blocked")
        print(f"  blocked alone {median(alone, 'blocked'):.3f} s, kept {median(kept, 'blocked'):.3f} s", end="")
        print(f": {100 * blocked / base:+.1f} % of its time alone", end="")
        print(f"; ratio without waiting for a processor {median(kept, 'own') / median(alone, 'own'):.3f}")
    if rate:
        print(f"  elapsed alone {median(alone, 'elapsed'):.3f} s, kept {median(kept, 'elapsed'):.3f} s", end="")
        print(f"; longest write {median(alone, 'longest') * 1e3:.1f} and {median(kept, 'longest') * 1e3:.1f} ms")
    print(f"  keeper: {median(kept, 'cpu'):.3f} s CPU, {median(kept, 'wakeups'):.0f} wake-ups", end="")
    print(f", {median(kept, 'rotations'):.0f} rotations; bytes intact: {all(row['intact'] for row in kept)}")
    print("  alone:", *(f"{row['seconds']:.3f}" for row in alone), " kept:", *(f"{row['seconds']:.3f}" for row in kept))
    for row in kept:
        for trouble in row["troubles"]:
            print("  TROUBLE:", trouble)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", metavar="MODE", default=["burst", "lines"], help=", ".join(MODES))
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind (default 5)")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to write (default: here)")
    options = parser.parse_args()
    intact = [measure(options.directory, mode, options.runs) for mode in options.modes]
    return 0 if all(intact) else 1


if __name__ == "__main__":
    sys.exit(main())
