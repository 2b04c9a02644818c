"""The directory in a brick that is ours: ``BRICK/.svcmgr``, and ``snapshots`` in it.

The brick belongs to users. So everything is opened from one descriptor of the brick downwards and no symlink is
followed; what is called ``.svcmgr`` but is not a directory of ours on the brick's file system is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from svcmgr.errors import NotPermitted, StorageFailed
from svcmgr.services.snapd.walk import open_dir
from svcmgr.volume.snapshot import RESERVED_DIR

SNAPSHOTS = "snapshots"
_INHERITED = ("system.posix_acl_default", "system.posix_acl_access")


@attrs.frozen
class Brick:
    """An open brick: descriptors of its top, of ``.svcmgr`` and of ``.svcmgr/snapshots``."""

    path: Path
    fd: int
    reserved: int
    snapshots: int

    def __str__(self) -> str:
        return str(self.path)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Brick]:
    """The brick with its reserved directories, which are made where they are missing.

    Raises:
        StorageFailed: the brick is not there, or cannot be written.
        NotPermitted: ``.svcmgr`` is not a directory of ours.
    """
    with contextlib.ExitStack() as stack:
        fd = _open_top(path, stack)
        reserved = _ours(path, fd, RESERVED_DIR, stack)
        snapshots = _ours(path / RESERVED_DIR, reserved, SNAPSHOTS, stack)
        yield Brick(path, fd, reserved, snapshots)


@contextlib.contextmanager
def opened_all(paths: Sequence[Path]) -> Iterator[tuple[Brick, ...]]:
    """All of them, or none. Raises as :func:`opened`."""
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(opened(path)) for path in paths)


def is_used(path: Path) -> bool:
    """Whether the brick is there and has something called ``.svcmgr``."""
    try:
        os.lstat(path / RESERVED_DIR)
    except OSError:
        return False
    return True


def _open_top(path: Path, stack: contextlib.ExitStack) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageFailed(
            f"cannot use brick {path}: {error.strerror} (errno {error.errno}); is its file system mounted?",
            path=str(path),
            errno=error.errno,
        ) from error
    stack.callback(os.close, fd)
    return fd


def _ours(where: Path, parent: int, name: str, stack: contextlib.ExitStack) -> int:
    try:
        made = _make(parent, name)
        fd = open_dir(name, parent)
    except OSError as error:
        raise _refusal(where / name, f"{error.strerror} (errno {error.errno})") from error
    stack.callback(os.close, fd)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        raise _refusal(where / name, f"it belongs to uid {status.st_uid}")
    if status.st_dev != os.fstat(parent).st_dev:
        raise _refusal(where / name, "another file system is mounted there")
    if made or stat.S_IMODE(status.st_mode) != 0o700:
        _close_to_others(fd)
    return fd


def _make(parent: int, name: str) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _close_to_others(fd: int) -> None:
    """Mode 0700, and no access list that a default one of the brick's top left here."""
    for name in set(os.listxattr(fd)).intersection(_INHERITED):
        os.removexattr(fd, name)
    os.fchmod(fd, 0o700)


def _refusal(path: Path, why: str) -> StorageFailed | NotPermitted:
    kind = StorageFailed if "errno" in why and "symbolic" not in why and "Not a directory" not in why else NotPermitted
    return kind(
        f"cannot keep snapshots in {path}: {why}; it must be a directory of uid {os.geteuid()} on the brick's own "
        "file system, move away what is there",
        path=str(path),
    )
