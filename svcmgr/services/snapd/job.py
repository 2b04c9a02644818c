"""One long operation: how its thread is told to give up, and what it has to tell.

Long operations run in a thread, so that the loop goes on answering. A thread cannot be cancelled; it looks at its
:class:`Job` between files and between pieces of large ones, a few milliseconds apart.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from svcmgr.background import outlast
from svcmgr.services.snapd.space import check_space
from svcmgr.volume import Cost, Free

T = TypeVar("T")

#: How many notes are kept, and how long one may be, in characters. The rest is counted.
NOTES_MAX, NOTE_LENGTH = 100, 300
#: The guard looks again after at most so many bytes or files, and after at least so many bytes.
_LOOK_BYTES, _LOOK_FILES, _LOOK_LEAST = 64 << 20, 4096, 1 << 20


class GivenUp(Exception):
    """The operation was told to end."""


class Guard:
    """Looks from time to time whether the file system of ``fd`` keeps its free space: the oftener the less is left.

    So a copy ends close to the limit, and never fills the file system under its users.
    """

    def __init__(self, keep: Free, fd: int, where: str) -> None:
        self._keep = keep
        self._fd = fd
        self._where = where
        self._bytes = 0
        self._files = 0
        self._allowance = 0

    def spent(self, size: int) -> None:
        """One file, or one piece of one, was written. Raises LowSpace."""
        self._bytes += size
        self._files += 1
        if self._bytes >= self._allowance or self._files >= _LOOK_FILES:
            self._bytes = self._files = 0
            spare = check_space(self._keep, self._fd, self._where)
            self._allowance = max(_LOOK_LEAST, min(_LOOK_BYTES, spare // 2))


class Job:
    """What one operation counts, notes and obeys. Used by one thread; only :meth:`give_up` may come from another."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self._notes: list[str] = []
        self._more = 0
        self.files = 0
        self.copied = 0
        self.shared = 0
        self.guard: Guard | None = None

    def give_up(self) -> None:
        self._given_up.set()

    def check(self) -> None:
        """Raise GivenUp when told to end."""
        if self._given_up.is_set():
            raise GivenUp

    def note(self, path: str, why: str) -> None:
        """Something was left out. Bounded."""
        if len(self._notes) < NOTES_MAX:
            self._notes.append(f"{printable(path)}: {why}"[:NOTE_LENGTH])
        else:
            self._more += 1

    @property
    def notes(self) -> list[str]:
        return [*self._notes, f"... and {self._more} more"] if self._more else list(self._notes)

    def copied_piece(self, size: int) -> None:
        self.copied += size
        if self.guard is not None:
            self.guard.spent(size)

    def shared_file(self, size: int) -> None:
        self.shared += size
        if self.guard is not None:
            self.guard.spent(0)

    def cost(self, seconds: float) -> Cost:
        return Cost(seconds=round(seconds, 6), files=self.files, copied_bytes=self.copied, shared_bytes=self.shared)


def printable(name: str) -> str:
    """``name`` as text that any encoder takes; bytes that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


async def in_thread(job: Job, work: Callable[[], T]) -> T:
    """Run ``work`` in a thread. A cancellation makes the job give up, and passes on when the thread has ended.

    So whoever holds a lock around this call holds it for as long as the thread works.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.wait([future])
    finally:
        if not future.done():
            job.give_up()
            await outlast(future)
        future.exception()  # looked at, or the loop complains when a cancellation is what counts
    try:
        return future.result()
    except GivenUp:
        raise asyncio.CancelledError from None
