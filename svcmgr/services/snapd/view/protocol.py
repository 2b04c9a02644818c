"""The words of the kernel's FUSE protocol that a read-only file system needs: bytes to requests, answers to bytes.

Theory of operation. The kernel and a daemon exchange whole messages over /dev/fuse: a request is a header of 40 bytes
and a body that depends on its opcode, an answer repeats the request's ``unique`` behind a header of 16. The layout is
part of the kernel's stable interface (linux: include/uapi/linux/fuse.h, version 7; fuse(4)), in the byte order of the
machine, and a newer kernel only adds to it: the first request, INIT, says what it can do, and the answer says what of
that is wanted. Everything that can be refused without knowing its body is refused by its opcode alone.
"""

from __future__ import annotations

import errno
import struct
from typing import Protocol

import attrs

MAJOR = 7
#: The newest version that anything here was written for; FUSE_PASSTHROUGH came with it.
MINOR = 40

LOOKUP, FORGET, GETATTR, READLINK = 1, 2, 3, 5
OPEN, READ, STATFS, RELEASE = 14, 15, 17, 18
GETXATTR, LISTXATTR, INIT = 22, 23, 26
OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY = 27, 28, 29, 36, 38
BATCH_FORGET, READDIRPLUS, LSEEK = 42, 44, 46
#: SETATTR SYMLINK MKNOD MKDIR UNLINK RMDIR RENAME LINK WRITE SETXATTR REMOVEXATTR CREATE FALLOCATE RENAME2
#: COPY_FILE_RANGE TMPFILE: what would change something.
WRITING = frozenset({4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51})

# Flags of INIT.
_ASYNC_READ = 1 << 0
_DO_READDIRPLUS = 1 << 13
_PARALLEL_DIROPS = 1 << 18
_POSIX_ACL = 1 << 20
_MAX_PAGES = 1 << 22
_CACHE_SYMLINKS = 1 << 23
_EXT = 1 << 30
_PASSTHROUGH = 1 << 37
_WANTED = (
    _ASYNC_READ | _DO_READDIRPLUS | _PARALLEL_DIROPS | _POSIX_ACL | _MAX_PAGES | _CACHE_SYMLINKS | _EXT | _PASSTHROUGH
)
#: Flags of an OPEN answer: keep cached pages from the last time; nothing to tell us of at close; the kernel reads the
#: file behind by itself.
KEEP_CACHE = 1 << 1
NO_FLUSH = 1 << 5
PASSTHROUGH = 1 << 7
_NOTIFY_INVAL_ENTRY = 3

#: Largest READ, in pages and bytes; the default of /proc/sys/fs/fuse/max_pages_limit.
MAX_PAGES = 256
PAGE = 4096
#: Bytes of the buffer for requests: more than the kernel insists on, so that a BATCH_FORGET is worth its way.
BUFFER = 64 * 1024
#: The least that the kernel takes; nobody writes here.
_MAX_WRITE = 4096
_MAX_BACKGROUND, _CONGESTION = 32, 24
#: What passthrough may go through: files of a file system that is not itself stacked on another.
_STACK_DEPTH = 1

_HEADER = struct.Struct("=IIQQIIIHH")
_ANSWER = struct.Struct("=IiQ")
_INIT_IN = struct.Struct("=IIII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHIIH22x")
_U32, _U64 = struct.Struct("=I"), struct.Struct("=Q")
_FORGOTTEN = struct.Struct("=QQ")
_OPEN_IN = struct.Struct("=II")
_OPEN_OUT = struct.Struct("=QIi")
_READ_IN = struct.Struct("=QQI")
_LSEEK_IN = struct.Struct("=QQI")
_XATTR_IN = struct.Struct("=II")
_ENTRY = struct.Struct("=QQQQII")
_ATTR_VALID = struct.Struct("=QII")
_ATTR = struct.Struct("=QQQqqqIIIIIIIIII")
_DIRENT = struct.Struct("=QQII")
_STATFS = struct.Struct("=QQQQQIIII24x")
_INVAL_ENTRY = struct.Struct("=QII")

_NS = 1_000_000_000
#: (ino, size, ...) of READDIRPLUS before its name.
_PLUS_SIZE = _ENTRY.size + _ATTR.size + _DIRENT.size


class Status(Protocol):
    """The fields of os.stat_result that are passed on; the inode number is not among them."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_rdev(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_blksize(self) -> int: ...
    @property
    def st_blocks(self) -> int: ...
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


@attrs.frozen
class Request:
    """One request. ``inode`` is what it is about, ``uid`` who asks, ``body`` what follows the header."""

    opcode: int
    unique: int
    inode: int
    uid: int
    body: bytes

    @classmethod
    def parse(cls, message: memoryview) -> Request:
        """Raises struct.error for what is too short to be one."""
        _, opcode, unique, inode, uid, _, _, extension, _ = _HEADER.unpack_from(message)
        return cls(opcode, unique, inode, uid, bytes(message[_HEADER.size : len(message) - 8 * extension]))

    @property
    def name(self) -> bytes:
        """Of LOOKUP."""
        return self.body.partition(b"\0")[0]

    @property
    def xattr(self) -> tuple[bytes, int]:
        """(name, room for its value) of GETXATTR; the name is empty for LISTXATTR."""
        return self.body[_XATTR_IN.size :].partition(b"\0")[0], _XATTR_IN.unpack_from(self.body)[0]

    @property
    def open_flags(self) -> int:
        """Of OPEN."""
        return int(_OPEN_IN.unpack_from(self.body)[0])

    @property
    def span(self) -> tuple[int, int]:
        """(offset, size) of READ, READDIR and READDIRPLUS."""
        _, offset, size = _READ_IN.unpack_from(self.body)
        return offset, size

    @property
    def seek(self) -> tuple[int, int]:
        """(offset, whence) of LSEEK."""
        _, offset, whence = _LSEEK_IN.unpack_from(self.body)
        return offset, whence

    @property
    def forgotten(self) -> list[tuple[int, int]]:
        """(inode, lookups) of FORGET and BATCH_FORGET."""
        if self.opcode == FORGET:
            return [(self.inode, _U64.unpack_from(self.body)[0])]
        count = _U32.unpack_from(self.body)[0]
        return list(_FORGOTTEN.iter_unpack(self.body[8 : 8 + count * _FORGOTTEN.size]))


@attrs.frozen
class Terms:
    """What was agreed with the kernel; ``answer`` is the body of the answer to INIT."""

    answer: bytes
    acl: bool
    passthrough: bool


def agree(body: bytes, read_ahead: int, passthrough: bool) -> Terms | None:
    """The terms for the INIT request ``body``; None for a kernel that speaks another major version.

    ``read_ahead`` in bytes; ``passthrough``: whether it may be asked for (only root may use it).
    """
    major, minor, offered_ahead, flags = _INIT_IN.unpack_from(body)
    if major != MAJOR:
        return None
    if flags & _EXT and len(body) >= _INIT_IN.size + _U32.size:
        flags |= _U32.unpack_from(body, _INIT_IN.size)[0] << 32
    wanted = flags & (_WANTED if passthrough else _WANTED & ~_PASSTHROUGH)
    depth = _STACK_DEPTH if wanted & _PASSTHROUGH else 0
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    ahead = min(offered_ahead, read_ahead)
    limits = (_MAX_BACKGROUND, _CONGESTION, _MAX_WRITE, 1, MAX_PAGES, 0)
    answer = _INIT_OUT.pack(MAJOR, min(minor, MINOR), ahead, low, *limits, high, depth, 0)
    return Terms(answer, bool(wanted & _POSIX_ACL), bool(wanted & _PASSTHROUGH))


def answer_header(unique: int, size: int, error: int = 0) -> bytes:
    """Goes before an answer of ``size`` bytes; ``error`` is an errno."""
    return _ANSWER.pack(_ANSWER.size + size, -error, unique)


def forget_entry(parent: int, name: bytes) -> bytes:
    """A whole message that asks the kernel to drop what it believes about ``name``."""
    body = _INVAL_ENTRY.pack(parent, len(name), 0) + name + b"\0"
    return _ANSWER.pack(_ANSWER.size + len(body), _NOTIFY_INVAL_ENTRY, 0) + body


def attr(number: int, status: Status) -> bytes:
    """A struct fuse_attr."""
    access, modified, changed = status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns
    return _ATTR.pack(
        number,
        status.st_size,
        status.st_blocks,
        access // _NS,
        modified // _NS,
        changed // _NS,
        access % _NS,
        modified % _NS,
        changed % _NS,
        status.st_mode,
        status.st_nlink & 0xFFFFFFFF,
        status.st_uid,
        status.st_gid,
        _device(status.st_rdev),
        status.st_blksize,
        0,
    )


def _device(number: int) -> int:
    # makedev(3) to the kernel's own form (linux: include/linux/kdev_t.h, new_encode_dev)
    major = (number >> 8 & 0xFFF) | (number >> 32 & ~0xFFF)
    minor = (number & 0xFF) | (number >> 12 & ~0xFF)
    return ((minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12) & 0xFFFFFFFF


def attributes(number: int, status: Status, timeout: float) -> bytes:
    """The answer to GETATTR; ``timeout`` in seconds is how long it may be believed."""
    return _ATTR_VALID.pack(int(timeout), 0, 0) + attr(number, status)


def entry(number: int, status: Status, timeout: float) -> bytes:
    """The answer to LOOKUP, which the kernel counts."""
    return _ENTRY.pack(number, 0, int(timeout), int(timeout), 0, 0) + attr(number, status)


def no_entry(timeout: float) -> bytes:
    """The answer to LOOKUP that there is no such name, which may be believed for ``timeout`` seconds."""
    return _ENTRY.pack(0, 0, int(timeout), 0, 0, 0) + bytes(_ATTR.size)


def listed_size(name: bytes) -> int:
    """Bytes that ``name`` takes in a READDIRPLUS answer."""
    return _PLUS_SIZE + (len(name) + 7 & ~7)


def listed(name: bytes, following: int, entry_body: bytes, number: int, mode: int) -> bytes:
    """One name of a READDIRPLUS answer; ``following`` is where to go on after it."""
    padding = bytes(-len(name) % 8)
    return entry_body + _DIRENT.pack(number, following, len(name), mode >> 12) + name + padding


def opened(handle: int, flags: int = 0, backing: int = 0) -> bytes:
    """The answer to OPEN and OPENDIR."""
    return _OPEN_OUT.pack(handle, flags, backing)


def position(offset: int) -> bytes:
    """The answer to LSEEK."""
    return _U64.pack(offset)


def fitted(value: bytes, room: int) -> bytes:
    """The answer to GETXATTR and LISTXATTR: the size alone when there is no room. ERANGE when it does not fit."""
    if room == 0:
        return _XATTR_IN.pack(len(value), 0)
    if len(value) > room:
        raise OSError(errno.ERANGE, "value does not fit")
    return value


@attrs.frozen
class Space:
    """What statfs(2) tells: sizes in blocks of ``block`` bytes."""

    blocks: int = 0
    free: int = 0
    available: int = 0
    files: int = 0
    files_free: int = 0
    block: int = PAGE


def statfs(space: Space) -> bytes:
    """The answer to STATFS."""
    names = space.files, space.files_free
    return _STATFS.pack(space.blocks, space.free, space.available, *names, space.block, 255, space.block, 0)
