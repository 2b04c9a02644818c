"""What differs between two trees: a walk of both at once, one directory at a time.

Files are told apart by kind, size and modification time; by content as well where that is asked for. What has the same
content is compared by owner, mode and extended attributes. The modification time of a directory says only that
something in it changed, which is listed anyway, so it counts for nothing. Memory is the names of the directories on the
way, not the tree.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterator

import attrs

from svcmgr.services.snapd import attributes
from svcmgr.services.snapd.job import Job, printable
from svcmgr.services.snapd.kinds import kind_of
from svcmgr.services.snapd.walk import DEPTH_MAX, Border, open_dir
from svcmgr.services.snapd.wire import Difference, DiffReply
from svcmgr.volume import RESERVED_DIR

#: Bytes of path that are listed at most, so that an answer always fits its frame.
PATHS_MAX = 4 << 20
_PIECE = 1 << 20
Status = os.stat_result


class Findings:
    """The answer as it grows; one for all bricks of a volume."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = PATHS_MAX
        self._counts: Counter[str] = Counter()
        self._listed: list[Difference] = []
        self._truncated = False

    def add(self, change: str, path: str, old: Status | None, new: Status | None) -> None:
        self._counts[change] += 1
        shown = printable(path)
        if len(self._listed) >= self._limit or len(shown) > self._left:
            self._truncated = True
            return
        self._left -= len(shown)
        kind = kind_of((new or old or os.stat("/")).st_mode)
        self._listed.append(Difference(change, shown, kind, old and _size(old), new and _size(new)))

    def reply(self) -> DiffReply:
        return DiffReply(self._listed, dict(self._counts), self._truncated)


def _size(status: Status) -> int:
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size


@attrs.frozen
class _Side:
    """One directory of one tree; ``fd`` -1: the other tree has none there."""

    fd: int
    border: Border

    def names(self) -> set[str]:
        return set(os.listdir(self.fd)) if self.fd >= 0 else set()

    def status(self, name: str) -> Status | None:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False) if self.fd >= 0 else None
        except OSError:  # gone meanwhile
            return None

    def below(self, name: str, status: Status | None) -> int:
        """A descriptor of the directory ``name``; -1 where there is none, or where it is beyond the border."""
        if status is None or not stat.S_ISDIR(status.st_mode):
            return -1
        try:
            fd = open_dir(name, self.fd)
        except OSError:
            return -1
        if self.border.stops(fd, os.fstat(fd)):
            os.close(fd)
            return -1
        return fd


@attrs.frozen
class _Level:
    old: _Side
    new: _Side
    names: Iterator[str]
    prefix: str


class Comparing:
    """Compares open directories. ``content``: read files of equal size and time as well."""

    def __init__(self, findings: Findings, job: Job, *, content: bool) -> None:
        self._findings = findings
        self._job = job
        self._content = content

    def directories(self, old: int, new: int, prefix: str = "", *, tops: bool) -> None:
        """Everything below the open directories ``old`` and ``new``; -1 for one that is not there.

        ``tops``: they are tops of volumes, and RESERVED_DIR in them does not count.

        Raises:
            GivenUp: the job was told to end.
        """
        borders = [Border.around(fd) if fd >= 0 else Border(-1, -1, None) for fd in (old, new)]
        levels = [self._level(old, new, borders, prefix)]
        try:
            while levels:
                self._job.check()
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    levels.pop()
                    _close(level, kept=(old, new))
                elif not (tops and len(levels) == 1 and name == RESERVED_DIR):
                    below = self._one(level, name, borders, len(levels))
                    if below is not None:
                        levels.append(below)
        finally:
            for level in levels:
                _close(level, kept=(old, new))

    def _level(self, old: int, new: int, borders: list[Border], prefix: str) -> _Level:
        sides = _Side(old, borders[0]), _Side(new, borders[1])
        return _Level(*sides, iter(sorted(sides[0].names() | sides[1].names())), prefix)

    def _one(self, level: _Level, name: str, borders: list[Border], depth: int) -> _Level | None:
        old, new = level.old.status(name), level.new.status(name)
        path = level.prefix + name
        change = self.change(level.old.fd, level.new.fd, name, old, new)
        at_the_end = depth >= DEPTH_MAX
        below_old = -1 if at_the_end else level.old.below(name, old)
        below_new = -1 if at_the_end else level.new.below(name, new)
        if change == "metadata" and _is_directory(new) and min(below_old, below_new) < 0:
            change = (
                ""  # another file system begins here; what stands for it in a snapshot has no attributes to compare
            )
        if change:
            self._findings.add(change, path, old, new)
        if below_old < 0 and below_new < 0:
            return None
        return self._level(below_old, below_new, borders, path + "/")

    def change(self, old_dir: int, new_dir: int, name: str, old: Status | None, new: Status | None) -> str:
        """How ``name`` changed; "" if it did not, or is in neither."""
        if old is None or new is None:
            return "added" if new is not None else "removed" if old is not None else ""
        if stat.S_IFMT(old.st_mode) != stat.S_IFMT(new.st_mode):
            return "type"
        kind = stat.S_IFMT(old.st_mode)
        touched = kind == stat.S_IFREG and old.st_mtime_ns != new.st_mtime_ns
        try:
            if _differs(kind, old, new, old_dir, new_dir, name) or self._rewritten(
                kind, touched, old_dir, new_dir, name
            ):
                return "modified"
            if touched or _facts(old) != _facts(new) or _xattrs(old_dir, name) != _xattrs(new_dir, name):
                return "metadata"
        except OSError:  # gone or unreadable meanwhile
            return "modified" if touched else ""
        return ""

    def _rewritten(self, kind: int, touched: bool, old_dir: int, new_dir: int, name: str) -> bool:
        """Whether a file of equal size has other content: by its time, or by reading both."""
        if kind != stat.S_IFREG or not self._content:
            return touched
        return not _same_content(old_dir, new_dir, name, self._job)


def _close(level: _Level, kept: tuple[int, int]) -> None:
    for fd in (level.old.fd, level.new.fd):
        if fd >= 0 and fd not in kept:
            os.close(fd)


def _is_directory(status: Status | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _facts(status: Status) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _differs(kind: int, old: Status, new: Status, old_dir: int, new_dir: int, name: str) -> bool:
    if kind == stat.S_IFREG:
        return old.st_size != new.st_size
    if kind == stat.S_IFLNK:
        return os.readlink(name, dir_fd=old_dir) != os.readlink(name, dir_fd=new_dir)
    return kind in (stat.S_IFCHR, stat.S_IFBLK) and old.st_rdev != new.st_rdev


def _xattrs(directory: int, name: str) -> dict[str, bytes]:
    address = attributes.address(directory, name)
    return {key: attributes.value_of(address, key) for key in attributes.names_of(address)}


def _same_content(old_dir: int, new_dir: int, name: str, job: Job) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:
        files = []
        for directory in (old_dir, new_dir):
            fd = os.open(name, flags, dir_fd=directory)
            stack.callback(os.close, fd)
            files.append(fd)
        while True:
            job.check()
            one, other = (os.read(fd, _PIECE) for fd in files)
            if one != other:
                return False
            if not one:
                return True
