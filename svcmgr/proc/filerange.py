"""Byte ranges of files: the parts of fallocate(2) and sync_file_range(2) that the os module does not offer.

``collapse`` takes a range out of a file and moves what follows down, without copying; offset and length must
be multiples of the file system's block, and the range must end before the end of the file. ext4 and xfs have
it, others answer EOPNOTSUPP. ``punch`` turns a range into a hole and leaves the size alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# linux/falloc.h
_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_COLLAPSE_RANGE = 0x08
# sync_file_range(2): wait for writes under way, start the rest, wait for those
_WAIT_WRITE_WAIT = 1 | 2 | 4

#: What a file system says when it does not have an operation (EINVAL: blocks larger than it told us).
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

#: linux/magic.h
_EXT4_MAGIC = 0xEF53

_libc = ctypes.CDLL(None, use_errno=True)
# Where off_t may be 32 bits the 64-bit entry has its own name.
_fallocate = getattr(_libc, "fallocate64", None) or _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_uint]


def punch(fd: int, offset: int, length: int) -> None:
    """Free ``length`` bytes at ``offset``; they read as zeros. Raises OSError as fallocate(2) does."""
    _check(_fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length))


def collapse(fd: int, offset: int, length: int) -> None:
    """Remove ``length`` bytes at ``offset`` from the file. Raises OSError as fallocate(2) does."""
    _check(_fallocate(fd, _COLLAPSE_RANGE, offset, length))


def flush(fd: int, offset: int, length: int = 0) -> None:
    """Write dirty pages of the range (0: to the end of file) and wait for them. Metadata stays as it is.

    Unlike fdatasync(2) this forces no journal commit, so other writers of the file system are not held up. Where the
    kernel does not have it, fdatasync it is. Raises OSError: the data could not be written.
    """
    try:
        _check(_sync_file_range(fd, offset, length, _WAIT_WRITE_WAIT))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        os.fdatasync(fd)


def drops_head_unwritten(fd: int) -> bool:
    """Whether :func:`collapse` at offset 0 throws dirty pages of the range away instead of writing them first.

    ext4 does (linux: fs/ext4/extents.c, ext4_collapse_range), xfs does not (linux: fs/xfs/xfs_bmap_util.c,
    xfs_prepare_shift).
    """
    status = ctypes.create_string_buffer(512)  # struct statfs, which begins with f_type
    _check(_libc.fstatfs(fd, status))
    return ctypes.c_long.from_buffer(status).value == _EXT4_MAGIC


def can_collapse(directory: Path) -> bool:
    """Whether files of ``directory`` can be collapsed, found by doing it to a small one.

    Raises:
        OSError: the trial file cannot be written.
    """
    trial = directory / f".collapse.{os.getpid()}.tmp"
    fd = os.open(trial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        block = os.fstatvfs(fd).f_bsize
        os.ftruncate(fd, 2 * block)
        os.pwrite(fd, b"x", 2 * block - 1)
        punch(fd, 0, block)
        collapse(fd, 0, block)
        return os.fstat(fd).st_size == block
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    finally:
        os.close(fd)
        trial.unlink(missing_ok=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
