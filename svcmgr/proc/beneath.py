"""Opening what is below a directory and cannot be elsewhere, and reading directories piece by piece.

Paths come from strangers and trees are made by them: a symbolic link, a ``..`` or a mount on the way must not lead
outside. openat2(2) has the kernel promise that (Linux 5.6); where it is missing or a sandbox hides it, the path is
walked name by name with O_NOFOLLOW, which promises the same except for mounts.

getdents64(2) with the positions that it gives (``d_off``) lets a huge directory be read in pieces of bounded size,
and a reader that comes back later go on where it was, with no descriptor kept for it in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import struct

#: The number is the same on all architectures but alpha (linux: include/uapi/asm-generic/unistd.h).
_SYS_OPENAT2 = 437
_SYS_OPEN_TREE = 428
_SYS_MOUNT_SETATTR = 442
# linux/mount.h
_OPEN_TREE_CLONE = 1
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOATIME = 1, 2, 4, 0x10
_MOUNT_ATTR_ATIME = 0x70
#: linux/fcntl.h
_AT_EMPTY_PATH = 0x1000
# linux/openat2.h
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_CACHED = 0x20
_BENEATH = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV

#: A path of one system call holds 4096 bytes with its NUL (PATH_MAX of linux/limits.h); trees can be deeper.
_PIECE = 4000
#: struct linux_dirent64 up to its name: inode, position of the next, length, type.
_DIRENT = struct.Struct("=QqHB")
#: struct mount_attr: set, clear, propagation, user namespace.
_MOUNT_ATTR = struct.Struct("=QQQQ")

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
#: The same without types, for calls of other shapes.
_plain_syscall = ctypes.CDLL(None, use_errno=True).syscall
_plain_syscall.restype = ctypes.c_long
_getdents64 = _libc.getdents64
_getdents64.restype = ctypes.c_ssize_t
_getdents64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]


def _mount_setattr(fd: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    size = ctypes.c_size_t(len(attributes))
    arguments = ctypes.c_int(fd), b"", ctypes.c_uint(_AT_EMPTY_PATH), attributes, size
    return int(_plain_syscall(ctypes.c_long(_SYS_MOUNT_SETATTR), *arguments))


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root: int, path: bytes, flags: int, *, cached: bool = False) -> int:
    """A new descriptor of ``path`` below the directory ``root``; b"" is the directory itself. The caller closes it.

    ``path`` is names with "/" between; close-on-exec and O_NOFOLLOW are added to ``flags``. With ``cached`` nothing
    that could wait for a disk is done: BlockingIOError says that it would have to.

    Raises:
        OSError: as openat2(2) does; ELOOP for a symbolic link on the way, EXDEV for a mount or a way outside.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    if len(path) <= _PIECE:
        return _open(root, path or b".", flags, cached)
    with contextlib.ExitStack() as stack:
        while len(path) > _PIECE:
            cut = path.rfind(b"/", 0, _PIECE)
            if cut <= 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            root = _open(root, path[:cut], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, cached)
            stack.callback(os.close, root)
            path = path[cut + 1 :]
        return _open(root, path, flags, cached)


def open_frozen(directory: str | os.PathLike[str], parent: int | None = None) -> int:
    """A descriptor of ``directory`` through which nothing below changes, not even an access time. The caller closes it.

    For root that is a mount of its own, read-only and without access times, which nobody else sees and which goes with
    the last descriptor (open_tree(2), mount_setattr(2), Linux 5.12). Where that cannot be had, the plain directory.
    A symbolic link in the last place is not followed. ``directory`` is in the open directory ``parent``, if given.

    Raises:
        OSError: as open(2) does.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    if os.geteuid() != 0:
        return fd
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    clone = int(_plain_syscall(ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(fd), b"", ctypes.c_uint(flags)))
    if clone < 0:
        return fd
    wanted = _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOATIME
    attributes = ctypes.create_string_buffer(_MOUNT_ATTR.pack(wanted, _MOUNT_ATTR_ATIME, 0, 0), _MOUNT_ATTR.size)
    if _mount_setattr(clone, attributes) != 0:
        os.close(clone)
        return fd
    os.close(fd)
    return clone


def open_unmarked(root: int, path: bytes, flags: int, *, cached: bool = False) -> int:
    """As :func:`open_beneath`, for reading, without a new access time where we may ask for that (owner or root)."""
    try:
        return open_beneath(root, path, os.O_RDONLY | os.O_NOATIME | flags, cached=cached)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return open_beneath(root, path, os.O_RDONLY | flags, cached=cached)


def _open(root: int, path: bytes, flags: int, cached: bool) -> int:
    how = _how(flags, _BENEATH | _RESOLVE_CACHED if cached else _BENEATH)
    fd = int(_syscall(_SYS_OPENAT2, root, path, ctypes.addressof(how), ctypes.sizeof(how)))
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number not in (errno.ENOSYS, errno.EPERM) and not (cached and number == errno.EINVAL):
        raise OSError(number, os.strerror(number))
    if cached:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return walk(root, path, flags)


@functools.lru_cache(maxsize=64)
def _how(flags: int, resolve: int) -> _How:
    return _How(flags, 0, resolve)


def walk(root: int, path: bytes, flags: int) -> int:
    """As :func:`open_beneath`, name by name. Raises OSError as openat(2) does; EXDEV for ".." and absolute paths."""
    *parents, last = [name for name in (path or b".").split(b"/") if name != b"."] or [b"."]
    if b".." in parents or b"" in parents or last in (b"..", b""):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    with contextlib.ExitStack() as stack:
        for name in parents:
            root = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
            stack.callback(os.close, root)
        return os.open(last, flags, dir_fd=root)


def directory_piece(fd: int, position: int, size: int) -> list[tuple[bytes, int]]:
    """(name, position after it) of entries of directory ``fd`` from ``position`` on, as many as ``size`` bytes hold.

    0 is the beginning; an empty list is the end. ``.`` and ``..`` are left out. Moves the descriptor's offset, so two
    threads must not share it.

    Raises:
        OSError: as lseek(2) and getdents64(2) do.
    """
    os.lseek(fd, position, os.SEEK_SET)
    buffer = ctypes.create_string_buffer(size)
    while True:
        count = int(_getdents64(fd, buffer, size))
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        entries = _entries(buffer.raw[:count])
        if entries or not count:
            return entries


def _entries(data: bytes) -> list[tuple[bytes, int]]:
    entries = []
    at = 0
    while at < len(data):
        _, following, length, _ = _DIRENT.unpack_from(data, at)
        start = at + _DIRENT.size
        name = data[start : data.index(b"\0", start)]
        if name not in (b".", b".."):
            entries.append((name, following))
        at += length
    return entries
