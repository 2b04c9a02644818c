"""The keeper of schedules: its file, its verbs, its task; days on a virtual clock with a taker that only remembers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import msgspec
import pytest

from svcmgr.errors import BadInput, LowSpace, StorageFailed, UnknownSchedule
from svcmgr.services.snapd import wire
from svcmgr.services.snapd.keeper import Keeper
from svcmgr.services.snapd.retention import Held
from tests.kit.vloop import START, UTC_AT_START, run, turns
from tests.kit.world import Middle, StepClock

HOUR = 3600.0
HOURLY = wire.ScheduleRequest("hourly", "1h", "last=3")


@attrs.define
class FakeTaker:
    """Snapshots are entries of a list. ``fails`` are raised first, one for each take; a take lasts ``lasts_s``."""

    clock: StepClock
    snapshots: dict[str, list[Held]] = attrs.Factory(dict)
    taken: list[tuple[str, str, bool | None]] = attrs.Factory(list)
    deleted: list[str] = attrs.Factory(list)
    fails: list[Exception] = attrs.Factory(list)
    delete_fails: list[Exception] = attrs.Factory(list)
    lasts_s: float = 0.0
    before: Callable[[], object] = lambda: None

    async def take(self, name: str, origin: str, activate: bool | None) -> None:
        self.before()
        if self.lasts_s:
            await asyncio.sleep(self.lasts_s)
        if self.fails:
            raise self.fails.pop(0)
        self.taken.append((name, origin, activate))
        self.snapshots.setdefault(origin, []).append(Held(f"id-{name}", name, self.clock.utc()))

    async def delete(self, ids: list[str]) -> None:
        if self.delete_fails:
            raise self.delete_fails.pop(0)
        self.deleted += ids
        self.snapshots = {o: [h for h in held if h.id not in ids] for o, held in self.snapshots.items()}

    def held(self, origin: str) -> list[Held]:
        return self.snapshots.get(origin, [])


@attrs.define
class Rig:
    keeper: Keeper
    taker: FakeTaker
    clock: StepClock

    def names(self) -> list[str]:
        return [name for name, _, _ in self.taker.taken]

    def one(self) -> wire.Schedule:
        (schedule,) = self.keeper.schedules().schedules
        return schedule


def keep(
    store: Path, story: Callable[[Rig], Awaitable[object]], *, taker: FakeTaker | None = None, days: float = 10.0
) -> FakeTaker:
    """Run ``story`` with a keeper on ``store``; what is left of ``taker`` goes on in the next one."""

    async def main() -> FakeTaker:
        clock = StepClock()
        fake = attrs.evolve(taker, clock=clock) if taker else FakeTaker(clock)
        keeper = Keeper(store, fake, clock, logging.getLogger("snapd"), Middle())
        async with keeper.running():
            await story(Rig(keeper, fake, clock))
        return fake

    return run(main(), timeout=days * 86400)


def stored(store: Path) -> list[dict[str, object]]:
    return msgspec.json.decode((store / "schedules.json").read_bytes())["schedules"]


def test_snapshots_are_taken_at_the_full_hour_and_the_old_ones_deleted(tmp_path):
    async def story(rig):
        await rig.keeper.schedule_set(wire.ScheduleRequest("hourly", "1h", "last=3", activate=True))
        await asyncio.sleep(5 * HOUR + 60)
        assert rig.taker.taken[0] == ("hourly-2026-01-01T01-00-00Z", "schedule:hourly", True)
        assert rig.names() == [f"hourly-2026-01-01T0{hour}-00-00Z" for hour in range(1, 6)]
        assert rig.taker.deleted == [f"id-{name}" for name in rig.names()[:2]]
        schedule = rig.one()
        assert schedule == wire.Schedule(
            name="hourly",
            every="1h",
            keep={"last": 3},
            activate=True,
            next_due=UTC_AT_START + 6 * HOUR,
            last_run=pytest.approx(UTC_AT_START + 5 * HOUR, abs=0.1),
            last_result="taken hourly-2026-01-01T05-00-00Z",
            held=3,
        )

    keep(tmp_path, story)


def test_a_schedule_is_on_disk_before_it_is_answered_and_a_run_before_it_begins(tmp_path):
    seen = []

    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        assert [one["name"] for one in stored(tmp_path)] == ["hourly"]
        rig.taker.before = lambda: seen.extend(stored(tmp_path))
        await asyncio.sleep(HOUR + 1)

    keep(tmp_path, story)
    assert [one["pending"] for one in seen] == ["hourly-2026-01-01T01-00-00Z"]
    assert "pending" not in stored(tmp_path)[0]


def test_a_schedule_outlives_snapd_and_missed_runs_are_one(tmp_path):
    async def first(rig):
        await rig.keeper.schedule_set(HOURLY)
        await asyncio.sleep(HOUR + 1)

    async def second(rig):  # the virtual clock begins anew, so the date is put right
        rig.clock.offset = 30 * HOUR + 120
        await asyncio.sleep(61)
        assert len(rig.names()) == 2
        await asyncio.sleep(HOUR)
        assert rig.names()[2:] == ["hourly-2026-01-02T07-00-00Z"]

    keep(tmp_path, second, taker=keep(tmp_path, first))


def test_a_removed_schedule_takes_nothing_and_leaves_its_snapshots(tmp_path):
    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        await asyncio.sleep(HOUR + 1)
        removed = await rig.keeper.schedule_remove(wire.NameRequest("hourly"))
        assert (removed.name, removed.held) == ("hourly", 1)
        assert stored(tmp_path) == []
        await asyncio.sleep(3 * HOUR)
        assert len(rig.taker.held("schedule:hourly")) == 1
        with pytest.raises(UnknownSchedule):
            await rig.keeper.schedule_remove(wire.NameRequest("hourly"))

    keep(tmp_path, story)


def test_schedules_do_not_touch_each_others_snapshots(tmp_path):
    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        await rig.keeper.schedule_set(wire.ScheduleRequest("often", "15m", "last=1"))
        rig.taker.snapshots["operator"] = [Held("mine", "mine", UTC_AT_START)]
        await asyncio.sleep(4 * HOUR + 60)
        assert len(rig.taker.held("schedule:often")) == 1
        assert len(rig.taker.held("schedule:hourly")) == 3
        assert rig.taker.held("operator") != []
        assert [one.name for one in rig.keeper.schedules().schedules] == ["hourly", "often"]

    keep(tmp_path, story)


def test_low_space_is_tried_again_and_said(tmp_path, caplog):
    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        rig.taker.fails = [LowSpace("cannot take a snapshot: 3% free")] * 2
        await asyncio.sleep(HOUR + 1)
        assert rig.one().last_result == "cannot take a snapshot: 3% free"
        assert rig.keeper.statistics()["failing"] == ["hourly"]
        await asyncio.sleep(120)
        assert rig.one().last_result.startswith("taken ")
        assert rig.keeper.statistics()["failing"] == []

    keep(tmp_path, story)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_a_bug_of_the_taker_does_not_end_the_schedules(tmp_path, caplog):
    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        rig.taker.fails = [KeyError("x")]
        rig.taker.delete_fails = [KeyError("y"), StorageFailed("cannot delete: read-only")]
        await asyncio.sleep(7 * HOUR + 1)
        assert len(rig.names()) == 6
        assert len(rig.taker.held("schedule:hourly")) == 3

    keep(tmp_path, story)
    assert [bool(record.exc_info) for record in caplog.records if record.levelno >= logging.WARNING] == [
        True,
        True,
        False,
    ]


def test_a_stop_during_a_take_ends_it_and_the_next_snapd_does_it(tmp_path):
    async def first(rig):
        await rig.keeper.schedule_set(HOURLY)
        rig.taker.lasts_s = 600.0
        await asyncio.sleep(HOUR + 60)
        assert stored(tmp_path)[0]["pending"]

    async def second(rig):
        rig.taker.lasts_s = 0.0
        rig.clock.offset = HOUR + 120
        await asyncio.sleep(61)
        assert len(rig.names()) == 1

    taker = keep(tmp_path, first)
    assert taker.taken == []
    keep(tmp_path, second, taker=taker)


def test_a_crash_after_the_snapshot_and_before_the_note_repeats_nothing(tmp_path):
    async def first(rig):
        await rig.keeper.schedule_set(HOURLY)
        rig.taker.lasts_s = 600.0
        await asyncio.sleep(HOUR + 60)

    async def second(rig):
        rig.clock.offset = HOUR + 120
        await rig.keeper.schedule_set(HOURLY)
        await asyncio.sleep(600)
        assert rig.names() == []
        assert rig.one().last_result == "taken hourly-2026-01-01T01-00-00Z"

    taker = keep(tmp_path, first)
    taker.snapshots = {"schedule:hourly": [Held("1", "hourly-2026-01-01T01-00-00Z", UTC_AT_START + HOUR)]}
    keep(tmp_path, second, taker=taker)


def test_a_clock_set_forward_is_noticed_within_a_minute(tmp_path):
    async def story(rig):
        await rig.keeper.schedule_set(wire.ScheduleRequest("weekly", "1w", "last=9"))
        await asyncio.sleep(10)
        rig.clock.offset = 30 * 86400.0
        await asyncio.sleep(60)
        assert len(rig.names()) == 1
        rig.clock.offset = 0.0
        await asyncio.sleep(7 * 86400)
        assert len(rig.names()) == 2

    keep(tmp_path, story, days=20)


def test_verbs_answer_while_a_snapshot_is_taken(tmp_path):
    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        rig.taker.lasts_s = 1800.0
        await asyncio.sleep(HOUR + 60)
        before = rig.clock.monotonic()
        await rig.keeper.schedule_set(wire.ScheduleRequest("hourly", "2h", "daily=2"))
        assert rig.one().keep == {"daily": 2}
        assert rig.clock.monotonic() == before
        await asyncio.sleep(3600)
        assert rig.one().last_result == "taken hourly-2026-01-01T01-00-00Z"

    keep(tmp_path, story)


def test_without_schedules_nothing_wakes(tmp_path):
    async def main():
        clock = StepClock()
        keeper = Keeper(tmp_path, FakeTaker(clock), clock, logging.getLogger("snapd"))
        async with keeper.running():
            await turns()
            loop = asyncio.get_running_loop()
            assert [timer for timer in loop._scheduled if not timer.cancelled()] == []

    run(main())


@pytest.mark.parametrize(
    "request_",
    [
        wire.ScheduleRequest("../x", "1h", "last=1"),
        wire.ScheduleRequest("x", "1 hour", "last=1"),
        wire.ScheduleRequest("x", "1h", "last=0"),
    ],
)
def test_a_bad_request_changes_nothing(tmp_path, request_):
    async def story(rig):
        with pytest.raises(BadInput):
            await rig.keeper.schedule_set(request_)
        assert rig.keeper.schedules().schedules == []

    keep(tmp_path, story)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_does_not_count(tmp_path):
    store = tmp_path / "store"
    store.mkdir()

    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)
        store.rename(tmp_path / "away")
        with pytest.raises(StorageFailed):
            await rig.keeper.schedule_set(wire.ScheduleRequest("hourly", "1d", "last=1"))
        with pytest.raises(StorageFailed):
            await rig.keeper.schedule_remove(wire.NameRequest("hourly"))
        assert rig.one().every == "1h"
        await asyncio.sleep(HOUR + 1)
        assert rig.names() == []  # written down before it is done, or not done
        (tmp_path / "away").rename(store)
        await asyncio.sleep(60)
        assert len(rig.names()) == 1

    keep(store, story)


def test_a_cancelled_request_leaves_memory_and_disk_the_same(tmp_path):
    async def story(rig):
        request = asyncio.ensure_future(rig.keeper.schedule_set(HOURLY))
        await turns(2)
        request.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request
        in_memory = [one.name for one in rig.keeper.schedules().schedules]
        on_disk = [one["name"] for one in stored(tmp_path)] if (tmp_path / "schedules.json").exists() else []
        assert in_memory == on_disk

    keep(tmp_path, story)


def test_requests_at_once_are_all_kept(tmp_path):
    async def story(rig):
        names = [f"s{n}" for n in range(20)]
        await asyncio.gather(*(rig.keeper.schedule_set(wire.ScheduleRequest(n, "1h", "last=1")) for n in names))
        assert sorted(one["name"] for one in stored(tmp_path)) == sorted(names)

    keep(tmp_path, story)


GOOD = {"name": "x", "every": 3600, "keep": {"last": 1}, "anchor": START}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * (2 << 20),
        msgspec.json.encode({"format": 2, "schedules": []}),
        *(
            msgspec.json.encode({"format": 1, "schedules": schedules})
            for schedules in (
                [GOOD, GOOD],
                [{**GOOD, "name": "../x"}],
                [{**GOOD, "every": 1}],
                [{**GOOD, "keep": {}}],
                [{**GOOD, "anchor": -1}],
                [{**GOOD, "last_run": 1e300}],
                [{**GOOD, "name": f"s{n}"} for n in range(101)],
            )
        ),
    ],
)
def test_an_unreadable_file_is_quarantined_and_said(tmp_path, caplog, content):
    (tmp_path / "schedules.json").write_bytes(content)

    async def story(rig):
        assert rig.keeper.schedules().schedules == []
        assert "quarantine" in rig.keeper.statistics()["trouble"]
        await rig.keeper.schedule_set(HOURLY)

    for _ in range(2):
        keep(tmp_path, story)
        (tmp_path / "schedules.json").write_bytes(content)
    assert [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()] == [content] * 2
    assert any(record.levelname == "ERROR" for record in caplog.records)


def test_a_directory_in_place_of_the_file_is_moved_away(tmp_path):
    (tmp_path / "schedules.json").mkdir()

    async def story(rig):
        await rig.keeper.schedule_set(HOURLY)

    keep(tmp_path, story)
    assert [one["name"] for one in stored(tmp_path)] == ["hourly"]
