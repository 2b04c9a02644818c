"""The mount table as text; taking true mounts away is in tests/real/test_snapd_view.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from svcmgr.errors import NotPermitted
from svcmgr.proc import mounts
from svcmgr.proc.mounts import Mount, detach, mounted_at, parse

LINES = rb"""22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw,errors=remount-ro
40 22 0:53 / /run/snaps/a\040b\134c ro,nosuid,nodev - fuse.svcmgr svcmgr:web ro,user_id=0
41 22 0:54 / /run/snaps/\377 ro - fuse.sshfs svcmgr:web ro
42 22 0:55 / /x ro - fuse other ro
"""


def test_lines_become_mounts():
    root, ours, theirs, other = parse(LINES)
    assert root == Mount(Path("/"), "ext4", "/dev/root", "254:0")
    assert ours == Mount(Path("/run/snaps/a b\\c"), "fuse.svcmgr", "svcmgr:web", "0:53")
    assert theirs.path == Path("/run/snaps/\udcff")
    assert [mount.ours for mount in (root, ours, theirs, other)] == [False, True, False, False]


@pytest.mark.parametrize("line", [b"", b"\n\n", b"1 2 3", b"1 2 3:4 / / rw -", b"1 2 - ext4 x", b" - "])
def test_what_is_no_line_is_left_out(line):
    assert parse(line) == []


def test_the_table_of_this_process_is_read():
    assert mounted_at(Path("/proc")).fs_type == "proc"
    assert mounted_at(Path("/proc/self")) is None


def test_the_topmost_counts(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_bytes(LINES + b"43 40 0:56 / /x rw - tmpfs tmpfs rw\n")
    monkeypatch.setattr(mounts, "_MOUNTINFO", table)
    assert mounted_at(Path("/x")).fs_type == "tmpfs"


def test_parents_are_resolved_and_the_path_itself_is_not(tmp_path):
    (tmp_path / "link").symlink_to("/")
    assert mounted_at(tmp_path / "link" / "proc").fs_type == "proc"
    (tmp_path / "proc").symlink_to("/proc")
    assert mounted_at(tmp_path / "proc") is None


def test_a_mount_of_somebody_else_stays():
    with pytest.raises(NotPermitted):
        detach(Path("/proc"))
    assert mounted_at(Path("/proc")) is not None


def test_nothing_mounted_is_nothing_to_do(tmp_path):
    assert detach(tmp_path) == 0
    assert detach(tmp_path / "not" / "there") == 0
