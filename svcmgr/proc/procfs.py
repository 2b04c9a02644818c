"""Reading ``/proc``: short, without caching, and calm about processes that vanish meanwhile.

Each function costs 10 to 20 microseconds per process; they use bare descriptors because a buffered file
object doubles that, and supervision reads them on its hot path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from svcmgr.proc.identity import Stat, parse_stat

#: No environment is longer: the kernel caps argv and envp together (execve(2), "Limits").
_ENVIRON_MAX = 6 << 20
_CHUNK = 1 << 16


def _read(path: str, limit: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, min(limit, _CHUNK))
        if limit <= _CHUNK or not data:
            return data
        # Files of /proc give a page or so at a time; only an empty read is their end.
        parts = [data]
        while limit > 0 and (data := os.read(fd, _CHUNK)):
            parts.append(data)
            limit -= len(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def stat(pid: int) -> Stat | None:
    """The entry of ``pid``, zombie or not; None when there is none."""
    try:
        return parse_stat(_read(f"/proc/{pid}/stat", 4096))
    except (FileNotFoundError, ProcessLookupError):
        return None


def zombie_status(pid: int, start_ticks: int) -> int | None:
    """The wait(2) status of a process that has ended and that its parent has not reaped yet; None when unknown.

    Field 52 of proc_pid_stat(5). The kernel shows 0 there to whoever may not trace the process, so unless we are root
    only another number is believed.
    """
    try:
        data = _read(f"/proc/{pid}/stat", 4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    found, fields = parse_stat(data), data.rpartition(b") ")[2].split()
    if found is None or not found.dead or found.start_ticks != start_ticks or len(fields) < 50:
        return None
    status = int(fields[49])
    return status if status or os.geteuid() == 0 else None


def environ(pid: int) -> bytes:
    """The initial environment of ``pid``, NUL separated; empty when it is gone or not ours to read."""
    try:
        return _read(f"/proc/{pid}/environ", _ENVIRON_MAX)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def thread_children(pid: int, tid: int) -> list[int] | None:
    """Children forked by (or left to) one thread; None when the thread is gone or the kernel lacks the file.

    The file needs CONFIG_PROC_CHILDREN (proc_pid_task(5)).
    """
    try:
        return list(map(int, _read(f"/proc/{pid}/task/{tid}/children", _ENVIRON_MAX).split()))
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid: int) -> list[int]:
    """Children of all threads of ``pid``; may miss one that is forked or reaped at this moment."""
    try:
        tids = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [child for tid in tids for child in thread_children(pid, int(tid)) or ()]


def pids() -> Iterator[int]:
    """Every process number in our pid namespace."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def boot_id() -> str:
    """The random id of this boot (proc_sys_kernel(5))."""
    return _read("/proc/sys/kernel/random/boot_id", 64).decode("ascii").strip()
