"""Which bytes of a log that grew over its limit go where: plain arithmetic."""

from __future__ import annotations

import attrs

from svcmgr.proc.logrecord import MAX_FILES


@attrs.frozen
class Cut:
    """A plan: remove ``cut`` bytes; ``ranges`` are (piece index, offset, length), the newest piece is 1."""

    cut: int
    ranges: tuple[tuple[int, int, int], ...]
    discarded: int


def plan(size: int, max_bytes: int, keep: int, block: int) -> Cut | None:
    """Which part of a file of ``size`` bytes to move where; None when there is nothing to do (always so
    with ``max_bytes`` 0).

    ``block`` > 0: lengths are multiples of it and at least one byte stays (what a collapse asks for). 0: all of the
    file goes, in pieces of equal length that may be a quarter over ``max_bytes`` rather than leave a tiny one.
    """
    if not 0 < max_bytes < size:
        return None
    if block:
        length = max(block, max_bytes // block * block)
        count = (size - 1) // length
        cut = count * length
    else:
        cut, limit = size, max(1, max_bytes)
        count = max(1, size // limit + (size % limit > limit // 4))
        length = -(-size // count)
        count = -(-size // length)
    kept = min(count, keep, MAX_FILES)
    first = count - kept
    ranges = tuple((count - n, n * length, min(length, cut - n * length)) for n in range(first, count))
    return Cut(cut, ranges, min(cut, first * length)) if cut else None
