"""Removing a tree, however deep, with a handful of descriptors, and never anything beyond its border.

A directory below :data:`_DEPTH` levels is moved up to the top first and dealt with there, so neither descriptors nor
the stack grow with what a user may have nested. What is mounted inside is left alone: its directory cannot be removed,
and the caller is told.
"""

from __future__ import annotations

import contextlib
import errno
import os

from svcmgr import btrfs
from svcmgr.errors import SvcmgrError
from svcmgr.services.snapd.job import Job
from svcmgr.services.snapd.walk import Border, open_dir

_DEPTH = 64


def erase(parent: int, name: str, job: Job) -> None:
    """Remove ``name`` in the open directory ``parent``: a file, a tree, or a tree in a subvolume of its own.

    Nothing there is no error.

    Raises:
        OSError: something in it cannot be removed; everything else is gone.
        GivenUp: the job was told to end; what is left can be erased again.
    """
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    top = open_dir(name, parent)
    try:
        if btrfs.is_subvolume(top) and _destroyed(parent, name, top):
            return
        if os.geteuid() != 0:
            os.fchmod(top, 0o700)
        _Eraser(top, job).run()
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _destroyed(parent: int, name: str, top: int) -> bool:
    """Whether the kernel removed the subvolume at once. Else it is made writable, to be emptied like a directory."""
    try:
        btrfs.destroy(parent, name)
    except SvcmgrError:
        with contextlib.suppress(SvcmgrError):
            btrfs.make_writable(top)
        return False
    return True


class _Eraser:
    def __init__(self, top: int, job: Job) -> None:
        self._top = top
        self._job = job
        self._border = Border.around(top)
        self._moved = 0
        self._failed: OSError | None = None

    def run(self) -> None:
        """Until the top is empty. Raises the first error when nothing more can be removed."""
        again = True
        while again:
            self._failed = None
            before = self._moved
            self._empty(self._top, 0)
            again = self._moved > before
        if self._failed is not None:
            raise self._failed

    def _empty(self, directory: int, depth: int) -> None:
        with os.scandir(directory) as entries:
            for entry in entries:
                self._job.check()
                try:
                    self._remove(directory, entry, depth)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._failed = self._failed or error

    def _remove(self, directory: int, entry: os.DirEntry[str], depth: int) -> None:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=directory)
        elif depth >= _DEPTH:
            self._moved += 1
            os.rename(entry.name, f"deep-{os.getpid()}-{self._moved}", src_dir_fd=directory, dst_dir_fd=self._top)
        else:
            self._remove_directory(directory, entry.name, depth)

    def _remove_directory(self, directory: int, name: str, depth: int) -> None:
        try:
            os.rmdir(name, dir_fd=directory)  # empty ones, and what stands for a subvolume inside a snapshot
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        below = open_dir(name, directory)
        try:
            if why := self._border.stops(below, os.fstat(below)):
                raise OSError(errno.EBUSY, f"{name} is {why}")
            if os.geteuid() != 0:
                os.fchmod(below, 0o700)  # root needs no permission
            self._empty(below, depth + 1)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=directory)
