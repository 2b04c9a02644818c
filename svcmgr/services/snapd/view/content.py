"""The files behind the view, by root and path: every function here is a few system calls and may wait for a disk.

With ``cached`` a function does only what cannot wait, and raises BlockingIOError where it would have to; the caller
then asks again in a thread. Descriptors are few and shared: one for each root lately used, one for each file lately
read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NoReturn

import attrs

from svcmgr.proc.beneath import directory_piece, open_beneath, open_unmarked
from svcmgr.services.snapd.roots import open_root
from svcmgr.services.snapd.view.descriptors import Descriptors
from svcmgr.services.snapd.view.inodes import Key, Node, key_of
from svcmgr.services.snapd.view.shown import Root
from svcmgr.volume.snapshot import RESERVED_DIR

_RESERVED = os.fsencode(RESERVED_DIR)
_ROOTS, _FILES = 64, 256
#: Bytes of directory that one piece reads: about a hundred names.
_PIECE = 4096
#: What a file system that cannot read without waiting says to RWF_NOWAIT (preadv2(2)).
_WOULD_WAIT = frozenset({errno.EAGAIN, errno.EOPNOTSUPP})


@attrs.frozen
class File:
    """A file that is there: how it is known, and what lstat(2) says of it."""

    key: Key
    path: bytes
    status: os.stat_result


@attrs.frozen
class Item:
    """One entry of a directory; ``following`` is the position after it."""

    name: bytes
    following: int
    file: File


def fail(number: int) -> NoReturn:
    """Raise the OSError of ``number``."""
    raise OSError(number, os.strerror(number))


def hidden(path: bytes, name: bytes) -> bool:
    """Whether ``name`` in directory ``path`` of a root is ours and not the user's."""
    return path == b"" and name == _RESERVED


class Content:
    """See the module. For several threads. Everything raises OSError."""

    def __init__(self) -> None:
        self._roots = Descriptors(_ROOTS)
        self._files = Descriptors(_FILES)

    @contextlib.contextmanager
    def _top(self, root: Root, cached: bool) -> Iterator[int]:
        def make() -> int:
            if cached:
                fail(errno.EAGAIN)
            return open_root(root.path)

        with self._roots.lend(root.key, make) as top:
            yield top

    @contextlib.contextmanager
    def _at(self, root: Root, path: bytes) -> Iterator[int]:
        with self._top(root, False) as top:
            fd = open_beneath(top, path, os.O_PATH)
        try:
            yield fd
        finally:
            os.close(fd)

    def find(self, root: Root, path: bytes, cached: bool = False) -> File:
        """The file at ``path``."""
        with self._top(root, cached) as top:
            fd = open_beneath(top, path, os.O_PATH, cached=cached)
            try:
                return _file(root, top, path, os.fstat(fd))
            finally:
                os.close(fd)

    def target(self, root: Root, path: bytes) -> bytes:
        """What a symbolic link says, as it is stored."""
        with self._at(root, path) as fd:
            return os.readlink(b"", dir_fd=fd)

    def xattr(self, root: Root, path: bytes, name: bytes) -> bytes:
        """One extended attribute. ENODATA where there is none."""
        with self._at(root, path) as fd:
            return os.getxattr(_itself(fd), name)

    def xattrs(self, root: Root, path: bytes) -> list[bytes]:
        """The names of all extended attributes that this process may see."""
        with self._at(root, path) as fd:
            return [os.fsencode(name) for name in os.listxattr(_itself(fd))]

    def statfs(self, root: Root) -> os.statvfs_result:
        """What statvfs(3) says of the file system of ``root``."""
        with self._top(root, False) as top:
            return os.fstatvfs(top)

    def piece(self, root: Root, path: bytes, position: int) -> list[Item]:
        """Entries of a directory from ``position`` on, about a hundred; [] is the end."""
        with self._top(root, False) as top:
            fd = open_unmarked(top, path, os.O_DIRECTORY)
            try:
                while named := directory_piece(fd, position, _PIECE):
                    found = [(name, following, _look(fd, path, name)) for name, following in named]
                    if items := [Item(n, f, _file(root, top, join(path, n), s)) for n, f, s in found if s]:
                        return items
                    position = named[-1][1]
            finally:
                os.close(fd)
        return []

    @contextlib.contextmanager
    def file(self, root: Root, node: Node, cached: bool = False) -> Iterator[int]:
        """A descriptor to read the regular file of ``node``. ESTALE when another file is there now."""

        def make() -> int:
            with self._top(root, cached) as top:
                fd = open_unmarked(top, node.path, os.O_NONBLOCK, cached=cached)
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == (node.key.device, node.key.inode) and stat.S_ISREG(status.st_mode):
                return fd
            os.close(fd)
            fail(errno.ESTALE)

        with self._files.lend((root.key, node.number), make) as fd:
            yield fd

    def touch(self, root: Root, node: Node, cached: bool = False) -> None:
        """Open the regular file of ``node`` and keep it at hand."""
        with self.file(root, node, cached):
            pass

    def seek(self, root: Root, node: Node, offset: int, whence: int) -> int:
        """Where data or a hole begins; ENXIO behind the last."""
        with self.file(root, node) as fd:
            return os.lseek(fd, offset, whence)

    def read(self, root: Root, node: Node, buffer: memoryview, offset: int, cached: bool = False) -> int:
        """Fill ``buffer`` from ``offset`` on; how many bytes there were, fewer only at the end of the file."""
        with self.file(root, node, cached) as fd:
            done = 0
            while done < len(buffer):
                try:
                    count = os.preadv(fd, [buffer[done:]], offset + done, os.RWF_NOWAIT if cached else 0)
                except OSError as error:
                    if cached and error.errno in _WOULD_WAIT:
                        fail(errno.EAGAIN)
                    raise
                done += count
                if not count:
                    break
            return done

    def drop(self, gone: frozenset[str]) -> None:
        """Close what is held of the roots with these keys."""
        self._roots.drop(lambda key: key in gone)
        self._files.drop(lambda key: isinstance(key, tuple) and key[0] in gone)

    def close(self) -> None:
        """Close everything that is held. Idempotent."""
        self._roots.close()
        self._files.close()


def _itself(fd: int) -> str:
    # The calls for xattrs refuse an O_PATH descriptor; its name in /proc leads to the file itself, also to a symlink.
    return f"/proc/self/fd/{fd}"


def join(directory: bytes, name: bytes) -> bytes:
    """The path of ``name`` in ``directory``, both below a root."""
    return directory + b"/" + name if directory else name


def _file(root: Root, top: int, path: bytes, status: os.stat_result) -> File:
    own = status.st_dev, status.st_ino, stat.S_ISDIR(status.st_mode)
    return File(key_of(root.key, os.fstat(top).st_dev, own, path), path, status)


def _look(directory: int, path: bytes, name: bytes) -> os.stat_result | None:
    if hidden(path, name):
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None  # removed since the directory was read
