"""Walking a tree that somebody else changes at the same time.

Every step opens one name in an open directory and follows no symlink (openat(2), O_NOFOLLOW), so that a directory that
is swapped for a symlink at the worst moment leads nowhere. A *border* says where the walk ends: at other file systems,
at other mounts of the same one, and at the directory where snapshots themselves are kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import attrs

from svcmgr.errors import BadInput
from svcmgr.volume.snapshot import RESERVED_DIR

#: Directories inside each other that are followed. The kernel's PATH_MAX lets programs come to about 2,000.
DEPTH_MAX = 1000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_dir(name: str, parent: int) -> int:
    """A descriptor of the directory ``name`` in ``parent``. Raises OSError; NotADirectoryError for a symlink."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def mount_id(fd: int) -> int:
    """Which mount ``fd`` was opened through (proc_pid_fdinfo(5)); -1 where /proc does not tell."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            for line in file:
                if line.startswith(b"mnt_id:"):
                    return int(line[7:])
    except OSError:
        return -1
    return -1


@attrs.frozen
class Border:
    """The end of a walk that began at one directory."""

    device: int
    mount: int
    reserved: tuple[int, int] | None

    @classmethod
    def around(cls, top: int) -> Border:
        """Of the tree at ``top``."""
        try:
            status = os.stat(RESERVED_DIR, dir_fd=top, follow_symlinks=False)
            reserved = (status.st_dev, status.st_ino)
        except OSError:
            reserved = None
        return cls(os.fstat(top).st_dev, mount_id(top), reserved)

    def stops(self, fd: int, status: os.stat_result) -> str:
        """Why the walk may not enter this directory; "" if it may."""
        if status.st_dev != self.device or mount_id(fd) != self.mount:
            return "another file system, mount or subvolume"
        if (status.st_dev, status.st_ino) == self.reserved:
            return "the snapshots themselves"
        return ""


def parts_of(path: str) -> tuple[str, ...]:
    """The names in a path inside a volume; none for "" and "/".

    Raises:
        BadInput: absolute, with "." or "..", with NUL, or through RESERVED_DIR.
    """
    if path in ("", "/"):
        return ()
    names = tuple(path.rstrip("/").split("/"))
    if path.startswith("/"):
        raise BadInput(f"cannot use path {path!r}: it must be relative to the top of the volume", path=path)
    if {"", ".", ".."} & set(names) or "\0" in path:
        raise BadInput(f"cannot use path {path!r}: it must name a file below the top, without '.' and '..'", path=path)
    if names[0] == RESERVED_DIR:
        raise BadInput(f"cannot use path {path!r}: {RESERVED_DIR} holds the snapshots themselves", path=path)
    return names


def descend(top: int, names: Sequence[str], where: str) -> int:
    """A descriptor of the directory that ``names`` lead to from ``top``; the caller closes it.

    Raises:
        BadInput: a name is not there, or is no directory (a symlink is none).
    """
    fd = os.dup(top)
    for number, name in enumerate(names, 1):
        try:
            below = open_dir(name, fd)
        except OSError as error:
            shown = "/".join(names[:number])
            raise BadInput(
                f"cannot find {shown!r} in {where}: {error.strerror}; symlinks are not followed", path=shown
            ) from error
        finally:
            os.close(fd)
        fd = below
    return fd


def foreign_below(top: int, depth: int, check: Callable[[], None]) -> str:
    """The first directory beyond the border of ``top`` that is more than ``depth`` levels below it; "" if none is.

    ``check`` is called for every directory and may raise to end it. Directories nested too deep are not looked at.
    """
    border = Border.around(top)
    with contextlib.ExitStack() as stack:
        levels = [(top, "", stack.enter_context(os.scandir(top)))]
        while levels:
            directory, path, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
                entries.close()
                if levels:
                    os.close(directory)
                continue
            if not entry.is_dir(follow_symlinks=False) or len(levels) > DEPTH_MAX:
                continue
            check()
            below = _look_into(directory, entry.name)
            if below < 0:
                continue
            found = border.stops(below, os.fstat(below))
            if found:
                os.close(below)
                if len(levels) > depth and "snapshots" not in found:
                    for open_one, _, _ in levels[1:]:
                        os.close(open_one)
                    return path + entry.name
                continue
            levels.append((below, f"{path}{entry.name}/", stack.enter_context(os.scandir(below))))
    return ""


def _look_into(directory: int, name: str) -> int:
    try:
        return open_dir(name, directory)
    except OSError:  # gone, or swapped for something else
        return -1
