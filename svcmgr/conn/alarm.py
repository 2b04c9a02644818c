"""One loop timer for an engine's ``next_deadline``.

Setting a later deadline than the armed one costs nothing: the timer fires early, the engine finds nothing to
do and says when to come again. So a call that is answered in time never touches the loop's heap.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls ``ring(now)`` at or after the earliest deadline it was given since the last ring."""

    def __init__(self, ring: Callable[[float], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf

    def at(self, deadline: float) -> None:
        """Ring at ``deadline`` (loop time) at the latest; ``math.inf`` asks for nothing."""
        if deadline >= self._armed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = asyncio.get_running_loop().call_at(deadline, self._fire)

    def cancel(self) -> None:
        """Forget everything asked for."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._armed = math.inf

    def _fire(self) -> None:
        # A loop may fire a timer up to its clock's resolution early; the engine must see the deadline as come.
        now = max(self._armed, asyncio.get_running_loop().time())
        self._timer = None
        self._armed = math.inf
        self._ring(now)
