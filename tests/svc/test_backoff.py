"""Delays and giving up."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.svc.backoff import Backoff, BackoffSpec
from tests.kit.world import Middle


def delays(backoff: Backoff, count: int, *, every: float = 1.0, uptime: float = 0.0) -> list[float | None]:
    return [backoff.failed(n * every, uptime) for n in range(count)]


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(BackoffSpec(0.5, 8.0, 0, 60.0), Middle())
    assert delays(backoff, 7) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff.streak == 7


def test_a_million_failures_do_not_overflow() -> None:
    backoff = Backoff(BackoffSpec(0.2, 30.0, 0, 60.0), Middle())
    backoff.streak = 1_000_000
    assert backoff.failed(1.0, 0.0) == 30.0


def test_no_delay_stays_no_delay() -> None:
    assert delays(Backoff(BackoffSpec(0.0, 0.0, 0, 60.0), random.Random(1)), 5) == [0.0] * 5


@settings(max_examples=100, deadline=None)
@given(
    delay=st.floats(0.01, 10.0),
    longest=st.floats(10.0, 1000.0),
    seed=st.integers(0, 1000),
    count=st.integers(1, 40),
)
def test_jitter_is_a_tenth_either_way(delay: float, longest: float, seed: int, count: int) -> None:
    spec = BackoffSpec(delay, longest, 0, 60.0)
    plain = Backoff(spec, Middle())
    for base, found in zip(delays(plain, count), delays(Backoff(spec, random.Random(seed)), count), strict=True):
        assert base is not None
        assert found is not None
        assert base * 0.9 - 1e-9 <= found <= base * 1.1 + 1e-9
        assert found <= longest * 1.1 + 1e-9


def test_jitter_spreads() -> None:
    spec = BackoffSpec(1.0, 1.0, 0, 60.0)
    found = {Backoff(spec, random.Random(seed)).failed(0.0, 0.0) for seed in range(50)}
    assert len(found) == 50
    assert max(filter(None, found)) - min(filter(None, found)) > 0.15


def test_a_healthy_run_starts_from_the_bottom() -> None:
    backoff = Backoff(BackoffSpec(1.0, 64.0, 0, 60.0), Middle())
    assert delays(backoff, 3) == [1.0, 2.0, 4.0]
    assert backoff.failed(10.0, BackoffSpec.healthy_after - 0.001) == 8.0
    assert backoff.failed(20.0, BackoffSpec.healthy_after) == 1.0
    assert backoff.streak == 1


def test_gives_up_at_one_more_than_the_intensity_within_the_period() -> None:
    backoff = Backoff(BackoffSpec(0.1, 1.0, 3, 10.0), Middle())
    assert [d is None for d in delays(backoff, 5)] == [False, False, False, True, True]
    assert backoff.streak == 3


def test_the_window_moves() -> None:
    backoff = Backoff(BackoffSpec(0.1, 1.0, 3, 10.0), Middle())
    assert None not in [backoff.failed(t, 0.0) for t in (0.0, 4.0, 8.0)]
    assert backoff.failed(9.999, 0.0) is None
    assert backoff.failed(10.0, 0.0) is not None  # the one at 0 has left: the window is (now - period, now]
    assert backoff.failed(11.0, 0.0) is None


def test_slow_crashes_go_on_for_ever() -> None:
    assert None not in delays(Backoff(BackoffSpec(0.1, 1.0, 3, 10.0), Middle()), 500, every=3.4)


def test_a_healthy_run_does_not_empty_the_window() -> None:
    """Giving up counts restarts within a period, however well each run began."""
    backoff = Backoff(BackoffSpec(0.1, 1.0, 2, 1000.0), Middle())
    assert [d is None for d in delays(backoff, 3, every=20.0, uptime=19.0)] == [False, False, True]


def test_intensity_zero_never_gives_up() -> None:
    assert None not in delays(Backoff(BackoffSpec(0.0, 0.0, 0, 60.0), Middle()), 20_000, every=0.0)


def test_the_memory_is_bounded_by_the_intensity() -> None:
    backoff = Backoff(BackoffSpec(0.0, 0.0, 5, 86400.0), Middle())
    delays(backoff, 1000)
    assert backoff._times is not None
    assert len(backoff._times) == 5


def test_reset_forgets_everything() -> None:
    backoff = Backoff(BackoffSpec(1.0, 64.0, 2, 1000.0), Middle())
    assert delays(backoff, 3) == [1.0, 2.0, None]
    backoff.reset()
    assert delays(backoff, 3) == [1.0, 2.0, None]


@pytest.mark.parametrize(
    "fields",
    [
        {"delay": -0.1},
        {"delay": math.nan},
        {"delay": math.inf},
        {"delay_max": 86401.0},
        {"period": -1.0},
        {"period": math.nan},
        {"delay": 5.0, "delay_max": 4.0},
        {"intensity": -1},
        {"intensity": 10001},
    ],
)
def test_nonsense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="cannot use restart"):
        BackoffSpec(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"delay": 0.0, "delay_max": 0.0}, {"period": 0.0}, {"intensity": 10000}])
def test_the_edges_are_allowed(fields: dict[str, float]) -> None:
    BackoffSpec(**fields)  # type: ignore[arg-type]


def test_a_period_of_nothing_never_gives_up() -> None:
    assert None not in delays(Backoff(BackoffSpec(0.1, 1.0, 1, 0.0), Middle()), 50)
