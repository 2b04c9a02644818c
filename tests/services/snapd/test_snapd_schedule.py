"""When schedules run: intervals, downtime, clocks that step, failures, crashes; all on numbers."""

from __future__ import annotations

import datetime
import itertools
import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput, Busy, LowSpace, StorageFailed, UnknownSchedule, Unsupported
from svcmgr.services.snapd.retention import Keep
from svcmgr.services.snapd.schedule import (
    EVERY_MAX_S,
    LOOK_S,
    NAME_MAX,
    SCHEDULES_MAX,
    Entry,
    Failed,
    Looked,
    Moment,
    Schedule,
    Scheduler,
    Take,
    Taken,
    every_text,
    parse_every,
    stamp,
)
from tests.kit.world import Middle

#: 2026-11-26T20:41:00Z, a Thursday.
START = 1_795_725_660.0
HOUR = 3600.0
HOURLY = Schedule("hourly", 3600, Keep(hourly=24))
#: The full hour after START.
NINE = START + 19 * 60


@attrs.define
class Rig:
    """A scheduler with both clocks; time passes by ``sleep``, the date is changed by ``step``."""

    engine: Scheduler = attrs.Factory(lambda: Scheduler(Middle()))
    utc: float = START
    monotonic: float = 50.0
    runs: list[float] = attrs.Factory(list)

    @property
    def now(self) -> Moment:
        return Moment(self.utc, self.monotonic)

    def add(self, schedule: Schedule = HOURLY) -> Rig:
        self.engine.put(self.engine.proposed(schedule, self.now))
        return self

    def look(self) -> Take | None:
        return self.engine.handle(Looked(), self.now)

    def sleep(self, seconds: float, failure: str = "") -> list[float]:
        """Live for so long, carry out what is asked; the UTC moments of the runs."""
        end = self.monotonic + seconds
        before = len(self.runs)
        while True:
            self.carry_out(self.look(), failure)
            deadline = self.engine.next_deadline(self.now)
            if deadline is None or deadline > end:
                break
            assert self.monotonic < deadline <= self.monotonic + LOOK_S
            self.pass_by(deadline - self.monotonic)
        self.pass_by(end - self.monotonic)
        return self.runs[before:]

    def carry_out(self, take: Take | None, failure: str = "") -> None:
        while take is not None:
            self.runs.append(self.utc)
            self.pass_by(0.01)
            take = self.engine.handle(self.ended(take, failure), self.now)

    @staticmethod
    def ended(take: Take, failure: str) -> Taken | Failed:
        if failure:
            return Failed(take.schedule, take.snapshot, failure, f"cannot: {failure}")
        return Taken(take.schedule, take.snapshot)

    def pass_by(self, seconds: float) -> None:
        self.utc += seconds
        self.monotonic += seconds

    def step(self, seconds: float) -> None:
        self.utc += seconds

    def restart(self, there: frozenset[str] = frozenset(), off: float = 0.0) -> None:
        """svcmgr is off for so long, and what was stored is loaded."""
        stored = list(self.engine.entries.values())
        self.pass_by(off)
        self.engine = Scheduler(Middle())
        self.engine.resume(stored, there, self.now)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("30s", 30),
        ("15m", 900),
        (" 1h ", 3600),
        ("90m", 5400),
        ("1d", 86400),
        ("1w", 604800),
        ("366d", EVERY_MAX_S),
        ("52w", 52 * 604800),
    ],
)
def test_intervals(text, seconds):
    assert parse_every(text) == seconds
    assert parse_every(every_text(seconds)) == seconds


def test_an_interval_is_shown_in_its_largest_unit():
    assert [every_text(n) for n in (90, 900, 5400, 7200, 86400, 604800)] == ["90s", "15m", "90m", "2h", "1d", "1w"]


@pytest.mark.parametrize(
    "text", ["", "1", "h", "9s", "0h", "367d", "53w", "1.5h", "-1h", "1 h", "1H", "1y", "1h1m", "\u0661h"]
)
def test_bad_intervals_are_refused(text):
    with pytest.raises(BadInput):
        parse_every(text)


@pytest.mark.parametrize("name", ["", ".", "a/b", "-x", "x" * (NAME_MAX + 1), "a b", "a\n"])
def test_bad_names_are_refused(name):
    with pytest.raises(BadInput):
        Schedule(name, 3600, Keep(last=1))


@pytest.mark.parametrize("every", [9, EVERY_MAX_S + 1, 0, -3600])
def test_bad_seconds_are_refused(every):
    with pytest.raises(BadInput):
        Schedule("x", every, Keep(last=1))


@pytest.mark.parametrize(
    ("every", "first"),
    [
        ("30s", "2026-11-26T20:41:30"),
        ("15m", "2026-11-26T20:45:00"),
        ("1h", "2026-11-26T21:00:00"),
        ("6h", "2026-11-27T00:00:00"),
        ("1d", "2026-11-27T00:00:00"),
        ("1w", "2026-11-30T00:00:00"),  # a Monday
    ],
)
def test_runs_are_at_whole_multiples(every, first):
    boundary = Schedule("x", parse_every(every), Keep(last=1)).boundary_after(START)
    assert datetime.datetime.fromtimestamp(boundary, datetime.UTC).isoformat() == f"{first}+00:00"


@pytest.mark.parametrize("utc", [0, 951_782_399.9, START, 4_102_444_799.999, 253_402_300_799])
def test_a_stamp_is_the_moment(utc):
    assert stamp(utc) == datetime.datetime.fromtimestamp(int(utc), datetime.UTC).strftime("%Y-%m-%dT%H-%M-%SZ")


def test_a_new_schedule_waits_for_its_first_boundary_and_then_keeps_to_them():
    assert Rig().add().sleep(3 * HOUR) == pytest.approx([NINE, NINE + HOUR, NINE + 2 * HOUR], abs=0.1)


def test_a_run_says_what_to_take():
    rig = Rig().add(Schedule("nightly", 86400, Keep(last=3), activate=False))
    rig.step(5 * HOUR)
    assert rig.look() == Take("nightly", "nightly-2026-11-27T01-41-00Z", "schedule:nightly", False)
    assert rig.engine.get("nightly").pending == "nightly-2026-11-27T01-41-00Z"
    assert rig.look() is None  # while it goes on


def test_no_schedules_no_timer():
    assert Rig().engine.next_deadline(Moment(0.0, 0.0)) is None
    rig = Rig().add()
    rig.engine.remove("hourly")
    assert rig.engine.next_deadline(rig.now) is None


@pytest.mark.parametrize("off", [0.5, 3.0, 24.0, 24.0 * 400])
def test_downtime_is_caught_up_by_one_run(off):
    rig = Rig().add()
    rig.sleep(HOUR)
    rig.restart(off=off * HOUR)
    expected = 1 if rig.utc >= NINE + HOUR else 0
    assert len(rig.sleep(1.0)) == expected
    assert rig.sleep(1.0) == []


def test_a_suspended_host_catches_up_once():
    rig = Rig().add()
    rig.step(30 * HOUR)  # CLOCK_MONOTONIC stands still meanwhile
    assert len(rig.sleep(60.0)) == 1


def test_a_clock_set_forward_causes_one_run():
    rig = Rig().add()
    rig.sleep(HOUR)
    rig.step(400 * 24 * HOUR)
    assert len(rig.sleep(LOOK_S)) == 1
    assert len(rig.sleep(3 * HOUR)) == 3


@pytest.mark.parametrize("back", [0.01, 1.0, 600.0, HOUR, 23 * HOUR, 365 * 24 * HOUR])
def test_a_clock_set_back_neither_repeats_nor_blocks(back):
    rig = Rig().add()
    assert len(rig.sleep(20 * 60.0)) == 1  # one minute past nine
    rig.step(-back)
    runs = rig.sleep(6 * HOUR)
    assert 5 <= len(runs) <= 6
    gaps = [later - earlier for earlier, later in itertools.pairwise(runs)]
    assert gaps == pytest.approx([HOUR] * len(gaps), abs=0.1)
    if back < HOUR - 60:
        assert runs[0] == pytest.approx(NINE + HOUR, abs=0.1)  # nine does not come twice


def test_a_memory_from_the_future_does_not_block():
    rig = Rig()
    rig.engine.resume([Entry(HOURLY, START + 1e8, START + 1e8)], frozenset(), rig.now)
    assert rig.sleep(HOUR) == pytest.approx([NINE], abs=0.1)


@pytest.mark.parametrize("code", [LowSpace.code, Busy.code, StorageFailed.code])
def test_what_passes_is_tried_again_with_growing_delays_but_not_after_the_next_boundary(code):
    rig = Rig().add()
    runs = rig.sleep(20 * 60 + HOUR, failure=code)
    delays = [later - earlier for earlier, later in itertools.pairwise(runs)]
    assert runs[0] == pytest.approx(NINE, abs=0.1)
    assert delays[:5] == pytest.approx([n * 0.875 for n in (30, 60, 120, 240, 480)], rel=0.01)
    assert any(run == pytest.approx(NINE + HOUR, abs=0.1) for run in runs)
    assert rig.engine.get("hourly").failures == len(runs)
    assert rig.engine.get("hourly").last_result == f"cannot: {code}"


def test_success_ends_a_streak():
    rig = Rig().add()
    rig.sleep(19 * 60 + 1, failure=LowSpace.code)
    assert len(rig.sleep(10 * 60)) == 1
    assert rig.engine.get("hourly").failures == 0
    assert rig.engine.next_due("hourly", rig.now) == pytest.approx(NINE + HOUR)


def test_what_does_not_pass_waits_for_the_boundary():
    rig = Rig().add()
    assert rig.sleep(2 * HOUR, failure=Unsupported.code) == pytest.approx([NINE, NINE + HOUR], abs=0.1)


def test_a_retry_is_announced():
    rig = Rig().add()
    rig.sleep(19 * 60 + 1, failure=LowSpace.code)
    assert rig.engine.next_due("hourly", rig.now) == pytest.approx(NINE + 30 * 0.875, abs=0.1)


def test_a_failed_run_is_tried_again_after_a_restart():
    rig = Rig().add()
    rig.sleep(19 * 60 + 1, failure=LowSpace.code)
    rig.restart()
    assert len(rig.sleep(60.0)) == 1


@pytest.mark.parametrize("failure", ["", LowSpace.code])
def test_a_run_longer_than_the_interval_is_not_followed_by_the_next_at_once(failure):
    rig = Rig().add()
    rig.pass_by(20 * 60)
    take = rig.look()
    rig.pass_by(5.5 * HOUR)
    assert rig.engine.handle(rig.ended(take, failure), rig.now) is None
    assert rig.engine.next_due("hourly", rig.now) > rig.utc + 20


def test_one_run_at_a_time_oldest_boundary_first():
    rig = Rig()
    for name, every in (("b", 3600), ("a", 3600), ("quick", 600)):
        rig.add(Schedule(name, every, Keep(last=1)))
    rig.step(HOUR)
    order = []
    take = rig.look()
    while take is not None:
        order.append(take.schedule)
        take = rig.engine.handle(Taken(take.schedule, take.snapshot), rig.now)
    assert order == ["quick", "a", "b"]


def test_after_a_crash_the_run_is_done_unless_its_snapshot_is_there():
    rig = Rig().add()
    rig.pass_by(20 * 60)
    take = rig.look()
    rig.restart(there=frozenset({take.snapshot}))
    assert rig.engine.get("hourly").last_result == f"taken {take.snapshot}"
    assert rig.look() is None

    rig = Rig().add()
    rig.pass_by(20 * 60)
    assert rig.look() is not None
    rig.restart(off=1.0)
    assert rig.look() is not None


def test_the_end_of_a_run_of_a_removed_schedule_is_nobodys():
    rig = Rig().add()
    rig.pass_by(20 * 60)
    take = rig.look()
    rig.engine.remove("hourly")
    rig.add()
    assert rig.engine.handle(Taken(take.schedule, take.snapshot), rig.now) is None
    assert rig.engine.get("hourly") == Entry(HOURLY, rig.utc)


def test_a_new_interval_counts_from_now_and_a_new_keep_does_not():
    rig = Rig().add(Schedule("x", 86400, Keep(last=1)))
    rig.add(Schedule("x", 3600, Keep(last=1)))
    rig.pass_by(10 * 60)
    assert rig.look() is None
    rig.pass_by(10 * 60)
    rig.add(Schedule("x", 3600, Keep(last=2)))
    assert rig.look() is not None


@pytest.mark.parametrize("every", [3600, 7200])
def test_a_change_during_a_run_keeps_the_run(every):
    rig = Rig().add()
    rig.pass_by(20 * 60)
    take = rig.look()
    stale = rig.engine.proposed(Schedule("hourly", every, Keep(last=1)), rig.now)
    rig.engine.handle(Taken(take.schedule, take.snapshot), rig.now)
    rig.engine.put(stale)
    entry = rig.engine.get("hourly")
    assert (entry.pending, entry.last_result, entry.schedule.every) == ("", f"taken {take.snapshot}", every)
    assert rig.look() is None


def test_unknown_names_are_refused_with_those_that_are_known():
    with pytest.raises(UnknownSchedule) as caught:
        Rig().add().engine.get("daily")
    assert caught.value.details["known"] == ["hourly"]


def test_the_number_of_schedules_is_limited():
    rig = Rig()
    for n in range(SCHEDULES_MAX):
        rig.add(Schedule(f"s{n}", 3600, Keep(last=1)))
    rig.add(Schedule("s0", 60, Keep(last=1)))
    with pytest.raises(Busy):
        rig.add(Schedule("one-more", 3600, Keep(last=1)))


@settings(max_examples=150, deadline=None)
@given(
    every=st.sampled_from([10, 60, 900, 3600, 86400, 604800]),
    history=st.lists(
        st.one_of(
            st.tuples(st.just("sleep"), st.floats(0.1, 900.0)),
            st.tuples(st.just("off"), st.floats(0.1, 1e6)),
            st.tuples(st.just("step"), st.floats(-1e7, 1e7)),
            st.tuples(st.just("fail"), st.floats(0.1, 900.0)),
        ),
        max_size=12,
    ),
    seed=st.integers(0, 1000),
)
def test_no_history_repeats_or_blocks(every, history, seed):
    rig = Rig(Scheduler(random.Random(seed)))
    rig.add(Schedule("x", every, Keep(last=1)))
    for what, amount in history:
        if what == "sleep":
            before = len(rig.runs)
            rig.sleep(amount)
            assert len(rig.runs) - before <= amount / every + 2  # a boundary at each end, or one caught up
        elif what == "fail":
            rig.sleep(amount, failure=LowSpace.code)
        elif what == "off":
            rig.restart(off=amount)
        else:
            rig.step(amount)
        rig.carry_out(rig.look())
        assert rig.engine.next_due("x", rig.now) <= rig.utc + 2 * every + 0.1
