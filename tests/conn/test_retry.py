"""Back-off: growth, cap, jitter, no overflow."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.conn.retry import Retry
from svcmgr.errors import BadInput


class Fixed:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def test_the_first_delays_are_short_and_the_last_is_the_cap() -> None:
    retry = Retry()
    delays = [round(retry.delay(n, Fixed(0.0)), 4) for n in range(14)]
    assert delays[:4] == [0.01, 0.016, 0.0256, 0.041]
    assert delays[-1] == 2.0
    assert sorted(delays) == delays


def test_jitter_only_shortens_and_by_no_more_than_asked() -> None:
    assert Retry(jitter=0.25).delay(50, Fixed(0.999999)) == pytest.approx(1.5, abs=1e-3)
    spread = {Retry().delay(50, random.Random(seed)) for seed in range(20)}
    assert len(spread) == 20


@given(
    st.floats(1e-3, 10), st.floats(1, 1e6), st.floats(0, 0.99), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True)
)
def test_any_count_gives_a_delay_within_bounds(
    first: float, factor: float, jitter: float, failures: int, chance: float
) -> None:
    retry = Retry(first, factor, first * 100, jitter)
    assert 0 < retry.delay(failures, Fixed(chance)) <= first * 100 * (1 + 1e-9)


@pytest.mark.parametrize("fields", [{"first": 0}, {"cap": 0.001}, {"factor": 0.5}, {"jitter": 1}, {"jitter": -1}])
def test_nonsense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Retry(**fields)
