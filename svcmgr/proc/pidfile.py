"""Pidfiles: who holds the lock, what is written, and a lock of one's own.

Theory of operation. The truth about a pidfile is the POSIX record lock on it (fcntl_locking(2)): the daemon
takes it when it starts, keeps the descriptor for life, and the kernel drops it at any kind of death. F_GETLK
names the owner, so no number has to be believed that is merely written there. What is written may be stale,
empty or garbage and is then no obstacle.

Record locks have one trap: a process loses its lock when it closes *any* descriptor of that file. So a daemon
never opens its own pidfile a second time, and :func:`owner` refuses to open one that this very process has
locked: it knows the answer already.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from svcmgr.errors import PidfileHeld, PidfileUnusable, StorageFailed
from svcmgr.fsutil import write_all

#: An owner whom we cannot name: it lives in another pid namespace, or the lock belongs to a description.
UNNAMEABLE = 0

#: struct flock: type, whence, start, len, pid; padded to the largest layout in use.
_FLOCK = struct.Struct("@hhqqi4x")
#: No pid is longer: /proc/sys/kernel/pid_max is at most 2**22 (proc_sys_kernel(5)).
_PID_MAX = 1 << 22

# Locked by this process, as (device, inode, our pid). Process-wide because the locks themselves are; with the
# pid, because a forked child inherits this set but no lock.
_ours: set[tuple[int, int, int]] = set()


def _unusable(path: Path, error: OSError) -> PidfileUnusable:
    hint = {
        errno.EISDIR: "; remove the directory",
        errno.ELOOP: "; symbolic links are not followed here",
        errno.ENXIO: "; it is not a file",
    }.get(error.errno or 0, "")
    return PidfileUnusable(
        f"cannot use pidfile {path}: {error.strerror} (errno {error.errno}){hint}", path=str(path), errno=error.errno
    )


def _open(path: Path, flags: int, mode: int = 0) -> int:
    """Open a regular file, without following a link at its end. Raises PidfileUnusable, FileNotFoundError."""
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, mode)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise PidfileUnusable(f"cannot use pidfile {path}: it is not a regular file; remove it", path=str(path))
    return fd


def _key(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, os.getpid()


def _is_ours(path: Path) -> bool:
    if not _ours:
        return False
    try:
        return _key(os.stat(path)) in _ours
    except OSError:
        return False  # whoever opens it next says what is wrong


def owner(path: Path) -> int | None:
    """The pid of the process that holds a lock on ``path``; None when nobody does or the file is absent.

    Returns :data:`UNNAMEABLE` for a holder that cannot be named here.

    Raises:
        PidfileUnusable: not a regular file, or not readable.
    """
    return _ask(path, _lock_owner)


def _ask(path: Path, question: Callable[[int], int | None]) -> int | None:
    """``question`` put to a descriptor of ``path``; our own pid when the file is locked by us, None when absent."""
    if _is_ours(path):
        return os.getpid()
    try:
        fd = _open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return question(fd)
    finally:
        os.close(fd)


def _lock_owner(fd: int) -> int | None:
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else max(pid, UNNAMEABLE)


def read_pidfile(path: Path) -> int | None:
    """The number written in ``path``; None when absent, empty or garbage. A number is a hint, never a proof.

    Raises:
        PidfileUnusable: not a regular file, or not readable.
    """
    return _ask(path, _number)


def _number(fd: int) -> int | None:
    line = os.read(fd, 64).split(b"\n", 1)[0].strip()
    number = int(line) if line.isdigit() and len(line) <= 8 else 0
    return number if 0 < number <= _PID_MAX else None


def write_pidfile(path: Path, pid: int) -> None:
    """Write ``pid`` for a program that does not do so itself.

    In place: nobody trusts the number (:func:`read_pidfile`), so a reader that sees an instant of it loses nothing, and
    a start is spared the creation of a second file.

    Raises:
        StorageFailed: the file system refused.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            line = b"%d\n" % pid
            os.pwrite(fd, line, 0)
            os.ftruncate(fd, len(line))
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageFailed(
            f"cannot write pidfile {path}: {error.strerror} (errno {error.errno})", path=str(path), errno=error.errno
        ) from error


def check_free(path: Path) -> None:
    """Make sure that a daemon could lock ``path`` now.

    Raises:
        PidfileHeld: another living process holds it.
        PidfileUnusable: it cannot be a pidfile.
    """
    holder = owner(path)
    if holder is not None:
        raise _held(path, holder)


def remove_pidfile(path: Path, pid: int) -> bool:
    """Remove what the ended process ``pid`` left; only for who has seen its exit.

    A pidfile that is locked by somebody, or that names another process, stays.

    Returns:
        Whether it was removed.
    """
    try:
        if read_pidfile(path) != pid or owner(path) is not None:
            return False
        path.unlink()
    except (PidfileUnusable, FileNotFoundError):
        return False
    return True


def _held(path: Path, pid: int) -> PidfileHeld:
    who = f"process {pid}" if pid != UNNAMEABLE else "a process of another pid namespace"
    return PidfileHeld(
        f"cannot take pidfile {path}: {who} holds its lock; stop that process first", path=str(path), pid=pid
    )


class PidfileLock:
    """A daemon's hold on its pidfile: take it after the last fork, keep it for life.

    Record locks are not inherited over fork(2). The file stays when the lock is released: who removes it
    cannot know whether somebody else has locked it meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._key: tuple[int, int, int] | None = None

    def acquire(self) -> None:
        """Lock, then write our pid. Does nothing when held already.

        Raises:
            PidfileHeld: another process holds it; ``details['pid']`` tells who.
            PidfileUnusable: it cannot be a pidfile.
        """
        while self._fd is None:
            fd = self._locked()
            # Who held the lock before may have removed the file between our open and our lock.
            if fd is not None and self._still_named(fd):
                self._key = _key(os.fstat(fd))
                self._fd = fd
                _ours.add(self._key)
                os.ftruncate(fd, 0)
                write_all(fd, b"%d\n" % os.getpid())
            elif fd is not None:
                os.close(fd)

    def _locked(self) -> int | None:
        """A descriptor with the lock; None when the holder let go while we asked who it is."""
        if _is_ours(self.path):
            raise _held(self.path, os.getpid())
        try:
            fd = _open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _lock_owner(fd)
            os.close(fd)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise _unusable(self.path, error) from error
            if holder is None:
                return None
            raise _held(self.path, holder) from error
        return fd

    def _still_named(self, fd: int) -> bool:
        try:
            return _key(os.stat(self.path)) == _key(os.fstat(fd))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go of the lock. Idempotent."""
        if self._fd is not None:
            if self._key is not None:
                _ours.discard(self._key)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> PidfileLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.release()
