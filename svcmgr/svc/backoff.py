"""How long to wait before the next attempt, and when to stop attempting.

Theory of operation. Every failure asks :meth:`Backoff.failed` and gets the delay before the next attempt, or
None: give up. Delays grow by ``factor`` from ``delay`` to ``delay_max``, each multiplied by a random factor of
1 +- ``jitter`` so that services that died together do not come back together. A run that lasted
``healthy_after`` seconds proves that the trouble is over: the next delay starts from the bottom again. This is
judged when the service exits, so a healthy service costs no timer.

Giving up follows Erlang/OTP (``lib/stdlib/src/supervisor.erl``): more than ``intensity`` restarts within the
last ``period`` seconds. ``intensity`` 0 means: never give up.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs

from svcmgr.errors import BadInput


class Rng(Protocol):
    """The one method of random.Random that is needed."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...


@attrs.frozen
class BackoffSpec:
    """All durations in seconds. The defaults give up after ten failures, which is about two minutes."""

    delay: float = 0.2
    delay_max: float = 30.0
    intensity: int = 10
    period: float = 120.0

    factor = 2.0
    jitter = 0.1
    healthy_after = 10.0

    def __attrs_post_init__(self) -> None:
        for name in ("delay", "delay_max", "period"):
            value = getattr(self, name)
            if not 0 <= value <= 86400:
                raise BadInput(f"cannot use restart {name} {value}: give seconds between 0 and 86400", field=name)
        if self.delay > self.delay_max:
            raise BadInput(
                f"cannot use restart delay {self.delay}: it is over the maximum of {self.delay_max}", field="delay"
            )
        if not 0 <= self.intensity <= 10000:
            raise BadInput(
                f"cannot use restart intensity {self.intensity}: give 0 (never give up) to 10000", field="intensity"
            )


class Backoff:
    """The memory of one service's failures."""

    __slots__ = ("_rng", "_times", "spec", "streak")

    def __init__(self, spec: BackoffSpec, rng: Rng) -> None:
        self.spec = spec
        self.streak = 0
        self._times: deque[float] | None = None
        self._rng = rng

    def failed(self, now: float, uptime: float) -> float | None:
        """Seconds until the next attempt after a run of ``uptime`` seconds, or None to give up."""
        if uptime >= self.spec.healthy_after:
            self.streak = 0
        if self._over_intensity(now):
            return None
        delay = min(self.spec.delay * self.spec.factor ** min(self.streak, 64), self.spec.delay_max)
        self.streak += 1
        return delay * (1 + self.spec.jitter * (2 * self._rng.random() - 1))

    def _over_intensity(self, now: float) -> bool:
        if self.spec.intensity == 0:
            return False
        times = self._times = self._times if self._times is not None else deque()
        while times and times[0] <= now - self.spec.period:
            times.popleft()
        if len(times) >= self.spec.intensity:
            return True
        times.append(now)
        return False

    def reset(self) -> None:
        """Forget everything; what an operator's start does."""
        self.streak = 0
        self._times = None
