"""Where control groups are looked for, and what is written into their files, on made-up trees."""

import errno
import os
from pathlib import Path

import pytest

from svcmgr.errors import NotPermitted, StorageFailed
from svcmgr.proc import cgroup
from svcmgr.proc.cgroup import Group, find_base, leftovers, service_path

MOUNT = "35 24 0:30 {root} {point} rw,nosuid shared:9 - {kind} cgroup rw,nsdelegate\n"


class Tree:
    """Stand-ins for mountinfo, /proc/self/cgroup and the mount itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mounts = directory / "mountinfo"
        self.membership = directory / "membership"
        self.mounts.write_text("22 1 259:0 / / rw - ext4 /dev/root rw\n")

    def mount(self, name: str, root: str = "/", kind: str = "cgroup2") -> Path:
        point = self.directory / name
        point.mkdir()
        escaped = str(point).replace(" ", "\\040")
        with self.mounts.open("a") as file:
            file.write(MOUNT.format(root=root, point=escaped, kind=kind))
        return point

    def group(self, path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").write_text("")
        return path

    def find(self, run: str = "/run/svcmgr") -> Path | None:
        return find_base(Path(run), self.mounts, self.membership)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory made in a control group has the files of one."""
    mkdir = Path.mkdir

    def with_files(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        mkdir(self, mode, parents, exist_ok)
        if self.name.startswith(("svcmgr-", "svc-")):
            for name in ("cgroup.procs", "cgroup.kill", "cgroup.events"):
                (self / name).touch()

    monkeypatch.setattr(Path, "mkdir", with_files)


@pytest.mark.parametrize(
    ("name", "root", "own", "expected"),
    [
        ("cgroup", "/", "0::/\n", ""),
        ("unified", "/", "9:name=systemd:/x\n0::/user.slice/session\n", "user.slice/session"),
        # A container that sees a part of the tree: both paths begin at the host's root.
        ("cgroup", "/docker/abc", "0::/docker/abc/worker\n", "worker"),
        ("with space", "/", "0::/a b\n", "a b"),
    ],
)
def test_the_base_is_below_our_own_group(tree: Tree, name: str, root: str, own: str, expected: str) -> None:
    point = tree.mount(name, root)
    tree.membership.write_text(own)
    ours = tree.group(point / expected)
    base = tree.find()
    assert base is not None
    assert base.parent == ours
    assert base.name.startswith("svcmgr-")
    assert tree.find() == base
    other = tree.find("/run/other")
    assert other is not None
    assert other != base


@pytest.mark.parametrize("own", ["", "3:cpu:/x\n", "0::/../elsewhere\n", "0::/not/there\n"])
def test_none_when_our_group_is_not_seen(tree: Tree, own: str) -> None:
    tree.group(tree.mount("cgroup"))
    tree.membership.write_text(own)
    assert tree.find() is None


def test_none_without_cgroup_v2(tree: Tree) -> None:
    tree.group(tree.mount("cgroup", kind="cgroup"))
    tree.membership.write_text("0::/\n")
    assert tree.find() is None
    tree.mounts.unlink()
    assert tree.find() is None
    tree.membership.unlink()
    assert tree.find() is None


def test_none_outside_our_part_of_the_tree(tree: Tree) -> None:
    tree.group(tree.mount("cgroup", root="/docker/abc"))
    tree.membership.write_text("0::/elsewhere\n")
    assert tree.find() is None


@pytest.mark.parametrize("refused", ["cgroup.procs", ""])
def test_none_when_not_ours_to_write(tree: Tree, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    point = tree.group(tree.mount("cgroup"))
    tree.membership.write_text("0::/\n")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != point / refused)
    assert tree.find() is None


def test_none_when_the_kernel_has_no_kill(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    point = tree.group(tree.mount("cgroup"))
    tree.membership.write_text("0::/\n")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: self.name != "cgroup.kill" and exists(self))
    monkeypatch.setattr(Path, "rmdir", lambda self: [file.unlink() for file in self.iterdir()] and os.rmdir(self))
    assert tree.find() is None
    assert [path.name for path in point.iterdir()] == ["cgroup.procs"]


def test_the_second_mount_serves_when_the_first_does_not(tree: Tree) -> None:
    tree.mount("first")
    second = tree.group(tree.mount("second"))
    tree.membership.write_text("0::/\n")
    base = tree.find()
    assert base is not None
    assert base.parent == second


def test_names_cannot_meet_those_of_the_kernel(tmp_path: Path) -> None:
    assert service_path(tmp_path, "cgroup.procs").name == "svc-cgroup.procs"
    for key in ("b", "a@1"):
        service_path(tmp_path, key).mkdir()
    (tmp_path / "memory").mkdir()
    assert [group.path.name for group in leftovers(tmp_path)] == ["svc-a@1", "svc-b"]
    assert list(leftovers(tmp_path / "none")) == []


def test_what_is_written_and_read(tmp_path: Path) -> None:
    group = Group(tmp_path / "svc-web")
    assert (group.populated(), group.pids()) == (False, [])
    group.kill()
    group.remove()
    group.create()
    group.create()
    group.attach(42)
    assert (group.path / "cgroup.procs").read_text() == "42"
    group.kill()
    assert (group.path / "cgroup.kill").read_text() == "1"
    below = group.path / "worker"
    below.mkdir()
    (below / "cgroup.procs").write_text("7\n8\n")
    assert sorted(group.pids()) == [7, 8, 42]
    (group.path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert group.populated()
    (group.path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert not group.populated()
    assert "svc-web" in repr(group)


def test_attach_makes_the_group(tmp_path: Path) -> None:
    group = Group(tmp_path / "svcmgr-x" / "svc-web")
    group.attach(5)
    assert (group.path / "cgroup.procs").read_text() == "5"


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EACCES, NotPermitted), (errno.EPERM, NotPermitted), (errno.EBUSY, StorageFailed)]
)
def test_refusals_say_what_could_not_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    group = Group(tmp_path / "svc-web")
    group.create()
    monkeypatch.setattr(cgroup, "_write", refuse)
    with pytest.raises(expected, match=r"^cannot move pid 5 into control group .*svc-web"):
        group.attach(5)
    with pytest.raises(expected, match=r"^cannot kill control group .*svc-web"):
        group.kill()
    monkeypatch.setattr(Path, "rmdir", refuse)
    with pytest.raises(expected, match=r"^cannot remove control group .*svc-web"):
        group.remove()


@pytest.mark.parametrize("number", [errno.ESRCH, errno.ENODEV, errno.ENOENT])
def test_what_has_ended_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def gone(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    group = Group(tmp_path / "svc-web")
    monkeypatch.setattr(cgroup, "_write", gone)
    if number == errno.ESRCH:
        group.attach(5)
    else:
        group.kill()
