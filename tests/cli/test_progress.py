"""Progress: on a terminal only, over a second connection, and never in the way of the action."""

from __future__ import annotations

import asyncio
import os
import pty

import pytest

from svcmgr.errors import InternalError
from svcmgr.host.wire import ActionReply, EventRow, EventsReply, Outcome
from tests.cli.conftest import NOW


@pytest.fixture
def terminal():
    """A terminal: what was written to it so far is read with the returned function, after its writers ended."""
    master, slave = pty.openpty()
    closed = []

    def read():
        os.close(slave)
        closed.append(slave)
        text = b""
        try:
            while chunk := os.read(master, 65536):
                text += chunk
        except OSError:  # EIO: every writer has closed the terminal
            pass
        return text.decode().replace("\r\n", "\n")

    yield slave, read
    os.close(master)
    if not closed:
        os.close(slave)


@pytest.fixture
def scripted(svcmgrd):
    """``start`` answers when the watcher has asked again after the first event, so that one line is certain."""
    seen = asyncio.Event()

    def events(request):
        if request.since < 0:
            return EventsReply([], next=7)
        if request.since == 7:
            return EventsReply([EventRow(8, NOW, "Spawned", "web", {"pid": 12})], next=8)
        seen.set()
        return asyncio.Event().wait()

    async def start():
        await seen.wait()
        return ActionReply([Outcome("web", "started", pid=12)])

    svcmgrd.answers.update(events=events, start=lambda request: start())
    return svcmgrd


def test_a_terminal_sees_what_happens(scripted, start_svcmgr, terminal):
    slave, read = terminal
    with start_svcmgr("start", "web", stderr=slave) as process:
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "web: started (pid 12)\n")
    assert read() == "  web Spawned pid=12\n"
    assert [request.since for request in scripted.requests("events")] == [-1, 7, 8]


def test_nobody_at_a_terminal_no_progress(svcmgrd, svcmgr_process):
    svcmgrd.actions("start", Outcome("web", "started", pid=12))
    assert svcmgr_process("start", "web").err == ""
    assert svcmgrd.requests("events") == []


def test_no_wait_no_progress(svcmgrd, svcmgr_process, terminal):
    svcmgrd.actions("start", Outcome("web", "starting"))
    assert svcmgr_process("start", "web", "--no-wait", stderr=terminal[0]).code == 0
    assert svcmgrd.requests("events") == []


def test_the_action_goes_on_when_progress_cannot_be_had(svcmgrd, svcmgr_process, terminal):
    slave, read = terminal
    svcmgrd.answers["events"] = InternalError("cannot serve events")
    svcmgrd.actions("start", Outcome("web", "started", pid=12))
    result = svcmgr_process("start", "web", stderr=slave)
    assert (result.code, result.out) == (0, "web: started (pid 12)\n")
    assert read() == ""


def test_status_uses_colour_and_width_of_a_terminal(svcmgrd, svcmgr_process, terminal):
    from svcmgr.host.wire import ServiceRow

    slave, read = terminal
    svcmgrd.status(ServiceRow("web", "command", "up", "running", "online", NOW, pid=12, log="/l" * 30))
    environ = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    code = svcmgr_process("status", stdout=slave, env={**environ, "TERM": "xterm", "COLUMNS": "80"}).code
    text = read()
    assert code == 0
    assert "\x1b[32monline\x1b[0m" in text
    assert "/l/l" not in text
    assert "left out for lack of room" in text
    assert "log" in text.splitlines()[-1]
