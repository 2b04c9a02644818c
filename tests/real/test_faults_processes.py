"""Programs that misbehave: they fork away, fill their logs, leave children, loop, and refuse to end."""

import os
import signal
import time

from svcmgr.proc import procfs
from tests.kit.rootdir import CLOCKD, alive, py, sh, until

#: Writes ARGV[1] numbered lines as fast as it can, then waits.
WRITER = """
import os, sys, time
for number in range(int(sys.argv[1])):
    os.write(1, b"line %08d %s\\n" % (number, b"x" * 80))
print("done", flush=True)
time.sleep(600)
"""

#: Starts children of each kind of leaving and ends at once.
LEAVER = """
import os, time
def child(session, again):
    if os.fork() == 0:
        if session:
            os.setsid()
        if again and os.fork():
            os._exit(0)
        time.sleep(600)
for session in (False, True):
    for again in (False, True):
        child(session, again)
time.sleep(0.2)
os._exit(7)
"""


def test_a_log_that_is_filled_is_rotated_and_loses_nothing(root):
    lines = 40_000
    root.add("web", py(WRITER, str(lines)), log_max_bytes=256 * 1024, log_keep=30, start=True)
    live = root.layout.service_log("web")

    def pieces():
        return sorted(
            (p for p in live.parent.glob("web.log.*") if p.suffix[1:].isdigit()), key=lambda p: -int(p.suffix[1:])
        )

    def numbers():
        text = b"".join(p.read_bytes() for p in [*pieces(), live])
        return [int(line.split()[1]) for line in text.splitlines() if line.startswith(b"line ")]

    until(lambda: pieces() and "done" in root.log("web") and live.stat().st_size <= 512 * 1024, "the rotation")
    assert numbers() == list(range(lines))
    shown = root.cli("logs", "-n", "5", "web").stdout.splitlines()
    assert shown[-1] == "done"
    assert shown[-2].startswith(f"line {lines - 1:08d}")
    assert alive(root.running("web"))


def test_kept_pieces_are_limited(root):
    root.add("web", py(WRITER, "40000"), log_max_bytes=64 * 1024, log_keep=2, start=True)
    live = root.layout.service_log("web")
    root.said("web", "done")
    until(lambda: live.stat().st_size <= 128 * 1024, "the rotation")
    assert len([p for p in live.parent.glob("web.log.*") if p.suffix[1:].isdigit()]) <= 2


def test_no_line_is_lost_when_svcmgrd_is_killed_while_a_service_writes(root):
    root.add("web", sh("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; echo done; exec sleep 600"))
    root.act("start", "web", wait=False)
    until(lambda: len(root.log("web")) > 100, "some lines")
    root.kill()
    root.said("web", "done")
    root.up()
    assert root.log("web").split() == [*map(str, range(20000)), "done"]


def test_a_daemon_that_leaves_children_of_every_kind_leaves_none(root):
    root.add("web", py(LEAVER), restart="never", ready="none", stop_grace=0.3)
    root.act("start", "web")
    until(lambda: root.state("web") == "failed", "the exit")
    assert root.row("web")["last_exit"]["code"] == 7
    assert not root.processes("web")


def test_leaving_children_in_a_loop_does_not_pile_them_up(root):
    root.add("web", py(LEAVER), ready="none", restart_delay=0.01, restart_intensity=0, stop_grace=0.3)
    root.act("start", "web")
    until(lambda: root.row("web")["restarts"] >= 3, "some restarts")
    assert len(root.processes("web")) <= 8
    root.cli("stop", "web")
    assert not root.processes("web")


def test_a_crash_with_a_deaf_child_is_shown_as_such_while_the_child_is_ended(root):
    """The main process is gone: nobody must be told that it runs."""
    root.add(
        "web",
        sh("(trap '' TERM; while :; do sleep 600; done) & echo up; exec sleep 600"),
        stop_grace=0.8,
        restart="never",
        start=True,
    )
    root.said("web", "up")
    pid = root.row("web")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: root.row("web")["pid"] is None, "the end in status", 0.5)
    assert root.row("web")["status"] != "online"
    until(lambda: root.state("web") == "failed", "failed")
    assert not root.processes("web")


def test_a_start_of_a_program_that_stops_itself_fails_in_time(root):
    root.add("web", sh("kill -STOP $$"), ready="unix:/nonexistent", start_timeout=0.3, stop_grace=0.2, restart="never")
    began = time.monotonic()
    root.cli("start", "web", code=1)
    assert time.monotonic() - began < 3
    assert not root.processes("web")


def test_exit_zero_at_once_is_down_not_a_loop(root):
    root.add("once", ["/bin/true"], ready="none")
    (outcome,) = root.json("start", "once")["outcomes"]
    assert outcome["ok"]
    until(lambda: root.state("once") == "down", "the exit")
    assert root.row("once")["last_exit"]["code"] == 0
    assert len(root.events("once", "spawned")) == 1


def test_stop_during_the_back_off_ends_it(root):
    root.add("web", ["/bin/false"], ready="none", restart_delay=30)
    root.act("start", "web")
    until(lambda: root.state("web") == "backoff", "the back-off")
    root.cli("stop", "web")
    assert root.state("web") == "down"
    root.kill()
    root.up()
    assert root.state("web") == "down"


def test_start_during_the_back_off_does_not_wait_for_it(root):
    flag = root.scratch / "mended"
    root.add("web", sh(f"test -e {flag} || exit 1; exec sleep 600"), ready="none", restart_delay=30)
    root.act("start", "web")
    until(lambda: root.state("web") == "backoff", "the back-off")
    flag.touch()
    began = time.monotonic()
    root.cli("start", "web")
    assert time.monotonic() - began < 5


def test_failed_stays_failed_over_a_new_svcmgrd_until_somebody_starts_it(root):
    flag = root.scratch / "mended"
    root.add(
        "web", sh(f"test -e {flag} || exit 1; exec sleep 600"), ready="none", restart_delay=0.01, restart_intensity=1
    )
    root.act("start", "web")
    until(lambda: root.state("web") == "failed", "failed")
    spawned = root.row("web")["restarts"]
    root.kill()
    root.up()
    row = root.row("web")
    assert (row["state"], row["restarts"]) == ("failed", spawned)
    assert row["reason"]
    flag.touch()
    root.cli("start", "web")


def test_no_zombies_are_kept(root):
    root.add("web", sh("while :; do (setsid true &); (true &); sleep 0.02; done"), start=True)
    root.add("loop", ["/bin/false"], ready="none", restart_delay=0.01, restart_intensity=0)
    root.act("start", "loop")
    until(lambda: root.row("loop")["restarts"] >= 5, "some restarts")
    root.cli("stop", "loop", "web")
    svcmgrd = root.pid()
    until(lambda: not [p for p in procfs.pids() if (s := procfs.stat(p)) and s.ppid == svcmgrd], "reaping")


def test_descriptors_are_not_used_up_by_restarts(root):
    root.add("web", ["/bin/false"], ready="none", restart_delay=0.005, restart_delay_max=0.005, restart_intensity=0)
    svcmgrd = root.pid()
    root.act("start", "web")
    until(lambda: root.row("web")["restarts"] >= 5, "some restarts")
    before = len(os.listdir(f"/proc/{svcmgrd}/fd"))
    until(lambda: root.row("web")["restarts"] >= 60, "more restarts")
    assert len(os.listdir(f"/proc/{svcmgrd}/fd")) <= before + 4
    root.cli("stop", "web")


def test_a_service_gets_a_clean_environment_session_and_descriptors(root):
    script = (
        "import os; print(sorted(os.listdir('/proc/self/fd')), os.getsid(0) == os.getpid(), os.umask(0), os.getcwd())"
    )
    root.add(
        "web",
        py(script + "; print('NOTIFY_SOCKET' in os.environ, flush=True); import time; time.sleep(600)"),
        start=True,
    )
    first, second = root.said("web", "False").splitlines()
    assert first == "['0', '1', '2', '3'] True 18 /"  # 3 is the listing itself
    assert second == "False"


def test_reload_by_name_keeps_the_process(root):
    root.add("clock", CLOCKD, kind="daemon", start=True)
    pid = root.row("clock")["pid"]
    assert root.json("reload", "clock")["outcomes"][0]["result"] == "reloaded"
    assert root.running("clock") == pid
    root.add("web", ["/bin/sleep", "600"], start=True)
    done = root.cli("reload", "web", code=2)
    assert "reload_signal" in done.stderr
