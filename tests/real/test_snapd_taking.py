"""Snapshots on true file systems: what they hold, what they cost, and that a half one is none."""

import os
import stat
import struct
import subprocess

import pytest

from svcmgr.errors import (
    AlreadyExists,
    BadInput,
    Busy,
    LowSpace,
    NotPermitted,
    ReconfigureFailed,
    UnknownSnapshot,
    Unsupported,
)
from tests.kit.daemonproc import until
from tests.kit.filesystems import brick_on, filesystem, mounted, run  # noqa: F401 - a fixture
from tests.kit.snapds import Snapd, volfile

BEST = {"btrfs": ("btrfs", "instant"), "xfs": ("reflink", "per-file"), "ext4": ("copy", "per-file")}


def names(process):
    return [snapshot["name"] for snapshot in process.call("snapshots")["snapshots"]]


def collected(process):
    """Wait until there is nothing left to remove."""
    until(lambda: process.call("statistics")["own"]["leftovers"]["waiting"] == 0, "the collector")


def data_of(brick):
    return sorted(path.name for path in (brick / ".svcmgr" / "snapshots").iterdir())


def furnish(brick):
    """One of everything."""
    (brick / "plain").write_bytes(b"plain content")
    os.chmod(brick / "plain", 0o4750)
    os.chown(brick / "plain", 12, 34)
    os.utime(brick / "plain", ns=(111_222_333_444, 555_666_777_888))
    os.setxattr(brick / "plain", "user.colour", b"blue")
    run("setfacl", "-m", "u:9:rwx", brick / "plain")
    (brick / "able").write_bytes(b"program")
    run("setcap", "cap_net_raw+ep", brick / "able")
    (brick / "dir").mkdir(mode=0o700)
    (brick / "dir" / "deep").write_bytes(b"deep")
    run("setfacl", "-d", "-m", "u:9:rx", brick / "dir")
    os.link(brick / "plain", brick / "dir" / "twin")
    os.symlink("../plain", brick / "dir" / "link")
    os.mkfifo(brick / "pipe", 0o640)
    os.mknod(brick / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(brick / "sparse", "wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
        file.truncate(65 << 20)
    (brick / os.fsdecode(b"not\xffutf8")).write_bytes(b"x")
    os.utime(brick / "dir", ns=(1_000_000_001, 2_000_000_002))


def facts(path):
    """All that a snapshot must keep of one file, the number of its inode and what a walk changes left out."""
    status = os.lstat(path)
    xattrs = {
        name: value_of(name, os.getxattr(path, name, follow_symlinks=False))
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith("trusted.SGI_ACL_")  # how xfs keeps the access list, listed a second time
    }
    links = 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink  # btrfs counts those of directories in its own way
    kept = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, links, status.st_rdev)
    content = None
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    return (kept, xattrs, content)


def value_of(name, value):
    """An access list by what it says: the id of an entry that has none is 0 on xfs and -1 elsewhere (acl(5))."""
    if not name.startswith("system.posix_acl_"):
        return value
    entries = struct.iter_unpack("<HHI", value[4:])
    return [(tag, rights, who if tag in (2, 8) else None) for tag, rights, who in entries]


def tree(top):
    found = {}
    for directory, below, files in os.walk(top):
        for name in [*below, *files]:
            path = os.path.join(directory, name)
            inside = os.path.relpath(path, top)
            if not inside.startswith(".svcmgr"):
                found[inside] = facts(type(top)(path))
    return found


def test_a_snapshot_holds_all_and_stays_as_it_was(filesystem, tmp_path):  # noqa: F811
    kind, mount = filesystem
    brick = brick_on(kind, mount)
    furnish(brick)
    before = tree(brick)
    with Snapd(tmp_path, [brick]).running() as process:
        taken = process.call("snapshot-create", {"name": "one", "description": "the first"})
        assert (taken["method"], taken["consistency"]) == BEST[kind]
        assert taken["activated"]
        (brick / "plain").write_bytes(b"other")
        (brick / "dir" / "deep").unlink()
        (path,) = process.call("snapshot-info", {"name": "one"})["paths"]
        root = type(brick)(path)
        assert tree(root) == before
        assert os.lstat(root / "plain").st_ino == os.lstat(root / "dir" / "twin").st_ino
        assert os.lstat(root / "sparse").st_blocks * 512 < 2 << 20
        status, reserved = os.lstat(brick), os.lstat(brick / ".svcmgr")
        assert stat.S_IMODE(os.lstat(root).st_mode) == stat.S_IMODE(status.st_mode)
        assert stat.S_IMODE(reserved.st_mode) == 0o700
        cost = taken["cost"]
        assert bool(cost.get("copied_bytes")) == (kind == "ext4")
        assert bool(cost.get("shared_bytes")) == (kind == "xfs")


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_a_method_may_be_chosen(kind, tmp_path):
    with mounted(kind, tmp_path) as mount:
        brick = brick_on(kind, mount)
        furnish(brick)
        before = tree(brick)
        for method in ("reflink", "copy"):
            where = tmp_path / method
            where.mkdir()
            with Snapd(where, [brick], snapshot_method=method).running() as process:
                taken = process.call("snapshot-create", {"name": method})
                assert taken["method"] == method
                assert bool(taken["cost"].get("copied_bytes")) == (method == "copy")
                (path,) = process.call("snapshot-info", {"name": method})["paths"]
                assert tree(type(brick)(path)) == before


def test_a_chosen_method_that_cannot_be_is_refused_before_anything_is_written(filesystem, tmp_path):  # noqa: F811
    kind, mount = filesystem
    brick = mount / "plain-directory"
    brick.mkdir()
    snapd = Snapd(tmp_path, [brick], snapshot_method="btrfs")
    with snapd.running() as process:
        with pytest.raises(Unsupported):
            process.call("snapshot-create", {"name": "one"})
        assert data_of(brick) == []
        assert names(process) == []
        if kind == "ext4":
            snapd.set(snapshot_method="reflink")
            assert process.call("reconfigure")["result"] == "configured"
            with pytest.raises(Unsupported):
                process.call("snapshot-create", {"name": "one"})
        snapd.set(snapshot_method="auto")
        process.call("reconfigure")
        assert process.call("snapshot-create", {"name": "one"})["method"] == ("copy" if kind == "ext4" else "reflink")


def test_all_bricks_are_taken_by_the_method_that_all_of_them_know(tmp_path):
    with mounted("btrfs", tmp_path / "a") as one, mounted("ext4", tmp_path / "b") as other:
        bricks = [brick_on("btrfs", one), brick_on("ext4", other)]
        for number, brick in enumerate(bricks):
            (brick / "file").write_text(f"brick {number}")
        with Snapd(tmp_path, bricks).running() as process:
            assert process.call("snapshot-create", {"name": "one"})["method"] == "copy"
            paths = process.call("snapshot-info", {"name": "one"})["paths"]
            assert [(type(brick)(path) / "file").read_text() for path in paths] == ["brick 0", "brick 1"]


def test_mounts_inside_are_empty_directories(filesystem, tmp_path):  # noqa: F811
    kind, mount = filesystem
    brick = brick_on(kind, mount)
    (brick / "there").mkdir()
    (brick / "bound").mkdir()
    (brick / "own").mkdir()
    (brick / "own" / "file").write_text("x")
    run("mount", "-t", "tmpfs", "none", brick / "there")
    run("mount", "--bind", brick, brick / "bound")
    (brick / "there" / "foreign").write_text("x")
    with Snapd(tmp_path, [brick]).running() as process:
        for name in ("one", "two"):
            process.call("snapshot-create", {"name": name})
            (path,) = process.call("snapshot-info", {"name": name})["paths"]
            assert os.listdir(os.path.join(path, "there")) == []
            assert os.listdir(os.path.join(path, "bound")) == []
            assert os.listdir(os.path.join(path, "own")) == ["file"]


def test_deleting_forgets_at_once_and_removes_soon(filesystem, tmp_path):  # noqa: F811
    kind, mount = filesystem
    brick = brick_on(kind, mount)
    furnish(brick)
    with Snapd(tmp_path, [brick]).running() as process:
        for name in ("a1", "a2", "beta1"):
            process.call("snapshot-create", {"name": name})
        gone = process.call("snapshot-delete", {"names": ["a*"]})
        assert [snapshot["name"] for snapshot in gone["snapshots"]] == ["a1", "a2"]
        assert names(process) == ["beta1"]
        collected(process)
        assert len(data_of(brick)) == 1
        with pytest.raises(UnknownSnapshot) as caught:
            process.call("snapshot-delete", {"names": ["beta1", "beta2"]})
        assert caught.value.details["near"] == ["beta1"]
        assert names(process) == ["beta1"]


def test_activation_lasts(filesystem, tmp_path):  # noqa: F811
    kind, mount = filesystem
    brick = brick_on(kind, mount)
    snapd = Snapd(tmp_path, [brick], snapshot_activate_on_create="off")
    with snapd.running() as process:
        process.call("snapshot-create", {"name": "one"})
        process.call("snapshot-create", {"name": "two", "activate": True})
        process.call("snapshot-activate", {"names": ["*"]})
        process.call("snapshot-deactivate", {"names": ["two"]})
    with snapd.running() as process:
        listed = process.call("snapshots")["snapshots"]
        assert [(s["name"], s.get("activated", False)) for s in listed] == [("one", True), ("two", False)]


def test_guards(tmp_path):
    with mounted("ext4", tmp_path) as mount:
        brick = brick_on("ext4", mount)
        (brick / "big").write_bytes(os.urandom(200 << 20))
        snapd = Snapd(tmp_path, [brick], snapshot_min_free="99%")
        with snapd.running() as process:
            with pytest.raises(LowSpace):
                process.call("snapshot-create", {"name": "one"})
            snapd.set(snapshot_min_free="150MiB")  # there before, not after
            process.call("reconfigure")
            with pytest.raises(LowSpace):
                process.call("snapshot-create", {"name": "one"})
            assert data_of(brick) == []
            assert [path.name for path in snapd.store.iterdir()] == []
            (brick / "big").unlink()
            snapd.set(snapshot_max_count="2")
            process.call("reconfigure")
            process.call("snapshot-create", {"name": "one"})
            with pytest.raises(AlreadyExists):
                process.call("snapshot-create", {"name": "one"})
            process.call("snapshot-create")
            with pytest.raises(Busy):
                process.call("snapshot-create", {"name": "three"})
            assert len(names(process)) == 2


def test_a_full_disk_leaves_nothing(tmp_path):
    with mounted("ext4", tmp_path) as mount:
        brick = brick_on("ext4", mount)
        (brick / "big").write_bytes(os.urandom(300 << 20))
        with Snapd(tmp_path, [brick]).running() as process:
            with pytest.raises(LowSpace):
                process.call("snapshot-create", {"name": "one"})
            assert (names(process), data_of(brick)) == ([], [])


@pytest.mark.parametrize("what", ["symlink", "file", "foreign"])
def test_a_place_that_is_not_ours_is_refused(tmp_path, what):
    brick, elsewhere = tmp_path / "brick", tmp_path / "elsewhere"
    brick.mkdir()
    elsewhere.mkdir()
    if what == "symlink":
        (brick / ".svcmgr").symlink_to(elsewhere)
    elif what == "file":
        (brick / ".svcmgr").write_text("")
    else:
        (brick / ".svcmgr").mkdir()
        os.chown(brick / ".svcmgr", 9, 9)
    with Snapd(tmp_path, [brick]).running() as process:
        with pytest.raises(NotPermitted):
            process.call("snapshot-create", {"name": "one"})
        assert os.listdir(elsewhere) == []
        assert process.call("statistics")["own"]["brick_problems"]


def test_what_a_running_snapd_cannot_take_over_is_refused(tmp_path):
    brick = tmp_path / "brick"
    brick.mkdir()
    snapd = Snapd(tmp_path, [brick])
    with snapd.running() as process:
        snapd.server.texts["snapd/vol"] = volfile(
            [brick], snapd.store, volume_id="00000000-0000-4000-8000-000000000001"
        )
        with pytest.raises(ReconfigureFailed):
            process.call("reconfigure")
        snapd.set(snapshot_max_count="7")
        assert process.call("reconfigure")["result"] == "configured"
        assert process.call("snapshots")["limit"] == 7


@pytest.mark.parametrize("name", ["..", "a/b", "", "-x", "x" * 101, ".svcmgr", "ä"])
def test_names_are_checked(tmp_path, name):
    brick = tmp_path / "brick"
    brick.mkdir()
    with Snapd(tmp_path, [brick]).running() as process:
        if name:
            with pytest.raises(BadInput):
                process.call("snapshot-create", {"name": name})
            assert names(process) == []
        else:
            assert process.call("snapshot-create", {"name": name})["name"].startswith("snap-")


def test_others_may_look_and_nothing_else(tmp_path):
    brick = tmp_path / "brick"
    brick.mkdir()
    for parent in [tmp_path, *list(tmp_path.parents)[:2]]:
        os.chmod(parent, 0o755)
    program = (
        "import os, sys; from svcmgr.conn.blocking import BlockingClient\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "c = BlockingClient(sys.argv[1], timeout=20); c.call('snapshots')\n"
        "try: c.call('snapshot-create')\n"
        "except Exception as e: sys.exit(getattr(e, 'code', repr(e)))\n"
    )
    with Snapd(tmp_path, [brick]).running() as process:
        done = subprocess.run(
            [*process.argv[:1], "-c", program, str(process.socket)],
            env=process.environ,
            capture_output=True,
            text=True,
        )
        assert done.stderr.strip() == "not-permitted"
