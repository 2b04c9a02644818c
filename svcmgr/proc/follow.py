"""Following a log like ``tail -F``, except that no byte is lost or doubled when it rotates.

A :class:`Follower` keeps a position and asks a :class:`~svcmgr.proc.logread.LogView` for what is there. It
blocks only in :meth:`Follower.wait`; a program that follows several logs, or runs an event loop, polls
:meth:`Follower.fileno` and calls :meth:`Follower.read` when it is readable.
"""

from __future__ import annotations

import contextlib
import os
import select

from svcmgr.proc import inotify, logread

#: How often to look when the kernel refuses inotify (its limits are per user), in seconds.
_WITHOUT_INOTIFY = 0.2


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
        self._view = logread.LogView(path)
        self._notices = self._watch()
        self.skipped = 0
        self.restarts = 0
        self.position = logread.tail_bounds(self._view, lines)[0] if position is None else position
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

    def read(self, size: int = logread.CHUNK) -> bytes:
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
            logread.pause(seconds)
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
