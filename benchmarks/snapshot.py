"""What snapshots cost: ours against the file system's own tools, on loop devices, in the same run. Needs root.

    python -m benchmarks.snapshot [--files N] [--copies N] [--rounds N]

* btrfs: ``snapshot-create`` through the socket of a true snapd, of a volume of ``--files`` files, beside ``btrfs
  subvolume snapshot -r`` and the bare ioctl. A file is changed and synced before each, so that all have the same to do.
* reflink on xfs and copy on ext4: ``--copies`` files of 4 KiB, beside ``cp -a --reflink`` and ``sync -f``. Ours is on
  disk when it answers, so the tool has to be as well.
* listing 1,000 snapshots through the socket, and how long snapd takes to start with them.

Medians, with the smallest and the largest in brackets.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from svcmgr import btrfs
from svcmgr.services.snapd import recordfile
from svcmgr.volume import Cost, Record
from tests.kit.filesystems import brick_on, mounted, run
from tests.kit.snapds import VOLUME_ID, Snapd

LISTED = 1000


def fill(brick: Path, files: int) -> None:
    """Files of 4 KiB, a hundred in each directory."""
    for number in range(files):
        if number % 100 == 0:
            directory = brick / f"d{number // 100:04}"
            directory.mkdir()
        (directory / f"f{number % 100:02}").write_bytes(os.urandom(4096))
    run("sync", "-f", brick)


def timed(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def show(label: str, seconds: list[float], yardstick: list[float] | None = None) -> None:
    """One line: median, range, and the ratio to the yardstick's median."""
    median = statistics.median(seconds)
    ratio = f"{median / statistics.median(yardstick):6.2f}x" if yardstick else ""
    print(f"  {label:44} {median * 1e3:9.1f} ms  ({min(seconds) * 1e3:.1f} - {max(seconds) * 1e3:.1f}) {ratio}")


def alternated(rounds: int, before: Callable[[int], Any], works: dict[str, Callable[[int], Any]]) -> None:
    """Every work once in each round, in turn; the first one is the yardstick."""
    found: dict[str, list[float]] = {label: [] for label in works}
    for number in range(rounds):
        for label, work in works.items():
            before(number)
            found[label].append(timed(lambda work=work, number=number: work(number)))
    yardstick = next(iter(found.values()))
    for label, seconds in found.items():
        show(label, seconds, None if seconds is yardstick else yardstick)


def instant(where: Path, files: int, rounds: int) -> None:
    print(f"btrfs, {files} files")
    with mounted("btrfs", where, 4 << 30) as mount:
        brick = brick_on("btrfs", mount)
        fill(brick, files)
        top, beside = os.open(brick, os.O_RDONLY), os.open(mount, os.O_RDONLY)

        def touch(number: int) -> None:
            (brick / "touched").write_bytes(os.urandom(4096))
            run("sync", "-f", brick)

        with Snapd(where, [brick]).running() as process, process.client() as client:
            alternated(
                rounds,
                touch,
                {
                    "btrfs subvolume snapshot -r": lambda number: run(
                        "btrfs", "subvolume", "snapshot", "-r", brick, mount / f"tool{number}"
                    ),
                    "the ioctl alone": lambda number: btrfs.snapshot(top, beside, f"bare{number}"),
                    "snapshot-create": lambda number: client.call("snapshot-create", {"name": f"s{number}"}),
                },
            )
        os.close(top)
        os.close(beside)


def per_file(where: Path, kind: str, method: str, files: int, rounds: int) -> None:
    print(f"{method} on {kind}, {files} files of 4 KiB")
    with mounted(kind, where, 2 << 30) as mount:
        brick = brick_on(kind, mount)
        fill(brick, files)
        choice = "always" if method == "reflink" else "never"

        def settle(number: int) -> None:
            run("sync", "-f", mount)

        def by_tool(number: int) -> None:
            run("cp", "-a", f"--reflink={choice}", brick, mount / f"tool{number}")
            run("sync", "-f", mount)

        def ours(number: int) -> None:
            client.call("snapshot-create", {"name": f"s{number}"})

        # Ours works on a brick of its own, so that the tool copies no snapshots.
        twin = mount / "twin"
        run("cp", "-a", f"--reflink={choice}", brick, twin)
        with Snapd(where, [twin], snapshot_method=method).running() as process, process.client() as client:
            alternated(rounds, settle, {f"cp -a --reflink={choice}; sync -f": by_tool, "snapshot-create": ours})


def listing(where: Path, rounds: int) -> None:
    print(f"listing {LISTED} snapshots")
    brick = where / "brick"
    brick.mkdir()
    snapd = Snapd(where, [brick])
    snapd.store.mkdir()
    for number in range(LISTED):
        facts = {"origin": "schedule:hourly", "description": "one of many", "cost": Cost(0.5, 1000, 0, 1 << 30)}
        record = Record(
            name=f"hourly-{number:05}",
            id=str(uuid.uuid4()),
            volume_id=VOLUME_ID,
            created=1e9 + number,
            method="reflink",
            consistency="per-file",
            bricks=(str(brick),),
            **facts,
        )
        (snapd.store / f"{record.id}.json").write_bytes(recordfile.encode(record))
    began = time.monotonic()
    with snapd.running() as process:
        show("start to the first answer", [time.monotonic() - began])
        with process.client() as client:
            answers = [timed(lambda: client.call("snapshots")) for _ in range(rounds * 10)]
            assert len(client.call("snapshots")["snapshots"]) == LISTED
        show("snapshots", answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--copies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("loop devices and mounts need root")
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        for part in ("btrfs", "reflink", "copy", "listing"):
            (where / part).mkdir()
        try:
            instant(where / "btrfs", options.files, options.rounds)
            per_file(where / "reflink", "xfs", "reflink", options.copies, options.rounds)
            per_file(where / "copy", "ext4", "copy", options.copies, options.rounds)
        except subprocess.SubprocessError as error:
            parser.error(str(error))
        listing(where / "listing", options.rounds)


if __name__ == "__main__":
    main()
