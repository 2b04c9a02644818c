"""One inotify(7) descriptor: enough of it to learn that a file grew, without polling.

A watch can be one-shot: the kernel drops it with its first event, so a writer that writes a million times
costs one event until somebody arms the file again.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

# linux/inotify.h
MODIFY = 0x00000002
ATTRIB = 0x00000004
MOVED_TO = 0x00000080
CREATE = 0x00000100
DELETE_SELF = 0x00000400
MOVE_SELF = 0x00000800
ONLYDIR = 0x01000000
ONESHOT = 0x80000000

_HEADER = struct.Struct("iIII")
_READ = 64 * 1024


class Inotify:
    """An inotify descriptor, non-blocking. Raises OSError as inotify_init1(2) does (EMFILE: too many)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._result(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor, for a poller; -1 when closed."""
        return self._fd

    def add(self, path: str | os.PathLike[str], mask: int) -> int:
        """Watch ``path``; the watch number. Raises OSError (ENOENT, ENOSPC: the user's limit of watches)."""
        return self._result(self._libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """Drop a watch; one that the kernel has dropped already is no error."""
        self._libc.inotify_rm_watch(self._fd, watch)

    def drain(self) -> Iterator[tuple[int, int, str]]:
        """All events that wait, as (watch, mask, name); the watch is -1 when events overflowed the queue.

        The name is that of an entry of a watched directory, else empty.
        """
        while True:
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, name_length = _HEADER.unpack_from(data, at)
                start = at + _HEADER.size
                at = start + name_length
                yield watch, mask, os.fsdecode(data[start:at].rstrip(b"\0"))
            if len(data) < _READ // 2:
                return  # the queue was emptied; what comes later makes the descriptor readable again

    def close(self) -> None:
        """Close; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @staticmethod
    def _result(value: int) -> int:
        if value < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return value
