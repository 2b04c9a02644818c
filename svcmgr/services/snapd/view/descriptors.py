"""A bounded store of open descriptors, so that what strangers hold open never exhausts ours.

Nobody in the view owns a descriptor: it is lent for one operation, kept in case the same is wanted again, and closed
when others were wanted more recently. One that is lent out is closed when it comes back.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator


class _Held:
    __slots__ = ("fd", "lent", "wanted")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lent = 0
        self.wanted = True


class Descriptors:
    """At most ``capacity`` descriptors that are not lent out. For several threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    @contextlib.contextmanager
    def lend(self, key: Hashable, make: Callable[[], int]) -> Iterator[int]:
        """The descriptor kept under ``key``, from ``make`` if there is none. Raises what ``make`` raises."""
        held = self._take(key)
        if held is None:
            held = self._keep(key, make())
        try:
            yield held.fd
        finally:
            self._give_back(held)

    def _take(self, key: Hashable) -> _Held | None:
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                held.lent += 1
            return held

    def _keep(self, key: Hashable, fd: int) -> _Held:
        new = _Held(fd)
        new.lent = 1
        with self._lock:
            if self._closed:
                new.wanted = False
                return new
            old = self._held.pop(key, None)  # another thread made it meanwhile
            if old is not None:
                self._discard(old)
            self._held[key] = new
            while len(self._held) > self._capacity:
                self._discard(self._held.popitem(last=False)[1])
        return new

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            held.lent -= 1
            if not held.wanted and not held.lent:
                os.close(held.fd)

    def _discard(self, held: _Held) -> None:
        held.wanted = False
        if not held.lent:
            os.close(held.fd)

    def drop(self, which: Callable[[Hashable], bool]) -> None:
        """Close those whose key ``which`` says yes to, as soon as nobody uses them."""
        with self._lock:
            for key in [key for key in self._held if which(key)]:
                self._discard(self._held.pop(key))

    def close(self) -> None:
        """Close all; what is lent from now on is not kept. Idempotent."""
        with self._lock:
            self._closed = True
        self.drop(lambda key: True)
