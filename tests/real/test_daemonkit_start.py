"""How a daemon starts, or refuses to: locks, sockets, logs, flags, exit codes."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from svcmgr.proc.pidfile import owner
from tests.kit.daemonproc import ROOT, DaemonProc, notify_socket
from tests.kit.oddd import Oddd


def test_the_pidfile_is_locked_for_life(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        daemon.up()
        assert owner(daemon.pidfile) == daemon.pid
        assert daemon.pidfile.read_text() == f"{daemon.pid}\n"
        assert daemon.end() == 0
        assert owner(daemon.pidfile) is None
        assert daemon.pidfile.exists()


def test_a_pidfile_with_garbage_is_overwritten(tmp_path):
    (tmp_path / "d.pid").write_text("1\nnot a number" * 10)
    with DaemonProc(tmp_path) as daemon:
        daemon.up()
        assert daemon.pidfile.read_text() == f"{daemon.pid}\n"


def test_a_second_start_leaves_the_first_untouched(tmp_path):
    with DaemonProc(tmp_path) as first:
        first.up()
        log, inode = first.text(), first.socket.stat().st_ino
        with DaemonProc(tmp_path) as second:
            assert second.wait() == 1
            complaint = second.output()
        assert len(complaint.splitlines()) == 1
        assert str(first.pid) in complaint
        assert first.text() == log
        assert first.socket.stat().st_ino == inode
        assert first.call("echo", {"text": "alive"}) == "alive"


def test_a_socket_that_answers_is_not_taken(tmp_path):
    with DaemonProc(tmp_path) as first:
        first.up()
        flags = ["-S", first.socket, "-p", tmp_path / "other.pid"]
        with DaemonProc(tmp_path, *flags, standard=False) as second:
            assert second.wait() == 1
            assert "Traceback" not in second.output()
        assert first.call("echo", {"text": "alive"}) == "alive"


def test_a_stale_socket_is_taken_over(tmp_path):
    with DaemonProc(tmp_path) as first:
        first.up()
        first.signal(signal.SIGKILL)
        first.wait()
        assert first.socket.exists()
    with DaemonProc(tmp_path) as second:
        assert second.up().call("echo", {"text": "x", "times": 3}) == "xxx"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_something_else_at_the_socket_path_is_left_alone(tmp_path, kind):
    path = tmp_path / "d.sock"
    path.write_text("precious") if kind == "file" else path.mkdir()
    with DaemonProc(tmp_path) as daemon:
        assert daemon.wait() == 1
        assert "cannot start oddd" in daemon.text()
    assert path.read_text() == "precious" if kind == "file" else path.is_dir()


def test_ready_arrives_when_the_socket_answers(tmp_path):
    with (
        notify_socket(tmp_path / "n") as supervisor,
        DaemonProc(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "n")}) as daemon,
    ):
        assert b"READY=1" in supervisor.recv(5000)
        assert daemon.call("echo", {"text": "at once"}) == "at once"


def test_ready_reaches_an_abstract_socket(tmp_path):
    name = f"svcmgr-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("\0" + name)
        supervisor.settimeout(20)
        with DaemonProc(tmp_path, environ={"NOTIFY_SOCKET": "@" + name}):
            assert b"READY=1" in supervisor.recv(5000)


def test_children_of_the_daemon_do_not_speak_for_it(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "60000000", "KEEP": "me"}
    with notify_socket(tmp_path / "n"), DaemonProc(tmp_path, environ=environ) as daemon:
        seen = daemon.up().call("environ")
    assert seen["KEEP"] == "me"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(seen)


def test_a_supervisor_that_is_gone_does_not_hinder_the_start(tmp_path):
    with DaemonProc(tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as daemon:
        daemon.up()
        assert daemon.end() == 0


def test_without_flags_a_daemon_runs_and_ends(tmp_path):
    environ = {"NOTIFY_SOCKET": str(tmp_path / "n")}
    with notify_socket(tmp_path / "n") as supervisor, DaemonProc(tmp_path, standard=False, environ=environ) as daemon:
        assert b"READY=1" in supervisor.recv(5000)
        assert daemon.end() == 0
        assert "step close outer" in daemon.output()


def test_the_log_directory_is_created(tmp_path):
    log = tmp_path / "new" / "deep" / "d.log"
    with DaemonProc(tmp_path, "-l", log) as daemon:
        daemon.up()
        assert "step open inner" in log.read_text()


def test_the_log_is_appended_to_and_private(tmp_path):
    (tmp_path / "d.log").write_text("from an earlier life\n")
    with DaemonProc(tmp_path) as daemon:
        assert daemon.up().text().startswith("from an earlier life\n")
    with DaemonProc(tmp_path, "-l", tmp_path / "fresh.log") as daemon:
        daemon.up()
    assert stat.S_IMODE((tmp_path / "fresh.log").stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize("flag", ["-l", "-p", "-S"])
def test_a_path_that_cannot_be_had_is_refused_in_one_line(tmp_path, flag):
    (tmp_path / "file").write_text("")
    with DaemonProc(tmp_path, flag, tmp_path / "file" / "x") as daemon:
        assert daemon.wait() == 1
        said = daemon.output() + daemon.text()
    assert "Traceback" not in said
    assert str(tmp_path / "file") in said
    assert not daemon.socket.exists()


@pytest.mark.parametrize("flags", [["--nonsense"], ["-p"], ["--volfile-id", "x"]])
def test_bad_flags_exit_2_with_usage(tmp_path, flags):
    with DaemonProc(tmp_path, *flags, standard=False) as daemon:
        assert daemon.wait() == 2
        assert daemon.output().startswith("usage: oddd")


def test_a_socket_path_over_107_bytes_exits_2_in_one_line(tmp_path):
    with DaemonProc(tmp_path, "-S", tmp_path / ("x" * 108)) as daemon:
        assert daemon.wait() == 2
        assert len(daemon.output().splitlines()) == 1


@pytest.mark.parametrize(
    "reference", ["no.such.module:X", "tests.kit.oddd:Nobody", "tests.kit.oddd", "tests.kit.oddd:Echo", ":", ".a:b"]
)
def test_a_daemon_that_cannot_be_loaded_exits_2(tmp_path, reference):
    with DaemonProc(tmp_path, daemon=reference) as daemon:
        assert daemon.wait() == 2
        assert "Traceback" not in daemon.output()


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--help"], 0), (["-x"], 2)])
def test_the_runner_alone_says_how_it_is_used(argv, code):
    done = subprocess.run(
        [sys.executable, "-m", "svcmgr.services", *argv], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == code
    assert "usage:" in done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["open", "open-bug", "configure", "hides", "twins"])
def test_a_failing_start_is_one_line_and_exit_1(tmp_path, fault):
    with DaemonProc(tmp_path, "--fault", fault) as daemon:
        assert daemon.wait() == 1
    text = daemon.text()
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if "ERROR" in line]) == 1
    assert "cannot start oddd" in text
    assert not daemon.socket.exists()
    assert ("open outer" in text) == ("close outer" in text)


def test_a_failing_start_has_its_traceback_under_debug(tmp_path):
    with DaemonProc(tmp_path, "--fault", "open-bug", "-v") as daemon:
        assert daemon.wait() == 1
    assert "Traceback" in daemon.text()
    assert "KeyError" in daemon.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_in_order(tmp_path, number):
    with DaemonProc(tmp_path, "--fault", "open-slow") as daemon:
        daemon.saw("step open outer")
        daemon.signal(number)
        assert daemon.wait() == 0
    assert "step close outer" in daemon.text()
    assert not daemon.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_other_signals_during_the_start_do_not_kill(tmp_path, number):
    with DaemonProc(tmp_path, "--fault", "open-slow") as daemon:
        daemon.saw("step open outer")
        daemon.signal(number)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_the_process_is_named_after_the_daemon(tmp_path):
    with DaemonProc(tmp_path) as daemon:
        daemon.up()
        with open(f"/proc/{daemon.pid}/comm") as comm:
            assert comm.read() == "oddd\n"


def test_a_refused_second_start_is_quick(tmp_path):
    with DaemonProc(tmp_path) as first:
        first.up()
        before = time.monotonic()
        with DaemonProc(tmp_path) as second:
            assert second.wait() == 1
        # Nearly all of it is the interpreter and its imports.
        assert time.monotonic() - before < 5.0


def test_no_supervisor_is_loaded_into_a_daemon():
    code = (
        "import sys, svcmgr.services.daemonkit;"
        "print([m for m in sys.modules if m.startswith(('svcmgr.host', 'svcmgr.svc', 'svcmgr.cli'))"
        " or m.split('.')[0] in ('psutil', 'click', 'rich', 'zmq')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout == "[]\n", done.stderr


class Open(Oddd):
    socket_mode = 0o666


@pytest.mark.parametrize(("daemon", "mode"), [("tests.kit.oddd:Oddd", 0o600), (f"{__name__}:Open", 0o666)])
def test_the_socket_has_the_mode_that_the_daemon_says(tmp_path, daemon, mode):
    with DaemonProc(tmp_path, daemon=daemon) as process:
        process.up()
        assert stat.S_IMODE(process.socket.stat().st_mode) == mode
        assert process.end() == 0
