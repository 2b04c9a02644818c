"""Starting services: acceptance cases 1 to 11, by the true command line against a true svcmgrd.

The numbers are those of the list of acceptance cases that the ``test_acceptance_*`` files follow. Cases that are kept
elsewhere too, since they need no true process or say more with a fake clock:

====  ==============================================================================================
case  where
====  ==============================================================================================
26    tests/conn/test_client.py (events of an old incarnation), test_acceptance_crash.py (the whole)
49    tests/conn/test_session.py and tests/conn/test_calls.py (deadlines, late answers)
====  ==============================================================================================
"""

import os
import shutil
import socket
import time

import pytest

from svcmgr.conn.blocking import BlockingClient
from svcmgr.proc import pidfile
from tests.kit.rootdir import CLOCKD, alive, sh, until


def test_case_01_start_on_a_clean_tree(bare):
    bare.up_by_cli()
    bare.cli("add", "clock", "--kind", "daemon", "--", *CLOCKD)
    (outcome,) = bare.json("start", "clock")["outcomes"]
    row = bare.row("clock")
    assert (outcome["result"], outcome["pid"]) == ("started", row["pid"])
    assert row["status"] == "online"
    assert pidfile.owner(bare.layout.service_pidfile("clock")) == row["pid"]
    with BlockingClient(row["socket"]) as daemon:
        daemon.call("ping")
        assert daemon.call("statistics")["daemon"]["pid"] == row["pid"]


def test_case_02_a_second_start_leaves_the_first_alone(root):
    root.add("web", ["/bin/sleep", "600"])
    (first,) = root.json("start", "web")["outcomes"]
    (second,) = root.json("start", "web")["outcomes"]
    assert (first["result"], second["result"]) == ("started", "already-running")
    assert first["pid"] == second["pid"] == root.row("web")["pid"]
    assert root.processes("web") == [first["pid"]]


def test_case_03_ten_parallel_starts(root):
    root.add(
        "web", sh(f"sleep 0.3; touch {root.scratch}/up; exec sleep 600"), ready=f"command:test -e {root.scratch}/up"
    )
    callers = [root.popen("start", "--json", "web") for _ in range(10)]
    answers = [caller.communicate(timeout=30)[0] for caller in callers]
    assert [caller.returncode for caller in callers] == [0] * 10, answers
    pid = root.row("web")["pid"]
    assert all(f'"pid": {pid},' in answer for answer in answers)
    assert root.processes("web") == [pid]
    assert len(root.events("web", "spawned")) == 1


def test_case_05_an_exit_during_initialisation_is_told_at_once(root):
    root.add("web", sh("echo the disk is missing; exit 2"), ready="unix:/nonexistent", restart="never")
    began = time.monotonic()
    done = root.cli("start", "web", code=1)
    assert time.monotonic() - began < 1.0
    assert "code 2" in done.stderr
    assert "the disk is missing" in done.stderr
    assert root.row("web")["last_exit"]["code"] == 2


def test_case_05_a_daemon_that_exits_2_is_told_with_its_last_words(root):
    root.add("clock", [*CLOCKD, "--no-such-flag"], kind="daemon", restart="never")
    (outcome,) = root.json("start", "clock", code=1)["outcomes"]
    assert "code 2" in outcome["text"]
    assert "--no-such-flag" in outcome["log_tail"]
    assert not root.processes("clock")


def test_case_06_a_daemon_that_never_becomes_ready_is_ended(root):
    root.add(
        "web",
        sh("sleep 600 & setsid sleep 600 & exec sleep 600"),
        ready="unix:/nonexistent",
        start_timeout=0.3,
        stop_grace=0.2,
        restart="never",
    )
    (outcome,) = root.json("start", "web", code=1)["outcomes"]
    assert outcome["result"] == "failed"
    assert "0.3 s" in outcome["text"]
    assert not root.processes("web")
    assert root.row("web")["pid"] is None


@pytest.mark.parametrize("number", ["dead", "garbage", "empty"])
def test_case_07_stale_files_do_not_hold_up_a_start(root, number):
    gone = root.child(["/bin/true"])
    gone.wait()
    written = {"dead": f"{gone.pid}\n", "garbage": "\x00\xff no number 12 34", "empty": ""}[number]
    root.layout.service_pidfile("clock").write_bytes(written.encode("latin-1"))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(root.layout.service_socket("clock")))
    root.add("clock", CLOCKD, kind="daemon")
    began = time.monotonic()
    root.cli("start", "clock")
    assert time.monotonic() - began < 3.0  # a python daemon takes 0.3 s to start here, and nothing is waited for
    pid = root.row("clock")["pid"]
    assert pidfile.owner(root.layout.service_pidfile("clock")) == pid
    assert len(root.events("clock", "spawned")) == 1


@pytest.mark.parametrize("kind", ["command", "daemon"])
def test_case_09_a_directory_in_the_place_of_the_pidfile(root, kind):
    path = root.layout.service_pidfile("web")
    path.mkdir()
    root.add("web", ["/bin/sleep", "600"] if kind == "command" else CLOCKD, kind=kind)
    done = root.cli("start", "web", code=1)
    assert str(path) in done.stderr
    assert "remove" in done.stderr
    assert not root.processes("web")
    path.rmdir()
    root.cli("start", "web")
    assert pidfile.read_pidfile(path) == root.row("web")["pid"]


@pytest.mark.parametrize("content", [b"garbage\n", b"", b"\0" * 50, b"9" * 5000], ids=["words", "empty", "nul", "long"])
def test_case_09_pidfile_of_a_command_with_nonsense(root, content):
    path = root.layout.service_pidfile("web")
    path.write_bytes(content)
    root.add("web", ["/bin/sleep", "600"])
    root.cli("start", "web")
    assert path.read_text() == f"{root.row('web')['pid']}\n"


def test_case_10_a_root_whose_socket_paths_are_too_long(make_root):
    root = make_root("d" * 120)
    root.up_by_cli()
    root.cli("add", "clock", "--kind", "daemon", "--start", "--", *CLOCKD)
    row = root.row("clock")
    assert row["status"] == "online"
    assert len(os.fsencode(row["socket"])) <= 107
    with BlockingClient(row["socket"]) as daemon:
        daemon.call("ping")
    shown = root.json("show", "clock")["services"]["clock"]
    assert shown["socket"] == row["socket"]
    assert shown["socket_link"] == str(root.layout.service_socket("clock"))
    root.kill()
    root.up_by_cli()
    assert root.running("clock") == row["pid"]
    root.cli("restart", "clock")
    root.cli("stop", "clock")
    assert not os.path.exists(row["socket"])
    root.cli("shutdown", "--all")


def test_case_10_a_readiness_socket_that_is_too_long_is_refused(root):
    done = root.cli("add", "web", "--ready", "unix:/" + "x" * 108, "--", "/bin/sleep", "600", code=2)
    assert "107" in done.stderr


def test_case_11_a_missing_log_directory_is_made(root):
    root.add("web", sh("echo hello; exec sleep 600"))
    shutil.rmtree(root.layout.log)
    root.cli("start", "web")
    root.said("web", "hello")


def test_case_11_a_log_directory_that_cannot_be_made_is_told_before_anything_runs(root):
    root.add("web", ["/bin/sleep", "600"])
    shutil.rmtree(root.layout.log)
    root.layout.log.write_text("in the way")
    done = root.cli("start", "web", code=1)
    assert str(root.layout.log) in done.stderr
    assert not root.events("web", "spawned")
    root.layout.log.unlink()


def test_start_takes_what_a_service_requires_along(root):
    root.add("db", ["/bin/sleep", "600"])
    root.add("web", ["/bin/sleep", "600"], requires=["db"])
    root.cli("start", "web")
    spawned = [event["name"] for event in root.events(what="spawned")]
    assert spawned == ["db", "web"]
    assert root.events("db", "ready")[0]["seq"] < root.events("web", "spawned")[0]["seq"]


def test_a_start_that_is_interrupted_goes_on_without_its_caller(root):
    root.add(
        "web",
        sh(f"sleep 0.4; touch {root.scratch}/up; exec sleep 600"),
        ready=f"command:test -e {root.scratch}/up",
    )
    caller = root.popen("start", "web")
    until(lambda: root.events("web", "spawned"), "the spawn")
    caller.kill()
    caller.wait()
    assert alive(root.running("web"))
