"""A copy of a tree while its users go on changing it: owners, modes, times, attributes, symlinks and hard links kept.

One pass, one directory open for each level, no symlink followed, no border crossed (:mod:`walk`). What vanishes or
cannot be read on the way is noted and left out; a target that takes no more ends the copy. Directories get their
attributes when they are complete, so that nothing made in them changes their times or inherits from them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

import attrs

from svcmgr.errors import LowSpace, StorageFailed
from svcmgr.fsutil import NO_SPACE
from svcmgr.services.snapd import attributes
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.walk import DEPTH_MAX, Border, open_dir
from svcmgr.volume import RESERVED_DIR

Mover = Callable[[int, int, int, Job], None]

#: Errors that are the target's or our own; going on would only repeat them for every file.
_ENDS_IT = NO_SPACE | {errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
#: Hard-linked files that are remembered until their last name was seen. Beyond, names become files of their own.
_LINKS_MAX = 1_000_000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {stat.S_IFIFO: "fifo", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@attrs.frozen
class _Level:
    """One directory that is being copied. ``path`` is relative to the top, with "/" at its end below it."""

    source: int
    target: int
    status: os.stat_result
    entries: Iterator[os.DirEntry[str]]
    path: str
    stack: contextlib.ExitStack


@attrs.define
class _Link:
    """The first name of a file with several, and how many are still to come."""

    path: str
    left: int


class TreeCopy:
    """One copy. ``move`` brings the content of a file over; see :mod:`filedata`."""

    def __init__(self, move: Mover, job: Job) -> None:
        self._move = move
        self._job = job
        self._links: dict[int, _Link] = {}
        self._top = -1
        self._inherits = False

    def tree(self, source: int, target: int, *, hide_reserved: bool = True) -> None:
        """The content of the open directory ``source`` into the open and empty ``target``, then its attributes.

        ``hide_reserved``: ``source`` is the top of a volume, and RESERVED_DIR in it is left out.

        Raises:
            LowSpace, StorageFailed: the target takes no more; what was copied is still there.
            GivenUp: the job was told to end.
        """
        self._top = target
        try:
            border = Border.around(source)
            levels = [self._enter(os.dup(source), os.dup(target), "")]
            try:
                self._walk(levels, border, hide_reserved)
            finally:
                for level in reversed(levels):
                    level.stack.close()
        except OSError as error:
            raise _ended(error) from error

    def entry(self, source: int, name: str, target: int, new_name: str) -> None:
        """The one entry ``name`` of ``source``, whatever it is, as ``new_name`` in ``target``. Raises as :meth:`tree`,
        and OSError where ``name`` cannot be had."""
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            self._inherits = attributes.has_default_list(target)
            self._other(source, name, target, new_name, new_name)
            return
        with contextlib.ExitStack() as stack:
            below = open_dir(name, source)
            stack.callback(os.close, below)
            os.mkdir(new_name, 0o700, dir_fd=target)
            made = open_dir(new_name, target)
            stack.callback(os.close, made)
            attributes.drop_inherited(made)
            self.tree(below, made, hide_reserved=False)

    def _walk(self, levels: list[_Level], border: Border, hide_reserved: bool) -> None:
        while levels:
            self._job.check()
            level = levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                levels.pop()
                self._leave(level)
            elif not (hide_reserved and len(levels) == 1 and entry.name == RESERVED_DIR):
                below = self._one(level, entry, border, len(levels))
                if below is not None:
                    levels.append(below)

    def _one(self, level: _Level, entry: os.DirEntry[str], border: Border, depth: int) -> _Level | None:
        path = level.path + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                return self._directory(level, entry.name, border, depth)
            self._other(level.source, entry.name, level.target, entry.name, path)
        except OSError as error:
            if error.errno in _ENDS_IT:
                raise
            self._job.note(path, error.strerror or str(error))
        return None

    # --- directories

    def _enter(self, source: int, target: int, path: str) -> _Level:
        """Owns both descriptors from here on."""
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, source)
            stack.callback(os.close, target)
            entries = stack.enter_context(os.scandir(source))
            return _Level(source, target, os.fstat(source), entries, path, stack.pop_all())

    def _directory(self, level: _Level, name: str, border: Border, depth: int) -> _Level | None:
        path = level.path + name
        source = open_dir(name, level.source)
        try:
            os.mkdir(name, 0o700, dir_fd=level.target)
            target = open_dir(name, level.target)
        except OSError:
            os.close(source)
            raise
        self._job.files += 1
        why = border.stops(source, os.fstat(source))
        if depth >= DEPTH_MAX:
            why = f"more than {DEPTH_MAX} directories inside each other"
        if why:
            self._job.note(path, f"{why}; its content is left out")
            os.close(source)
            os.close(target)
            return None
        return self._enter(source, target, path + "/")

    def _leave(self, level: _Level) -> None:
        with level.stack:
            attributes.take_over(level.source, level.target, level.status, self._job, level.path)

    # --- everything else

    def _other(self, source: int, name: str, target: int, new_name: str, path: str) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if status.st_nlink > 1 and self._linked(status, target, new_name, path):
            return
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            self._file(source, name, target, new_name, path)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), new_name, dir_fd=target)
            attributes.take_over_by_name(attributes.address(source, name), target, new_name, status, self._job)
        elif kind in _SPECIAL:
            os.mknod(new_name, kind | 0o600, status.st_rdev, dir_fd=target)
            if self._inherits:
                attributes.drop_inherited(attributes.address(target, new_name))
            attributes.take_over_by_name(attributes.address(source, name), target, new_name, status, self._job)
        else:
            self._job.note(path, "a socket has no content to keep; left out")
            return
        self._job.files += 1
        if status.st_nlink > 1 and len(self._links) < _LINKS_MAX:
            self._links[status.st_ino] = _Link(path, status.st_nlink - 1)

    def _linked(self, status: os.stat_result, target: int, name: str, path: str) -> bool:
        """Whether this is one more name of a file that was copied; then it is one in the copy, too."""
        first = self._links.get(status.st_ino)
        if first is None or self._top < 0:
            return False
        try:
            os.link(first.path, name, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno in _ENDS_IT:
                raise
            del self._links[status.st_ino]  # EMLINK, or a path that is too long: a file of its own
            self._job.note(path, f"not linked with {first.path}: {error.strerror}")
            return False
        first.left -= 1
        if first.left == 0:
            del self._links[status.st_ino]
        self._job.files += 1
        return True

    def _file(self, source: int, name: str, target: int, new_name: str, path: str) -> None:
        read = os.open(name, _READ | (os.O_NOATIME if os.geteuid() == 0 else 0), dir_fd=source)
        try:
            status = os.fstat(read)
            if not stat.S_ISREG(status.st_mode):
                self._job.note(path, "it was replaced by another kind of file; left out")
                return
            written = os.open(new_name, _CREATE, 0o600, dir_fd=target)
            try:
                self._content(read, written, status, path)
            except BaseException:
                os.unlink(new_name, dir_fd=target)
                raise
            finally:
                os.close(written)
        finally:
            os.close(read)

    def _content(self, read: int, written: int, status: os.stat_result, path: str) -> None:
        if status.st_size:
            shared = self._job.shared
            self._move(read, written, status.st_size, self._job)
            # What was shared is one moment of the file; what was copied may be several.
            if self._job.shared == shared and os.fstat(read).st_mtime_ns != status.st_mtime_ns:
                self._job.note(path, "it changed while it was copied")
        if self._inherits:
            attributes.drop_inherited(written)
        attributes.take_over(read, written, status, self._job, path)


def _ended(error: OSError) -> StorageFailed:
    kind = LowSpace if error.errno in NO_SPACE else StorageFailed
    return kind(
        f"cannot go on copying: {error.strerror} (errno {error.errno}); make room, or mend the file system",
        errno=error.errno,
    )
