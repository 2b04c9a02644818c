"""Owner, mode, extended attributes and times of a file, taken over from another one.

The order matters: a change of owner clears set-user-ID bits and file capabilities (chown(2), capabilities(7)), an
access list changes the group bits of the mode (acl(5)), and everything changes times. So it is owner, attributes, mode,
times.
"""

from __future__ import annotations

import errno
import os
import stat

from svcmgr.fsutil import NO_SPACE
from svcmgr.services.snapd.job import Job

_DEFAULT_LIST = "system.posix_acl_default"
#: What a directory's default access list leaves on whatever is made in it (acl(5)).
INHERITED = frozenset({"system.posix_acl_access", _DEFAULT_LIST})
#: How xfs shows access lists a second time (linux: fs/xfs/xfs_xattr.c); they come with the first.
_TWICE = "trusted.SGI_ACL_"
_NO_ATTRIBUTES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


def take_over(source: int, target: int, status: os.stat_result, job: Job, path: str) -> None:
    """From the open file ``source``, whose facts are ``status``, to the open file ``target``.

    Raises OSError: owner, mode or times cannot be set. An attribute that cannot be set is noted.
    """
    if os.geteuid() == 0:
        os.fchown(target, status.st_uid, status.st_gid)
    copy_xattrs(source, target, job, path)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def take_over_by_name(source: str, parent: int, name: str, status: os.stat_result, job: Job) -> None:
    """For what cannot be opened: a symlink, a fifo, a device. ``source`` is its :func:`address`."""
    if os.geteuid() == 0:
        os.chown(name, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
    copy_xattrs(source, address(parent, name), job, name)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=parent)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=parent, follow_symlinks=False)


def address(parent: int, name: str) -> str:
    """A path to ``name`` in the open directory ``parent``, for calls that take no directory."""
    return f"/proc/self/fd/{parent}/{name}"


def names_of(file: int | str) -> list[str]:
    """The names of its extended attributes; none where the file system has no such thing. Raises OSError."""
    try:
        names = os.listxattr(file) if isinstance(file, int) else os.listxattr(file, follow_symlinks=False)
        return [name for name in names if not name.startswith(_TWICE)] if names else names
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return []
        raise


def value_of(file: int | str, name: str) -> bytes:
    """The value of one. Raises OSError."""
    return os.getxattr(file, name) if isinstance(file, int) else os.getxattr(file, name, follow_symlinks=False)


def copy_xattrs(source: int | str, target: int | str, job: Job, path: str) -> None:
    """All of them, access lists and capabilities included. One that cannot be set is noted."""
    for name in names_of(source):
        try:
            value = value_of(source, name)
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            job.note(path, f"attribute {name}: {error.strerror}")


def has_default_list(directory: int) -> bool:
    """Whether what is made in the open ``directory`` gets an access list from it."""
    return _DEFAULT_LIST in names_of(directory)


def drop_inherited(target: int | str) -> None:
    """Remove access lists that the parent's default one left on a new file."""
    for name in INHERITED.intersection(names_of(target)):
        if isinstance(target, int):
            os.removexattr(target, name)
        else:
            os.removexattr(target, name, follow_symlinks=False)
