"""Subvolumes of btrfs: make one, take a read-only snapshot of one, remove one.

The calls are ioctl(2)s on open directories, so no path is looked up twice and no program is started. Numbers and
layouts: linux: include/uapi/linux/btrfs.h. A subvolume cannot be told from a directory by its mode; its root has the
inode number 256 and answers BTRFS_IOC_SUBVOL_GETFLAGS (linux: fs/btrfs/ioctl.c, btrfs_ioctl_subvol_getflags).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from svcmgr.errors import BadInput, NotPermitted, StorageFailed, Unsupported

_NAME_MAX = 255
#: struct btrfs_ioctl_vol_args: a descriptor and a name.
_ARGS = struct.Struct("=q4088s")
#: struct btrfs_ioctl_vol_args_v2: a descriptor, transid, flags, 32 unused bytes, a name.
_ARGS_V2 = struct.Struct("=qQQ32s4040s")
_FLAGS = struct.Struct("=Q")


def _write(number: int, size: int) -> int:
    return (1 << 30) | (size << 16) | (0x94 << 8) | number


def _read(number: int, size: int) -> int:
    return (2 << 30) | (size << 16) | (0x94 << 8) | number


_SUBVOL_CREATE = _write(14, _ARGS.size)
_SNAP_DESTROY = _write(15, _ARGS.size)
_SNAP_CREATE_V2 = _write(23, _ARGS_V2.size)
_SUBVOL_GETFLAGS = _read(25, _FLAGS.size)
_SUBVOL_SETFLAGS = _write(26, _FLAGS.size)
_READ_ONLY = 1 << 1

_NOT_BTRFS = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def is_subvolume(fd: int) -> bool:
    """Whether the directory ``fd`` is the root of a btrfs subvolume. False for every other file system."""
    try:
        _flags(fd)
    except OSError as error:
        if error.errno in _NOT_BTRFS:
            return False
        raise
    return True


def create_subvolume(parent: int, name: str) -> None:
    """Make the empty subvolume ``name`` in the directory ``parent``.

    Raises:
        Unsupported: ``parent`` is not on btrfs.
        NotPermitted, StorageFailed: as the kernel says.
    """
    _call(parent, _SUBVOL_CREATE, _ARGS.pack(0, _checked(name)), f"create subvolume {name}")


def snapshot(source: int, parent: int, name: str) -> None:
    """Take a read-only snapshot of the subvolume ``source`` as ``name`` in ``parent``; on disk when it returns.

    Subvolumes inside ``source`` are not part of it: an empty directory stands in their place.

    Raises:
        Unsupported: ``source`` is no subvolume.
        NotPermitted, StorageFailed: as the kernel says.
    """
    arguments = _ARGS_V2.pack(source, 0, _READ_ONLY, b"", _checked(name))
    _call(parent, _SNAP_CREATE_V2, arguments, f"take snapshot {name}")


def destroy(parent: int, name: str) -> None:
    """Remove the subvolume ``name`` in ``parent``, read-only or not; the kernel frees its space in the background.

    Needs CAP_SYS_ADMIN, or the mount option user_subvol_rm_allowed (btrfs(5)).

    Raises:
        Unsupported: it is no subvolume.
        NotPermitted, StorageFailed: as the kernel says.
    """
    _call(parent, _SNAP_DESTROY, _ARGS.pack(0, _checked(name)), f"remove subvolume {name}")


def make_writable(fd: int) -> None:
    """Lift the read-only flag of the subvolume ``fd``. Its owner may. Raises as :func:`snapshot`."""
    _call(fd, _SUBVOL_SETFLAGS, _FLAGS.pack(_flags(fd) & ~_READ_ONLY), "make a subvolume writable")


def _flags(fd: int) -> int:
    buffer = bytearray(_FLAGS.size)
    fcntl.ioctl(fd, _SUBVOL_GETFLAGS, buffer)
    return int(_FLAGS.unpack(buffer)[0])


def _checked(name: str) -> bytes:
    data = os.fsencode(name)
    if not data or len(data) > _NAME_MAX or b"/" in data or b"\0" in data or name in (".", ".."):
        raise BadInput(f"cannot use {name[:40]!r} as the name of a subvolume: one path component of 1 to 255 bytes")
    return data


def _call(fd: int, request: int, arguments: bytes, what: str) -> None:
    try:
        fcntl.ioctl(fd, request, bytearray(arguments))
    except OSError as error:
        message = f"cannot {what}: {error.strerror} (errno {error.errno})"
        if error.errno in _NOT_BTRFS:
            raise Unsupported(f"{message}; it needs a btrfs subvolume", errno=error.errno) from error
        if error.errno in (errno.EPERM, errno.EACCES):
            raise NotPermitted(f"{message}; run as root", errno=error.errno) from error
        raise StorageFailed(message, errno=error.errno) from error
