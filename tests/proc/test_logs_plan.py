"""What a rotation would move, by numbers alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.proc.logplan import Cut, plan

K = 4096


@pytest.mark.parametrize(
    ("size", "limit", "keep", "block", "expected"),
    [
        (0, 100, 3, K, None),
        (100, 100, 3, K, None),
        (1 << 40, 0, 3, K, None),
        (1 << 40, 0, 3, 0, None),
        # Over the limit, but a collapse must leave at least one byte.
        (2 * K, K, 3, K, Cut(K, ((1, 0, K),), 0)),
        (K + 1, K, 3, K, Cut(K, ((1, 0, K),), 0)),
        (K, 100, 3, K, None),
        # The limit is rounded down to blocks, never to nothing.
        (3 * K, K + 5, 3, K, Cut(2 * K, ((2, 0, K), (1, K, K)), 0)),
        (K + 1, 100, 3, K, Cut(K, ((1, 0, K),), 0)),
        # Far over: what retention would remove at once is not copied.
        (10 * K + 1, K, 3, K, Cut(10 * K, ((3, 7 * K, K), (2, 8 * K, K), (1, 9 * K, K)), 7 * K)),
        (3 * K + 1, K, 0, K, Cut(3 * K, (), 3 * K)),
        # Truncation takes all of the file, and makes no tiny piece.
        (105, 100, 3, 0, Cut(105, ((1, 0, 105),), 0)),
        (150, 100, 3, 0, Cut(150, ((2, 0, 75), (1, 75, 75)), 0)),
        (300, 100, 2, 0, Cut(300, ((2, 100, 100), (1, 200, 100)), 100)),
    ],
)
def test_plan(size: int, limit: int, keep: int, block: int, expected: Cut | None) -> None:
    assert plan(size, limit, keep, block) == expected


@given(
    size=st.integers(0, 1 << 26),
    limit=st.integers(0, 1 << 24),
    keep=st.integers(0, 2000),
    block=st.sampled_from([0, 512, K, 65536]),
)
def test_a_plan_covers_the_cut_and_keeps_within_the_limit(size: int, limit: int, keep: int, block: int) -> None:
    if limit and size // limit > 3000:
        size = limit * 3000
    cut = plan(size, max(limit, 64), keep, block)
    if cut is None:
        assert size <= max(limit, 64) or size <= block
        return
    position = cut.discarded
    for (index, offset, length), expected in zip(cut.ranges, range(len(cut.ranges), 0, -1), strict=True):
        assert (index, offset) == (expected, position)
        assert 0 < length <= max(block, max(limit, 64) * 5 // 4 + 1)
        position += length
    assert position == cut.cut
    assert len(cut.ranges) <= keep
    if block:
        assert cut.cut % block == 0
        assert cut.cut < size
    else:
        assert cut.cut == size
