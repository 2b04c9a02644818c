"""Starting svcmgrd in the background and learning how that went.

Theory of operation. svcmgrd gets the writing end of a pipe (``--ready-fd``) and writes "ready" to it when it
serves. If it dies, the kernel closes the pipe: so the reading end tells success, failure or, by the deadline,
"still starting", and nobody polls. svcmgrd has its own session and writes to its own log, so neither the
terminal nor this program going away touches it. A lock on the run directory lets one ``up`` at a time
through; the second one finds the svcmgrd of the first.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from svcmgr.clock import Clock, SystemClock
from svcmgr.errors import DeadlineExceeded, StartFailed, StorageFailed
from svcmgr.fsutil import make_dir

if TYPE_CHECKING:
    from subprocess import Popen

    from svcmgr.paths import Layout

READY = b"ready\n"
#: How much of svcmgrd's log a failure shows: lines, and the bytes that are read for them.
TAIL_LINES = 20
TAIL_BYTES = 16384
#: A process whose pipe is closed is all but gone; how long its exit status may still take, seconds.
EXIT_S = 2.0


@contextlib.contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Hold the run directory's lock: one start of svcmgrd at a time per layout. Raises StorageFailed."""
    import fcntl

    make_dir(layout.run)
    fd = os.open(layout.run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def command_line(layout: Layout, ready_fd: int | None) -> list[str]:
    """How to start svcmgrd with this interpreter.

    ``-P`` keeps the current directory off the module path, so that nobody can plant a svcmgr there; it is left
    out only when the svcmgr that runs now is itself the one in the current directory.
    """
    import svcmgr

    package_dir = Path(svcmgr.__file__).resolve().parent.parent
    safe = [] if package_dir == Path.cwd() else ["-P"]
    root = [] if layout.root is None else ["--root", str(layout.root)]
    ready = [] if ready_fd is None else ["--ready-fd", str(ready_fd)]
    return [sys.executable, *safe, "-m", "svcmgr.host", *root, *ready]


def launch(layout: Layout, timeout: float, clock: Clock | None = None) -> None:
    """Start svcmgrd and return when it serves.

    Args:
        timeout: seconds until it must serve.

    Raises:
        StartFailed: it ended before; the message has how, and the details the end of its log.
        DeadlineExceeded: it is still starting; it is left to do so.
        StorageFailed: the directories or the log cannot be made.
    """
    make_dir(layout.log)
    clock = clock or SystemClock()
    deadline = clock.monotonic() + timeout
    reader, writer = os.pipe()
    try:
        try:
            log_start, process = _spawn(layout, writer)
        finally:
            os.close(writer)
        _wait_ready(reader, process, deadline, clock, layout, log_start)
    finally:
        os.close(reader)


def _spawn(layout: Layout, writer: int) -> tuple[int, Popen[bytes]]:
    import subprocess

    try:
        log = os.open(layout.daemon_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StorageFailed(f"cannot open {layout.daemon_log}: {error.strerror} (errno {error.errno})") from error
    start = os.fstat(log).st_size
    try:
        process = subprocess.Popen(
            command_line(layout, writer),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[writer],
        )
        return start, process
    finally:
        os.close(log)


def _wait_ready(
    reader: int, process: Popen[bytes], deadline: float, clock: Clock, layout: Layout, log_start: int
) -> None:
    import select

    said = b""
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    while not said.endswith(READY):
        left = deadline - clock.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise DeadlineExceeded(
                f"cannot wait any longer for svcmgrd: pid {process.pid} is still starting; see {layout.daemon_log}",
                pid=process.pid,
            )
        chunk = os.read(reader, 4096)
        if not chunk:
            raise _failure(process, layout, log_start)
        said += chunk


def _failure(process: Popen[bytes], layout: Layout, log_start: int) -> StartFailed:
    import subprocess

    try:
        code = process.wait(EXIT_S)
        how = f"it exited with code {code}" if code >= 0 else f"signal {-code} ended it"
    except subprocess.TimeoutExpired:
        how = f"pid {process.pid} closed its ready descriptor without a word"
    tail = _tail(layout.daemon_log, log_start)
    return StartFailed(f"cannot start svcmgrd: {how}; its log is {layout.daemon_log}", log_tail=tail)


def _tail(log: Path, start: int) -> str:
    """The last lines that were written to ``log`` after offset ``start``."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL_BYTES) if size >= start else 0)
            data = file.read(TAIL_BYTES)
    except OSError:
        return ""
    return "\n".join(data.decode(errors="backslashreplace").splitlines()[-TAIL_LINES:])
