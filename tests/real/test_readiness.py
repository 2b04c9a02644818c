"""Every kind of readiness by a true program, watchdogs, and what outlives a change of svcmgrd."""

import socket

import pytest

from svcmgr.proc import pidfile
from tests.kit.rootdir import CLOCKD, alive, py, sh, until

#: sd_notify(3) by hand: says READY after the file ARGV[1] is there, then pings the watchdog while ARGV[2] is there.
NOTIFIER = """
import os, socket, sys, time
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def tell(text):
    try:
        sock.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
    except OSError:
        pass
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
tell("READY=1\\nSTATUS=warmed up")
while True:
    if len(sys.argv) > 2 and os.path.exists(sys.argv[2]):
        tell("WATCHDOG=1")
    time.sleep(0.05)
"""

#: Listens on TCP port 0 once the file ARGV[1] is there, having written its port to ARGV[2].
LISTENER = """
import os, socket, sys, time
def wait():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
if sys.argv[2].startswith("/"):
    sock = socket.socket(socket.AF_UNIX)
    wait()
    sock.bind(sys.argv[2])
else:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    wait()
    sock.bind(("127.0.0.1", int(sys.argv[2])))
sock.listen()
time.sleep(600)
"""


def not_before(root, name, gate):
    """Start ``name``; it must be starting until ``gate`` is made, and running soon after."""
    caller = root.popen("start", name)
    until(lambda: root.events(name, "spawned"), "the spawn")
    assert root.state(name) == "starting"
    gate()
    _, err = caller.communicate(timeout=30)
    assert caller.returncode == 0, err
    assert root.row(name)["status"] == "online"


@pytest.fixture
def gate(root):
    return root.scratch / "gate"


def test_ready_none_is_ready_when_spawned(root):
    root.add("web", sh("sleep 600"), ready="none", start=True)
    assert root.events("web", "ready")[0]["fields"].get("after_s", 0) < 0.1


def test_ready_up_is_ready_after_that_long(root):
    root.add("web", ["/bin/sleep", "600"], ready="up:0.4", start=True)
    assert root.events("web", "ready")[0]["fields"]["after_s"] >= 0.4


def test_ready_up_fails_when_it_ends_before(root):
    root.add("web", sh("sleep 0.1; exit 1"), ready="up:5", restart="never")
    assert root.act("start", "web")["web"]["result"] == "failed"


def test_ready_ping_waits_for_the_answer_of_a_daemon(root):
    root.add("clock", CLOCKD, kind="daemon", ready="ping", start=True)
    assert root.row("clock")["status"] == "online"


def test_ready_notify(root, gate):
    root.add("web", py(NOTIFIER, str(gate)), ready="notify")
    not_before(root, "web", gate.touch)
    assert root.row("web")["reason"] == "warmed up"


def test_ready_notify_of_a_daemon(root):
    root.add("clock", CLOCKD, kind="daemon", ready="notify", start=True)
    assert root.running("clock")


def test_ready_tcp(root, gate):
    with socket.socket() as held:
        # Bound and not listening: the port is ours until the program takes it.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        root.add("web", py(LISTENER, str(gate), str(port)), ready=f"tcp:127.0.0.1:{port}")
        not_before(root, "web", gate.touch)


def test_ready_unix(root, gate):
    path = root.scratch / "web.socket"
    root.add("web", py(LISTENER, str(gate), str(path)), ready=f"unix:{path}")
    not_before(root, "web", gate.touch)


def test_ready_command(root, gate):
    root.add("web", ["/bin/sleep", "600"], ready=f"command:test -e {gate}")
    not_before(root, "web", gate.touch)


def test_ready_command_that_hangs_is_ended_with_the_start(root):
    root.add(
        "web", ["/bin/sleep", "600"], ready="command:sleep 601", start_timeout=0.4, restart="never", stop_grace=0.3
    )
    root.act("start", "web")
    until(lambda: not root.processes("web"), "the end of the readiness command")


def test_ready_pidfile_follows_a_daemon_that_forks_away(root):
    path = root.scratch / "own.pid"
    script = f"(setsid sh -c 'echo $$ > {path}; exec sleep 600' &); sleep 0.1; exit 0"
    root.add("web", sh(script), ready=f"pidfile:{path}", restart_delay=0.01)
    root.cli("start", "web")
    main = int(path.read_text())
    assert root.row("web")["pid"] == main
    root.kill()
    root.up()
    assert root.running("web") == main
    root.cli("stop", "web")
    assert not alive(main)
    assert not root.processes("web")


def test_a_forked_daemon_that_dies_is_started_again(root):
    path = root.scratch / "own.pid"
    root.add(
        "web",
        sh(f"(setsid sh -c 'echo $$ > {path}; exec sleep 600' &); exit 0"),
        ready=f"pidfile:{path}",
        restart_delay=0.01,
    )
    root.cli("start", "web")
    first = root.row("web")["pid"]
    root.child(["/bin/kill", "-9", str(first)]).wait()
    until(lambda: root.row("web")["restarts"] == 1, "the restart")
    second = root.running("web")
    assert second != first
    assert root.processes("web") == [second]


def test_a_daemon_that_locks_its_pidfile_is_owned_through_a_restart(root):
    root.add("clock", CLOCKD, kind="daemon", start=True)
    root.cli("restart", "clock")
    row = root.row("clock")
    assert pidfile.owner(root.layout.service_pidfile("clock")) == row["pid"]


# --- watchdog -----------------------------------------------------------------------------------------------


def test_watchdog_expiry_restarts(root, gate):
    alive_file = root.scratch / "alive"
    gate.touch()
    alive_file.touch()
    root.add(
        "web", py(NOTIFIER, str(gate), str(alive_file)), ready="notify", watchdog=0.4, restart_delay=0.01, start=True
    )
    first = root.row("web")["pid"]
    alive_file.unlink()
    until(lambda: root.events("web", "unhealthy"), "the watchdog")
    assert "watchdog" in root.events("web", "unhealthy")[0]["fields"]["text"]
    alive_file.touch()
    until(lambda: root.running("web") != first, "the restart")
    assert root.row("web")["restarts"] == 1


def test_watchdog_is_fed_and_survives_a_new_svcmgrd(root, gate):
    alive_file = root.scratch / "alive"
    gate.touch()
    alive_file.touch()
    root.add("web", py(NOTIFIER, str(gate), str(alive_file)), ready="up:0.1", watchdog=0.5, start=True)
    root.add("gauge", ["/bin/sleep", "600"], ready="up:0.8")
    pid = root.row("web")["pid"]
    root.act("start", "gauge")
    root.kill()
    root.up()
    root.act("restart", "gauge")  # longer than a watchdog that nobody feeds
    assert root.running("web") == pid
    assert not root.events("web", "unhealthy")


def test_a_daemon_with_a_watchdog_whose_loop_is_stopped_is_restarted(root):
    root.add("clock", CLOCKD, kind="daemon", watchdog=0.5, stop_grace=0.2, restart_delay=0.01, start=True)
    first = root.row("clock")["pid"]
    root.child(["/bin/kill", "-STOP", str(first)]).wait()
    until(lambda: root.row("clock")["pid"] not in (first, None), "the restart")
    root.running("clock")
    assert not alive(first)
