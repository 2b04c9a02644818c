"""When daemonkit speaks to its supervisor, on a clock that jumps."""

import asyncio
import logging
import socket

import pytest

from svcmgr.sdnotify import parse
from svcmgr.services.daemonkit.notifier import READY_PATIENCE_S, Notifier
from tests.kit.vloop import run

LOG = logging.getLogger("testd")


@pytest.fixture
def address(tmp_path):
    return str(tmp_path / "notify")


@pytest.fixture
def receiver(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.setblocking(False)
        yield receiver


def _received(receiver):
    notes = []
    while True:
        try:
            notes.append(parse(receiver.recv(5000)))
        except BlockingIOError:
            return notes


async def _for(seconds, coro):
    """Run ``coro`` for ``seconds`` of virtual time."""
    try:
        async with asyncio.timeout(seconds):
            await coro
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(("usec", "seconds", "count"), [("2000000", 4.5, 5), ("200000", 0.95, 10)])
def test_watchdog_is_sent_now_and_every_half_period(address, receiver, usec, seconds, count):
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec}, 42, LOG)
    run(_for(seconds, notifier.watchdog()))
    notes = _received(receiver)
    assert len(notes) == count
    assert all(note.watchdog for note in notes)


@pytest.mark.parametrize(
    "extra", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "43"}, {"WATCHDOG_USEC": "x"}]
)
def test_no_watchdog_where_nobody_asked_us(address, receiver, extra):
    notifier = Notifier({"NOTIFY_SOCKET": address, **extra}, 42, LOG)
    assert run(_for(10, notifier.watchdog())) is True
    assert _received(receiver) == []


def test_no_watchdog_without_a_socket_to_send_it_to():
    assert Notifier({"WATCHDOG_USEC": "1000000"}, 42, LOG).watchdog_s is None


def test_ready_waits_for_a_supervisor_between_two_lives(address, caplog):
    async def main():
        notifier = Notifier({"NOTIFY_SOCKET": address}, 42, LOG)
        task = asyncio.ensure_future(notifier.ready())
        await asyncio.sleep(3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(address)
            receiver.setblocking(False)
            await task
            assert [note.ready for note in _received(receiver)] == [True]
        assert notifier.sent == 1
        assert notifier.failed > 1

    run(main())
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_ready_gives_up_and_the_daemon_goes_on(address):
    async def main():
        loop = asyncio.get_running_loop()
        before = loop.time()
        await Notifier({"NOTIFY_SOCKET": address}, 42, LOG).ready()
        return loop.time() - before

    assert READY_PATIENCE_S <= run(main()) <= READY_PATIENCE_S + 2


def test_without_a_supervisor_nothing_is_said():
    notifier = Notifier({}, 42, LOG)
    assert notifier.send(ready=True) is True
    assert notifier.facts() == {"sent": 0, "failed": 0, "watchdog_s": None}


def test_a_status_that_cannot_be_sent_does_not_fail_the_daemon(address, receiver):
    notifier = Notifier({"NOTIFY_SOCKET": address}, 42, LOG)
    assert notifier.send(status="x" * 5000) is False
    assert notifier.failed == 1
