"""``up`` and ``shutdown``: true processes in the place of svcmgrd where its process matters."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from svcmgr.cli import launch
from svcmgr.errors import DeadlineExceeded, StartFailed, StorageFailed
from svcmgr.host.wire import Outcome, ShutdownReply

#: What stands in for svcmgrd: ready at once, dead at once, or neither.
READY = "import os, sys, time; os.write({fd}, b'rea'); os.write({fd}, b'dy\\n'); os.close({fd})"
DIES = "import sys; print('one'); print('cannot open the store', file=sys.stderr); sys.exit(7)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def daemon(monkeypatch):
    """Let ``launch`` start a few lines of Python instead of svcmgrd."""
    started = []

    def use(code):
        monkeypatch.setattr(launch, "command_line", lambda layout, fd: [sys.executable, "-c", code.format(fd=fd)])

    real = subprocess.Popen

    def popen(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    yield use
    for process in started:
        process.kill()
        process.wait(10)


def test_launch_returns_when_the_daemon_is_ready(layout, daemon):
    daemon(READY)
    launch.launch(layout, 20)


def test_the_daemon_has_its_own_session_and_log(layout, daemon, tmp_path):
    out = tmp_path / "session"
    daemon(f"import os; print('hello', flush=True); open({str(out)!r}, 'w').write(str(os.getsid(0))); " + READY)
    launch.launch(layout, 20)
    assert int(out.read_text()) != os.getsid(0)
    assert layout.daemon_log.read_text() == "hello\n"


def test_an_early_end_shows_code_and_log_of_this_start_only(layout, daemon):
    layout.log.mkdir(parents=True)
    layout.daemon_log.write_text("an old line\n")
    daemon(DIES)
    with pytest.raises(StartFailed) as caught:
        launch.launch(layout, 20)
    assert "code 7" in caught.value.message
    assert sorted(caught.value.details["log_tail"].splitlines()) == ["cannot open the store", "one"]


def test_an_early_end_by_signal(layout, daemon):
    daemon(KILLED)
    with pytest.raises(StartFailed) as caught:
        launch.launch(layout, 20)
    assert "signal 9" in caught.value.message


def test_a_daemon_that_is_not_ready_in_time_is_left_alone(layout, daemon):
    daemon(SLEEPS)
    with pytest.raises(DeadlineExceeded) as caught:
        launch.launch(layout, 0.05)
    os.kill(caught.value.details["pid"], 0)


def test_a_root_that_cannot_be_made(layout):
    layout.root.write_text("a file")
    with pytest.raises(StorageFailed):
        launch.launch(layout, 1)


def test_one_start_at_a_time(layout):
    order = []

    def second():
        with launch.only_one(layout):
            order.append("second")

    with launch.only_one(layout):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_the_command_line_names_root_and_descriptor(layout, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    argv = launch.command_line(layout, 5)
    assert argv == [sys.executable, "-P", "-m", "svcmgr.host", "--root", str(layout.root), "--ready-fd", "5"]


def test_up_finds_one_that_runs(svcmgrd, svcmgr):
    result = svcmgr("up")
    assert (result.code, result.out) == (0, f"svcmgrd is already running (pid {os.getpid()})\n")
    assert svcmgr("up", "--json").json == {"result": "already-running", "pid": os.getpid(), "version": "9.9"}


def test_up_reports_a_failed_start(svcmgr, daemon):
    daemon(DIES)
    result = svcmgr("up", "--json")
    assert result.code == 1
    assert result.json["error"]["code"] == "start-failed"
    assert "    cannot open the store\n" in result.err


def test_up_reports_one_that_is_still_starting(svcmgr, daemon):
    daemon(SLEEPS)
    assert svcmgr("up", "--timeout", "0.05").code == 5


@pytest.fixture
def process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield child


def test_shutdown_returns_when_the_process_is_gone(svcmgrd, svcmgr, process):
    def end(request):
        process.stdin.close()
        return ShutdownReply(stays={"web": 12, "db": 13})

    svcmgrd.answers.update(hello=svcmgrd.info(pid=process.pid), shutdown=end)
    result = svcmgr("shutdown")
    assert result.code == 0
    assert result.out.splitlines() == [
        f"svcmgrd ended (pid {process.pid})",
        "2 services go on:",
        "  web (pid 12)",
        "  db (pid 13)",
    ]
    assert svcmgrd.requests("shutdown")[0].all is False
    assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def test_shutdown_of_one_that_stays_is_a_timeout(svcmgrd, svcmgr, process, monkeypatch):
    monkeypatch.setattr("svcmgr.cli.daemon.ANSWER_MARGIN_S", 0.5)
    svcmgrd.answers.update(hello=svcmgrd.info(pid=process.pid), shutdown=ShutdownReply())
    result = svcmgr("shutdown")
    assert result.code == 5
    assert str(process.pid) in result.err


def test_shutdown_all(svcmgrd, svcmgr, process):
    stopped = [Outcome("web", "stopped"), Outcome("db", "failed", ok=False, text="state D", code="stop-failed")]

    def end(request):
        process.stdin.close()
        return ShutdownReply(stopped, {"db": 13})

    svcmgrd.answers.update(hello=svcmgrd.info(pid=process.pid), shutdown=end)
    result = svcmgr("shutdown", "--all", "--timeout", "9", "--json")
    assert result.code == 1
    assert (result.json["pid"], result.json["stays"]) == (process.pid, {"db": 13})
    assert [one["result"] for one in result.json["stopped"]] == ["stopped", "failed"]
    (request,) = svcmgrd.requests("shutdown")
    assert (request.all, request.timeout_s) == (True, 9.0)


def test_shutdown_without_svcmgrd(svcmgr):
    assert svcmgr("shutdown").code == 4
