"""Which snapshots are kept: tables, a simulated year, and what must hold for any history."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput
from svcmgr.services.snapd.retention import KEEP_MAX, RULES, Held, Keep, expire, make_keep, parse_keep

HOUR, DAY = 3600.0, 86_400.0
#: 2025-01-01T00:00:00Z, a Wednesday.
NEW_YEAR = 1_735_689_600.0


def at(*moments: float) -> list[Held]:
    return [Held(f"id{n:05}", f"s{n:05}", moment) for n, moment in enumerate(moments)]


def left(held: list[Held], keep: Keep, now: float = 1e12) -> list[float]:
    gone = {one.id for one in expire(held, keep, now)}
    return [one.created for one in held if one.id not in gone]


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("last=10", Keep(last=10)),
        (" hourly = 24 , daily=7,weekly=4", Keep(hourly=24, daily=7, weekly=4)),
        ("last=10,hourly=24,daily=7,weekly=4,monthly=12,yearly=2", Keep(10, 24, 7, 4, 12, 2)),
        (f"daily=0,yearly={KEEP_MAX}", Keep(yearly=KEEP_MAX)),
    ],
)
def test_keep_is_read(text, keep):
    assert parse_keep(text) == keep
    assert make_keep(keep.rules()) == keep


@pytest.mark.parametrize(
    "text",
    [
        "",
        "last",
        "last=",
        "last=-1",
        "last=1.5",
        "last=٣",
        "last=0",
        "hourly=0,daily=0",
        f"last={KEEP_MAX + 1}",
        "last=9999999999999",
        "last=1,last=2",
        "minutely=3",
        "last=1,",
        "last=1;daily=2",
        "Last=1",
        "last=1," * 500,
        "last=1" + " " * 1000 + ",daily=1",
    ],
)
def test_bad_keep_is_refused(text):
    with pytest.raises(BadInput):
        parse_keep(text)


@pytest.mark.parametrize("numbers", [{}, {"last": -1}, {"often": 1}, {"last": 0}])
def test_bad_numbers_are_refused(numbers):
    with pytest.raises(BadInput):
        make_keep(numbers)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        # Hours after Wednesday 2025-01-01T00:00Z; the newest of each bucket stays.
        (Keep(last=2), [200, 767]),
        (Keep(hourly=3), [49, 200, 767]),
        (Keep(daily=2), [200, 767]),
        (Keep(daily=3), [49, 200, 767]),
        (Keep(daily=99), [23, 49, 200, 767]),
        (Keep(weekly=2), [200, 767]),
        (Keep(weekly=3), [49, 200, 767]),
        (Keep(monthly=2), [200, 767]),
        (Keep(yearly=9), [767]),
        (Keep(last=1, monthly=2), [200, 767]),
    ],
)
def test_the_newest_of_each_bucket_is_kept(keep, kept):
    hours = [0, 1, 23, 48, 49, 200, 767]  # 767 h: 2025-02-01T23Z
    assert left(at(*(NEW_YEAR + hour * HOUR for hour in hours)), keep) == [NEW_YEAR + hour * HOUR for hour in kept]


def test_a_week_begins_on_monday():
    sunday, monday = NEW_YEAR + 4 * DAY + 23 * HOUR, NEW_YEAR + 5 * DAY
    assert left(at(sunday, monday), Keep(weekly=2)) == [sunday, monday]
    assert left(at(monday, monday + 6 * DAY), Keep(weekly=2)) == [monday + 6 * DAY]


def test_gaps_do_not_eat_retention():
    before = [NEW_YEAR + n * DAY for n in range(7)]
    after = [before[-1] + 300 * DAY]
    assert left(at(*before, *after), Keep(daily=7)) == before[1:] + after


def test_snapshots_from_the_future_are_neither_counted_nor_deleted():
    future = [NEW_YEAR + n * 365 * DAY for n in range(1, 40)]
    held = at(NEW_YEAR - 2 * HOUR, NEW_YEAR - HOUR, NEW_YEAR, *future)
    assert left(held, Keep(last=2), now=NEW_YEAR) == [NEW_YEAR - HOUR, NEW_YEAR, *future]


def test_nothing_held_nothing_deleted():
    assert expire([], Keep(last=1), NEW_YEAR) == []


def test_a_year_of_hourly_runs_with_downtime():
    """Every hour of a year, off for all of March and each Sunday; what is there at the end is what was asked for."""
    keep = parse_keep("hourly=24,daily=7,weekly=4,monthly=12")
    held: list[Held] = []
    most = 0
    for hour in range(365 * 24):
        now = NEW_YEAR + hour * HOUR
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        if moment.month == 3 or moment.isoweekday() == 7:
            continue
        held.append(Held(str(hour), str(hour), now))
        gone = {one.id for one in expire(held, keep, now)}
        held = [one for one in held if one.id not in gone]
        most = max(most, len(held))
    moments = [datetime.datetime.fromtimestamp(one.created, datetime.UTC) for one in held]
    assert most <= 24 + 7 + 4 + 12
    assert [m.strftime("%m-%d %H") for m in moments if m.month < 12] == [
        *("01-31 23", "02-28 23", "04-30 23", "05-31 23", "06-30 23", "07-31 23"),
        *("08-30 23", "09-30 23", "10-31 23", "11-29 23"),
    ]
    december = [m.strftime("%d %H") for m in moments if m.month == 12]
    # Sundays are 7, 14, 21 and 28, so weeks end on Saturday: two weeks, seven days with the 31st, its 24 hours.
    assert december[:-24] == ["13 23", "20 23", "24 23", "25 23", "26 23", "27 23", "29 23", "30 23"]
    assert december[-24:] == [f"31 {hour:02}" for hour in range(24)]


COUNTS = st.integers(0, 12)
KEEPS = st.builds(Keep, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.integers(1, 5))
HISTORIES = st.lists(
    st.one_of(st.floats(-1e9, 3e9), st.integers(0, 400).map(lambda n: NEW_YEAR + n * HOUR)), max_size=60
).map(lambda moments: at(*moments))
NOW = 2e9


@settings(max_examples=300, deadline=None)
@given(held=HISTORIES, keep=KEEPS, rng=st.randoms(use_true_random=False))
def test_what_holds_for_any_history(held, keep, rng):
    gone = expire(held, keep, NOW)
    assert set(gone) <= set(held)
    past = [one for one in held if one.created <= NOW]
    kept = [one for one in past if one not in gone]
    assert len(kept) >= min(len(past), keep.last)
    assert len(kept) <= sum(keep.rules().values())
    assert not past or max(past, key=lambda one: (one.created, one.id)) in kept
    assert expire([one for one in held if one not in gone], keep, NOW) == []
    shuffled = list(held)
    rng.shuffle(shuffled)
    assert expire(shuffled, keep, NOW) == gone


@settings(max_examples=300, deadline=None)
@given(held=HISTORIES, keep=KEEPS, rule=st.sampled_from(RULES), more=st.integers(1, 9))
def test_a_larger_number_never_deletes_more(held, keep, rule, more):
    larger = make_keep({**keep.rules(), rule: keep.rules(zeros=True)[rule] + more})
    assert set(expire(held, larger, NOW)) <= set(expire(held, keep, NOW))
