"""The keeper's decisions on virtual time: when it wakes, and when it does not."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from svcmgr.errors import StorageFailed
from svcmgr.proc import logs
from svcmgr.proc.logs import CHECK_DELAY, RETRY_FIRST, RETRY_MAX, LogEvent, LogKeeper, LogRotated, LogTroubled
from svcmgr.proc.rotate import Rotation, Rotator
from tests.kit.logs import append, lossless_dir, numbered, on_disk, rotator
from tests.kit.vloop import SleepsForever, VirtualClock, run, turns, until

LIMIT = 16 * 1024


class FailingRotator(Rotator):
    """Refuses until told otherwise, and notes when it was asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.tries: list[float] = []
        self.trouble: str | None = "cannot rotate: full"
        self._now = clock

    def rotate(self, path: Path, max_bytes: int, keep: int) -> Rotation | None:
        self.tries.append(self._now())
        if self.trouble is not None:
            raise StorageFailed(self.trouble)
        return super().rotate(path, max_bytes, keep)


def keeping(body: Callable[[LogKeeper, list[LogEvent]], Awaitable[None]], **options: Any) -> list[LogEvent]:
    """Run ``body`` beside a keeper on a virtual loop; returns what was reported."""
    events: list[LogEvent] = []

    async def main() -> None:
        keeper = LogKeeper(VirtualClock(), events.append, **options)
        running = asyncio.create_task(keeper.run())
        try:
            await body(keeper, events)
        finally:
            running.cancel()
            await asyncio.wait([running])

    run(main())
    return events


async def work(keeper: LogKeeper, wakeups: int) -> None:
    """Let the keeper run until it has woken that often, and end that round."""
    await until(lambda: keeper.statistics().wakeups >= wakeups)
    await asyncio.sleep(2 * CHECK_DELAY)


def test_while_nobody_writes_nothing_ever_happens(tmp_path: Path) -> None:
    keepers = []

    async def main() -> None:
        keeper = LogKeeper(VirtualClock(), lambda event: None)
        keepers.append(keeper)
        for n in range(20):
            append(tmp_path / f"{n}.log", b"hello\n")
            keeper.watch(str(n), tmp_path / f"{n}.log", LIMIT, 3)
        await keeper.run()

    # No timer, no event: the virtual loop proves that nothing would ever wake the keeper again.
    with pytest.raises(SleepsForever):
        run(main())
    assert keepers[0].statistics().wakeups == 1


def test_a_busy_writer_costs_one_wakeup_per_delay(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.log" for n in range(5)]

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        for path in paths:
            append(path, b"")
            keeper.watch(path.name, path, 1 << 30, 3)
        await turns(5)
        await work(keeper, 1)
        loop = asyncio.get_running_loop()
        start, before = loop.time(), keeper.statistics()
        for _ in range(1000):
            for path in paths:
                append(path, b"busy\n")
            await asyncio.sleep(0.01)
        delays = (loop.time() - start) / CHECK_DELAY
        after = keeper.statistics()
        assert delays * 0.8 <= after.wakeups - before.wakeups <= delays + 1
        assert after.checks - before.checks <= (delays + 1) * len(paths)

    assert keeping(body) == []


def test_a_log_over_its_limit_is_rotated_and_reported(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        append(path, numbered(0, 10))
        keeper.watch("a", path, LIMIT, 3)
        await work(keeper, 1)
        assert events == []
        append(path, numbered(10, 300))
        await work(keeper, 2)
        statistics = keeper.statistics()
        assert (statistics.rotations, statistics.lossy, statistics.moved_bytes) == (1, 0, LIMIT)
        assert not keeper.lossy("a")

    assert keeping(body) == [LogRotated("a", path, Rotation(1, LIMIT, 0, False))]
    assert on_disk(path) == numbered(0, 310)


def test_lossy_places_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.log"

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        append(path, numbered(0, 300))
        keeper.watch("a", path, LIMIT, 3)
        await work(keeper, 1)
        assert keeper.lossy("a")
        assert keeper.statistics().lossy == 1

    (event,) = keeping(body, rotator=rotator(False))
    assert isinstance(event, LogRotated)
    assert event.rotation.lossy


def test_an_interrupted_rotation_is_finished_when_watching_begins(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, numbered(0, 300))

    class Stopped(BaseException):
        pass

    def stop(step: str) -> None:
        if step == "punched":
            raise Stopped

    with pytest.raises(Stopped):
        rotator(True, stop).rotate(path, LIMIT, 3)
    assert on_disk(path) != numbered(0, 300)

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, LIMIT, 3)
        await work(keeper, 1)

    keeping(body)
    assert on_disk(path) == numbered(0, 300)


def test_a_failure_is_reported_once_and_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, numbered(0, 300))
    failing: list[FailingRotator] = []

    async def main() -> list[LogEvent]:
        clock = VirtualClock()
        failing.append(FailingRotator(clock.monotonic))
        events: list[LogEvent] = []
        keeper = LogKeeper(clock, events.append, rotator=failing[0])
        keeper.watch("a", path, LIMIT, 3)
        running = asyncio.create_task(keeper.run())
        await asyncio.sleep(300)
        failing[0].trouble = "cannot rotate: read-only"
        await asyncio.sleep(130)
        failing[0].trouble = None
        await asyncio.sleep(130)
        running.cancel()
        await asyncio.wait([running])
        return events

    events = run(main())
    tries = failing[0].tries
    pauses = [round(b - a, 6) for a, b in itertools.pairwise(tries)]
    assert pauses[:7] == [RETRY_FIRST, 2, 4, 8, 16, 32, RETRY_MAX]
    assert set(pauses[7:]) == {RETRY_MAX}
    assert [type(event) for event in events] == [LogTroubled, LogTroubled, LogRotated]
    assert [event.error.message for event in events if isinstance(event, LogTroubled)] == [
        "cannot rotate: full",
        "cannot rotate: read-only",
    ]
    assert on_disk(path) == numbered(0, 300)


def test_a_log_may_come_into_being_later_and_is_waited_for_without_polling(tmp_path: Path) -> None:
    path, other = lossless_dir(tmp_path) / "a.log", tmp_path / "other.log"

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, LIMIT, 3)
        keeper.watch("b", path, 1 << 20, 3)
        keeper.watch("other", other, LIMIT, 3)
        await work(keeper, 1)
        await asyncio.sleep(1000)
        assert keeper.statistics().wakeups == 1
        append(path, numbered(0, 300))
        await work(keeper, 2)
        append(path, numbered(300, 300))
        await work(keeper, 3)

    assert [(type(event), event.key) for event in keeping(body)] == [(LogRotated, "a")] * 2
    assert on_disk(path) == numbered(0, 600)


def test_a_log_that_is_removed_is_reported_and_its_successor_kept(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, b"x")

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, LIMIT, 3)
        await work(keeper, 1)
        path.unlink()
        await work(keeper, 2)
        await asyncio.sleep(1000)
        (event,) = events
        assert isinstance(event, LogTroubled)
        assert event.error.message.startswith("cannot keep log ")
        append(path, numbered(0, 300))
        await work(keeper, 3)

    assert [type(event) for event in keeping(body)] == [LogTroubled, LogRotated]


def test_a_directory_that_is_missing_is_reported_and_looked_for(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "sub" / "a.log"

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, LIMIT, 3)
        await asyncio.sleep(10)
        path.parent.mkdir()
        append(path, numbered(0, 300))
        await asyncio.sleep(RETRY_MAX)

    troubled, rotated = keeping(body)
    assert isinstance(troubled, LogTroubled)
    assert troubled.error.message.startswith("cannot watch log ")
    assert isinstance(rotated, LogRotated)


def test_devices_are_neither_watched_nor_reported() -> None:
    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("null", Path("/dev/null"), 1, 3)
        await work(keeper, 1)
        Path("/dev/null").write_bytes(b"x")
        await asyncio.sleep(10)
        assert keeper.statistics().wakeups == 1

    assert keeping(body) == []


def test_a_limit_of_0_never_rotates_nor_wakes(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, numbered(0, 300))

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, 0, 3)
        await work(keeper, 1)
        append(path, numbered(300, 300))
        await asyncio.sleep(100)
        assert keeper.statistics().wakeups == 1

    assert keeping(body) == []
    assert path.read_bytes() == numbered(0, 600)


def test_unwatch_forgets_and_watch_again_takes_the_new_numbers(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, b"")

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, LIMIT, 3)
        await work(keeper, 1)
        keeper.unwatch("a")
        keeper.unwatch("a")
        append(path, numbered(0, 300))
        await asyncio.sleep(10)
        assert events == []
        keeper.watch("a", path, 1 << 20, 3)
        await asyncio.sleep(10)
        assert events == []
        keeper.watch("a", path, LIMIT, 3)
        await asyncio.sleep(10)
        assert len(events) == 1

    keeping(body)


def test_without_inotify_sizes_are_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_notices", lambda: None)
    path = lossless_dir(tmp_path) / "a.log"
    append(path, b"")

    async def body(keeper: LogKeeper, events: list[LogEvent]) -> None:
        keeper.watch("a", path, LIMIT, 3)
        await work(keeper, 1)
        append(path, numbered(0, 300))
        await asyncio.sleep(2 * RETRY_MAX)

    assert [type(event) for event in keeping(body)] == [LogRotated]


def test_ending_the_keeper_waits_for_the_rotation_under_way(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, numbered(0, 300))
    steps: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()

        def note(step: str) -> None:
            steps.append(step)
            loop.call_soon_threadsafe(begun.set)

        keeper = LogKeeper(VirtualClock(), lambda event: None, rotator=rotator(True, note))
        keeper.watch("a", path, LIMIT, 3)
        running = asyncio.create_task(keeper.run())
        await begun.wait()
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        assert steps[-2:] == ["collapsed", "idle"]

    run(main())
