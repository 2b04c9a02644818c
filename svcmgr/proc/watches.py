"""One descriptor in the event loop for the exits of all processes.

Theory of operation. A pidfd is readable when its process has exited (pidfd_open(2)). Registering each with the loop
costs a handle, a selector key and two dictionary entries per process; here they share an epoll set of their own,
whose single descriptor the loop watches. A watch fires once. The set is there only while something is watched, so
nothing has to be closed in the end.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


class Watches:
    """Calls back when descriptors become readable. All methods belong to the thread of the loop."""

    __slots__ = ("_callbacks", "_loop", "_set")

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._set: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back once when ``fd`` is readable; again for the same one, the later callback holds.

        Raises OSError as epoll_create(2) and epoll_ctl(2) do.
        """
        if self._set is None:
            self._set = select.epoll()
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._set.fileno(), self._ready)
        if fd not in self._callbacks:
            self._set.register(fd, select.EPOLLIN)
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Forget ``fd``, which is still open; idempotent."""
        if self._callbacks.pop(fd, None) is None or self._set is None:
            return
        self._set.unregister(fd)
        if not self._callbacks:
            self._close()

    def _ready(self) -> None:
        assert self._set is not None
        for fd, _ in self._set.poll(0, max(1, len(self._callbacks))):
            callback = self._callbacks.get(fd)
            if callback is None:
                continue  # an earlier callback of this round let go of it
            self.remove(fd)
            self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # as the loop does: the exits of others are still told
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "cannot handle an exit", "exception": error})

    def _close(self) -> None:
        if self._set is not None and self._loop is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._set.fileno())
            self._set.close()
        self._set = self._loop = None
