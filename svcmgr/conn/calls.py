"""Calls in flight: which were asked, which must be answered by when.

Theory of operation. A call has an id, never used twice by one table, and a deadline. Ids count up, so an
answer to an id that was given out but is no longer here is *late* (its caller stopped waiting), and an answer
to an id never given out is nonsense. Deadlines sit in a heap; a call that is answered leaves its heap entry
behind, and the heap is rebuilt when most of it is dead, so that fast calls with long deadlines cost no memory.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

import msgspec

from svcmgr.errors import TooManyCalls


class Pending(msgspec.Struct):
    """One call in flight; ``token`` is whatever the driver wants back with the outcome."""

    id: int
    verb: str
    deadline: float
    timeout: float
    token: Any


class Calls:
    """The table. Times are monotonic seconds; ``math.inf`` is no deadline."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pending: dict[int, Pending] = {}
        self._heap: list[tuple[float, int]] = []
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, verb: str, now: float, timeout: float, token: Any) -> Pending:
        """Enter a call. Raises TooManyCalls at the limit."""
        if len(self._pending) >= self.limit:
            raise TooManyCalls(
                f"cannot call {verb!r}: {len(self._pending)} calls are in flight already, the limit of this "
                "connection; wait for one to end",
                limit=self.limit,
            )
        self._last_id += 1
        call = Pending(self._last_id, verb, now + timeout, timeout, token)
        self._pending[call.id] = call
        if call.deadline != math.inf:
            heapq.heappush(self._heap, (call.deadline, call.id))
        return call

    def close(self, call_id: int) -> Pending | None:
        """Take a call out because it was answered or given up; None if it is not in flight."""
        call = self._pending.pop(call_id, None)
        if call is not None and len(self._heap) > 2 * len(self._pending) + 64:
            self._heap = [(c.deadline, c.id) for c in self._pending.values() if c.deadline != math.inf]
            heapq.heapify(self._heap)
        return call

    def was_issued(self, call_id: int) -> bool:
        """Whether ``call_id`` was ever given out."""
        return call_id <= self._last_id

    def expire(self, now: float) -> list[Pending]:
        """Take out the calls whose deadline is not after ``now``, earliest first."""
        expired = []
        while self.next_deadline <= now:
            call = self._pending.pop(heapq.heappop(self._heap)[1])
            expired.append(call)
        return expired

    def clear(self) -> list[Pending]:
        """Take out all calls, oldest first."""
        calls = list(self._pending.values())
        self._pending.clear()
        self._heap.clear()
        return calls

    @property
    def next_deadline(self) -> float:
        """The earliest deadline, or ``math.inf``."""
        while self._heap and self._heap[0][1] not in self._pending:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf
