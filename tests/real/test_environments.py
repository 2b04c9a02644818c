"""Where svcmgrd may run: as pid 1 of a pid namespace, below systemd's protocol, unprivileged in a user's home."""

import json
import os
import signal
import socket
import subprocess

import pytest

from tests.kit.rootdir import AS_NOBODY, PYTHON, Root, alive, sh, until


def test_as_pid_1_of_a_namespace_it_reaps_everything(bare):
    """The test looks in from outside: nothing but svcmgrd and its service lives there, no zombie stays."""
    bare.define("web", sh("(setsid sh -c 'sleep 0.1' &); (sleep 0.2 &); echo $$; exec sleep 600"), ready="none")
    bare.define("loop", sh("(true &); exit 1"), ready="none", restart_delay=0.01, restart_intensity=0)
    init = bare.launch(["unshare", "-pf", "--mount-proc", "--kill-child", PYTHON, "-m", "svcmgr.host"])
    bare.await_ready(init)
    (outer,) = children(init.pid)
    assert bare.pid() == 1
    until(lambda: bare.row("loop")["restarts"] >= 5, "some restarts")
    bare.act("stop", "loop")
    until(lambda: len(children(outer)) == 1, "reaping of all but the one service")
    os.kill(outer, signal.SIGTERM)
    assert init.wait(20) == 0


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def test_orphans_of_pid_1_are_reaped_whoever_left_them(bare):
    """A process that enters the namespace and leaves an orphan there is no service's."""
    init = bare.launch(["unshare", "-pf", "--mount-proc", "--kill-child", PYTHON, "-m", "svcmgr.host"])
    bare.await_ready(init)
    (outer,) = children(init.pid)
    bare.child(["nsenter", "-t", str(outer), "-p", "sh", "-c", "(sleep 0.1 &) ; (true &)"]).wait()
    until(lambda: not children(outer), "reaping")
    bare.call("status")
    os.kill(outer, signal.SIGTERM)
    assert init.wait(20) == 0


def test_it_speaks_sd_notify(bare):
    path = bare.scratch / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(15)
        bare.define("web", sh("env; exec sleep 600"), ready="none")
        pid = bare.up(environ={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000", "WATCHDOG_PID": ""})
        said = systemd.recv(4096).decode().splitlines()
        assert "READY=1" in said
        assert any(line.startswith("STATUS=") for line in said)
        assert b"NOTIFY_SOCKET" not in bare.said("web", "SVCMGR_SERVICE").encode()
        os.kill(pid, signal.SIGTERM)
        while "STOPPING=1" not in (said := systemd.recv(4096).decode()):
            assert said.startswith("WATCHDOG=1")
        bare.await_end(pid)


def test_it_feeds_the_watchdog_of_who_started_it(bare):
    path = bare.scratch / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(15)
        bare.up(environ={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
        assert "READY=1" in systemd.recv(4096).decode()
        assert [systemd.recv(4096).decode().strip() for _ in range(3)] == ["WATCHDOG=1"] * 3


@pytest.fixture
def home(tmp_path):
    """A home for user nobody, reachable for it."""
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(path.stat().st_mode | 0o011)
    place = tmp_path / "home"
    place.mkdir()
    (place / "runtime").mkdir(mode=0o700)
    for path in (place, place / "runtime"):
        os.chown(path, 65534, 65534)
    return place


def test_unprivileged_in_the_users_own_directories(home):
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": Root(home, home).environ["PYTHONPATH"],
        "XDG_RUNTIME_DIR": str(home / "runtime"),
        "XDG_STATE_HOME": str(home / "state"),
    }

    def cli(*args, code=0):
        argv = [*AS_NOBODY, PYTHON, "-m", "svcmgr.cli", *args]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, cwd="/", timeout=60, check=False)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done

    svcmgrd = json.loads(cli("up", "--json").stdout)["pid"]
    try:
        cli("add", "web", "--start", "--", "/bin/sleep", "600")
        (row,) = json.loads(cli("status", "--json", "web").stdout)["services"]
        assert os.stat(f"/proc/{row['pid']}").st_uid == 65534
        assert row["log"].startswith(str(home / "state"))
        assert row["pidfile"].startswith(str(home / "runtime"))
        assert (home / ".config/svcmgr/services.d/web.toml").exists()
        refused = cli("add", "root", "--user", "root", "--start", "--", "/bin/sleep", "600", code=1)
        assert "only root" in refused.stderr
        os.kill(svcmgrd, signal.SIGKILL)
        until(lambda: not alive(svcmgrd), "the end of svcmgrd")
        svcmgrd = json.loads(cli("up", "--json").stdout)["pid"]
        (again,) = json.loads(cli("status", "--json", "web").stdout)["services"]
        assert again["pid"] == row["pid"]
    finally:
        done = json.loads(cli("shutdown", "--all", "--json").stdout)
    assert done["stays"] == {}
    assert not alive(row["pid"])
    assert not alive(svcmgrd)
    assert not [p for p in (home / "runtime").rglob("*") if p.is_socket()]
