"""Reading /proc/PID/stat and wait status words."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr.proc.identity import ExitStatus, Stat, parse_stat


def line(comm: bytes, state: bytes = b"S", threads: int = 1, pid: int = 77) -> bytes:
    return b"%d (%s) %s 1 70 71 0 -1 4194304 9 9 0 0 1 2 3 4 20 0 %d 0 123456 0 0 18446744073709551615 0\n" % (
        pid,
        comm,
        state,
        threads,
    )


@given(st.binary(min_size=0, max_size=15))
def test_any_command_name(comm: bytes) -> None:
    assert parse_stat(line(comm)) == Stat(77, "S", 1, 70, 71, 1, 123456)


@pytest.mark.parametrize("comm", [b"a) R 1 2 3", b") (", b"x y", b"((", b"\n", b") Z 5 5 5 5 5 5"])
def test_command_names_that_look_like_fields(comm: bytes) -> None:
    assert parse_stat(line(comm)) == Stat(77, "S", 1, 70, 71, 1, 123456)


@given(st.binary(max_size=200))
def test_anything_else_is_none_or_a_stat(data: bytes) -> None:
    assert parse_stat(data) is None or isinstance(parse_stat(data), Stat)


@pytest.mark.parametrize("data", [b"", b"77", b"77 (x)", b"77 (x) S 1 2", line(b"x")[:40]])
def test_truncated_is_none(data: bytes) -> None:
    assert parse_stat(data) is None


@pytest.mark.parametrize(
    ("state", "threads", "dead"),
    [(b"S", 1, False), (b"D", 1, False), (b"T", 1, False), (b"Z", 1, True), (b"Z", 2, False), (b"X", 0, True)],
)
def test_zombies_are_dead_unless_threads_live(state: bytes, threads: int, dead: bool) -> None:
    found = parse_stat(line(b"x", state, threads))
    assert found is not None
    assert found.dead is dead


@given(st.integers(0, 255))
def test_exit_codes(code: int) -> None:
    status = ExitStatus.from_wait(code << 8)
    assert status == ExitStatus(code=code)
    assert status.clean == (code == 0)
    assert status.describe() == f"exited with code {code}"
    assert os.waitstatus_to_exitcode(code << 8) == code


@given(st.integers(1, 64), st.booleans())
def test_signals(number: int, core: bool) -> None:
    status = ExitStatus.from_wait(number | (0x80 if core else 0))
    assert status == ExitStatus(signal=number, core=core)
    assert status.known
    assert not status.clean


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ExitStatus(signal=signal.SIGKILL), "killed by SIGKILL"),
        (ExitStatus(signal=signal.SIGSEGV, core=True), "killed by SIGSEGV (core dumped)"),
        (ExitStatus(signal=35), "killed by signal 35"),
        (ExitStatus(), "exited, status unknown"),
    ],
)
def test_describe(status: ExitStatus, text: str) -> None:
    assert status.describe() == text


def test_unknown() -> None:
    assert not ExitStatus().known
    assert not ExitStatus().clean
    assert ExitStatus().signal_name is None
