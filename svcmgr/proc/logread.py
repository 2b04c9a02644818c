"""Reading logs while they grow and rotate: the last lines, all of it, and following.

A :class:`Follower` works like ``tail -F``, except that no byte is lost or doubled when the log rotates: it keeps
a position and asks a :class:`~svcmgr.proc.logview.LogView` for what is there. It blocks only in
:meth:`Follower.wait`; a program that follows several logs, or runs an event loop, polls
:meth:`Follower.fileno` and calls :meth:`Follower.read` when it is readable, or uses :func:`follow`.

No asyncio and no attrs here: command line tools import this module.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from svcmgr.proc import inotify
from svcmgr.proc.logrecord import piece
from svcmgr.proc.logview import CHUNK, LogView, pause

#: Bytes that :func:`tail` returns at most, whatever the number of lines.
TAIL_LIMIT = 16 * 1024 * 1024
#: How often to look when the kernel refuses inotify (its limits are per user), in seconds.
_WITHOUT_INOTIFY = 0.2


def tail(path: str | os.PathLike[str], lines: int, limit: int = TAIL_LIMIT) -> bytes:
    """The last ``lines`` lines, over rotated pieces where needed; a last line without newline counts.

    Never more than ``limit`` bytes: of longer lines the end is returned.

    Raises:
        NotPermitted, StorageFailed: the log cannot be read.
    """
    return tail_and_position(path, lines, limit)[0]


def last_words(path: Path, lines: int, limit: int) -> bytes:
    """The last ``lines`` lines as a report of an exit needs them, which a restart waits for: a third of the cost of
    :func:`tail` where the live file holds enough. A rotation at this very moment may make it miss some.

    Raises as :func:`tail` does.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    except OSError:
        return tail(path, lines, limit)  # says what is wrong
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, limit, max(0, size - limit)) if size else b""
    finally:
        os.close(fd)
    enough = data.rstrip(b"\n").count(b"\n") >= lines or size >= limit
    if not enough and piece(path, 1).exists():
        return tail(path, lines, limit)
    end = b"\n" if data.endswith(b"\n") else b""
    return b"\n".join(data.removesuffix(b"\n").split(b"\n")[-lines:]) + end


def tail_and_position(path: str | os.PathLike[str], lines: int, limit: int = TAIL_LIMIT) -> tuple[bytes, int]:
    """As :func:`tail`, and the position after the last byte: a :class:`Follower` started there misses nothing."""
    with LogView(path) as view:
        start, end = tail_bounds(view, lines, limit)
        return b"".join(_chunks(view, start, end)), end


def tail_bounds(view: LogView, lines: int, limit: int = TAIL_LIMIT) -> tuple[int, int]:
    """Positions where the last ``lines`` lines begin and end. Reads backwards, holds one chunk at a time."""
    oldest, end = view.bounds()
    oldest = max(oldest, end - limit)
    if lines <= 0:
        return end, end
    at, wanted, size = end, lines, 8 * 1024
    while at > oldest:
        start = max(oldest, at - size)
        block = b"".join(_chunks(view, start, at))
        if len(block) < at - start:
            return at, end  # retention took what was before
        if at == end and block.endswith(b"\n"):
            wanted += 1
        found = block.count(b"\n")
        if found >= wanted:
            return start + _nth_from_end(block, wanted) + 1, end
        wanted -= found
        at = start
        size = CHUNK
    return oldest, end


def read_pieces(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """All that is kept, oldest first, in chunks, up to the end at the time of the call's first step.

    Raises:
        NotPermitted, StorageFailed: the log cannot be read.
    """
    with LogView(path) as view:
        yield from _chunks(view, *view.bounds())


def _chunks(view: LogView, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        at, data = view.read(start, min(CHUNK, end - start))
        if not data or at >= end:
            return
        yield data[: end - at]
        start = at + len(data)


def _nth_from_end(block: bytes, count: int) -> int:
    at = len(block)
    for _ in range(count):
        at = block.rindex(b"\n", 0, at)
    return at


class Follower:
    """Reads on from a position for as long as the log lives.

    Args:
        path: the live file; it may come into being later.
        lines: start that many lines before the end.
        position: start there instead (see ``logrecord`` for positions); 0 is the oldest byte kept.

    Attributes:
        skipped: bytes that retention removed before they were read.
        restarts: how often the file was replaced or truncated by others.
    """

    def __init__(self, path: str | os.PathLike[str], *, lines: int = 0, position: int | None = None) -> None:
        self._view = LogView(path)
        self._notices = self._watch()
        self.skipped = 0
        self.restarts = 0
        self.position = tail_bounds(self._view, lines)[0] if position is None else position
        self.position = max(self.position, self._view.bounds()[0])

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors; idempotent."""
        self._view.close()
        if self._notices is not None:
            self._notices.close()

    def read(self, size: int = CHUNK) -> bytes:
        """What comes next, at most ``size`` bytes; empty when there is nothing new. Does not wait for it.

        Raises:
            NotPermitted, StorageFailed: the log cannot be read.
        """
        if self._notices is not None:
            list(self._notices.drain())  # before reading: what is written from here on makes a new notice
        data = self._take(size)
        if data or self._view.current():
            return data
        # The file was replaced: first the rest of the old one, which may have grown since.
        data = self._take(size)
        if data:
            return data
        known = self._view.opened
        if self._view.reopen():
            self._add_live(self._notices)
            if known:
                self._restart()
            data = self._take(size)
        return data

    def wait(self, timeout: float | None = None) -> bool:
        """Block until there may be more than the last, empty, :meth:`read` saw. False after ``timeout`` seconds."""
        if self._notices is None:
            seconds = _WITHOUT_INOTIFY if timeout is None else min(timeout, _WITHOUT_INOTIFY)
            pause(seconds)
            return True
        poller = select.poll()
        poller.register(self._notices.fileno(), select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def fileno(self) -> int:
        """A descriptor that turns readable when there may be more than the last, empty, :meth:`read` saw.

        -1 when the kernel refuses inotify: then read again after a moment.
        """
        return -1 if self._notices is None else self._notices.fileno()

    def _take(self, size: int) -> bytes:
        start, data = self._view.read(self.position, size)
        if data:
            self.skipped += start - self.position
            self.position = start + len(data)
        elif self._view.opened and self._view.bounds()[1] < self.position:  # truncated by somebody else
            self._restart()
        return data

    def _restart(self) -> None:
        self.restarts += 1
        self.position = self._view.bounds()[0]

    def _watch(self) -> inotify.Inotify | None:
        """Notices for the live file, and for its directory: a file of that name may come later."""
        notices = None
        try:
            notices = inotify.Inotify()
            notices.add(self._view.path.parent, inotify.CREATE | inotify.MOVED_TO)
        except OSError:
            if notices is not None:
                notices.close()
            return None
        self._add_live(notices)
        return notices

    def _add_live(self, notices: inotify.Inotify | None) -> None:
        if notices is None:
            return
        # Attributes change when the name is removed while a writer still holds the file.
        mask = inotify.MODIFY | inotify.ATTRIB | inotify.MOVE_SELF | inotify.DELETE_SELF
        with contextlib.suppress(FileNotFoundError):
            notices.add(self._view.path, mask)


def follow(
    paths: Iterable[str | os.PathLike[str]], *, lines: int = 0, positions: Mapping[str, int] | None = None
) -> Iterator[tuple[str, bytes]]:
    """What is written to several logs, for ever, as (path, bytes) in chunks; blocks while there is nothing new.

    Args:
        lines: start that many lines before the end of each.
        positions: where to start by path, for example the end that :func:`tail_and_position` gave.

    Raises:
        NotPermitted, StorageFailed: a log cannot be read.
    """
    with contextlib.ExitStack() as stack:
        followers = {
            os.fspath(path): stack.enter_context(
                Follower(path, lines=lines, position=(positions or {}).get(os.fspath(path)))
            )
            for path in paths
        }
        ready = list(followers)
        while followers:
            more = False
            for path in ready:
                if data := followers[path].read():
                    more = True
                    yield path, data
            # In turn, so that a flood in one log does not hide the others.
            ready = list(followers) if more else _wait_any(followers)


def _wait_any(followers: Mapping[str, Follower]) -> list[str]:
    """Block until some may have news; which ones."""
    by_fd = {follower.fileno(): path for path, follower in followers.items() if follower.fileno() >= 0}
    silent = [path for path, follower in followers.items() if follower.fileno() < 0]
    poller = select.poll()
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    ready = poller.poll(_WITHOUT_INOTIFY * 1000 if silent else None)
    return [*(by_fd[fd] for fd, _ in ready), *silent]
