"""Something happened: wakes all who wait for it, and remembers nothing for those who do not."""

from __future__ import annotations

import asyncio
import contextlib


class Bell:
    """Nobody is kept: a waiter is a task that waits."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait_until(self, deadline: float) -> bool:
        """Wait for the next ring, until ``deadline`` on the loop's clock; whether it rang."""
        event = self._event
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await event.wait()
        return event.is_set()
