"""Bringing content back, to a new place and in place, and asking what differs."""

import os
import shutil
import stat

import pytest

from svcmgr.errors import AlreadyExists, BadInput, Busy, UnknownSnapshot
from tests.kit.daemonproc import until
from tests.kit.filesystems import brick_on, filesystem, mounted, run  # noqa: F401 - a fixture
from tests.kit.snapds import Snapd
from tests.real.test_snapd_taking import furnish, names, tree, value_of


def in_place(process, path="", name="one"):
    return process.call("snapshot-restore", {"name": name, "path": path, "in_place": True, "confirmed": True})


def restored_to(process, to, path="", name="one"):
    return process.call("snapshot-restore", {"name": name, "path": path, "to": str(to)})


def changes(process, **request):
    reply = process.call("snapshot-diff", {"name": "one", **request})
    return sorted((found["change"], found["path"]) for found in reply["differences"])


def spoil(brick):
    (brick / "plain").write_bytes(b"other content")
    shutil.rmtree(brick / "dir")
    (brick / "dir").write_text("a file now")
    (brick / "null").unlink()
    (brick / "added").mkdir()
    (brick / "added" / "file").write_text("new")
    os.chmod(brick / "sparse", 0o600)


@pytest.fixture
def volume(filesystem, tmp_path):  # noqa: F811
    """(process, brick) with snapshot "one" of a furnished brick."""
    kind, mount = filesystem
    brick = brick_on(kind, mount)
    furnish(brick)
    with Snapd(tmp_path, [brick]).running() as process:
        process.call("snapshot-create", {"name": "one"})
        yield process, brick


def test_everything_in_place(volume):
    process, brick = volume
    before, top = tree(brick), os.lstat(brick)
    spoil(brick)
    os.chmod(brick, 0o711)
    reply = in_place(process)
    assert tree(brick) == before
    assert stat.S_IMODE(os.lstat(brick).st_mode) == stat.S_IMODE(top.st_mode)
    assert names(process) == ["one", reply["safety"]]
    assert reply["safety"].startswith("safety-")
    # What was there before is in the safety snapshot.
    in_place(process, name=reply["safety"])
    assert (brick / "dir").read_text() == "a file now"
    assert (brick / "added" / "file").read_text() == "new"
    until(lambda: os.listdir(brick / ".svcmgr") == ["snapshots"], "the collector")


@pytest.mark.parametrize("path", ["plain", "dir", "dir/deep", "dir/link", "pipe"])
def test_one_path_in_place(volume, path):
    process, brick = volume
    before = tree(brick)
    (brick / "other").write_text("stays")
    if (brick / path).is_dir():
        shutil.rmtree(brick / path)
        (brick / path).write_text("in the way")
    else:
        (brick / path).unlink()
        (brick / path).mkdir()
        (brick / path / "below").write_text("in the way")
    in_place(process, path)
    after = tree(brick)
    assert (brick / "other").read_text() == "stays"
    hard_linked = {"plain", "dir/twin"}
    for name in before:
        if name == path or name.startswith(path + "/"):
            assert after[name][1:] == before[name][1:]
            if name not in hard_linked:
                assert after[name] == before[name]


def test_missing_parents_are_made_as_they_were(volume):
    process, brick = volume
    before = os.lstat(brick / "dir")
    shutil.rmtree(brick / "dir")
    in_place(process, "dir/deep")
    assert (brick / "dir" / "deep").read_bytes() == b"deep"
    assert stat.S_IMODE(os.lstat(brick / "dir").st_mode) == stat.S_IMODE(before.st_mode)
    assert os.listdir(brick / "dir") == ["deep"]


def test_to_a_new_place(volume, tmp_path):
    process, brick = volume
    restored_to(process, tmp_path / "all")
    assert tree(tmp_path / "all") == tree(brick)
    for path in ("plain", "dir", "dir/deep", "dir/link"):
        restored_to(process, tmp_path / "single", path)
        (tmp_path / "single").rename(tmp_path / path.replace("/", "-"))
    assert (tmp_path / "plain").read_bytes() == b"plain content"
    assert sorted(os.listdir(tmp_path / "dir")) == ["deep", "link", "twin"]
    assert os.readlink(tmp_path / "dir-link") == "../plain"
    assert names(process) == ["one"]
    restored_to(process, brick / "inside", "dir")
    assert sorted(os.listdir(brick / "inside")) == ["deep", "link", "twin"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".svcmgr")]


def test_a_place_that_inherits_access_lists_does_not_change_what_is_restored(volume, tmp_path):
    process, brick = volume
    before = tree(brick)
    run("setfacl", "-d", "-m", "u:99:rwx", brick)
    restored_to(process, brick / "inside", "dir")
    restored_to(process, brick / "single", "dir/deep")
    assert os.listxattr(brick / "single") == []
    name = "system.posix_acl_default"
    assert value_of(name, os.getxattr(brick / "inside", name)) == before["dir"][1][name]
    assert "system.posix_acl_access" not in os.listxattr(brick / "inside")
    assert tree(brick / "inside")["deep"] == before["dir/deep"]


def test_what_cannot_be_restored_is_refused_and_changes_nothing(volume, tmp_path):
    process, brick = volume
    os.symlink("/etc", brick / "way-out")
    process.call("snapshot-create", {"name": "two"})
    before = tree(brick)
    (tmp_path / "there").mkdir()
    for path in ("..", "/etc", "dir/../plain", ".svcmgr", ".svcmgr/snapshots", "nothing", "plain/below", "dir//deep"):
        with pytest.raises(BadInput):
            in_place(process, path, "two")
        with pytest.raises(BadInput):
            restored_to(process, tmp_path / "new", path, "two")
    for path in ("way-out/passwd", "dir/link/x"):
        with pytest.raises(BadInput):
            in_place(process, path, "two")
        with pytest.raises(BadInput):
            restored_to(process, tmp_path / "new", path, "two")
    with pytest.raises(AlreadyExists):
        restored_to(process, tmp_path / "there")
    for to in ("relative", str(tmp_path / "no" / "parent"), str(brick / ".svcmgr" / "x"), "/", str(tmp_path / "..")):
        with pytest.raises((BadInput, AlreadyExists)):
            restored_to(process, to)
    with pytest.raises(BadInput):
        process.call("snapshot-restore", {"name": "one", "in_place": True})
    with pytest.raises(BadInput):
        process.call("snapshot-restore", {"name": "one"})
    with pytest.raises(UnknownSnapshot):
        in_place(process, name="three")
    with pytest.raises(BadInput):
        process.call("snapshot-restore", {"name": "one", "to": str(tmp_path / "new"), "brick": 2})
    assert names(process) == ["one", "two"]
    assert tree(brick) == before
    assert not (tmp_path / "new").exists()


def test_a_symlink_in_the_way_is_not_followed(volume, tmp_path):
    process, brick = volume
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(brick / "dir")
    os.symlink(tmp_path / "elsewhere", brick / "dir")
    with pytest.raises(BadInput):
        in_place(process, "dir/deep")
    assert os.listdir(tmp_path / "elsewhere") == []
    in_place(process, "dir")
    assert (brick / "dir" / "deep").read_bytes() == b"deep"
    assert os.listdir(tmp_path / "elsewhere") == []


def test_what_is_mounted_stays(volume, tmp_path):
    process, brick = volume
    (brick / "dir" / "mount").mkdir()
    (brick / "top").mkdir()
    run("mount", "-t", "tmpfs", "none", brick / "dir" / "mount")
    with pytest.raises(Busy):
        in_place(process)
    with pytest.raises(Busy):
        in_place(process, "dir")
    assert names(process) == ["one"]
    run("umount", brick / "dir" / "mount")
    run("mount", "-t", "tmpfs", "none", brick / "top")
    (brick / "top" / "file").write_text("x")
    in_place(process)
    assert (brick / "top" / "file").read_text() == "x"
    assert not (brick / "dir" / "mount").exists()


def test_a_subvolume_inside_is_nobody_elses_to_move(tmp_path):
    with mounted("btrfs", tmp_path) as mount:
        brick = brick_on("btrfs", mount)
        (brick / "dir").mkdir()
        run("btrfs", "subvolume", "create", brick / "dir" / "sub")
        (brick / "dir" / "sub" / "file").write_text("x")
        for method in ("btrfs", "reflink"):
            where = tmp_path / f"by-{method}"
            where.mkdir()
            with Snapd(where, [brick], snapshot_method=method).running() as process:
                process.call("snapshot-create", {"name": "one"})
                (path,) = process.call("snapshot-info", {"name": "one"})["paths"]
                assert os.listdir(os.path.join(path, "dir", "sub")) == []
                assert changes(process) == []
                for path in ("", "dir", "dir/sub"):
                    with pytest.raises(Busy):
                        in_place(process, path)
                assert names(process) == ["one"]
        assert (brick / "dir" / "sub" / "file").read_text() == "x"


def test_differences(volume):
    process, brick = volume
    assert changes(process) == []
    spoil(brick)
    expected = [
        ("added", "added"),
        ("added", "added/file"),
        ("metadata", "sparse"),
        ("modified", "plain"),
        ("removed", "dir/deep"),
        ("removed", "dir/link"),
        ("removed", "dir/twin"),
        ("removed", "null"),
        ("type", "dir"),
    ]
    assert changes(process) == expected
    process.call("snapshot-create", {"name": "two"})
    assert changes(process, other="two") == expected
    assert changes(process, path="added") == expected[:2]
    assert changes(process, path="plain") == [("modified", "plain")]
    with pytest.raises(BadInput):
        changes(process, path="nowhere")
    reply = process.call("snapshot-diff", {"name": "one", "limit": 2})
    assert len(reply["differences"]) == 2
    assert reply["truncated"]
    assert sum(reply["counts"].values()) == len(expected)


def test_content_is_read_where_asked(volume):
    process, brick = volume
    before = os.lstat(brick / "plain")
    (brick / "plain").write_bytes(b"PLAIN content")
    os.chmod(brick / "plain", stat.S_IMODE(before.st_mode))
    os.utime(brick / "plain", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changes(process) == []
    assert changes(process, content=True) == [("modified", "dir/twin"), ("modified", "plain")]
    os.utime(brick / "dir" / "deep")
    assert ("modified", "dir/deep") in changes(process)
    assert ("metadata", "dir/deep") in changes(process, content=True)
    os.setxattr(brick / "sparse", "user.new", b"1")
    os.rename(brick / os.fsdecode(b"not\xffutf8"), brick / os.fsdecode(b"now\xffutf8"))
    assert {("metadata", "sparse"), ("removed", "not\\xffutf8"), ("added", "now\\xffutf8")} <= set(changes(process))


def test_several_bricks(tmp_path):
    bricks = [tmp_path / "a", tmp_path / "b"]
    for brick in bricks:
        brick.mkdir()
        (brick / "file").write_text(brick.name)
    with Snapd(tmp_path, bricks).running() as process:
        process.call("snapshot-create", {"name": "one"})
        for brick in bricks:
            (brick / "file").write_text("spoilt!")
        assert changes(process) == [("modified", "brick-1/file"), ("modified", "brick-2/file")]
        assert changes(process, path="brick-2") == [("modified", "brick-2/file")]
        with pytest.raises(BadInput):
            changes(process, path="file")
        with pytest.raises(BadInput):
            in_place(process, "file")
        restored_to(process, tmp_path / "new")
        assert (tmp_path / "new" / "brick-2" / "file").read_text() == "b"
        process.call(
            "snapshot-restore", {"name": "one", "path": "file", "in_place": True, "confirmed": True, "brick": 2}
        )
        assert [(brick / "file").read_text() for brick in bricks] == ["spoilt!", "b"]
        in_place(process)
        assert [(brick / "file").read_text() for brick in bricks] == ["a", "b"]
