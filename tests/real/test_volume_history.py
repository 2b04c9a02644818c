"""One history on three file systems: everything a user does with a volume, and both daemons killed in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmgr.proc.mounts import mounted_at
from tests.kit.filesystems import mounted
from tests.kit.rootdir import Root, until
from tests.kit.volumes import as_user, open_place, read_as_user, serving, snapshot, started, volume

METHODS = {"btrfs": ("btrfs", "instant"), "xfs": ("reflink", "per-file"), "ext4": ("copy", "per-file")}


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as found:
        yield found


@pytest.fixture(params=list(METHODS))
def disk(request, place) -> Iterator[tuple[str, Path]]:
    with mounted(request.param, place) as where:
        yield request.param, where


@pytest.fixture
def own(disk, make_root) -> Root:
    """Ended before the disk is unmounted, since it is made after it."""
    root = make_root()
    root.up()
    return root


def kill_snapd(root: Root) -> None:
    pid = root.row("snapd@v")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: root.row("snapd@v")["pid"] not in (None, pid), "another snapd")


def kill_svcmgrd(root: Root) -> None:
    pid = root.row("snapd@v")["pid"]
    root.kill()
    root.up()
    assert root.running("snapd@v") == pid, "adopted, not replaced"


def kill_both(root: Root) -> None:
    pid = root.row("snapd@v")["pid"]
    root.kill()
    os.kill(pid, signal.SIGKILL)
    root.up()
    until(lambda: root.row("snapd@v")["pid"] not in (None, pid), "another snapd")


ORDERS = {
    "snapd-first": (kill_snapd, kill_svcmgrd),
    "svcmgrd-first": (kill_svcmgrd, kill_snapd),
    "both-at-once": (kill_both, kill_both),
}


@pytest.mark.parametrize("order", list(ORDERS))
def test_a_user_gets_his_file_back_whoever_is_killed(own, disk, place, order):
    kind, where = disk
    first, second = ORDERS[order]
    brick, view = where / "v", place / "view"
    started(own, "v", brick, view)
    (brick / "docs").mkdir()
    (brick / "docs" / "notes").write_text("as it was\n")
    (brick / "secret").write_text("for root alone")
    (brick / "secret").chmod(0o600)
    taken = snapshot(own, "create", "v", "monday")["snapshot"]
    assert (taken["method"], taken["consistency"]) == METHODS[kind]
    (brick / "docs" / "notes").write_text("spoilt")
    (brick / "docs" / "more").write_text("new")

    first(own)
    serving(own, "v")
    assert read_as_user(view / "monday" / "docs" / "notes") == "as it was\n"
    assert read_as_user(view / "monday" / "secret") is None
    assert as_user("ls", "-A", str(view / "monday")).stdout.split() == ["docs", "secret"]
    found = snapshot(own, "diff", "v", "monday")
    assert {(d["change"], d["path"]) for d in found["differences"]} >= {
        ("modified", "docs/notes"),
        ("added", "docs/more"),
    }

    second(own)
    serving(own, "v")
    assert read_as_user(view / "monday" / "docs" / "notes") == "as it was\n"
    restored = snapshot(own, "restore", "v", "monday", "docs/notes", "--in-place", "--yes")
    assert (brick / "docs" / "notes").read_text() == "as it was\n"
    assert (brick / "docs" / "more").read_text() == "new"
    assert read_as_user(view / restored["safety"] / "docs" / "notes") in ("spoilt", None)
    snapshot(own, "restore", "v", "monday", "--in-place", "--yes")
    assert sorted(os.listdir(brick / "docs")) == ["notes"]
    snapshot(own, "delete", "v", "monday")
    until(lambda: "monday" not in as_user("ls", "-A", str(view)).stdout.split(), "it is not shown any more")
    names = [one["name"] for one in snapshot(own, "list", "v")["snapshots"]]
    assert "monday" not in names
    assert len(names) == 2, "two safety snapshots"
    volume(own, "stop", "v")
    assert mounted_at(view) is None
