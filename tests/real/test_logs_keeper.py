"""The keeper on a true loop, with true children writing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from svcmgr.clock import SystemClock
from svcmgr.proc import logread
from svcmgr.proc.logs import LogEvent, LogKeeper, LogRotated
from tests.kit.logs import lossless_dir, numbered, on_disk
from tests.kit.vloop import until

LIMIT = 100_000
#: Writes numbered lines of 64 bytes, each by one write(2), as fast as it can.
WRITER = """
import os
for n in range(20_000):
    os.write(1, b"%08d %s\\n" % (n, b"." * 54))
"""


def child(path: Path) -> subprocess.Popen[bytes]:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        return subprocess.Popen([sys.executable, "-c", WRITER], stdout=fd)
    finally:
        os.close(fd)


def test_children_write_and_no_byte_is_lost(tmp_path: Path) -> None:
    directory = lossless_dir(tmp_path)
    events: list[LogEvent] = []

    async def main() -> None:
        keeper = LogKeeper(SystemClock(), events.append, check_delay=0.02)
        running = asyncio.create_task(keeper.run())
        paths = [directory / f"{n}.log" for n in range(3)]
        children = []
        for path in paths:
            children.append(child(path))
            keeper.watch(path.name, path, LIMIT, 1000)
        await until(lambda: all(child.poll() is not None for child in children), within=60)
        await until(lambda: all(path.stat().st_size <= LIMIT for path in paths), within=60)
        for path in paths:
            assert on_disk(path) == b"".join(logread.read_pieces(path)) == numbered(0, 20_000)
        statistics = keeper.statistics()
        assert statistics.rotations == len(events) >= 3
        assert statistics.failures == statistics.lossy == statistics.dropped_bytes == 0
        assert statistics.moved_bytes == sum(e.rotation.moved for e in events if isinstance(e, LogRotated))
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(main())


def test_an_idle_keeper_does_not_run_at_all(tmp_path: Path) -> None:
    async def main() -> None:
        keeper = LogKeeper(SystemClock(), lambda event: None, check_delay=0.01)
        for n in range(50):
            (tmp_path / f"{n}.log").write_bytes(b"hello\n")
            keeper.watch(str(n), tmp_path / f"{n}.log", LIMIT, 5)
        running = asyncio.create_task(keeper.run())
        await until(lambda: keeper.statistics().checks == 50)
        loop = asyncio.get_running_loop()
        # Many delays go by in which nobody writes.
        before = keeper.statistics()
        await asyncio.wait([running], timeout=0.3)
        assert keeper.statistics() == before
        assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        with (tmp_path / "7.log").open("ab") as log:
            log.write(b"again\n")
        await until(lambda: keeper.statistics().checks == 51)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(main())
