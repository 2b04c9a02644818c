"""Files written so that a reader sees the old content or the new, and a crash leaves one of the two.

The rule for a durable replace is write to a temporary in the same directory, fsync it, rename over the
target, fsync the directory (rename(2), fsync(2)); a full disk fails at the first step and leaves the old
file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from svcmgr.errors import BadInput, StorageFailed

#: What system calls say when a file system, or somebody's share of it, is full (write(2)).
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def fsync_dir(path: Path) -> None:
    """Make directory entries of ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomic_write(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace ``path`` with ``data``, whole or not at all.

    Args:
        mode: permission bits of the new file (the umask is not applied).
        durable: fsync file and directory; pass False for files that need not outlive the boot.

    Raises:
        StorageFailed: the file system refused; the old content, if any, is untouched. When only the last step failed,
            the new content is there, and may be lost with the power; the message says so.
    """
    state = "the old content is unchanged"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        state = "the new content is there, but may not survive a loss of power"
        if durable:
            fsync_dir(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageFailed(
            f"cannot write {path}: {error.strerror} (errno {error.errno}); {state}",
            path=str(path),
            errno=error.errno,
        ) from error


def write_all(fd: int, data: bytes) -> None:
    """write(2) until all of ``data`` is taken. Raises OSError as write(2) does."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_limited(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    The limit is checked while reading, so that a file growing under us, a device or a fifo cannot make
    us read without end.

    Raises:
        BadInput: not a regular file, or larger than ``limit``.
        OSError: as open(2) does (FileNotFoundError, PermissionError, ...).
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadInput(f"cannot read {path}: not a regular file", path=str(path))
        chunks = []
        left = limit + 1
        while left > 0 and (chunk := os.read(fd, min(left, 1 << 20))):
            chunks.append(chunk)
            left -= len(chunk)
    finally:
        os.close(fd)
    if left == 0:
        raise BadInput(f"cannot read {path}: larger than {limit} bytes", path=str(path), limit=limit)
    return b"".join(chunks)


def make_dir(path: Path, mode: int = 0o755) -> None:
    """Create ``path`` and its parents.

    Raises:
        StorageFailed: it cannot be made, or something that is not a directory is there.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(
            f"cannot create directory {path}: {error.strerror} (errno {error.errno})",
            path=str(path),
            errno=error.errno,
        ) from error
