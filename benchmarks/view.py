"""Reading through the view: sequential reads of 1 MiB, against reading the same file directly in the same run.

    python -m benchmarks.view [--size MIB] [--files N] [--runs N] [--directory DIR]    (as root)

Every run mounts the view anew, so that the kernel knows nothing of the file through it: "first" is the first read
there, "again" the second. The file behind is in the page cache, but for the rows "from disk", before which its pages
are dropped. Once with the kernel reading the file by itself (passthrough), once with the daemon reading it. "walk"
lists a tree and looks at every file, in microseconds for each. Speeds are MB/s, all figures medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from svcmgr.proc.mounts import detach, mounted_at
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.view import View, protocol

#: The least share of the direct speed.
GOAL = 1 / 3
PIECE = 1 << 20


async def serve(mount: Path, content: Path, passthrough: bool) -> None:
    """Show ``content`` as the snapshot "s" until stdin ends."""
    if not passthrough:
        protocol._WANTED &= ~protocol._PASSTHROUGH
    view = View(mount, False, logging.getLogger("view"))
    view.publish((Exposed("s", "00000000-0000-0000-0000-000000000000", 0.0, (content,)),))
    await view.open()
    print(view.facts().reason, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await view.aclose()


@contextlib.contextmanager
def shown(mount: Path, content: Path, passthrough: bool) -> Iterator[Path]:
    """A fresh view of ``content`` by a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--serve", str(mount), str(content), str(int(passthrough))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if reason := process.stdout.readline().strip():
                raise SystemExit(f"cannot measure: {reason}")
            yield mount / "s"
        finally:
            process.communicate()
            if mounted_at(mount) is not None:
                detach(mount)


def read(path: Path) -> float:
    """MB/s."""
    buffer = bytearray(PIECE)
    fd = os.open(path, os.O_RDONLY)
    try:
        done = 0
        began = time.perf_counter()
        while count := os.preadv(fd, [buffer], done):
            done += count
        return done / (time.perf_counter() - began) / 1e6
    finally:
        os.close(fd)


def walk(top: Path) -> float:
    """Microseconds for each file."""
    began = time.perf_counter()
    seen = [
        entry.lstat().st_size for directory, _, names in os.walk(top) for entry in map(Path(directory).joinpath, names)
    ]
    return (time.perf_counter() - began) / len(seen) * 1e6


def drop(path: Path) -> None:
    """Take the pages of ``path`` out of memory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def one_run(mount: Path, content: Path, passthrough: bool) -> dict[str, tuple[float, float]]:
    """Row name -> (direct, view)."""
    file = content / "file"
    read(file)
    direct, tree = read(file), walk(content / "tree")
    with shown(mount, content, passthrough) as top:
        rows = {"first": (direct, read(top / "file")), "again": (direct, read(top / "file"))}
        rows["walk, us a file"] = (tree, walk(top / "tree"))
    drop(file)
    cold = read(file)
    drop(file)
    with shown(mount, content, passthrough) as top:
        rows["from disk"] = (cold, read(top / "file"))
    return rows


def fill(content: Path, size: int, files: int) -> None:
    (content / "tree").mkdir(parents=True)
    piece = os.urandom(PIECE)
    with open(content / "file", "wb") as file:
        for _ in range(size):
            file.write(piece)
    for number in range(files):
        directory = content / "tree" / str(number // 100)
        directory.mkdir(exist_ok=True)
        (directory / str(number)).touch()


def measure(options: argparse.Namespace, place: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    content, mount = place / "content", place / "mount"
    fill(content, options.size, options.files)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for _ in range(options.runs):
        for passthrough in (True, False):
            rows = found.setdefault("kernel" if passthrough else "daemon", {})
            for name, row in one_run(mount, content, passthrough).items():
                rows.setdefault(name, []).append(row)
    return found


def report(found: dict[str, dict[str, list[tuple[float, float]]]]) -> bool:
    met = True
    for who, rows in found.items():
        for name, pairs in rows.items():
            direct, view = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
            print(f"{who:6}  {name:16} direct {direct:8.1f}  view {view:8.1f}  ratio {view / direct:5.2f}")
            met = met and (who == "daemon" or name.startswith("walk") or view / direct >= GOAL)
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="MiB of the file (default 512)")
    parser.add_argument("--files", type=int, default=10_000, help="files of the tree (default 10000)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to write (default: here)")
    parser.add_argument("--json", action="store_true", help="all runs")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        mount, content, passthrough = options.serve
        asyncio.run(serve(Path(mount), Path(content), passthrough == "1"))
        return 0
    if os.geteuid() != 0:
        print("view: skipped, only root may mount")
        return 0
    with tempfile.TemporaryDirectory(prefix="view-", dir=options.directory) as place:
        found = measure(options, Path(place))
    if options.json:
        print(json.dumps(found))
    return 0 if report(found) else 1


if __name__ == "__main__":
    sys.exit(main())
