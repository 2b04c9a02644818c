"""A rotating process killed with SIGKILL at every step: readers see every byte meanwhile, and recovery loses none."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from svcmgr.proc import logread, logrecord
from svcmgr.proc.logread import Follower
from tests.kit.logs import append, killed_at, lossless_dir, numbered, on_disk, rotator

LIMIT = 16 * 1024
both = pytest.mark.parametrize("lossless", [True, False], ids=["collapse", "truncate"])
KEEP = 4


def prepared(directory: Path, number: int, line: Callable[[int, int], bytes]) -> tuple[Path, bytes]:
    """A log with two pieces and a live file that will make two or three more."""
    path = directory / f"{number}.log"
    written = b""
    for _ in range(2):
        data = line(len(written) // 64, 300)
        append(path, data)
        written += data
        rotator(True).rotate(path, LIMIT, KEEP)
    data = line(len(written) // 64, 600)
    append(path, data)
    return path, written + data


def same(start: int, count: int) -> bytes:
    """Lines that are all alike: comparing bytes cannot tell where in the log they are."""
    return (b"." * 63 + b"\n") * count


@both
@pytest.mark.parametrize("line", [numbered, same])
def test_killed_at_every_step(tmp_path: Path, lossless: bool, line: Callable[[int, int], bytes]) -> None:
    directory = lossless_dir(tmp_path)
    for step in itertools.count():
        path, written = prepared(directory, step, line)
        killed = killed_at(step, lambda die, path=path: rotator(lossless, die).rotate(path, LIMIT, KEEP))
        assert written.endswith(b"".join(logread.read_pieces(path)))
        with Follower(path) as follower:
            more = line(len(written) // 64, 50)
            append(path, more)
            written += more
            assert b"".join(iter(follower.read, b"")) == more
            rest = at_rest(path)
            assert rotator(lossless).recover(path, KEEP) is not rest
            assert killed or rest
            append(path, b"end\n")
            assert b"".join(iter(follower.read, b"")) == b"end\n"
        written += b"end\n"
        kept = on_disk(path)
        assert written.endswith(kept)
        assert kept == b"".join(logread.read_pieces(path))
        with logread.LogView(path) as view:
            assert view.bounds() == (len(written) - len(kept), len(written)), f"step {step}"
        assert not list(directory.glob(f".{path.name}.*")), "files of work stay behind"
        if not killed:
            assert step > 10
            return
        # With retention of four pieces, at most the two oldest may have gone.
        assert len(kept) >= len(written) - 3 * LIMIT


def at_rest(path: Path) -> bool:
    with path.open("rb") as live:
        record = logrecord.load(live.fileno(), path)
        return record == logrecord.Record(record.base)


@both
def test_the_recovery_killed_too(tmp_path: Path, lossless: bool) -> None:
    directory = lossless_dir(tmp_path)
    number = 0
    for first in itertools.count():
        for second in itertools.count():
            path, written = prepared(directory, number, numbered)
            number += 1
            if not killed_at(first, lambda die, path=path: rotator(lossless, die).rotate(path, LIMIT, 50)):
                assert first > 10
                return
            append(path, b"between\n")
            assert b"".join(logread.read_pieces(path)) == written + b"between\n", first
            again = killed_at(second, lambda die, path=path: rotator(lossless, die).recover(path, 50))
            append(path, b"after\n")
            assert b"".join(logread.read_pieces(path)) == written + b"between\nafter\n", (first, second)
            rotator(lossless).recover(path, 50)
            assert on_disk(path) == written + b"between\nafter\n", (first, second)
            if not again:
                break
