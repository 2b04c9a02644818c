"""What the benchmarks share: the tiny C programs, their reports, and a svcmgrd of one's own."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from svcmgr.conn import BlockingClient
from svcmgr.paths import resolve, short_socket_dir, socket_path

HERE = Path(__file__).parent
RECORD = struct.Struct("<4q")


def compile_c(name: str, where: Path) -> Path:
    """The program made from ``benchmarks/NAME.c``."""
    target = where / name
    subprocess.run(["cc", "-O2", "-o", str(target), str(HERE / f"{name}.c")], check=True)
    return target


def starts(report: Path) -> list[tuple[int, int, float]]:
    """(index, pid, monotonic seconds) for every start that was reported."""
    data = report.read_bytes() if report.exists() else b""
    return [(i, pid, ns / 1e9) for i, pid, ns, _ in RECORD.iter_unpack(data[: len(data) // 32 * 32])]


def until(condition: Callable[[], bool], seconds: float = 60.0, pause: float = 0.0005) -> None:
    """Wait for ``condition``; this is a benchmark's own wait and is not part of what it measures."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the benchmark waited in vain")
        time.sleep(pause)


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of all values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Svcmgrd:
    """A svcmgrd on a root of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = resolve(root, {}, os.getuid())
        self.process: subprocess.Popen[bytes] | None = None

    def define(self, name: str, text: str) -> None:
        self.layout.definitions.mkdir(parents=True, exist_ok=True)
        (self.layout.definitions / f"{name}.toml").write_text(text)

    def up(self) -> float:
        """Start it; seconds until it serves."""
        began = time.monotonic()
        reading, writing = os.pipe()
        self.layout.log.mkdir(parents=True, exist_ok=True)
        with self.layout.daemon_log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "svcmgr.host", "--root", str(self.root), "--ready-fd", str(writing)],
                pass_fds=[writing],
                stderr=log,
                stdout=log,
            )
        os.close(writing)
        with os.fdopen(reading, "rb") as ready:
            if ready.read(6) != b"ready\n":
                raise RuntimeError(self.layout.daemon_log.read_text()[-2000:])
        return time.monotonic() - began

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def client(self) -> BlockingClient:
        path = socket_path(self.layout.control_socket, short_socket_dir({}, os.getuid()))
        return BlockingClient(str(path), timeout=120.0)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Stop all services and svcmgrd."""
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(Exception), self.client() as client:
            client.call("shutdown", {"all": True, "timeout_s": 30.0}, timeout=60.0)
        self.process.wait(timeout=60)


@contextlib.contextmanager
def running_floor(count: int, work: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, float]]:
    """The floor with ``count`` children that have all reported: its process, the report, and when it was started."""
    report = work / "floor.report"
    began = time.monotonic()
    process = subprocess.Popen([str(work / "floor"), str(count), str(work / "child"), str(report)])
    try:
        until(lambda: len(starts(report)) >= count)
        yield process, report, began
    finally:
        process.terminate()
        process.wait()


def pss_mib(pid: int) -> float:
    """Proportional set size in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss line")


def cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def switches(pid: int) -> int:
    """Voluntary context switches: how often it woke up."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def svcmgrd(root: Path) -> Iterator[Svcmgrd]:
    daemon = Svcmgrd(root)
    try:
        yield daemon
    finally:
        daemon.end()
