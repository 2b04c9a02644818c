"""The record beside a log: what is written is read, and what cannot be believed counts as nothing."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.proc import logrecord
from svcmgr.proc.logrecord import Record

numbers = st.integers(0, 1 << 62)
records = st.builds(
    Record, numbers, st.sampled_from(sorted(logrecord.STEPS)), numbers, st.integers(0, logrecord.MAX_FILES), numbers
)


@given(records)
def test_round_trip(record: Record) -> None:
    assert logrecord.decode(record.encode()) == record


@given(st.binary(max_size=80))
def test_any_bytes_decode_to_something_sane(data: bytes) -> None:
    record = logrecord.decode(data)
    assert record.step in logrecord.STEPS
    assert 0 <= record.files <= logrecord.MAX_FILES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"2 0 idle 0 0 0",
        b"1 0 idle 0 0",
        b"1 0 idle 0 0 0 0",
        b"1 x idle 0 0 0",
        b"1 5 dance 0 0 0",
        b"1 -5 idle 0 0 0",
        b"1 5 shift 0 1000000000 0",
        b"1 5 punch -4096 1 0",
        b"1 99999999999999999999999 idle 0 0 0",
    ],
)
def test_what_cannot_be_believed_is_a_log_that_starts_now(data: bytes) -> None:
    assert logrecord.decode(data) == Record()


def refuse(*args: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "no attributes here")


@pytest.mark.parametrize("attributes", [True, False])
def test_store_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: bool) -> None:
    if not attributes:
        monkeypatch.setattr(os, "setxattr", refuse)
        monkeypatch.setattr(os, "getxattr", refuse)
    path = tmp_path / "a.log"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert logrecord.load(fd, path) == Record()
        for record in (Record(5), Record(7, logrecord.SHIFT, 4096, 2, 100), Record(1 << 40)):
            logrecord.store(fd, path, record)
            assert logrecord.load(fd, path) == record
    finally:
        os.close(fd)
    assert logrecord.beside(path).exists() is not attributes


def test_a_record_file_belongs_to_one_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "getxattr", refuse)
    path = tmp_path / "a.log"
    with path.open("w") as first:
        logrecord.store(first.fileno(), path, Record(99))
        path.rename(tmp_path / "elsewhere")
        with path.open("w") as second:
            assert logrecord.load(second.fileno(), path) == Record()
        assert logrecord.load(first.fileno(), path) == Record(99)
