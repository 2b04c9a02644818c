"""Rotation: where the bytes are afterwards, and that a failure changes nothing."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svcmgr.errors import Busy, StorageFailed
from svcmgr.proc import filerange, logpieces, logread, logrecord
from svcmgr.proc.logrecord import Record
from tests.kit.logs import append, lossless_dir, numbered, on_disk, rotator

both = pytest.mark.parametrize("lossless", [True, False], ids=["collapse", "truncate"])
LIMIT = 16 * 1024


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


@both
def test_nothing_is_lost_doubled_or_out_of_order(tmp_path: Path, lossless: bool) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    maker = rotator(lossless)
    written = b""
    for round_ in range(30):
        data = numbered(round_ * 100, 100)
        append(path, data)
        written += data
        done = maker.rotate(path, LIMIT, 50)
        assert done is None or (done.lossy, done.dropped) == (not lossless, 0)
        assert on_disk(path) == written
        assert b"".join(logread.read_pieces(path)) == written
    assert logrecord.piece(path, 5).exists()
    assert path.stat().st_size <= LIMIT


@both
@given(
    sizes=st.lists(st.integers(0, 6 * LIMIT), min_size=1, max_size=6),
    keeps=st.lists(st.integers(0, 6), min_size=1, max_size=6),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_is_the_end_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, lossless: bool, sizes: list[int], keeps: list[int]
) -> None:
    path = lossless_dir(tmp_path_factory.mktemp("logs")) / "a.log"
    maker = rotator(lossless)
    written, dropped = b"", 0
    for round_, size in enumerate(sizes):
        keep = keeps[round_ % len(keeps)]
        data = os.urandom(size)
        append(path, data)
        written += data
        done = maker.rotate(path, LIMIT, keep)
        dropped += done.dropped if done else 0
        kept = on_disk(path)
        assert written.endswith(kept)
        assert len(kept) + dropped == len(written), "bytes in = bytes kept + bytes dropped"
        if done:
            assert not logrecord.piece(path, keep + 1).exists()
            assert len(kept) - path.stat().st_size <= keep * (LIMIT if lossless else LIMIT * 5 // 4 + 1)
        with logread.LogView(path) as view:
            assert view.bounds() == (len(written) - len(kept), len(written))


@both
def test_pieces_look_like_the_live_file(tmp_path: Path, lossless: bool) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, bytes(3 * LIMIT))
    path.chmod(0o604)
    rotator(lossless).rotate(path, LIMIT, 3)
    assert {p.name: p.stat().st_mode & 0o777 for p in path.parent.glob("*.log.*")} == {
        "a.log.1": 0o604,
        "a.log.2": 0o604,
        **({} if lossless else {"a.log.3": 0o604}),
    }


@both
@pytest.mark.parametrize("where", ["copy_range", "fdatasync", "store", "rename", "last"])
def test_a_full_disk_leaves_every_byte_and_the_next_try_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lossless: bool, where: str
) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    maker = rotator(lossless)
    written = numbered(0, 1000)
    append(path, written)

    def fail(*args: object, **named: object) -> None:
        raise full()

    targets: dict[str, tuple[object, str]] = {
        "copy_range": (logpieces, "copy_range"),
        "fdatasync": (os, "fdatasync"),
        "store": (logrecord, "store"),
        "rename": (Path, "rename"),
        "last": (filerange, "collapse") if lossless else (os, "ftruncate"),
    }
    maker.lossy(path)  # the trial file is made before
    with monkeypatch.context() as patched:
        patched.setattr(*targets[where], fail)
        with pytest.raises(StorageFailed, match=r"^cannot rotate .*a\.log: No space left on device \(errno 28\)"):
            maker.rotate(path, LIMIT, 50)
        assert b"".join(logread.read_pieces(path)) == written
    more = numbered(1000, 10)
    append(path, more)
    maker.rotate(path, LIMIT, 50)
    assert on_disk(path) == b"".join(logread.read_pieces(path)) == written + more
    assert path.stat().st_size <= LIMIT
    assert not list(path.parent.glob(".a.log.new*")), "no files of work stay behind"


def test_a_full_disk_is_relieved_by_what_retention_would_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    maker = rotator(True)
    append(path, bytes(2 * LIMIT))
    maker.rotate(path, LIMIT, 3)

    def fail(*args: object) -> None:
        raise full()

    monkeypatch.setattr(logpieces, "copy_range", fail)
    written = numbered(0, 10 * LIMIT // 64)
    append(path, written)
    # 11 blocks of LIMIT in the live file: 10 are to be cut, of which 3 may be kept.
    done = maker.rotate(path, LIMIT, 3)
    assert done is not None
    assert (done.pieces, done.moved, done.dropped) == (0, 0, 8 * LIMIT)
    assert on_disk(path) == b"".join(logread.read_pieces(path)) == written[-4 * LIMIT :]
    with logread.LogView(path) as view:
        assert view.bounds() == (8 * LIMIT, 12 * LIMIT)
    with pytest.raises(StorageFailed):
        maker.rotate(path, LIMIT, 3)
    assert on_disk(path) == written[-4 * LIMIT :]


def test_a_copy_that_stops_half_way_leaves_no_file_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, bytes(5 * LIMIT))
    calls = iter([logpieces.copy_range, logpieces.copy_range])

    def second_fails(*args: int) -> None:
        copy: Callable[..., None] | None = next(calls, None)
        if copy is None:
            raise full()
        copy(*args)

    monkeypatch.setattr(logpieces, "copy_range", second_fails)
    with pytest.raises(StorageFailed):
        rotator(True).rotate(path, LIMIT, 5)
    assert [p.name for p in path.parent.iterdir()] == ["a.log"]


def test_an_attacker_cannot_have_us_write_through_a_planted_name(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    victim = path.parent / "victim"
    victim.write_bytes(b"precious")
    path.with_name(".a.log.new.1").hardlink_to(victim)
    path.with_name(".a.log.new.2").symlink_to(victim)
    append(path, numbered(0, 1000))
    rotator(True).rotate(path, LIMIT, 5)
    assert victim.read_bytes() == b"precious"
    assert on_disk(path) == numbered(0, 1000)


def test_a_live_log_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(bytes(2 * LIMIT))
    (tmp_path / "a.log").symlink_to(tmp_path / "real")
    with pytest.raises(StorageFailed, match="cannot rotate"):
        rotator(True).rotate(tmp_path / "a.log", LIMIT, 5)
    assert (tmp_path / "real").stat().st_size == 2 * LIMIT


def test_two_rotators_do_not_meet(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, numbered(0, 1000))
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another process holds its lock"):
            rotator(True).rotate(path, LIMIT, 5)
    assert rotator(True).rotate(path, LIMIT, 5) is not None


def test_a_missing_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"^cannot rotate .*/none\.log: No such file"):
        rotator(True).rotate(tmp_path / "none.log", LIMIT, 5)


def test_a_device_is_left_alone() -> None:
    assert rotator(True).rotate(Path("/dev/null"), 1, 5) is None


def test_a_piece_that_was_removed_by_hand_costs_only_itself(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    maker = rotator(True)
    for n in range(4):
        append(path, b"%d" % n * (LIMIT + (n == 0)))
        maker.rotate(path, LIMIT, 10)
    logrecord.piece(path, 2).unlink()
    append(path, b"x" * 3 * LIMIT)
    maker.rotate(path, LIMIT, 10)
    kept = b"".join(p.read_bytes() for p in sorted(path.parent.glob("a.log.*"), key=lambda p: -int(p.suffix[1:])))
    kept += path.read_bytes()
    assert [kept.count(b"%d" % n) for n in range(4)] == [LIMIT + 1, 0, LIMIT, LIMIT] or len(kept) == 6 * LIMIT + 1
    assert kept.count(b"x") == 3 * LIMIT


def test_a_record_of_the_owner_of_the_file_cannot_reach_beyond_his_log(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, numbered(0, 1000))
    hostile = Record(1 << 61, logrecord.SHIFT, 1 << 61, logrecord.MAX_FILES, 1 << 61)
    with path.open("rb+") as live:
        logrecord.store(live.fileno(), path, hostile)
    b"".join(logread.read_pieces(path))
    rotator(True).recover(path, 5)
    with path.open("rb") as live:
        assert logrecord.load(live.fileno(), path).step == logrecord.IDLE
