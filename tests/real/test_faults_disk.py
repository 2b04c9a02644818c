"""A full disk: commands fail clearly, the intent stays, what runs is not touched."""

import contextlib
import os
import signal
import subprocess

import pytest

from svcmgr.errors import StorageFailed
from tests.kit.rootdir import sh, until


@pytest.fixture
def small(make_root):
    """A root whose state is on a file system of its own, 64 KiB small."""
    root = make_root()
    root.layout.state.mkdir(parents=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "svcmgr-test", str(root.layout.state)], check=True)
    try:
        yield root
    finally:
        (root.layout.state / "fill").unlink(missing_ok=True)
        root.finish()
        subprocess.run(["/bin/umount", str(root.layout.state)], check=True)


def fill(root):
    """Take every free page, and the one that the next write of the intent would recycle."""
    (root.layout.state / "intent.json.1").unlink(missing_ok=True)
    take_all(root.layout.state / "fill")


def take_all(path):
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert os.statvfs(path.parent).f_bfree == 0


def test_intent_that_cannot_be_written_changes_nothing(small):
    small.up()
    small.add("web", ["/bin/sleep", "600"], start=True)
    small.add("idle", ["/bin/sleep", "600"])
    pid = small.row("web")["pid"]
    before = (small.layout.state / "intent.json").read_bytes()
    fill(small)
    for command in (["start", "idle"], ["stop", "web"], ["restart", "idle"], ["disable", "web"]):
        done = small.cli(*command, code=1)
        assert "No space left" in done.stderr
        assert str(small.layout.state / "intent.json") in done.stderr
        assert "unchanged" in done.stderr
    assert (small.layout.state / "intent.json").read_bytes() == before
    assert small.running("web") == pid
    assert small.row("web")["goal"] == "up"
    assert (small.state("idle"), small.row("idle")["goal"]) == ("down", "down")
    assert not [p for p in small.layout.state.iterdir() if p.suffix == ".tmp"]
    (small.layout.state / "fill").unlink()
    small.cli("start", "idle")
    small.cli("stop", "web")


def test_supervision_goes_on_while_the_ledger_cannot_be_written(small):
    small.up()
    # Long last words fill what room the ledger's last page has.
    talks = sh("head -c 1500 /dev/zero | tr '\\0' x; echo; exec sleep 600")
    small.add("web", talks, start=True, restart_delay=0.01, restart_intensity=0)
    fill(small)
    for turn in range(1, 6):
        pid = small.running("web")
        os.kill(pid, signal.SIGKILL)
        until(lambda turn=turn: small.row("web")["restarts"] == turn, "the restart")
    small.running("web")
    findings = small.json("doctor", code=1)["findings"]
    assert any(f["subject"] == "ledger" and "No space" in f["text"] for f in findings), findings
    (small.layout.state / "fill").unlink()
    os.kill(small.running("web"), signal.SIGKILL)
    until(lambda: small.row("web")["restarts"] == 6, "the restart")
    pid = small.running("web")
    assert not [f for f in small.call("doctor") if f["subject"] == "ledger"]
    small.kill()
    small.up()
    assert small.running("web") == pid
    assert small.processes("web") == [pid]


def test_an_unrecorded_process_is_found_after_a_full_disk_and_a_death_of_svcmgrd(small):
    """The ledger names a process that is long gone; the one that runs is known by its mark."""
    small.up()
    talks = sh("head -c 1500 /dev/zero | tr '\\0' x; echo; exec sleep 600")
    small.add("web", talks, start=True, restart_delay=0.01, restart_intensity=0)
    fill(small)
    for turn in range(1, 6):
        os.kill(small.running("web"), signal.SIGKILL)
        until(lambda turn=turn: small.row("web")["restarts"] == turn, "the restart")
    pid = small.running("web")
    small.kill()
    (small.layout.state / "fill").unlink()
    small.up()
    assert small.running("web") == pid
    assert small.processes("web") == [pid]


def test_svcmgrd_comes_up_on_a_full_disk(small):
    small.up()
    small.add("web", ["/bin/sleep", "600"], start=True, restart_delay=0.01)
    pid = small.row("web")["pid"]
    small.kill()
    fill(small)
    small.up()
    assert small.running("web") == pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: small.row("web")["restarts"] == 1, "the restart")
    assert any(f["subject"] == str(small.layout.state) and "MiB free" in f["text"] for f in small.call("doctor"))


def test_a_fact_that_was_half_written_does_not_spoil_the_next(small):
    small.up()
    small.add("web", sh("head -c 1500 /dev/zero | tr '\\0' x; echo; exec sleep 600"), start=True, restart_delay=0.01)
    fill(small)
    for turn in range(1, 4):
        os.kill(small.running("web"), signal.SIGKILL)
        until(lambda turn=turn: small.row("web")["restarts"] == turn, "the restart")
    small.running("web")
    (small.layout.state / "fill").unlink()
    os.kill(small.running("web"), signal.SIGKILL)
    until(lambda: small.row("web")["restarts"] == 4, "the restart")
    pid = small.running("web")
    small.kill()
    assert small.json("status", code=4)["services"][0]["pid"] == pid
    small.up()
    assert small.running("web") == pid
    assert small.row("web")["restarts"] == 4


def test_definition_that_cannot_be_written_is_not_half_there(bare):
    bare.layout.definitions.mkdir(parents=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=16k", "svcmgr-test", str(bare.layout.etc)], check=True)
    try:
        bare.up()
        take_all(bare.layout.etc / "fill")
        with pytest.raises(StorageFailed, match="No space"):
            bare.add("web", ["/bin/sleep", "600"], start=True)
        assert [p.name for p in bare.layout.definitions.iterdir()] == []
        assert bare.call("status")["services"] == []
        assert not bare.processes()
        pid = bare.pid()
        bare.cli("shutdown")
        bare.await_end(pid)
    finally:
        subprocess.run(["/bin/umount", str(bare.layout.etc)], check=True)


def test_a_service_whose_log_cannot_grow_goes_on(bare):
    """Its own writes fail; svcmgrd, the other services and the stop do not."""
    bare.layout.log.mkdir(parents=True)
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "svcmgr-test", str(bare.layout.log)], check=True)
    try:
        bare.up()
        bare.add("noisy", sh("trap '' PIPE; while :; do echo noise noise noise 2>/dev/null; done"), start=True)
        until(lambda: os.statvfs(bare.layout.log).f_bfree == 0, "the full disk")
        bare.add("quiet", ["/bin/sleep", "600"])
        bare.act("start", "quiet")
        assert bare.json("status")["services"]
        assert bare.json("stop", "noisy")["outcomes"][0]["ok"]
        pid = bare.pid()
        bare.cli("shutdown", "--all")
        bare.await_end(pid)
    finally:
        subprocess.run(["/bin/umount", str(bare.layout.log)], check=True)
