"""The death of svcmgrd at every moment, and its successors: acceptance cases 29 to 35 and reload."""

import os
import signal
import subprocess
import time

import pytest

from svcmgr.proc import procfs
from tests.kit.rootdir import CLOCKD, PYTHON, alive, sh, until


def dying(moment, service="web"):
    return [PYTHON, "-m", "tests.kit.dies", moment, service]


def death_of(root, *command):
    """Run ``command``, of which svcmgrd dies; the caller must be told, and svcmgrd must be gone."""
    pid = root.pid()
    done = root.cli(*command, code=1)
    assert "may or may not have been carried out" in done.stderr
    root.await_end(pid)


# --- case 29: killed between intent, act and record -------------------------------------------------------


def test_case_29_killed_before_the_intent_is_written(bare):
    bare.define("web", ["/bin/sleep", "600"], enabled=False)
    bare.up(program=dying("before-intent"))
    death_of(bare, "start", "web")
    bare.up()
    assert bare.row("web")["goal"] == "down"
    assert not bare.processes("web")


@pytest.mark.parametrize("moment", ["before-spawn", "after-spawn", "torn-record"])
def test_case_29_killed_between_intent_and_record_of_a_start(bare, moment):
    bare.define("web", ["/bin/sleep", "600"], enabled=False)
    bare.up(program=dying(moment))
    death_of(bare, "start", "web")
    before = bare.processes("web")
    assert len(before) == (0 if moment == "before-spawn" else 1)
    bare.up()
    pid = bare.running("web")
    assert bare.processes("web") == [pid]
    assert before in ([], [pid])
    assert bare.row("web")["goal"] == "up"
    bare.cli("stop", "web")
    assert not bare.processes("web")


@pytest.mark.parametrize("moment", ["after-spawn", "torn-record"])
def test_case_29_an_unrecorded_daemon_is_found_and_not_started_twice(bare, moment):
    bare.define("clock", CLOCKD, kind="daemon", enabled=False)
    bare.up(program=dying(moment, "clock"))
    death_of(bare, "start", "clock")
    (pid,) = bare.processes("clock")
    bare.up()
    assert bare.running("clock") == pid
    assert bare.processes("clock") == [pid]


def test_case_29_killed_between_the_intent_to_stop_and_the_signal(bare):
    bare.define("web", ["/bin/sleep", "600"])
    bare.up(program=dying("before-signal"))
    pid = bare.running("web")
    death_of(bare, "stop", "web")
    assert alive(pid)
    bare.up()
    until(lambda: bare.row("web")["state"] == "down", "the stop")
    assert not bare.processes("web")


def test_case_29_killed_between_an_exit_and_its_record(bare):
    bare.define("web", ["/bin/sleep", "600"], restart_delay=0.01)
    svcmgrd = bare.up(program=dying("before-exit-record"))
    pid = bare.running("web")
    os.kill(pid, signal.SIGKILL)
    bare.await_end(svcmgrd)
    bare.up()
    assert bare.running("web") != pid
    assert len(bare.processes("web")) == 1


def test_case_29_killed_while_a_crashed_service_is_started_again(bare):
    bare.define("web", ["/bin/sleep", "600"], restart_delay=0.01)
    bare.up()
    first = bare.running("web")
    bare.kill()
    os.kill(first, signal.SIGKILL)
    dead = bare.launch(dying("after-spawn"))
    assert os.read(dead.ready, 16) in (b"", b"ready\n")
    assert dead.wait(20) == -signal.SIGKILL
    (unrecorded,) = bare.processes("web")
    bare.up()
    assert bare.running("web") == unrecorded
    assert bare.processes("web") == [unrecorded]


def test_killed_while_ten_services_start(bare):
    for number in range(10):
        bare.define(f"web@{number}", ["/bin/sleep", "600"], enabled=False)
    bare.up()
    caller = bare.popen("start", "web@*")
    until(lambda: len(bare.events(what="spawned")) >= 3, "some spawns")
    bare.kill()
    caller.communicate(timeout=20)
    bare.up()
    pids = sorted(bare.running(f"web@{number}") for number in range(10))
    assert sorted(bare.processes()) == pids


# --- case 30, 31 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "ends"), [("on-failure", "running"), ("always", "running"), ("never", "failed")])
def test_case_30_a_crash_while_svcmgrd_was_down_follows_the_policy(root, policy, ends):
    root.add("web", sh("(setsid sleep 600 &); exec sleep 600"), start=True, restart=policy, restart_delay=0.01)
    pid = root.row("web")["pid"]
    until(lambda: len(root.processes("web")) == 2, "the child")
    first = root.processes("web")
    root.kill()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "the end of the service")
    root.up()
    until(lambda: root.state("web") == ends, ends)
    row = root.row("web")
    assert row["last_exit"] is not None
    assert row["restarts"] == (1 if ends == "running" else 0)
    assert root.events("web", "exited")
    until(lambda: not set(first) & set(root.processes("web")), "the end of what the dead process left", 3)


@pytest.mark.parametrize("how", ["kill", "term"])
def test_case_31_a_stopped_service_stays_stopped(root, how):
    root.add("web", ["/bin/sleep", "600"], start=True, enabled=True)
    root.add("other", ["/bin/sleep", "600"], start=True, enabled=False)
    root.cli("stop", "web")
    kept = root.row("other")["pid"]
    if how == "kill":
        root.kill()
    else:
        root.cli("shutdown")
    root.up()
    assert root.running("other") == kept
    row = root.row("web")
    assert (row["goal"], row["state"]) == ("down", "down")
    assert not root.processes("web")


@pytest.mark.parametrize("how", ["kill", "term"])
def test_everything_that_runs_is_adopted_as_it_was(root, how):
    root.add("web", ["/bin/sleep", "600"], start=True)
    root.add("clock", CLOCKD, kind="daemon", start=True)
    root.add("deaf", sh("trap '' TERM; while :; do sleep 600; done"), start=True, stop_grace=0.2)
    names = ("web", "clock", "deaf")
    before = {name: root.row(name) for name in names}
    if how == "kill":
        root.kill()
    else:
        root.cli("shutdown")
    assert all(alive(row["pid"]) for row in before.values())
    began = time.monotonic()
    root.up()
    after = {name: root.row(name) for name in names}
    assert time.monotonic() - began < 3.0
    until(lambda: root.row("clock")["status"] == "online", "the connection")
    for name in names:
        for fact in ("pid", "goal", "state"):
            assert after[name][fact] == before[name][fact], (name, fact)
        assert after[name]["started"] == pytest.approx(before[name]["started"], abs=0.1)
    assert not root.events(what="spawned")
    outcomes = {o["name"]: o["result"] for o in root.json("stop", *names)["outcomes"]}
    assert outcomes == {"web": "stopped", "clock": "stopped", "deaf": "killed"}


def test_a_corrupt_intent_and_ledger_lose_no_process(root):
    root.add("web", ["/bin/sleep", "600"], start=True)
    pid = root.row("web")["pid"]
    root.kill()
    (root.layout.state / "ledger.jsonl").write_bytes(b"\x00\xff{{{ not json\n" * 3)
    (root.layout.state / "intent.json").write_text('{"goals": ')
    root.up()
    assert root.running("web") == pid
    assert root.processes("web") == [pid]
    assert list(root.layout.quarantine.iterdir())
    findings = root.json("doctor", code=None)["findings"]
    assert any("quarantine" in finding["text"] for finding in findings)


# --- case 33, 34, 35 --------------------------------------------------------------------------------------


def test_case_33_a_second_svcmgrd_is_refused_naming_the_first(root):
    root.add("web", ["/bin/sleep", "600"], start=True)
    first, pid = root.pid(), root.row("web")["pid"]
    second = root.child(
        [PYTHON, "-m", "svcmgr.host", "--root", str(root.path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    out, err = second.communicate(timeout=20)
    assert second.returncode == 1
    assert f"pid {first}" in err
    assert "Traceback" not in out + err
    assert root.json("up") == {**root.json("up"), "result": "already-running", "pid": first}
    assert root.pid() == first
    assert root.running("web") == pid


def test_case_33_ten_parallel_ups_start_one(bare):
    callers = [bare.popen("up", "--json") for _ in range(10)]
    answers = [caller.communicate(timeout=60) for caller in callers]
    assert [caller.returncode for caller in callers] == [0] * 10, answers
    pid = bare.pid()
    assert all(f'"pid": {pid},' in out for out, _ in answers)
    assert sum('"started"' in out for out, _ in answers) == 1


def test_case_33_a_stale_pidfile_and_socket_of_svcmgrd_are_no_obstacle(bare):
    stranger = bare.child(["/bin/sleep", "600"])
    bare.up()
    bare.kill()
    assert bare.layout.control_socket.exists()
    bare.layout.daemon_pidfile.write_text(f"{stranger.pid}\n")
    bare.up_by_cli()
    assert bare.pid() != stranger.pid
    assert alive(stranger.pid)


def test_case_34_one_corrupt_definition_leaves_the_others_alone(bare):
    bare.define("web", ["/bin/sleep", "600"])
    bad = bare.define("bad", ["/bin/sleep", "600"])
    bad.write_text("command = [\n")
    bare.up()
    bare.running("web")
    assert str(bad) in bare.call("hello")["invalid"]["bad"]
    assert "invalid definition bad" in bare.cli("status").stdout
    assert "bad" in bare.json("status")["svcmgrd"]["invalid"]


def test_case_35_sigterm_keeps_the_services_and_logs_which(root):
    root.add("web", ["/bin/sleep", "600"], start=True)
    root.add("clock", CLOCKD, kind="daemon", start=True)
    pids = {name: root.row(name)["pid"] for name in ("web", "clock")}
    svcmgrd = root.pid()
    os.kill(svcmgrd, signal.SIGTERM)
    root.await_end(svcmgrd)
    assert all(alive(pid) for pid in pids.values())
    last = root.daemon_log().splitlines()[-1]
    assert all(f"{name} (pid {pid})" in last for name, pid in pids.items())
    assert not root.layout.control_socket.exists()


def test_case_35_shutdown_keeps_and_lists_them(root):
    root.add("web", ["/bin/sleep", "600"], start=True)
    pid = root.row("web")["pid"]
    done = root.json("shutdown")
    assert done["stays"] == {"web": pid}
    assert alive(pid)
    (row,) = root.json("status", code=4)["services"]
    assert (row["pid"], row["status"]) == (pid, "unsupervised")


def test_case_35_shutdown_all_stops_in_reverse_order(root):
    slow = sh("trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    root.add("db", slow, start=True)
    root.add("app", slow, requires=["db"], start=True)
    root.add("web", slow, requires=["app"], start=True)
    for name in ("db", "app", "web"):
        root.said(name, "up")
    done = root.json("shutdown", "--all")
    assert done["stays"] == {}
    assert {o["name"]: o["result"] for o in done["stopped"]} == {"db": "stopped", "app": "stopped", "web": "stopped"}
    assert not root.processes()
    log = root.daemon_log()
    order = [log.index(f"{name}: {what} pid=") for name in ("web", "app", "db") for what in ("stopping", "exited")]
    assert order == sorted(order), log


def test_after_shutdown_all_the_next_svcmgrd_starts_what_was_up(root):
    root.add("web", ["/bin/sleep", "600"], start=True)
    root.add("idle", ["/bin/sleep", "600"])
    root.cli("shutdown", "--all")
    root.up()
    root.running("web")
    assert root.state("idle") == "down"


# --- reload -----------------------------------------------------------------------------------------------


def test_reload_shows_the_difference_and_touches_only_what_changed(bare):
    for name in ("same", "live", "shape", "gone"):
        bare.define(name, ["/bin/sleep", "600"])
    bare.up()
    pids = {name: bare.running(name) for name in ("same", "live", "shape", "gone")}
    bare.define("live", ["/bin/sleep", "600"], stop_grace=3.0)
    bare.define("shape", ["/bin/sleep", "601"])
    bare.define("fresh", ["/bin/sleep", "600"])
    (bare.layout.definitions / "gone.toml").unlink()
    (bare.layout.definitions / "bad.toml").write_text("comand = []\n")
    expected = {"live": "live", "shape": "restart", "fresh": "add", "gone": "remove", "bad": "invalid"}
    shown = bare.json("reload", "--dry-run", code=None)["changes"]
    assert {c["name"]: c["action"] for c in shown} == expected
    assert [list(c["fields"]) for c in shown if c["name"] in ("live", "shape")] == [["stop_grace"], ["command"]]
    assert {name: bare.row(name)["pid"] for name in pids} == pids
    done = bare.json("reload", code=1)
    assert {c["name"]: c["action"] for c in done["changes"]} == expected
    assert bare.running("same") == pids["same"]
    assert bare.running("live") == pids["live"]
    assert bare.running("shape") != pids["shape"]
    bare.running("fresh")
    assert not bare.processes("gone")
    assert "gone" not in {s["name"] for s in bare.json("status")["services"]}
    assert bare.json("show", "live")["services"]["live"]["stop_grace"] == 3.0
    assert bare.json("reload", "--dry-run", code=1)["changes"] == [c for c in shown if c["name"] == "bad"]


def test_reload_keeps_a_running_service_whose_definition_became_invalid(bare):
    bare.define("web", ["/bin/sleep", "600"])
    bare.up()
    pid = bare.running("web")
    bare.define("web", ["/bin/sleep", "600"], stop_grace=-1.0)
    done = bare.cli("reload", code=1)
    assert "stop_grace" in done.stdout + done.stderr
    assert bare.running("web") == pid
    bare.cli("stop", "web")


def test_a_definition_that_changed_while_svcmgrd_was_down_is_applied(bare):
    bare.define("web", ["/bin/sleep", "600"])
    bare.define("other", ["/bin/sleep", "600"])
    bare.up()
    pids = {name: bare.running(name) for name in ("web", "other")}
    bare.kill()
    bare.define("web", ["/bin/sleep", "601"])
    bare.up()
    until(lambda: bare.running("web") != pids["web"], "the replacement")
    assert bare.running("other") == pids["other"]
    assert [e["fields"]["text"] for e in bare.events("web", "definition-changed")] == ["changed while svcmgrd was down"]
    assert len([p for p in bare.processes("web") if procfs.stat(p)]) == 1


def test_sighup_reads_the_definitions_again(root):
    root.define("web", ["/bin/sleep", "600"])
    os.kill(root.pid(), signal.SIGHUP)
    until(lambda: any(s["name"] == "web" for s in root.call("status")["services"]), "the definition")
    root.running("web")
