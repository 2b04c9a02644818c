"""Stopping services: acceptance cases 13 to 19, by the true command line against a true svcmgrd."""

import contextlib
import os
import signal
import time

import pytest

from svcmgr.proc import pidfile, procfs
from tests.kit.rootdir import CLOCKD, alive, py, sh, until

#: Says on its output which signals it got, and goes on.
STRANGER = """
import signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCONT, signal.SIGUSR1):
    signal.signal(number, lambda got, _: print("got", got, flush=True))
print("up", flush=True)
while True:
    time.sleep(600)
"""


class Stranger:
    """A process that svcmgrd must not touch; ``unharmed()`` says whether it was left alone."""

    def __init__(self, root):
        self.said = root.scratch / "stranger"
        with open(self.said, "wb") as out:
            self.process = root.child(py(STRANGER), stdout=out, start_new_session=True)
        self.pid = self.process.pid
        until(lambda: self.said.read_text() == "up\n", "the stranger")

    def unharmed(self):
        return alive(self.pid) and self.said.read_text() == "up\n"


def test_case_13_a_stop_returns_when_nothing_is_left(root):
    root.add("clock", CLOCKD, kind="daemon", start=True)
    row = root.row("clock")
    assert os.path.exists(row["socket"])
    done = root.cli("stop", "clock")
    assert "stopped" in done.stdout
    assert not alive(row["pid"])
    assert not os.path.exists(row["socket"])
    assert pidfile.owner(root.layout.service_pidfile("clock")) is None
    assert not os.path.exists(row["pidfile"])
    after = root.row("clock")
    assert (after["state"], after["status"], after["pid"]) == ("down", "down", None)
    assert after["last_exit"]["code"] == 0


def test_case_13_stopping_what_is_stopped_is_done(root):
    root.add("web", ["/bin/sleep", "600"])
    (outcome,) = root.json("stop", "web")["outcomes"]
    assert outcome["result"] == "was-not-running"


def test_case_14_a_daemon_that_ignores_sigterm_is_killed_after_the_grace(root):
    root.add("web", sh("trap '' TERM; echo up; while :; do sleep 600; done"), stop_grace=0.4)
    root.cli("start", "web")
    root.said("web", "up")
    began = time.monotonic()
    (outcome,) = root.json("stop", "web")["outcomes"]
    took = time.monotonic() - began
    assert outcome["result"] == "killed"
    assert 0.4 <= took < 3.0
    assert root.row("web")["last_exit"]["signal"] == "SIGKILL"
    assert not root.processes("web")


def test_case_14_a_speaking_daemon_that_is_killed_leaves_no_socket(root):
    root.add("clock", CLOCKD, kind="daemon", start=True, stop_grace=0.0)
    row = root.row("clock")
    root.cli("stop", "clock")
    assert not os.path.exists(row["socket"])
    assert not os.path.exists(row["pidfile"])


def test_case_15_a_stopped_process_ends_too(root):
    root.add("obeys", ["/bin/sleep", "600"], start=True, stop_grace=5.0)
    root.add("ignores", sh("trap '' TERM; echo up; while :; do sleep 600; done"), start=True, stop_grace=0.3)
    root.said("ignores", "up")
    pids = {name: root.row(name)["pid"] for name in ("obeys", "ignores")}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
        until(lambda pid=pid: procfs.stat(pid).state == "T", "the stop")
    outcomes = {o["name"]: o["result"] for o in root.json("stop", "obeys", "ignores")["outcomes"]}
    assert outcomes == {"obeys": "stopped", "ignores": "killed"}
    assert not root.processes()


def test_case_17_a_stop_during_a_start_wins(root):
    root.add("web", sh("sleep 600 & exec sleep 600"), ready="unix:/nonexistent", stop_grace=0.5)
    starting = root.popen("start", "--json", "web")
    until(lambda: root.events("web", "spawned"), "the spawn")
    root.cli("stop", "web")
    out, _ = starting.communicate(timeout=20)
    assert starting.returncode == 1
    assert "stopped" in out
    assert root.row("web")["state"] == "down"
    assert root.row("web")["goal"] == "down"
    assert not root.processes("web")


def test_case_17_a_start_during_a_stop_wins(root):
    root.add(
        "web", sh("trap 'sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.05; done"), start=True, stop_grace=5.0
    )
    root.said("web", "up")
    first = root.row("web")["pid"]
    stopping = root.popen("stop", "--json", "web")
    until(lambda: root.state("web") == "stopping", "the stop")
    (outcome,) = root.json("start", "web")["outcomes"]
    out, _ = stopping.communicate(timeout=20)
    assert outcome["result"] == "started"
    assert outcome["pid"] != first
    assert stopping.returncode == 1, out
    assert root.running("web") == outcome["pid"]
    assert len([pid for pid in root.processes("web") if procfs.stat(pid).session == pid]) == 1


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & sleep 600 & echo up; wait",
        "setsid sleep 600 & echo up; wait",
        "(setsid setsid sleep 600 &) ; (sleep 600 &) ; echo up; exec sleep 600",
        "(trap '' TERM; sleep 600; sleep 600) & echo up; exec sleep 600",
    ],
    ids=["children", "own-session", "double-fork", "deaf-child"],
)
def test_case_18_what_a_daemon_started_is_gone_as_well(root, script):
    root.add("web", sh(script), start=True, stop_grace=0.4)
    root.said("web", "up")
    until(lambda: len(root.processes("web")) >= 2, "the children")
    root.cli("stop", "web")
    assert not root.processes("web")


def test_case_18_a_crash_leaves_no_children_beside_the_next_one(root):
    root.add("web", sh("(setsid sleep 600 &); sleep 600 & echo up; exec sleep 600"), start=True, restart_delay=0.01)
    root.said("web", "up")
    first = set(until(lambda: len(root.processes("web")) == 3 and root.processes("web"), "the children"))
    os.kill(root.row("web")["pid"], signal.SIGKILL)
    until(lambda: len(root.events("web", "spawned")) == 2, "the restart")
    assert not first & set(root.processes("web"))


@pytest.mark.parametrize("kind", ["command", "daemon"])
def test_case_19_a_stop_does_not_believe_the_pidfile(root, kind):
    stranger = Stranger(root)
    root.add("web", ["/bin/sleep", "600"] if kind == "command" else CLOCKD, kind=kind, start=True)
    pid = root.row("web")["pid"]
    root.layout.service_pidfile("web").write_text(f"{stranger.pid}\n")
    root.cli("stop", "web")
    assert not alive(pid)
    assert stranger.unharmed()


@pytest.mark.parametrize("kind", ["command", "daemon"])
def test_case_19_a_stale_pidfile_naming_a_live_stranger(root, kind):
    stranger = Stranger(root)
    root.layout.service_pidfile("web").write_text(f"{stranger.pid}\n")
    root.add("web", ["/bin/sleep", "600"] if kind == "command" else CLOCKD, kind=kind)
    (outcome,) = root.json("stop", "web")["outcomes"]
    assert outcome["result"] == "was-not-running"
    root.cli("start", "web")
    assert root.row("web")["pid"] != stranger.pid
    root.cli("restart", "web")
    root.cli("stop", "web")
    assert stranger.unharmed()


def test_case_19_a_forking_daemon_whose_pidfile_names_a_stranger_is_not_believed(root):
    stranger = Stranger(root)
    path = root.scratch / "forks.pid"
    path.write_text(f"{stranger.pid}\n")
    root.add(
        "web", sh("(setsid sleep 600 &)"), ready=f"pidfile:{path}", start_timeout=0.5, restart="never", stop_grace=0.3
    )
    root.act("start", "web")
    assert root.row("web")["pid"] != stranger.pid
    root.cli("stop", "web")
    assert not root.processes("web")
    assert stranger.unharmed()


def test_case_19_a_ledger_that_names_a_stranger_is_not_believed(root):
    """As after a reuse of the number: same pid, other start time."""
    stranger = Stranger(root)
    root.add("web", ["/bin/sleep", "600"], start=True)
    old = root.row("web")["pid"]
    ticks = procfs.stat(old).start_ticks
    root.kill()
    os.kill(old, signal.SIGKILL)
    ledger = root.layout.state / "ledger.jsonl"
    text = ledger.read_text()
    assert f'"pid":{old},"ticks":{ticks}' in text
    ledger.write_text(text.replace(f'"pid":{old},', f'"pid":{stranger.pid},'))
    root.up()
    assert root.running("web") not in (old, stranger.pid)
    root.cli("stop", "web")
    assert stranger.unharmed()


def test_case_19_a_pidfile_that_a_stranger_has_locked_refuses_the_start_and_names_it(root):
    lock = py(
        "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.lockf(f, 2); "
        "open(sys.argv[2], 'w'); time.sleep(600)",
        str(root.layout.service_pidfile("clock")),
        str(root.scratch / "locked"),
    )
    stranger = root.child(lock)
    until((root.scratch / "locked").exists, "the lock")
    root.add("clock", CLOCKD, kind="daemon")
    done = root.cli("start", "clock", code=1)
    assert str(stranger.pid) in done.stderr
    root.cli("stop", "clock")
    assert alive(stranger.pid)
    with contextlib.suppress(FileNotFoundError):
        stranger.kill()
    stranger.wait()
    root.cli("start", "clock")
