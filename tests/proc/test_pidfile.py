"""Pidfiles with true locks held by true processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from svcmgr.errors import PidfileHeld, PidfileUnusable, StorageFailed
from svcmgr.proc.pidfile import (
    UNNAMEABLE,
    PidfileLock,
    check_free,
    owner,
    read_pidfile,
    remove_pidfile,
    write_pidfile,
)

HOLD = """
import fcntl, struct, sys
f = open(sys.argv[1], "a+")
if sys.argv[2] == "record":
    fcntl.lockf(f, fcntl.LOCK_EX)
elif sys.argv[2] == "shared":
    fcntl.lockf(f, fcntl.LOCK_SH)
else:
    fcntl.fcntl(f, 37, struct.pack("@hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path, how: str = "record") -> Iterator[int]:
    """Another process holds a lock on ``path``; gives its pid."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.communicate()


def test_owner_is_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert owner(path) is None
    path.write_text(f"{os.getpid()}\n")
    assert owner(path) is None
    with held(path) as pid:
        assert owner(path) == pid
        assert owner(path) == pid
        with pytest.raises(PidfileHeld) as caught:
            check_free(path)
        assert caught.value.details["pid"] == pid
        assert caught.value.message.startswith("cannot take pidfile")
    assert owner(path) is None
    check_free(path)


def test_a_shared_lock_counts_and_an_open_file_lock_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with held(path, "shared") as pid:
        assert owner(path) == pid
    with held(path, "ofd"):
        assert owner(path) == UNNAMEABLE
        with pytest.raises(PidfileHeld):
            PidfileLock(path).acquire()


@pytest.mark.parametrize(
    ("content", "pid"),
    [
        (b"", None),
        (b"\n", None),
        (b"123", 123),
        (b"123\n", 123),
        (b"  123  \nmore\n", 123),
        (b"0\n", None),
        (b"-5\n", None),
        (b"+5\n", None),
        (b"4194304\n", 4194304),
        (b"4194305\n", None),
        (b"1" * 5000, None),
        (b"12three", None),
        (b"\xd9\xa1\xd9\xa2", None),
        (b"\xff\x00\x01", None),
        (b"0x10", None),
        (b"1_0", None),
    ],
)
def test_content(tmp_path: Path, content: bytes, pid: int | None) -> None:
    path = tmp_path / "pid"
    path.write_bytes(content)
    assert read_pidfile(path) == pid
    assert owner(path) is None


def test_what_cannot_be_a_pidfile(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/hostname")
    for name in ("dir", "fifo", "link"):
        path = tmp_path / name
        for ask in (owner, read_pidfile, check_free, lambda path: PidfileLock(path).acquire()):
            with pytest.raises(PidfileUnusable) as caught:
                ask(path)
            assert str(path) in caught.value.message
        assert not remove_pidfile(path, 1)
        assert os.path.lexists(path)
    with pytest.raises(PidfileUnusable):
        PidfileLock(tmp_path / "no/such/dir/pid").acquire()
    assert read_pidfile(tmp_path / "no/such/dir/pid") is None
    with pytest.raises(StorageFailed):
        write_pidfile(tmp_path / "no/such/dir/pid", 5)


def test_lock_of_our_own_survives_questions(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("garbage that is longer than a pid\n")
    with PidfileLock(path) as lock:
        lock.acquire()
        assert path.read_text() == f"{os.getpid()}\n"
        # path.read_text() has just opened and closed the file, which dropped the lock: take it again.
        lock.release()
        lock.acquire()
        assert owner(path) == read_pidfile(path) == os.getpid()
        assert asked_elsewhere(path) == os.getpid()
        with pytest.raises(PidfileHeld) as caught:
            PidfileLock(path).acquire()
        assert caught.value.details["pid"] == os.getpid()
        # None of these questions has cost us the lock.
        assert asked_elsewhere(path) == os.getpid()
    lock.release()
    assert asked_elsewhere(path) is None
    assert path.exists()


def asked_elsewhere(path: Path) -> int | None:
    """What another process finds: who holds ``path``."""
    script = (
        "import sys; from pathlib import Path; from svcmgr.proc.pidfile import owner; print(owner(Path(sys.argv[1])))"
    )
    here = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, cwd=here, check=True
    )
    return None if done.stdout == "None\n" else int(done.stdout)


def test_a_forked_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with PidfileLock(path):
        child = os.fork()
        if child == 0:
            os._exit(0 if owner(path) == os.getppid() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_lock_is_refused_while_another_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("7\n")
    with held(path) as pid:
        with pytest.raises(PidfileHeld) as caught:
            PidfileLock(path).acquire()
        assert caught.value.details["pid"] == pid
        assert path.read_text() == "7\n"
    with PidfileLock(path):
        assert owner(path) == os.getpid()


def test_a_pidfile_removed_between_open_and_lock_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pid"
    import svcmgr.proc.pidfile as module

    real, removed = module.fcntl.lockf, []

    def lockf(fd: int, how: int) -> None:
        if not removed:
            removed.append(path.unlink())
        real(fd, how)

    monkeypatch.setattr(module.fcntl, "lockf", lockf)
    with PidfileLock(path) as lock:
        assert removed
        assert path.exists()
        assert os.fstat(lock._fd or -1).st_ino == path.stat().st_ino


def test_removal_is_for_what_the_ended_process_left(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert not remove_pidfile(path, 5)
    write_pidfile(path, 5)
    assert path.read_text() == "5\n"
    assert not remove_pidfile(path, 6)
    with held(path):
        assert not remove_pidfile(path, 5)
        assert path.exists()
    assert remove_pidfile(path, 5)
    assert not path.exists()
