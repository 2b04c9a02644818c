"""Exports as files: written whole or not at all, for their owner only, and read with limits."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from svcmgr.errors import AlreadyExists, BadInput, StorageFailed
from svcmgr.fsutil import NO_SPACE, fsync_dir
from svcmgr.services.mgmtd.store.dump import LINE_MAX
from svcmgr.services.mgmtd.store.faults import StoreFull

_FULL = NO_SPACE | {errno.EFBIG}
_BUFFER = 1 << 20


def write(path: Path, lines: Iterable[bytes]) -> int:
    """Write ``lines`` to the new file ``path`` and to the disk; its size in bytes.

    Raises:
        AlreadyExists: there is something of that name, which stays as it is.
        StoreFull, StorageFailed: it cannot be written; nothing of it is left. What ``lines`` raises, likewise.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise AlreadyExists(f"cannot export to {path}: it exists; give a new name", path=str(path)) from error
    except OSError as error:
        raise _failed(path, error) from error
    try:
        with open(fd, "wb", buffering=_BUFFER) as file:
            file.writelines(lines)
            file.flush()
            os.fsync(fd)
            size = file.tell()
        fsync_dir(path.parent)
        return size
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            raise _failed(path, error) from error
        raise


def _failed(path: Path, error: OSError) -> StorageFailed:
    text = f"cannot export to {path}: {error.strerror} (errno {error.errno})"
    return StoreFull(text, path=str(path)) if error.errno in _FULL else StorageFailed(text, path=str(path))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Iterator[bytes]]:
    """The lines of the export ``path`` as :func:`dump.read` takes them, a longer one as its first LINE_MAX + 1 bytes.

    Raises:
        BadInput: there is no such file. StorageFailed: it cannot be read, also while reading.
    """
    try:
        file = _open(path)
    except FileNotFoundError as error:
        raise BadInput(f"cannot import {path}: there is no such file", path=str(path)) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield _lines(path, file)


def _open(path: Path) -> BinaryIO:
    return open(path, "rb", buffering=_BUFFER, opener=_without_waiting)


def _without_waiting(path: str, flags: int) -> int:
    """A fifo would not even open before somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    try:
        while line := file.readline(LINE_MAX + 1):
            yield line
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot import {path}: {error.strerror} (errno {error.errno})", path=str(path))
