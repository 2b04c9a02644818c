"""Help for tests of logs: places where files can be collapsed, pieces as bytes, and a process killed at a step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from svcmgr.proc import filerange, logrecord
from svcmgr.proc.rotate import Rotator


def lossless_dir(tmp_path: Path) -> Path:
    """A fresh directory on ext4 or xfs. AssertionError when this host has none that is writable."""
    for parent in (tmp_path, Path("/var/tmp"), Path.cwd()):
        directory = parent / f"logs-{tmp_path.name}-{os.getpid()}"
        directory.mkdir()
        if filerange.can_collapse(directory):
            return directory
        directory.rmdir()
    raise AssertionError("lossless rotation needs a writable directory on ext4 or xfs")


def rotator(lossless: bool, checkpoint: Callable[[str], None] = lambda step: None) -> Rotator:
    """A rotator that collapses, or one that believes it cannot."""
    return Rotator(checkpoint) if lossless else Rotator(checkpoint, lambda directory: False)


def on_disk(path: Path) -> bytes:
    """All pieces and the live file, oldest first, as ``cat`` would show them."""
    pieces = []
    index = 1
    while (piece := logrecord.piece(path, index)).exists():
        pieces.append(piece.read_bytes())
        index += 1
    return b"".join([*reversed(pieces), path.read_bytes()])


def append(path: Path, data: bytes) -> None:
    """Append as a daemon does."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)


def numbered(start: int, count: int) -> bytes:
    """``count`` lines of 64 bytes that each say which one it is."""
    return b"".join(b"%08d %s\n" % (n, b"." * 54) for n in range(start, start + count))


def killed_at(checkpoint: int, work: Callable[[Callable[[str], None]], object]) -> bool:
    """Do ``work`` in a forked process that is killed (SIGKILL) at its n-th checkpoint; False if it ended before."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def die(step: str) -> None:
            nonlocal seen
            if seen == checkpoint:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

        code = 1
        try:
            work(die)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0 or os.WIFSIGNALED(status), f"the work itself failed: {status}"
    return os.WIFSIGNALED(status)
