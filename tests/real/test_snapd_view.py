"""The view as its readers have it: a true mount, true users, a true kernel that checks."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from svcmgr.proc.mounts import detach, mount_fuse, mounted_at
from tests.kit.daemonproc import until
from tests.kit.snapview import ViewProc

NOBODY = 65534


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A directory with one of everything."""
    top = tmp_path / "content"
    (top / "dir" / "deep").mkdir(parents=True)
    (top / ".svcmgr").mkdir()
    (top / ".svcmgr" / "secret").write_text("ours")
    (top / "file").write_bytes(os.urandom(3 * 1024 * 1024 + 17))
    os.chown(top / "file", 1234, 4321)
    os.chmod(top / "file", 0o640)
    os.link(top / "file", top / "dir" / "same")
    (top / "link").symlink_to("/nowhere/at all")
    (top / "dir" / "inside").symlink_to("../file")
    os.mkfifo(top / "fifo")
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(259, 70000))
    (top / "with").write_text("xattr")
    os.setxattr(top / "with", "user.colour", b"blue")
    os.setxattr(top / "with", "trusted.colour", b"red")
    with open(top / "sparse", "wb") as file:
        file.truncate(1 << 24)
        file.seek(1 << 23)
        file.write(b"x")
    Path(os.fsdecode(os.fsencode(top) + b"/\xff\xfe")).write_text("not UTF-8")
    for path in (top / "dir", top / "with", top):
        os.utime(path, ns=(1_111_111_111_000_000_001, 1_222_222_222_987_654_321))
    os.utime(top / "link", ns=(1, 2), follow_symlinks=False)
    return top


@pytest.fixture(params=["passthrough", "through us"])
def view(request, tmp_path):
    with ViewProc(tmp_path / "mount", through_us=int(request.param == "through us")) as process:
        yield process


def as_nobody(view: ViewProc, *command: str) -> subprocess.CompletedProcess[str]:
    """Run in the mount; the way to it is not open to that user, and need not be."""
    return subprocess.run(
        command, cwd=view.mount, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True, timeout=30
    )


def walk(top: Path) -> dict[str, Path]:
    found = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory, name)
            found[str(path.relative_to(top))] = path
    return {name: path for name, path in found.items() if not name.startswith(".svcmgr")}


def same(was: Path, shown: Path) -> None:
    names = "mode nlink uid gid rdev size blocks mtime_ns ctime_ns"
    old, new = was.lstat(), shown.lstat()
    for name in names.split():
        assert getattr(old, f"st_{name}") == getattr(new, f"st_{name}"), (shown, name)
    if stat.S_ISLNK(old.st_mode):
        assert os.readlink(was) == os.readlink(shown)
    if stat.S_ISREG(old.st_mode):
        assert was.read_bytes() == shown.read_bytes()
    for attribute in (names := os.listxattr(was, follow_symlinks=False)):
        value = os.getxattr(was, attribute, follow_symlinks=False)
        assert os.getxattr(shown, attribute, follow_symlinks=False) == value
    assert os.listxattr(shown, follow_symlinks=False) == names


def test_everything_is_as_it_was(view, content):
    view.publish(("one", content))
    shown = walk(view.mount / "one")
    assert shown.keys() == walk(content).keys()
    for name, path in walk(content).items():
        same(path, shown[name])
    same(content, view.mount / "one")
    assert not (view.mount / "one" / ".svcmgr").exists()
    assert (view.mount / "one" / "dir" / "same").stat().st_ino == (view.mount / "one" / "file").stat().st_ino
    with open(view.mount / "one" / "sparse", "rb") as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) >= 1 << 22
    mount = mounted_at(view.mount)
    assert (mount.fs_type, mount.source) == ("fuse.svcmgr", "svcmgr:testing")
    assert os.statvfs(view.mount).f_blocks == os.statvfs(content).f_blocks


def test_the_kernel_checks_what_an_ordinary_user_may(view, content):
    (content / "open").write_text("for all")
    for name in ("granted", "refused"):
        (content / name).write_text(name)
    (content / "granted").chmod(0o600)
    subprocess.run(["setfacl", "-m", f"u:{NOBODY}:r", content / "granted"], check=True)
    subprocess.run(["setfacl", "-m", f"u:{NOBODY}:-", content / "refused"], check=True)
    (content / "private").mkdir(mode=0o700)
    (content / "private" / "open").write_text("behind a closed door")
    view.publish(("one", content))
    assert as_nobody(view, "cat", "one/open").stdout == "for all"
    assert as_nobody(view, "cat", "one/granted").stdout == "granted"
    for name in ("file", "refused", "private/open", "dir/same"):
        assert "Permission denied" in as_nobody(view, "cat", f"one/{name}").stderr, name
    assert "Permission denied" in as_nobody(view, "ls", "one/private").stderr
    listed = as_nobody(view, "getfattr", "-m", "-", "one/with").stdout
    assert "user.colour" in listed
    assert "trusted" not in listed


def test_reading_leaves_no_trace(view, content):
    """Not even an access time, which relatime would renew: it is older than the change."""
    long_ago = 1_000_000_000_000_000_000
    for path in (content / "file", content / "dir", content / "link"):
        os.utime(path, ns=(long_ago, long_ago + 1), follow_symlinks=False)
    view.publish(("one", content))
    assert len((view.mount / "one" / "file").read_bytes()) > 0
    assert len(os.listdir(view.mount / "one" / "dir")) > 0
    os.readlink(view.mount / "one" / "link")
    for name in ("file", "dir", "link"):
        assert (content / name).lstat().st_atime_ns == long_ago, name


def _write(path: Path) -> None:
    with open(path, "r+b"):
        pass


WRITES = {
    "write": lambda top: _write(top / "with"),
    "create": lambda top: (top / "new").touch(),
    "truncate": lambda top: os.truncate(top / "with", 0),
    "mkdir": lambda top: (top / "new").mkdir(),
    "unlink": lambda top: (top / "with").unlink(),
    "rmdir": lambda top: (top / "dir" / "deep").rmdir(),
    "rename": lambda top: (top / "with").rename(top / "without"),
    "link": lambda top: os.link(top / "with", top / "new"),
    "symlink": lambda top: (top / "new").symlink_to("x"),
    "mknod": lambda top: os.mkfifo(top / "new"),
    "chmod": lambda top: (top / "with").chmod(0o777),
    "chown": lambda top: os.chown(top / "with", 1, 1),
    "utime": lambda top: os.utime(top / "with"),
    "setxattr": lambda top: os.setxattr(top / "with", "user.new", b""),
    "removexattr": lambda top: os.removexattr(top / "with", "user.colour"),
    "rmdir of a snapshot": lambda top: top.rmdir(),
    "mkdir beside it": lambda top: (top.parent / "new").mkdir(),
}


def test_nothing_can_be_written(tmp_path, content):
    with ViewProc(tmp_path / "mount") as view:
        view.publish(("one", content))
        # The mount is read-only; made writable, it is the daemon that refuses.
        for _ in range(2):
            for name, write in WRITES.items():
                with pytest.raises(OSError) as refusal:
                    write(view.mount / "one")
                assert refusal.value.errno == errno.EROFS, name
            subprocess.run(["mount", "-i", "-o", "remount,rw", view.mount], check=True)


def read_length(fd: int) -> int:
    """How much can be read, or why nothing can."""
    length = 0
    try:
        while piece := os.pread(fd, 1 << 20, length):
            length += len(piece)
    except OSError as error:
        return error.errno
    return length


def test_activation_shows_at_once(view, content, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("other")
    view.publish(("one", content))
    number = (view.mount / "one" / "file").stat().st_ino
    with open(view.mount / "one" / "file", "rb") as opened:
        view.publish(("two", other))
        assert os.listdir(view.mount) == ["two"]
        until(lambda: not (view.mount / "one").exists(), "the kernel to forget the name")
        with pytest.raises(FileNotFoundError):
            (view.mount / "one" / "file").stat()
        # The kernel reads it by itself, or has it in memory; or it is stale.
        assert read_length(opened.fileno()) in (3 * 1024 * 1024 + 17, errno.ESTALE)
    view.publish(("two", other), ("one", content))
    assert sorted(os.listdir(view.mount)) == ["one", "two"]
    assert (view.mount / "one" / "file").stat().st_ino == number
    assert (view.mount / "two" / "file").read_text() == "other"
    view.publish(("two", content))  # another snapshot under a name that was shown
    until(lambda: (view.mount / "two" / "with").exists(), "the kernel to forget what the name meant")
    assert (view.mount / "two" / "file").read_bytes() == (content / "file").read_bytes()


def test_a_directory_of_a_deactivated_snapshot_is_stale(view, content):
    view.publish(("one", content))
    fd = os.open(view.mount / "one" / "dir", os.O_RDONLY)
    try:
        view.publish()
        with pytest.raises(OSError) as refusal:
            os.listdir(fd)
        assert refusal.value.errno == errno.ESTALE
    finally:
        os.close(fd)


def test_names_with_a_dot_can_be_hidden(view, content):
    view.publish((".one", content), ("two", content))
    assert sorted(os.listdir(view.mount)) == [".one", "two"]
    view.ask(hide_dot=True)
    assert os.listdir(view.mount) == ["two"]
    assert (view.mount / ".one" / "with").read_text() == "xattr"
    view.ask(hide_dot=False)
    assert sorted(os.listdir(view.mount)) == [".one", "two"]


def test_two_snapshots_never_share_an_inode_number_and_bricks_have_directories(view, content):
    view.publish(("one", content), ("two", content), ("both", [content, content]))
    tops = [view.mount / "one", view.mount / "two", view.mount / "both" / "brick-1", view.mount / "both" / "brick-2"]
    numbers = [{path.lstat().st_ino for path in (top, *walk(top).values())} for top in tops]
    assert sum(map(len, numbers)) == len(set().union(*numbers))
    assert sorted(os.listdir(view.mount / "both")) == ["brick-1", "brick-2"]
    assert not (view.mount / "both" / "brick-3").exists()
    assert stat.S_IMODE((view.mount / "both").stat().st_mode) == 0o555
    assert int((view.mount / "both").stat().st_mtime) == 1_000_000_002


def test_a_large_directory_is_listed_whole_and_memory_stays_bounded(tmp_path):
    large = tmp_path / "large"
    large.mkdir()
    names = {f"{'n' * (number % 200)}-{number}" for number in range(3000)}
    for name in names:
        (large / name).touch()
    with ViewProc(tmp_path / "mount", crowded=400) as view:
        view.publish(("one", large))
        assert set(os.listdir(view.mount / "one")) == names
        until(lambda: view.ask()["nodes"] < 1500, "the kernel to forget")
        assert {entry.name for entry in os.scandir(view.mount / "one") if entry.stat().st_size == 0} == names


def test_a_link_that_leads_outside_stays_a_link(view, content, tmp_path):
    (tmp_path / "outside").write_text("outside")
    content.joinpath("escape").symlink_to("../outside")
    view.publish(("one", content))
    assert os.readlink(view.mount / "one" / "escape") == "../outside"
    assert not (view.mount / "one" / "escape").exists()  # the reader's kernel follows it, in the reader's world


def test_many_readers_at_once(view, tmp_path):
    tree = tmp_path / "tree"
    expected = {}
    for number in range(40):
        path = tree / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        expected[str(path.relative_to(tree))] = data = os.urandom(number * 4999)
        path.write_bytes(data)
    view.publish(*((f"s{number}", tree) for number in range(8)))

    def read(number: int) -> bool:
        top = view.mount / f"s{number}"
        return {name: path.read_bytes() for name, path in walk(top).items() if path.is_file()} == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, list(range(8)) * 3))
    assert view.ask()["opens"] == 8 * 3 * len(expected)


def test_a_killed_view_leaves_a_dead_mount_that_the_next_one_clears(tmp_path, content):
    mount = tmp_path / "mount"
    with ViewProc(mount) as first, contextlib.ExitStack() as stack:
        first.publish(("one", content))
        stack.enter_context(open(mount / "one" / "with"))
        first.kill()
        with pytest.raises(OSError) as refusal:
            os.listdir(mount)
        assert refusal.value.errno == errno.ENOTCONN
        assert mounted_at(mount).ours
        with ViewProc(mount) as second:
            second.publish(("one", content))
            assert (mount / "one" / "with").read_text() == "xattr"
            assert second.end() == 0
            assert mounted_at(mount) is None


def test_dead_mounts_on_top_of_each_other_are_all_taken_away(tmp_path):
    try:
        for _ in range(3):
            os.close(mount_fuse(tmp_path, "svcmgr:testing", 4096))
        assert detach(tmp_path) == 3
        assert mounted_at(tmp_path) is None
    finally:
        while mounted_at(tmp_path) is not None:
            subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize("how", [["umount"], ["umount", "-l"]])
def test_unmounted_by_somebody_else_it_comes_back(view, content, how):
    view.publish(("one", content))
    with contextlib.ExitStack() as stack:
        if "-l" in how:
            stack.enter_context(open(view.mount / "one" / "with"))
        subprocess.run([*how, view.mount], check=True)
        until(lambda: view.log().count("the view is mounted at") == 2, "a new mount")
    view.mounted()
    assert (view.mount / "one" / "with").read_text() == "xattr"


def test_it_ends_while_somebody_is_inside(view, content):
    view.publish(("one", content))
    with open(view.mount / "one" / "with") as held:
        assert view.end() == 0
        assert mounted_at(view.mount) is None
        held.close()


def test_what_cannot_be_mounted_on_is_said_and_kills_nothing(tmp_path):
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "mine").touch()
    with ViewProc(mount) as view:
        facts = view.ask(publish=[])
        assert facts["state"] == "unavailable"
        assert facts["reason"]
        assert os.listdir(mount) == ["mine"]
        assert view.end() == 0


def test_a_reader_that_is_killed_disturbs_no_other(view, content):
    view.publish(("one", content))
    for _ in range(20):
        reader = subprocess.Popen(["find", view.mount, "-ls"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        reader.send_signal(signal.SIGKILL)
        reader.wait()
    assert (view.mount / "one" / "with").read_text() == "xattr"
    assert view.ask()["state"] == "mounted"


def test_a_deep_tree_beyond_the_limit_of_one_path(view, content):
    here = os.open(content, os.O_RDONLY)
    depth = 30
    for _ in range(depth):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    view.publish(("one", content))
    here = os.open(view.mount / "one", os.O_RDONLY)
    for _ in range(depth):
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    assert os.listdir(here) == ["bottom"]
    os.close(here)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that any user can reach; those of pytest are for root alone."""
    with tempfile.TemporaryDirectory(prefix="svcmgr-view-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def fuse_for_all() -> Iterator[None]:
    """/dev/fuse as udev makes it; a minimal host may have it for root alone."""
    before = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)
    yield
    os.chmod("/dev/fuse", before)


def test_a_view_of_a_user_is_for_that_user(public, fuse_for_all):
    content = public / "content"
    content.mkdir()
    (content / "file").write_text("mine")
    (public / "mount").mkdir()
    os.chown(public / "mount", NOBODY, NOBODY)
    with ViewProc(public / "mount", user=NOBODY) as view:
        view.publish(("one", content))
        read = ["cat", public / "mount" / "one" / "file"]
        done = subprocess.run(read, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("mine", "")
        with pytest.raises(PermissionError):
            (public / "mount" / "one").stat()
        view.kill()
        assert mounted_at(view.mount).ours
        with ViewProc(public / "mount", user=NOBODY) as second:
            second.publish(("one", content))
            assert second.end() == 0
            assert mounted_at(view.mount) is None
