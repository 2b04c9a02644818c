"""Reading a log: the last lines over pieces, all of it, and following across whatever happens to the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svcmgr.errors import NotPermitted, StorageFailed
from svcmgr.proc import inotify, logrecord, logview
from svcmgr.proc.logread import Follower, follow, last_words, read_pieces, tail, tail_and_position
from tests.kit.logs import append, lossless_dir, numbered, rotator


def in_pieces(path: Path, *parts: bytes) -> Path:
    """A log whose live file is the last part; the others are its pieces."""
    for index, part in enumerate(reversed(parts[:-1]), 1):
        logrecord.piece(path, index).write_bytes(part)
    path.write_bytes(parts[-1])
    with path.open("rb") as live:
        logrecord.store(live.fileno(), path, logrecord.Record(base=sum(map(len, parts[:-1]))))
    return path


def last_lines(data: bytes, lines: int) -> bytes:
    kept = data.splitlines(keepends=True)
    return b"".join(kept[max(0, len(kept) - lines) :])


@pytest.mark.parametrize(
    ("parts", "lines", "expected"),
    [
        ([b""], 5, b""),
        ([b"\n"], 1, b"\n"),
        ([b"\n\n\n"], 2, b"\n\n"),
        ([b"a\nb\nc\n"], 2, b"b\nc\n"),
        ([b"a\nb\nc"], 2, b"b\nc"),
        ([b"a\nb\nc\n"], 0, b""),
        ([b"a\nb\nc\n"], 99, b"a\nb\nc\n"),
        ([b"a\nb", b"b\nc\n"], 2, b"bb\nc\n"),
        ([b"a\nb\n", b""], 1, b"b\n"),
        ([b"a\n", b"b\n", b"c\n", b"d\n"], 3, b"b\nc\nd\n"),
        ([b"a\n", b"b", b"b", b"b\n"], 1, b"bbb\n"),
    ],
)
def test_tail(tmp_path: Path, parts: list[bytes], lines: int, expected: bytes) -> None:
    assert tail(in_pieces(tmp_path / "a.log", *parts), lines) == expected


@given(
    parts=st.lists(st.text("ab\n", max_size=40).map(str.encode), min_size=1, max_size=5),
    lines=st.integers(0, 30),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tail_is_the_end_of_all_pieces(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], lines: int
) -> None:
    path = in_pieces(tmp_path_factory.mktemp("t") / "a.log", *parts)
    data = b"".join(parts)
    assert tail(path, lines) == last_lines(data, lines)
    assert b"".join(read_pieces(path)) == data
    assert tail_and_position(path, lines)[1] == len(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40).map(lambda part: part.replace(b"a", b"\n")), min_size=1, max_size=3))
def test_last_words_are_the_tail_of_a_log_at_rest(tmp_path: Path, parts: list[bytes]) -> None:
    path = in_pieces(tmp_path / "x.log", *parts)
    assert last_words(path, 3, 1000) == tail(path, 3, 1000)
    for old in tmp_path.iterdir():
        old.unlink()


def test_last_words_take_the_end_of_long_lines_and_say_what_is_wrong(tmp_path: Path) -> None:
    path = in_pieces(tmp_path / "x.log", b"x" * 5000)
    assert last_words(path, 10, 100) == b"x" * 100
    assert last_words(tmp_path / "none.log", 10, 100) == b""
    (tmp_path / "link.log").symlink_to(path)
    assert last_words(tmp_path / "link.log", 10, 100) == tail(path, 10, 100)


def test_tail_over_many_chunks(tmp_path: Path) -> None:
    data = numbered(0, 40_000)
    path = in_pieces(tmp_path / "a.log", data[:1_000_000], data[1_000_000:1_500_001], data[1_500_001:])
    for lines in (1, 127, 128, 129, 30_000, 40_000, 50_000):
        assert tail(path, lines) == last_lines(data, lines)


def test_a_line_without_end_is_cut_at_the_limit(tmp_path: Path) -> None:
    path = in_pieces(tmp_path / "a.log", b"x" * 100_000, b"y" * 100_000)
    assert tail(path, 1, limit=100_010) == b"x" * 10 + b"y" * 100_000


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 5) == b""
    assert list(read_pieces(tmp_path / "none.log")) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match=r"^cannot read .*: Not a directory"):
        tail(tmp_path / "file" / "a.log", 5)


def test_a_log_that_is_not_ours_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(NotPermitted, match=r"^cannot read .*: Permission denied \(errno 13\)"):
        tail(tmp_path / "a.log", 5)


def test_a_piece_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = in_pieces(tmp_path / "a.log", b"a\n", b"b\n")

    def broken(*args: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(StorageFailed, match=r"^cannot read .*a\.log: Input/output error \(errno 5\)"):
        tail(path, 5)


def test_a_device_is_an_empty_log() -> None:
    assert tail("/dev/zero", 5) == b""
    with Follower("/dev/zero") as follower:
        assert follower.read() == b""


def test_reading_imports_neither_asyncio_nor_attrs() -> None:
    # The package's door may import what it likes; this is about the modules themselves.
    program = (
        "import sys, types, svcmgr\n"
        "room = types.ModuleType('svcmgr.proc')\n"
        "room.__path__ = [svcmgr.__path__[0] + '/proc']\n"
        "sys.modules['svcmgr.proc'] = room\n"
        "before = set(sys.modules)\n"
        "import svcmgr.proc.logread\n"
        "print(*sorted({'asyncio', 'attr', 'attrs', 'psutil', 'msgspec'} & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_rotation_between_two_looks_misleads_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    data = numbered(0, 2000)
    append(path, data)
    load, rotations = logrecord.load, iter(range(3))

    def rotate_meanwhile(fd: int, where: Path) -> logrecord.Record:
        record = load(fd, where)
        if next(rotations, None) is not None:
            monkeypatch.setattr(logrecord, "load", load)
            append(path, data)
            rotator(True).rotate(path, 16384, 50)
            monkeypatch.setattr(logrecord, "load", rotate_meanwhile)
        return record

    with logview.LogView(path) as view:
        monkeypatch.setattr(logrecord, "load", rotate_meanwhile)
        got = b""
        while chunk := view.read(len(got), 1000)[1]:
            got += chunk
    assert got == data * 4


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_a_follower_sees_every_byte_once(tmp_path: Path, lossless: bool, size: int) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, b"")
    maker = rotator(lossless)
    written = got = b""
    with Follower(path) as follower:
        for n in range(40):
            data = numbered(n * 10, 10)
            append(path, data)
            written += data
            maker.rotate(path, 4096, 9)
            if n % 3 == 0:
                while chunk := follower.read(size):
                    assert len(chunk) <= size
                    got += chunk
        while chunk := follower.read(size):
            got += chunk
        assert (got, follower.skipped, follower.restarts) == (written, 0, 0)


def test_what_retention_removed_before_it_was_read_is_counted(tmp_path: Path) -> None:
    path = lossless_dir(tmp_path) / "a.log"
    append(path, b"")
    with Follower(path) as follower:
        append(path, numbered(0, 1000))
        rotator(True).rotate(path, 4096, 2)
        got = b"".join(iter(follower.read, b""))
        assert numbered(0, 1000).endswith(got)
        assert follower.skipped == 64_000 - len(got) == 64_000 // 4096 * 4096 - 2 * 4096


def test_following_begins_lines_before_the_end_or_at_a_position(tmp_path: Path) -> None:
    path = in_pieces(tmp_path / "a.log", b"a\nb\n", b"c\n")
    with Follower(path) as follower:
        assert follower.read() == b""
    with Follower(path, lines=2) as follower:
        assert b"".join(iter(follower.read, b"")) == b"b\nc\n"
    with Follower(path, position=0) as follower:
        assert b"".join(iter(follower.read, b"")) == b"a\nb\nc\n"


def test_a_file_that_is_replaced_is_read_to_its_end_and_then_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"old\n")
    with Follower(path) as follower, path.open("ab") as late:
        path.rename(tmp_path / "moved")
        late.write(b"last words\n")
        late.flush()
        path.write_bytes(b"new\n")
        assert follower.wait(5)
        assert b"".join(iter(follower.read, b"")) == b"last words\nnew\n"
        assert follower.restarts == 1


def test_a_file_truncated_by_others_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"a long first line\n")
    with Follower(path) as follower:
        path.write_bytes(b"x\n")
        assert b"".join(iter(follower.read, b"")) == b"x\n" or follower.read() == b"x\n"
        assert follower.restarts == 1


@pytest.mark.parametrize("notices", [True, False])
def test_a_file_that_comes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: bool) -> None:
    if not notices:

        def refuse(self: object) -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(inotify.Inotify, "__init__", refuse)
    path = tmp_path / "a.log"
    with Follower(path) as follower:
        assert (follower.fileno() >= 0) is notices
        assert follower.read() == b""
        assert follower.wait(0.01) is (not notices)
        path.write_bytes(b"hello\n")
        assert follower.wait(5)
        assert follower.read() == b"hello\n"
        assert follower.restarts == 0
        append(path, b"again\n")
        assert follower.wait(5)
        assert follower.read() == b"again\n"


@pytest.mark.parametrize("notices", [True, False])
def test_follow_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: bool) -> None:
    if not notices:
        monkeypatch.setattr(Follower, "fileno", lambda self: -1)
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    a.write_bytes(b"a1\na2\n")
    b.write_bytes(b"b1\n")
    end = tail_and_position(b, 1)[1]
    append(b, b"b2\n")
    news = follow([a, str(b)], lines=1, positions={str(b): end})
    assert next(news) == (str(a), b"a2\n")
    assert next(news) == (str(b), b"b2\n")
    append(a, b"a3\n")
    assert next(news) == (str(a), b"a3\n")
    append(b, b"b3\n")
    assert next(news) == (str(b), b"b3\n")
    news.close()


def test_a_flood_in_one_log_does_not_hide_the_others(tmp_path: Path) -> None:
    flood, quiet = tmp_path / "flood.log", tmp_path / "quiet.log"
    flood.write_bytes(b"")
    quiet.write_bytes(b"")
    news = follow([flood, quiet], positions={str(flood): 0, str(quiet): 0})
    append(quiet, b"hello\n")
    for turn in range(10):
        append(flood, b"more\n")
        if next(news) == (str(quiet), b"hello\n"):
            assert turn <= 1
            return
    raise AssertionError("the quiet log was never read")
