"""The program as a whole: ends, streams, exit codes; true processes where only they show it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from svcmgr.cli.group import COMMANDS
from svcmgr.cli.main import run
from svcmgr.host.wire import ServiceRow
from tests.cli.conftest import NOW

ROWS = [ServiceRow(f"web@{i}", "web", "up", "running", "online", NOW, instance=str(i), pid=i + 1) for i in range(3000)]


def test_version_and_help(svcmgr_process):
    assert svcmgr_process("--version").out.startswith("svcmgr ")
    result = svcmgr_process("--help")
    assert result.code == 0
    assert all(f"\n  {command} " in result.out for command in COMMANDS)


@pytest.mark.parametrize("args", [["stauts"], ["status", "--nope"], ["--nope"], []])
def test_usage_is_2(svcmgr_process, args):
    result = svcmgr_process(*args)
    assert result.code == 2
    assert "Usage:" in result.err
    assert "Traceback" not in result.err


def test_a_mistyped_command_has_near_ones(svcmgr):
    assert "did you mean status" in svcmgr("stauts").err


def test_usage_errors_are_json_too(svcmgr):
    result = svcmgr("status", "--json", "--nope")
    assert result.code == 2
    assert result.json["error"]["code"] == "bad-input"


def test_an_empty_root_is_refused(svcmgr_process):
    assert svcmgr_process("--root", "", "status").code == 2


def test_the_root_may_come_from_the_environment(svcmgrd, root, monkeypatch, capfd):
    svcmgrd.status()
    monkeypatch.setenv("SVCMGR_ROOT", str(root))
    assert run(["status"]) == 0
    assert str(root) in capfd.readouterr().out


def test_a_root_too_long_for_a_socket_is_followed_through_its_link(svcmgrd, tmp_path, capfd, monkeypatch):
    svcmgrd.status()
    long_root = tmp_path / ("x" * 120)
    (long_root / "run").mkdir(parents=True)
    (long_root / "run" / "svcmgrd.sock").symlink_to(svcmgrd.layout.control_socket)
    assert run(["--root", str(long_root), "status"]) == 0


def test_whoever_stops_reading_gets_no_complaint(svcmgrd, start_svcmgr):
    svcmgrd.status(*ROWS)
    with start_svcmgr("status") as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 141


def test_a_full_disk_is_a_message(svcmgrd, svcmgr_process):
    svcmgrd.status(*ROWS)
    with open("/dev/full", "wb") as full:
        result = svcmgr_process("status", stdout=full)
    assert result.code == 1
    assert result.err.startswith("svcmgr: cannot write the output: ")
    assert "Traceback" not in result.err


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_trouble(svcmgrd, root, redirect):
    svcmgrd.status(*ROWS)
    line = f'exec "$0" -m svcmgr.cli --root "$1" status {redirect}'
    result = subprocess.run(["sh", "-c", line, sys.executable, str(root)], capture_output=True, timeout=30)
    assert result.returncode == 0
    assert b"Traceback" not in result.stderr


def test_an_interrupt_is_130_without_a_traceback(svcmgrd, start_svcmgr):
    asked = threading.Event()

    def answer(request):
        asked.set()
        return asyncio.Event().wait()

    svcmgrd.answers["start"] = answer
    with start_svcmgr("start", "web") as process:
        assert asked.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert (out, err) == ("", "svcmgr: interrupted; what svcmgrd was asked to do goes on\n")


def test_an_interrupt_of_a_follower_is_silent(svcmgrd, start_svcmgr):
    asked = threading.Event()

    def answer(request):
        asked.set()
        return asyncio.Event().wait()

    svcmgrd.answers["events"] = answer
    with start_svcmgr("events", "-f") as process:
        assert asked.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_bug_is_a_message_and_the_traceback_is_for_who_asks(svcmgr, monkeypatch):
    def broken(*_args):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("svcmgr.cli.app.App.connect", broken)
    result = svcmgr("kinds")
    assert result.code == 1
    assert result.err == "svcmgr: cannot finish: ZeroDivisionError: oops; SVCMGR_DEBUG=1 shows where it happened\n"
    monkeypatch.setenv("SVCMGR_DEBUG", "1")
    assert "Traceback" in svcmgr("kinds").err


def test_an_argument_that_is_not_text_is_refused(root):
    argv = [sys.executable.encode(), b"-m", b"svcmgr.cli", b"--root", os.fsencode(root), b"start", b"w\xff"]
    result = subprocess.run(argv, capture_output=True, timeout=30, env={**os.environ, "PYTHONUTF8": "1"})
    assert result.returncode == 2
    assert b"cannot use argument" in result.stderr


def test_a_terminal_that_knows_only_ascii(svcmgrd, svcmgr_process):
    svcmgrd.status(ServiceRow("web", "command", "up", "running", "online", NOW, reason="größer"))
    result = svcmgr_process("status", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert result.code == 0
    assert "gr\\xf6\\xdfer" in result.out


def test_bytes_that_are_not_the_protocol(layout, svcmgr):
    layout.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(layout.control_socket))
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        result = svcmgr("kinds")
        thread.join(10)
    assert result.code == 1
    assert result.err.startswith("svcmgr: cannot ")


def test_a_socket_nobody_serves_is_no_svcmgrd(layout, svcmgr):
    layout.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(layout.control_socket))
    assert svcmgr("kinds").code == 4
