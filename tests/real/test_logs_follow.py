"""A true writer, many rotations and readers at once: no line lost, doubled or out of order."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from svcmgr.errors import Busy
from svcmgr.proc import logread, logrecord
from svcmgr.proc.logread import Follower
from tests.kit.logs import lossless_dir, on_disk, rotator

LIMIT = 20_000
#: So many rotations must have happened for a test to show anything.
ROTATIONS = 12
#: Numbered lines of uneven length, one write(2) each, until stdin is closed; then prints how many.
WRITER = """
import os, select, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
n = 0
while n % 100 or not select.select([0], [], [], 0.002)[0]:
    os.write(fd, b"%d %s\\n" % (n, b"." * (n % 97)))
    n += 1
print(n)
"""
#: Rotates without a pause until stdin is closed.
ROTATOR = """
import contextlib, select, sys
from pathlib import Path
from svcmgr.errors import Busy
from svcmgr.proc.rotate import Rotator
rotator = Rotator()
while not select.select([0], [], [], 0)[0]:
    with contextlib.suppress(Busy):
        rotator.rotate(Path(sys.argv[1]), int(sys.argv[2]), 1000)
"""


@contextlib.contextmanager
def running(program: str, *arguments: object) -> Iterator[list[str]]:
    """A Python program that is ended by closing its stdin; what it printed is in the list afterwards."""
    printed: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield printed
            printed.append(process.communicate(timeout=30)[0])
            assert process.returncode == 0
        finally:
            process.kill()


def expected(printed: list[str]) -> bytes:
    return b"".join(b"%d %s\n" % (n, b"." * (n % 97)) for n in range(int(printed[0])))


def new_log(tmp_path: Path) -> Path:
    path = lossless_dir(tmp_path) / "a.log"
    path.touch()
    return path


def unfinished(path: Path) -> Iterator[None]:
    """Goes on until there were enough rotations."""
    end = time.monotonic() + 60
    while not logrecord.piece(path, ROTATIONS).exists():
        assert time.monotonic() < end, "rotation does not go on"
        yield


def test_follower_writer_and_rotator_at_once(tmp_path: Path) -> None:
    path = new_log(tmp_path)
    with Follower(path) as follower, running(ROTATOR, path, LIMIT):
        got = b""
        with running(WRITER, path) as printed:
            for _ in unfinished(path):
                follower.wait(0.5)
                got += b"".join(iter(lambda: follower.read(10_000), b""))
        got += b"".join(iter(follower.read, b""))
        assert (follower.skipped, follower.restarts) == (0, 0)
    assert got == expected(printed)
    assert on_disk(path) == b"".join(logread.read_pieces(path)) == got


def test_tails_taken_meanwhile_are_right(tmp_path: Path) -> None:
    path = new_log(tmp_path)
    tails = []
    with running(ROTATOR, path, LIMIT), running(WRITER, path) as printed:
        for _ in unfinished(path):
            tails.append(logread.tail_and_position(path, 500))
    written = expected(printed)
    assert len(tails) > 10
    for data, end in tails:
        start = end - len(data)
        assert data == written[start:end]
        # A write that crosses a page becomes visible page by page, so the last line may be seen in part.
        assert data.count(b"\n") + (not data.endswith(b"\n")) == 500 or start == 0


def test_rotators_killed_again_and_again_under_a_writer(tmp_path: Path) -> None:
    path = new_log(tmp_path)
    kills = 0
    got = b""
    with Follower(path) as follower:
        with running(WRITER, path) as printed:
            for _ in unfinished(path):
                pid = os.fork()
                if pid == 0:
                    try:
                        while True:
                            with contextlib.suppress(Busy):  # the follower reads what a killed one left
                                rotator(True).rotate(path, LIMIT, 1000)
                    finally:
                        os._exit(1)
                got += b"".join(iter(follower.read, b""))
                time.sleep(0.001 * 1.3**kills)  # any instant will do; later ones let a rotation come to its end
                os.kill(pid, signal.SIGKILL)
                assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the rotator failed by itself"
                kills += 1
        rotator(True).recover(path, 1000)
        got += b"".join(iter(follower.read, b""))
        assert (follower.skipped, follower.restarts) == (0, 0)
    assert kills >= ROTATIONS // 2
    assert got == expected(printed)
    assert on_disk(path) == got


def test_two_rotators_at_once(tmp_path: Path) -> None:
    path = new_log(tmp_path)
    with running(ROTATOR, path, LIMIT), running(WRITER, path) as printed:
        for _ in unfinished(path):
            with contextlib.suppress(Busy):
                rotator(True).rotate(path, LIMIT, 1000)
    assert on_disk(path) == expected(printed)
