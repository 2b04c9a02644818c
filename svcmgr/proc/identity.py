"""Which process is meant: pid, start time and boot, and how a process ended.

Theory of operation. A pid alone names nothing: numbers are reused, within seconds on a busy host. The start
time of a process (field 22 of ``/proc/PID/stat``, clock ticks since boot) never changes while it lives, not
even over execve(2), so (pid, start ticks) is unique within one boot, and the boot id makes it unique across
boots and on file systems restored from a backup. Who wants to signal a remembered process opens a pidfd
first and compares identities *after* that: from then on the descriptor, not the number, is the process.

A zombie is dead: it runs no code and holds no resource but its number. There is one exception the kernel
shows in the same field: a thread group leader that ended while other threads run is in state Z too, and such
a process lives. The thread count tells the two apart.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

import attrs


@attrs.frozen
class Identity:
    """One process of one boot. ``start_ticks`` is field 22 of proc_pid_stat(5)."""

    pid: int
    start_ticks: int
    boot_id: str


class Stat(NamedTuple):
    """The fields of ``/proc/PID/stat`` that supervision needs (proc_pid_stat(5))."""

    pid: int
    state: str
    ppid: int
    pgrp: int
    session: int
    threads: int
    start_ticks: int

    @property
    def dead(self) -> bool:
        """Whether nothing of the process runs any more: a zombie without living threads."""
        return self.state in "ZXx" and self.threads <= 1


def parse_stat(data: bytes) -> Stat | None:
    """The content of ``/proc/PID/stat``, or None when it is not one.

    The command name stands in parentheses and may itself hold blanks and parentheses, so fields are counted
    from the last closing one.
    """
    head, _, tail = data.rpartition(b") ")
    fields = tail.split()
    try:
        return Stat(
            pid=int(head.split(b" ", 1)[0]),
            state=fields[0].decode("ascii"),
            ppid=int(fields[1]),
            pgrp=int(fields[2]),
            session=int(fields[3]),
            threads=int(fields[17]),
            start_ticks=int(fields[19]),
        )
    except (ValueError, IndexError):
        return None


@attrs.frozen
class ExitStatus:
    """How a process ended: an exit ``code``, or a ``signal`` number, or neither when nobody could know.

    The last is the case of a process that is not our child on a kernel before Linux 6.15.
    """

    code: int | None = None
    signal: int | None = None
    core: bool = False

    @classmethod
    def from_wait(cls, status: int) -> ExitStatus:
        """From the status word of wait(2): low 7 bits signal, bit 7 core, next 8 bits exit code."""
        number = status & 0x7F
        if number == 0:
            return cls(code=(status >> 8) & 0xFF)
        return cls(signal=number, core=bool(status & 0x80))

    @property
    def known(self) -> bool:
        return self.code is not None or self.signal is not None

    @property
    def clean(self) -> bool:
        """Exit code 0."""
        return self.code == 0

    @property
    def signal_name(self) -> str | None:
        """``SIGKILL`` and so on; ``signal 35`` for a number without a name."""
        if self.signal is None:
            return None
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"

    def describe(self) -> str:
        """One phrase for people."""
        if self.code is not None:
            return f"exited with code {self.code}"
        if self.signal is not None:
            return f"killed by {self.signal_name}" + (" (core dumped)" if self.core else "")
        return "exited, status unknown"
