"""snapd is killed, told to stop, or left by its caller, in the middle of things."""

import os
import signal
import time
import uuid

import pytest

from svcmgr.conn.blocking import BlockingClient
from tests.kit.daemonproc import PATIENCE_S, until
from tests.kit.filesystems import brick_on, filesystem  # noqa: F401 - a fixture
from tests.kit.snapds import Snapd
from tests.real.test_snapd_taking import data_of, names


def fill(brick, files, size=0):
    for number in range(files):
        (brick / f"f{number:05}").write_bytes(b"x" * size)


class Asking:
    """A call that a process of its own makes; it may be made to leave."""

    def __init__(self, process, verb, params):
        self._call = (str(process.socket), verb, params)

    def __enter__(self):
        self.pid = os.fork()
        if self.pid == 0:
            socket, verb, params = self._call
            try:
                with BlockingClient(socket, timeout=PATIENCE_S) as client:
                    client.call(verb, params)
            finally:
                os._exit(0)
        return self

    def leave(self):
        os.kill(self.pid, signal.SIGKILL)

    def __exit__(self, *exc):
        self.leave()
        os.waitpid(self.pid, 0)


@pytest.fixture
def slow(tmp_path):
    """(snapd, brick) whose snapshot is a copy of many files."""
    brick = tmp_path / "brick"
    brick.mkdir()
    fill(brick, 6000, 4096)
    return Snapd(tmp_path, [brick], snapshot_method="copy"), brick


def taking(brick):
    """Wait until a snapshot is being made."""

    def begun():
        snapshots = brick / ".svcmgr" / "snapshots"
        return snapshots.is_dir() and any(len(os.listdir(path)) > 10 for path in snapshots.glob("*.partial"))

    until(begun, "a snapshot under way")


def nothing_left(process, brick, snapd):
    until(lambda: data_of(brick) == [], "the collector")
    assert names(process) == []
    until(lambda: os.listdir(snapd.store) == [], "no marks")


def test_killed_in_the_middle_of_a_copy(slow):
    snapd, brick = slow
    with snapd.running() as process, Asking(process, "snapshot-create", {"name": "one"}):
        taking(brick)
        process.signal(signal.SIGKILL)
        process.wait()
        assert len(data_of(brick)) == 1
        assert not list(snapd.store.glob("*.json"))
    with snapd.running() as process:
        assert names(process) == []
        nothing_left(process, brick, snapd)
        assert process.call("snapshot-create", {"name": "one"})["cost"]["files"] == 6000


def test_told_to_stop_in_the_middle_of_a_copy(slow):
    snapd, brick = slow
    with snapd.running() as process, Asking(process, "snapshot-create", {"name": "one"}):
        taking(brick)
        before = time.monotonic()
        assert process.end() == 0
        assert time.monotonic() - before < 2.0
        assert not list(snapd.store.glob("*.json"))
        assert "Traceback" not in process.text()
    with snapd.running() as process:
        nothing_left(process, brick, snapd)


def test_left_by_its_caller_in_the_middle_of_a_copy(slow):
    snapd, brick = slow
    with snapd.running() as process:
        with Asking(process, "snapshot-create", {"name": "one"}) as asking:
            taking(brick)
            asking.leave()
            nothing_left(process, brick, snapd)
        assert process.call("snapshot-create", {"name": "one"})["name"] == "one"


def test_reading_goes_on_while_a_snapshot_is_taken(slow):
    snapd, brick = slow
    with snapd.running() as process, Asking(process, "snapshot-create", {"name": "one"}), process.client() as client:
        taking(brick)
        slowest = 0.0
        while list((brick / ".svcmgr" / "snapshots").glob("*.partial")):
            before = time.monotonic()
            client.call("snapshots")
            slowest = max(slowest, time.monotonic() - before)
        assert 0 < slowest < 0.5


def test_killed_in_the_middle_of_a_restore_of_everything(tmp_path):
    brick = tmp_path / "brick"
    brick.mkdir()
    fill(brick, 8000)
    (brick / "f00000").write_text("old")
    snapd = Snapd(tmp_path, [brick])
    with snapd.running() as process:
        process.call("snapshot-create", {"name": "one"})
        (brick / "f00000").write_text("new")
        (brick / "added").write_text("x")
        (brick / "f00001").unlink()
        request = {"name": "one", "in_place": True, "confirmed": True}
        with Asking(process, "snapshot-restore", request):
            until(lambda: list(snapd.store.glob("*.plan")), "the plan")
            process.signal(signal.SIGKILL)
            process.wait()
    assert list(snapd.store.glob("*.plan")), "the restore was over before the kill: let it take longer"
    with snapd.running() as process:
        found = set(os.listdir(brick)) - {".svcmgr"}
        assert found == {f"f{number:05}" for number in range(8000)}
        assert (brick / "f00000").read_text() == "old"
        assert len(names(process)) == 2
        until(lambda: os.listdir(brick / ".svcmgr") == ["snapshots"], "the collector")
        assert not list(snapd.store.glob("*.plan"))
        restored = {"name": names(process)[1], "path": "added", "to": str(tmp_path / "added")}
        process.call("snapshot-restore", restored)
        assert (tmp_path / "added").read_text() == "x"


def test_killed_while_restoring_to_a_new_place(slow, tmp_path):
    snapd, _ = slow
    with snapd.running() as process:
        process.call("snapshot-create", {"name": "one"})
        request = {"name": "one", "to": str(tmp_path / "place" / "new")}
        (tmp_path / "place").mkdir()
        with Asking(process, "snapshot-restore", request):
            until(lambda: os.listdir(tmp_path / "place"), "a restore under way")
            process.signal(signal.SIGKILL)
            process.wait()
    assert not (tmp_path / "place" / "new").exists()
    with snapd.running() as process:
        until(lambda: os.listdir(tmp_path / "place") == [], "the collector")
        assert names(process) == ["one"]


def test_a_bad_record_is_set_aside_with_its_data(tmp_path):
    brick = tmp_path / "brick"
    brick.mkdir()
    snapd = Snapd(tmp_path, [brick])
    with snapd.running() as process:
        for name in ("one", "two"):
            process.call("snapshot-create", {"name": name})
        bad = process.call("snapshot-info", {"name": "one"})["snapshot"]["id"]
    (snapd.store / f"{bad}.json").write_text("{")
    with snapd.running() as process:
        assert names(process) == ["two"]
        assert len(process.call("statistics")["own"]["quarantined"]) == 1
        process.call("snapshot-delete", {"names": ["two"]})
        until(lambda: data_of(brick) == [bad], "the collector")
    assert os.listdir(snapd.store / "quarantine") == [f"{bad}.json"]


def test_data_that_nobody_knows_is_kept_and_named(tmp_path):
    brick = tmp_path / "brick"
    unknown, partial = (str(uuid.uuid4()) for _ in range(2))
    snapd = Snapd(tmp_path, [brick])
    for name in (unknown, f"{partial}.partial", "somebody's"):
        (brick / ".svcmgr" / "snapshots" / name).mkdir(parents=True)
    with snapd.running() as process:
        until(lambda: data_of(brick) == sorted([unknown, "somebody's"]), "the collector")
        (named,) = process.call("statistics")["own"]["leftovers"]["unknown"]
        assert named.endswith(unknown)


def test_a_deletion_that_was_interrupted_goes_on(filesystem, tmp_path):  # noqa: F811
    kind, mount = filesystem
    brick = brick_on(kind, mount)
    fill(brick, 10)
    snapd = Snapd(tmp_path, [brick])
    with snapd.running() as process:
        process.call("snapshot-create", {"name": "one"})
        (record,) = snapd.store.glob("*.json")
    record.rename(record.with_suffix(".deleting"))
    with snapd.running() as process:
        nothing_left(process, brick, snapd)
