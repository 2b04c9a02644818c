"""The receiving end of sd_notify(3): one datagram socket per service that uses it.

A socket per service says who speaks without trusting what is said; beyond that the kernel attests the sender
(SCM_CREDENTIALS, unix(7)), and a datagram is believed only from the service's own user or root. Every process that
can open the socket may write anything into it, so a datagram is limited before it is read and a bad one is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from svcmgr.errors import BadInput, StorageFailed
from svcmgr.sdnotify import MAX_DATAGRAM, Notification, parse

_CREDENTIALS = struct.Struct("iII")
#: Datagrams taken per wake-up, so that a service that floods its socket cannot hold the loop.
_BATCH = 32


class NotifySocket:
    """Binds ``path`` and calls ``deliver(notification, sender pid)`` for each believable datagram."""

    __slots__ = ("_deliver", "_socket", "_uids", "dropped", "path")

    def __init__(self, path: Path, uid: int, deliver: Callable[[Notification, int], None]) -> None:
        """``uid`` is the service's user: it must be able to write to the socket and is believed."""
        self.path = path
        self.dropped = 0
        self._uids = {0, os.getuid(), uid}
        self._deliver = deliver
        self._socket: socket.socket | None = None

    def open(self, uid: int) -> None:
        """Bind and listen; a leftover of the same name is replaced. Raises StorageFailed."""
        if self._socket is not None:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.path.unlink(missing_ok=True)
            sock.bind(str(self.path))
            self.path.chmod(0o600)
            if uid != os.getuid():
                os.chown(self.path, uid, -1)
        except OSError as error:
            sock.close()
            raise StorageFailed(f"cannot bind {self.path}: {error.strerror} (errno {error.errno})") from error
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop listening and remove the socket file; idempotent."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _readable(self) -> None:
        for _ in range(_BATCH):
            if self._socket is None:
                return
            try:
                data, control, flags, _ = self._socket.recvmsg(MAX_DATAGRAM, socket.CMSG_SPACE(_CREDENTIALS.size))
            except (BlockingIOError, InterruptedError):
                return
            self._take(data, control, flags)

    def _take(self, data: bytes, control: list[tuple[int, int, bytes]], flags: int) -> None:
        sender = _sender(control)
        if flags & socket.MSG_TRUNC or sender is None or sender[1] not in self._uids:
            self.dropped += 1
            return
        try:
            note = parse(data)
        except BadInput:
            self.dropped += 1
            return
        self._deliver(note, sender[0])


def _sender(control: list[tuple[int, int, bytes]]) -> tuple[int, int] | None:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            pid, uid, _ = _CREDENTIALS.unpack_from(data)
            return pid, uid
    return None
