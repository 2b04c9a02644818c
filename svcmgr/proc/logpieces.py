"""The files of rotated logs: ``NAME.1`` (newest), ``NAME.2`` ..., and ``.NAME.new.N`` while they are made."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from svcmgr.proc import filerange
from svcmgr.proc.logrecord import new_piece, piece

_COPY = 1 << 20


def copy(live: int, target: Path, offset: int, length: int, *, last: bool) -> None:
    """Make ``target`` from a range of the live file and see it on disk.

    Data is written out for each file; the journal, which holds what else belongs to them, once after the last.
    """
    status = os.fstat(live)
    # Made anew, never reused: who may write to the directory could have linked that name to any file.
    target.unlink(missing_ok=True)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with contextlib.suppress(PermissionError):
            os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, status.st_mode & 0o777)
        copy_range(live, fd, offset, length)
        filerange.flush(fd, 0)
        if last:
            os.fdatasync(fd)
    finally:
        os.close(fd)


def copy_range(source: int, target: int, offset: int, length: int) -> None:
    """Write ``length`` bytes at ``offset`` of ``source`` to ``target``, in the kernel where it can.

    Raises:
        OSError: as copy_file_range(2) does; ESTALE when the source ended early.
    """
    end = offset + length
    while offset < end:
        try:
            copied = os.copy_file_range(source, target, min(_COPY, end - offset), offset)
        except OSError as error:
            if error.errno not in filerange.UNSUPPORTED and error.errno != errno.EXDEV:
                raise
            copied = os.write(target, os.pread(source, min(_COPY, end - offset), offset))
        if copied == 0:
            raise OSError(errno.ESTALE, "the log became shorter while it was copied")
        offset += copied


def append_rest(live: int, target: Path, offset: int) -> int:
    """Append to ``target`` what the live file has from ``offset`` on; returns how much."""
    fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    start = offset
    try:
        while data := os.pread(live, _COPY, offset):
            offset += os.write(fd, data)
    finally:
        os.close(fd)
    return offset - start


def _gap(path: Path, count: int) -> int:
    """The lowest index from which ``count`` pieces are missing: below it are those that must still move."""
    index, missing = 1, 0
    while missing < count:
        missing = 0 if piece(path, index).exists() else missing + 1
        index += 1
    return index - count


def prune(path: Path, keep: int) -> int:
    """Remove pieces beyond ``keep``; returns how many bytes."""
    index, dropped = keep + 1, 0
    while size := _remove(piece(path, index)):
        dropped += size
        index += 1
    return dropped


def _remove(path: Path) -> int:
    """Unlink; returns the size, 0 when it was not there."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size


def remove_new(path: Path, count: int) -> None:
    for index in range(1, count + 1):
        with contextlib.suppress(OSError):
            new_piece(path, index).unlink()


def shift(path: Path, count: int, keep: int, checkpoint: Callable[[str], None]) -> int:
    """Rename ``count`` new pieces into place, after making room below the old ones; returns bytes dropped.

    Can be repeated after a kill at any instant, because the order tells how far it came: old pieces move from the
    highest on, then the new ones from the highest on. So while the highest new one is there, old ones may have to
    move; when the lowest new one is gone, all is done.
    """
    dropped = prune(path, keep)
    if not new_piece(path, 1).exists():
        return dropped
    if new_piece(path, count).exists():
        dropped += _make_room(path, count, keep, checkpoint)
    for index in range(count, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            new_piece(path, index).rename(piece(path, index))
        checkpoint("renaming")
    return dropped


def _make_room(path: Path, count: int, keep: int, checkpoint: Callable[[str], None]) -> int:
    dropped = 0
    for index in range(_gap(path, count) - 1, 0, -1):
        old = piece(path, index)
        if index + count > keep:
            dropped += _remove(old)
        elif old.exists():
            old.rename(piece(path, index + count))
        checkpoint("shifting")
    return dropped
