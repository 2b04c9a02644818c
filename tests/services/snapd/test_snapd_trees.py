"""Copying and erasing trees, on the plain file system: hostile ones, deep ones, changing ones."""

import os
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmgr.errors import BadInput, LowSpace
from svcmgr.services.snapd import filedata
from svcmgr.services.snapd.erase import erase
from svcmgr.services.snapd.job import NOTES_MAX, GivenUp, Guard, Job
from svcmgr.services.snapd.treecopy import TreeCopy
from svcmgr.services.snapd.walk import Border, descend, foreign_below, open_dir, parts_of
from svcmgr.volume import Free


def opened(path):
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def copied(source, target, job=None, move=filedata.copy):
    """Copy a tree into a new directory; the job."""
    job = job or Job()
    target.mkdir()
    fds = [opened(source), opened(target)]
    try:
        TreeCopy(move, job).tree(*fds)
    finally:
        for fd in fds:
            os.close(fd)
    return job


def erased(parent, name, job=None):
    fd = opened(parent)
    try:
        erase(fd, name, job or Job())
    finally:
        os.close(fd)


def deep(top, depth):
    """Directories inside each other, made with descriptors: the path is too long for one call."""
    fd = opened(top)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = open_dir("d", fd)
        os.close(fd)
        fd = below
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def depth_of(top):
    fd, depth = opened(top), 0
    while "d" in os.listdir(fd):
        below = open_dir("d", fd)
        os.close(fd)
        fd, depth = below, depth + 1
    os.close(fd)
    return depth


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.mkdir()
    return path


def test_a_directory_that_becomes_a_symlink_leads_nowhere(source, tmp_path):
    """The swap is made again and again while the tree is copied; nothing of the other side ever arrives."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    for number in range(50):
        (source / f"d{number:02}").mkdir()
        (source / f"d{number:02}" / "own").write_text("own")
    end = threading.Event()

    def swap():
        while not end.is_set():
            for number in range(50):
                path = source / f"d{number:02}"
                path.rename(source / "aside")
                path.symlink_to(secret)
                path.unlink()
                (source / "aside").rename(path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(20):
            copied(source, tmp_path / f"target{number}")
    finally:
        end.set()
        thread.join()
    found = [at for top in tmp_path.glob("target*") for at, _, names in os.walk(top) if "key" in names]
    assert found == []


def test_hard_links_stay_inside(source, tmp_path):
    (source / "a").write_text("x")
    (source / "sub").mkdir()
    os.link(source / "a", source / "sub" / "b")
    os.link(source / "a", tmp_path / "outside")
    os.symlink("nowhere", source / "link")
    os.link(source / "link", source / "sub" / "link", follow_symlinks=False)
    copied(source, tmp_path / "t")
    twins = [os.lstat(tmp_path / "t" / name) for name in ("a", "sub/b")]
    assert twins[0].st_ino == twins[1].st_ino
    assert twins[0].st_nlink == 2
    assert os.lstat(tmp_path / "t" / "link").st_ino == os.lstat(tmp_path / "t" / "sub" / "link").st_ino


def test_a_tree_too_deep_is_cut_and_noted(source, tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    try:
        deep(source, 1200)
        job = copied(source, tmp_path / "t")
        assert depth_of(tmp_path / "t") == 1000
        assert len(job.notes) == 1
        fd = opened(source)
        assert foreign_below(fd, 0, lambda: None) == ""
        os.close(fd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = len(os.listdir("/proc/self/fd"))
    for name in ("t", "source"):
        erased(tmp_path, name)
        assert not (tmp_path / name).exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_erasing_needs_few_descriptors(source, tmp_path):
    import resource

    deep(source, 2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 200, hard))
    try:
        erased(tmp_path, "source")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not source.exists()


def test_erasing_nothing_and_a_link_and_not_what_it_leads_to(source, tmp_path):
    (source / "file").write_text("x")
    os.symlink(source, tmp_path / "link")
    erased(tmp_path, "link")
    erased(tmp_path, "link")
    assert (source / "file").exists()


def test_sockets_are_noted_and_notes_are_bounded(source, tmp_path):
    for number in range(NOTES_MAX + 20):
        os.mknod(source / f"s{number}", stat.S_IFSOCK | 0o600)
    job = copied(source, tmp_path / "t")
    assert len(job.notes) == NOTES_MAX + 1
    assert os.listdir(tmp_path / "t") == []
    assert job.files == 0


def test_a_job_that_gives_up_stops_between_pieces(source, tmp_path):
    (source / "big").write_bytes(b"x" * (3 * filedata.PIECE))
    job = Job()

    class Stops:
        def spent(self, size):
            job.give_up()

    job.guard = Stops()
    with pytest.raises(GivenUp):
        copied(source, tmp_path / "t", job)
    assert job.copied == filedata.PIECE
    assert os.listdir(tmp_path / "t") == []


def test_the_guard_looks_while_files_are_copied(source, tmp_path):
    (source / "big").write_bytes(b"x" * (80 << 20))
    fd = opened(tmp_path)
    job = Job()
    job.guard = Guard(Free(bytes=1 << 62), fd, "here")
    with pytest.raises(LowSpace):
        copied(source, tmp_path / "t", job)
    os.close(fd)
    assert job.copied < 80 << 20


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=6), st.integers(0, 48))
def test_content_with_holes_is_the_same(tmp_path_factory, extents, tail):
    block = 4096
    where = tmp_path_factory.mktemp("holes")
    with open(where / "a", "wb") as file:
        for start, length in extents:
            file.seek(start * block)
            file.write(os.urandom(length * block - 7))
        end = max(file.seek(0, os.SEEK_END), tail * block)
        file.truncate(end)
    with open(where / "a", "rb") as one, open(where / "b", "wb") as other:
        filedata.copy(one.fileno(), other.fileno(), end, Job())
    assert (where / "b").read_bytes() == (where / "a").read_bytes()
    assert os.stat(where / "b").st_blocks <= os.stat(where / "a").st_blocks + 8


@pytest.mark.parametrize("path", ["..", "a/..", "./a", "/a", "a//b", "a/./b", "a\0b", ".svcmgr", ".svcmgr/x", "//"])
def test_paths_that_leave_are_refused(path):
    with pytest.raises(BadInput):
        parts_of(path)


@pytest.mark.parametrize(
    ("path", "parts"), [("", ()), ("/", ()), ("a", ("a",)), ("a/b/", ("a", "b")), ("a/.svcmgr", ("a", ".svcmgr"))]
)
def test_paths_that_stay(path, parts):
    assert parts_of(path) == parts


def test_descend_follows_no_link(source):
    (source / "a" / "b").mkdir(parents=True)
    os.symlink("a", source / "link")
    fd = opened(source)
    os.close(descend(fd, ("a", "b"), "it"))
    for names in (("link",), ("link", "b"), ("a", "c"), ("a", "b", "c")):
        with pytest.raises(BadInput):
            descend(fd, names, "it")
    assert Border.around(fd).reserved is None
    os.close(fd)
