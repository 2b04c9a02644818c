"""Now, on both clocks."""

from __future__ import annotations

import attrs


@attrs.frozen
class Moment:
    """``monotonic`` seconds measure durations; ``utc`` seconds since the epoch are shown, and may step."""

    monotonic: float
    utc: float
