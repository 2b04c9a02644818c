"""The content of one file into another: by sharing its blocks, or by copying what is not a hole.

Copying is sendfile(2): the data stays in the kernel, and unlike with copy_file_range(2) it is truly written a second
time on file systems that could share it, which is what somebody who chose a copy wants.
"""

from __future__ import annotations

import errno
import fcntl
import os

from svcmgr.services.snapd.job import Job

#: _IOW(0x94, 9, int) of linux/fs.h; ioctl_ficlonerange(2).
_FICLONE = 0x40049409
#: The answers of a file system or a pair of files that cannot share; ioctl_ficlonerange(2), "ERRORS".
_CANNOT_SHARE = frozenset(
    {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ETXTBSY, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
)
#: Bytes copied between two looks at the job.
PIECE = 4 << 20


def share(source: int, target: int, size: int, job: Job) -> None:
    """Let ``target`` share the blocks of ``source``; one moment of it. Where that cannot be, copy."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        copy(source, target, size, job)
    else:
        job.shared_file(size)


def copy(source: int, target: int, size: int, job: Job) -> None:
    """Copy at most the first ``size`` bytes; holes stay holes (lseek(2), SEEK_DATA).

    Raises:
        OSError, GivenUp, LowSpace: part of it is there.
    """
    status = os.fstat(source)
    if status.st_blocks * 512 >= size:
        _copy_range(source, target, 0, size, job)
    else:
        _copy_around_holes(source, target, size, job)
    if os.fstat(target).st_size < size <= os.fstat(source).st_size:
        os.ftruncate(target, size)  # it ends with a hole


def _copy_around_holes(source: int, target: int, size: int, job: Job) -> None:
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here
                return
            raise
        position = min(os.lseek(source, start, os.SEEK_HOLE), size)
        _copy_range(source, target, start, position, job)


def _copy_range(source: int, target: int, start: int, end: int, job: Job) -> None:
    if start:
        os.lseek(target, start, os.SEEK_SET)
    while start < end:
        sent = os.sendfile(target, source, start, min(PIECE, end - start))
        if sent == 0:  # cut off meanwhile
            return
        start += sent
        job.copied_piece(sent)
        if end - start:
            job.check()


def can_share(directory: int) -> bool:
    """Whether files of the open ``directory`` can share blocks, found by doing it to a small one. Raises OSError."""
    names = (f"probe-{os.getpid()}-a", f"probe-{os.getpid()}-b")
    fds: list[int] = []
    try:
        for name in names:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fds.append(os.open(name, flags, 0o600, dir_fd=directory))
            os.unlink(name, dir_fd=directory)
        os.write(fds[0], b"x" * 4096)
        fcntl.ioctl(fds[1], _FICLONE, fds[0])
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        return False
    finally:
        for fd in fds:
            os.close(fd)
    return True
