"""When to try again: exponential back-off with jitter.

The first delays are short, because a daemon that was just started binds its socket within some ten
milliseconds, and a failed connect(2) on a unix socket costs a few microseconds. The cap bounds how long a
daemon that came back waits to be found; jitter keeps many connections from trying in step.
"""

from __future__ import annotations

import math
from typing import Protocol

import attrs

from svcmgr.errors import BadInput


class Rng(Protocol):
    """The one thing needed of random.Random."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...


@attrs.frozen
class Retry:
    """Delays of ``first * factor**n`` seconds up to ``cap``, shortened by a random part of up to ``jitter``."""

    first: float = 0.01
    factor: float = 1.6
    cap: float = 2.0
    jitter: float = 0.25

    def __attrs_post_init__(self) -> None:
        if not (0 < self.first <= self.cap and self.factor >= 1 and 0 <= self.jitter < 1):
            raise BadInput(f"cannot use {self} for back-off: 0 < first <= cap, factor >= 1, 0 <= jitter < 1")

    def delay(self, failures: int, rng: Rng) -> float:
        """Seconds to wait after ``failures`` earlier failures (0 for the first). Any count is fine."""
        # Compared as logarithms: factor**failures leaves the range of a float after some hundred failures.
        if failures * math.log(self.factor) >= math.log(self.cap / self.first):
            full = self.cap
        else:
            full = self.first * self.factor**failures
        return full * (1 - self.jitter * rng.random())
