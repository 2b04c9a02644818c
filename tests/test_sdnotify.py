"""Datagrams of sd_notify: what is built, what is believed, what is dropped, and where it is sent."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmgr import sdnotify
from svcmgr.errors import BadInput, ConnectionFault
from svcmgr.sdnotify import MAX_DATAGRAM, Notification, build, notify, parse, watchdog_timeout


@pytest.mark.parametrize(
    ("note", "data"),
    [
        (Notification(ready=True), b"READY=1"),
        (Notification(ready=True, status="one two"), b"READY=1\nSTATUS=one two"),
        (Notification(stopping=True), b"STOPPING=1"),
        (Notification(reloading=True, monotonic_usec=7), b"RELOADING=1\nMONOTONIC_USEC=7"),
        (Notification(mainpid=4711), b"MAINPID=4711"),
        (Notification(errno=2), b"ERRNO=2"),
        (Notification(watchdog=True), b"WATCHDOG=1"),
        (Notification(watchdog_trigger=True), b"WATCHDOG=trigger"),
        (Notification(watchdog_usec=20_000_000), b"WATCHDOG_USEC=20000000"),
        (Notification(extend_timeout_usec=5), b"EXTEND_TIMEOUT_USEC=5"),
        (Notification(unknown={"X_MINE": "yes"}), b"X_MINE=yes"),
        (Notification(status="\u00fcber"), "STATUS=\u00fcber".encode()),
    ],
)
def test_known_datagrams_are_built_and_parsed(note, data):
    assert build(note) == data
    assert parse(data) == note


def test_a_newline_in_a_status_cannot_smuggle_a_key():
    data = build(Notification(status="done\nMAINPID=1", unknown={"X_A": "b\nREADY=1"}))
    assert parse(data).mainpid is None
    assert parse(data).ready is False
    assert parse(data).status == "done MAINPID=1"


@pytest.mark.parametrize(
    "line",
    [
        b"MAINPID=0",
        b"MAINPID=-1",
        b"MAINPID=+5",
        b"MAINPID= 5",
        b"MAINPID=5 ",
        b"MAINPID=4194305",
        b"MAINPID=0x10",
        b"MAINPID=1_0",
        "MAINPID=\u0665".encode(),
        b"MAINPID=" + b"9" * 4000,
        b"MAINPID=",
        b"ERRNO=4096",
        b"WATCHDOG_USEC=18446744073709551616",
        b"EXTEND_TIMEOUT_USEC=soon",
        b"READY=0",
        b"READY=yes",
        b"WATCHDOG=2",
        b"STATUS=\xff\xfe",
        b"no equals sign",
        b"=value",
        b"lower=case",
        b"SPACE KEY=1",
    ],
)
def test_a_bad_line_is_dropped_and_counted_and_costs_no_other_line(line):
    note = parse(b"READY=1\n" + line + b"\nERRNO=5")
    assert note == Notification(ready=True, errno=5, dropped=1)


def test_the_last_state_and_the_last_repeated_key_count():
    assert parse(b"RELOADING=1\nREADY=1") == Notification(ready=True)
    assert parse(b"READY=1\nSTOPPING=1") == Notification(stopping=True)
    assert parse(b"MAINPID=5\nMAINPID=6").mainpid == 6
    assert parse(b"MAINPID=5\nMAINPID=x") == Notification(mainpid=5, dropped=1)


def test_unknown_keys_are_kept_apart():
    assert parse(b"FDSTORE=1\nX_COLOUR=red=blue") == Notification(unknown={"FDSTORE": "1", "X_COLOUR": "red=blue"})


def test_control_characters_do_not_reach_a_terminal():
    assert parse(b"STATUS=\x1b[2Jhi\x00\xc2\x9b").status == "\ufffd[2Jhi\ufffd\ufffd"


def test_empty_lines_and_final_nul_say_nothing():
    assert parse(b"") == Notification()
    assert parse(b"\n\nREADY=1\n\0") == Notification(ready=True)


def test_size_limit_on_both_sides():
    assert parse(b"STATUS=" + b"a" * (MAX_DATAGRAM - 7)).status == "a" * (MAX_DATAGRAM - 7)
    with pytest.raises(BadInput):
        parse(b"a" * (MAX_DATAGRAM + 1))
    with pytest.raises(BadInput):
        build(Notification(status="a" * MAX_DATAGRAM))


@pytest.mark.parametrize(
    "note",
    [
        Notification(),
        Notification(mainpid=0),
        Notification(errno=-1),
        Notification(watchdog_usec=1 << 64),
        Notification(unknown={"READY": "1"}),
        Notification(unknown={"bad key": "1"}),
        Notification(unknown={"A=B": "1"}),
    ],
)
def test_what_cannot_be_said_is_refused(note):
    with pytest.raises(BadInput):
        build(note)


@given(st.binary(max_size=MAX_DATAGRAM))
def test_any_bytes_parse_without_an_error(data):
    note = parse(data)
    assert note.ready + note.reloading + note.stopping <= 1
    assert note.mainpid is None or 1 <= note.mainpid <= sdnotify.MAX_PID


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=50)
_USEC = st.none() | st.integers(0, (1 << 64) - 1)


@given(
    st.builds(
        Notification,
        ready=st.booleans(),
        status=st.none() | _TEXT,
        mainpid=st.none() | st.integers(1, sdnotify.MAX_PID),
        errno=st.none() | st.integers(0, sdnotify.MAX_ERRNO),
        watchdog=st.booleans(),
        watchdog_trigger=st.booleans(),
        watchdog_usec=_USEC,
        extend_timeout_usec=_USEC,
        unknown=st.dictionaries(st.from_regex(r"X_[A-Z0-9_]{0,8}", fullmatch=True), _TEXT, max_size=4),
    ).filter(lambda note: note != Notification())
)
def test_what_is_built_is_parsed_back(note):
    assert parse(build(note)) == note


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "42"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
    ],
)
def test_watchdog_timeout_is_for_us_only(environ, seconds):
    assert watchdog_timeout(environ, 42) == seconds


def _receiver(address):
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    receiver.settimeout(5)
    return receiver


def test_notify_sends_one_datagram_to_a_path(tmp_path):
    address = str(tmp_path / "n")
    with _receiver(address) as receiver:
        assert notify({"NOTIFY_SOCKET": address}, ready=True, status="up") is True
        assert receiver.recv(5000) == b"READY=1\nSTATUS=up"


def test_notify_reaches_an_abstract_socket(tmp_path):
    name = f"svcmgr-test-{os.getpid()}-{tmp_path.name}"
    with _receiver("\0" + name) as receiver:
        assert notify({"NOTIFY_SOCKET": "@" + name}, watchdog=True) is True
        assert receiver.recv(5000) == b"WATCHDOG=1"


def test_notify_without_a_socket_does_nothing():
    assert notify({}, ready=True) is False
    assert notify({"NOTIFY_SOCKET": ""}, ready=True) is False


@pytest.mark.parametrize("address", ["relative", "@", "vsock:2:1234", "/" + "x" * 107, "/a\0b"])
def test_notify_refuses_an_address_that_is_none(address):
    with pytest.raises(BadInput):
        notify({"NOTIFY_SOCKET": address}, ready=True)


def test_notify_says_that_nobody_listens(tmp_path):
    with pytest.raises(ConnectionFault):
        notify({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, ready=True)


def test_notify_never_waits_for_a_full_queue(tmp_path):
    address = str(tmp_path / "n")
    with _receiver(address), pytest.raises(ConnectionFault):
        _notify_often(address)


def _notify_often(address):
    for _ in range(100_000):
        notify({"NOTIFY_SOCKET": address}, watchdog=True)
