"""What the view answers to each request of the kernel, without a word about how requests arrive.

A request that can be answered from memory and cached pages is answered at once on the view's own loop; one that has
to wait for a disk waits in a small pool of threads, so that others are served meanwhile. Nothing is kept for an open
file or directory: its handle is its inode number, so a reader who opens a million files costs nothing here.

Content is immutable, so the kernel may believe what it was told for CONTENT_S, also that a name is not there. What the
mount's top says can change with any activation: TOP_S, and the kernel is told besides.

Everything raises OSError, which is what the reader gets: EROFS for every kind of write, ESTALE for what belongs to a
snapshot that is shown no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

import attrs

from svcmgr.services.snapd.view.content import Content, File, fail, hidden, join
from svcmgr.services.snapd.view.inodes import TOP, Inodes, Key, Node
from svcmgr.services.snapd.view.protocol import Space, Status
from svcmgr.services.snapd.view.shown import Root, Shelf, Shown

#: Seconds that the kernel may believe an entry or attributes: inside snapshots, and at the top of the mount.
CONTENT_S = 3600.0
TOP_S = 1.0
#: More nodes than this and the kernel is asked to forget some; one is about half a kilobyte.
CROWDED = 50_000
#: Pieces of directories that were read further than the kernel had room for.
_LEFTOVERS = 64
#: Buffers for reads that are kept, and how large they are: the largest read of a FUSE mount (256 pages of 4 KiB).
_BUFFERS, _BUFFER = 8, 1 << 20

T = TypeVar("T")


@attrs.frozen
class OwnDirectory:
    """The status of a directory that is nowhere on a disk: the top, and a snapshot of several bricks."""

    st_mtime_ns: int
    st_nlink: int
    st_uid: int = attrs.field(factory=os.geteuid)
    st_gid: int = attrs.field(factory=os.getegid)
    st_mode: int = stat.S_IFDIR | 0o555
    st_rdev: int = 0
    st_size: int = 0
    st_blksize: int = 4096
    st_blocks: int = 0

    @property
    def st_atime_ns(self) -> int:
        return self.st_mtime_ns

    @property
    def st_ctime_ns(self) -> int:
        return self.st_mtime_ns


@attrs.frozen
class Found:
    """An answer about one file. ``node`` is to be remembered if the kernel takes the answer."""

    node: Node
    status: Status
    timeout: float


@attrs.frozen
class Entry:
    """One entry of a listing; ``following`` is where to go on after it."""

    name: bytes
    following: int
    found: Found


@attrs.define
class Counts:
    """What was asked for since the view was opened."""

    opens: int = 0
    reads: int = 0
    read_bytes: int = 0


class FileSystem:
    """See the module. Its methods run on one loop; ``shown`` and ``hide_dot`` may be set from anywhere."""

    def __init__(self, pool: Executor, hide_dot: bool) -> None:
        self.shown = Shown.of(())
        self.hide_dot = hide_dot
        self.counts = Counts()
        #: Called when there are more nodes than there should be.
        self.crowded: Callable[[], None] = lambda: None
        self._content = Content()
        self._pool = pool
        self._inodes = Inodes()
        self._crowded_at = CROWDED
        #: How often the kernel forgot something.
        self.forgettings = 0
        self._leftovers: dict[tuple[int, int], list[Entry]] = {}
        self._buffers: list[bytearray] = []

    # --- names -------------------------------------------------------------------------------------

    async def lookup(self, parent: int, name: bytes) -> Found | None:
        """The file ``name`` in directory ``parent``; None when there is none and that stays so for CONTENT_S."""
        if parent == TOP:
            shelf = self.shown.shelves.get(name)
            return await self._of_shelf(shelf) if shelf else fail(errno.ENOENT)
        node = self._node(parent)
        shelf = self.shown.by_key.get(node.key.root)
        if shelf is not None:
            root = shelf.roots.get(name)
            return await self._of_root(root, parent) if root else None
        if hidden(node.path, name):
            return None
        root = self._root(node)
        try:
            file = await self._soon(self._content.find, root, join(node.path, name))
        except FileNotFoundError:
            return None
        return self._found(root, file, parent)

    async def attributes(self, number: int) -> tuple[Status, float]:
        """The status of ``number`` and how long it may be believed, seconds."""
        if number == TOP:
            return OwnDirectory(self.shown.changed_ns, 2 + len(self.shown.shelves)), TOP_S
        node = self._node(number)
        shelf = self.shown.by_key.get(node.key.root)
        if shelf is not None:
            return _status_of(shelf), CONTENT_S
        return (await self._same(node)).status, CONTENT_S

    async def _same(self, node: Node) -> File:
        """The file of ``node`` as it is now. ESTALE when it is another one or gone."""
        try:
            file = await self._soon(self._content.find, self._root(node), node.path)
        except FileNotFoundError:
            fail(errno.ESTALE)
        return file if file.key == node.key else fail(errno.ESTALE)

    def _node(self, number: int) -> Node:
        return self._inodes.get(number) or fail(errno.ESTALE)

    def _root(self, node: Node) -> Root:
        return self.shown.roots.get(node.key.root) or fail(errno.ESTALE)

    def _found(self, root: Root, file: File, parent: int) -> Found:
        number = self._inodes.number(root.seed, file.key)
        node = Node(number, file.key, file.path, parent, stat.S_ISDIR(file.status.st_mode))
        # A snapshot that is a root itself can be deactivated, which its name in the top has to show.
        return Found(node, file.status, CONTENT_S if parent != TOP else TOP_S)

    async def _of_root(self, root: Root, parent: int) -> Found:
        return self._found(root, await self._soon(self._content.find, root, b""), parent)

    async def _of_shelf(self, shelf: Shelf) -> Found:
        if shelf.only is not None:
            return await self._of_root(shelf.only, TOP)
        key = Key(shelf.key, 0, 0)
        node = Node(self._inodes.number(shelf.seed, key), key, b"", TOP, True)
        return Found(node, _status_of(shelf), TOP_S)

    def remember(self, found: Found) -> None:
        """The kernel was given ``found`` and will say when it forgets it."""
        self._inodes.remember(found.node)
        if len(self._inodes) > self._crowded_at:
            self._crowded_at = len(self._inodes) + CROWDED // 4
            self.crowded()

    def forget(self, forgotten: Iterable[tuple[int, int]]) -> None:
        """The kernel forgot (number, lookups)."""
        self._inodes.forget(forgotten)
        self.forgettings += 1
        if self.is_crowded:
            self.crowded()  # it lets go, so it can be asked for more
        else:
            self._crowded_at = CROWDED

    @property
    def is_crowded(self) -> bool:
        """There are more nodes than there should be."""
        return len(self._inodes) > CROWDED

    def victims(self) -> list[tuple[int, bytes]]:
        """What the kernel is best asked to let go of: (directory, name)."""
        return [(node.parent, node.path.rpartition(b"/")[2]) for node in self._inodes.victims()]

    def forget_all(self) -> None:
        """The mount is gone, and all that its kernel side remembered."""
        self._inodes = Inodes()
        self._crowded_at = CROWDED
        self._leftovers.clear()

    # --- directories -------------------------------------------------------------------------------

    async def entries(self, number: int, position: int) -> list[Entry]:
        """Some entries of directory ``number`` from ``position`` on; [] is the end."""
        if (left := self._leftovers.pop((number, position), None)) is not None:
            return left
        if number == TOP:
            return await self._top_entries(position)
        node = self._node(number)
        shelf = self.shown.by_key.get(node.key.root)
        if shelf is not None:
            roots = list(shelf.roots.items())[position:]
            return [Entry(name, position + n, await self._of_root(r, number)) for n, (name, r) in enumerate(roots, 1)]
        root = self._root(node)
        items = await self._later(self._content.piece, root, node.path, position)
        return [Entry(item.name, item.following, self._found(root, item.file, number)) for item in items]

    def not_taken(self, number: int, position: int, entries: list[Entry]) -> None:
        """The kernel had no room for ``entries``; it will ask for them from ``position`` on, or not at all."""
        if len(self._leftovers) >= _LEFTOVERS:
            del self._leftovers[next(iter(self._leftovers))]
        self._leftovers[number, position] = entries

    async def _top_entries(self, position: int) -> list[Entry]:
        entries: list[Entry] = []
        for shelf in self.shown.listed(self.hide_dot, position):
            try:
                entries.append(Entry(shelf.name, shelf.serial, await self._of_shelf(shelf)))
            except OSError:
                continue  # a snapshot whose brick cannot be read says so when it is entered, and hides no other
            if len(entries) == _LEFTOVERS:
                break
        return entries

    # --- files -------------------------------------------------------------------------------------

    async def target(self, number: int) -> bytes:
        """What the symbolic link says."""
        node = self._node(number)
        return await self._later(self._content.target, self._root(node), node.path)

    async def open(self, number: int, flags: int) -> None:
        """Whether the regular file can be opened; nothing is kept."""
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            fail(errno.EROFS)
        node = self._node(number)
        await self._soon(self._content.touch, self._root(node), node)
        self.counts.opens += 1

    @contextlib.contextmanager
    def at_hand(self, number: int) -> Iterator[int | None]:
        """A descriptor of the regular file if that can be had without waiting, else None."""
        node = self._node(number)
        with contextlib.ExitStack() as stack:
            try:
                fd = stack.enter_context(self._content.file(self._root(node), node, True))
            except OSError:
                yield None
            else:
                yield fd

    async def seek(self, number: int, offset: int, whence: int) -> int:
        """Where data or a hole begins (lseek(2) with SEEK_DATA and SEEK_HOLE)."""
        node = self._node(number)
        return await self._later(self._content.seek, self._root(node), node, offset, whence)

    async def read(self, number: int, offset: int, size: int) -> memoryview:
        """``size`` bytes from ``offset`` on, fewer at the end. To be used before the loop runs anything else."""
        node = self._node(number)
        root = self._root(node)
        buffer = self._buffers.pop() if self._buffers and size <= _BUFFER else bytearray(max(size, _BUFFER))
        view = memoryview(buffer)[:size]
        count = await self._soon(self._content.read, root, node, view, offset)
        if len(self._buffers) < _BUFFERS:
            self._buffers.append(buffer)
        self.counts.reads += 1
        self.counts.read_bytes += count
        return view[:count]

    async def xattr(self, number: int, name: bytes) -> bytes:
        """An extended attribute. ENODATA where there is none."""
        node = self._of_content(number)
        return await self._later(self._content.xattr, self._root(node), node.path, name)

    async def xattrs(self, number: int, privileged: bool) -> list[bytes]:
        """The names of all; ``trusted.`` ones only for the ``privileged``, as the kernel does it (xattr(7))."""
        if number == TOP or self._node(number).key.root in self.shown.by_key:
            return []
        node = self._node(number)
        names = await self._later(self._content.xattrs, self._root(node), node.path)
        return [name for name in names if privileged or not name.startswith(b"trusted.")]

    def _of_content(self, number: int) -> Node:
        if number == TOP or self._node(number).key.root in self.shown.by_key:
            fail(errno.ENODATA)
        return self._node(number)

    async def statfs(self) -> Space:
        """The file system of the first snapshot shown; nothing when there is none."""
        for root in self.shown.roots.values():
            status = await self._later(self._content.statfs, root)
            sizes = status.f_blocks, status.f_bfree, status.f_bavail, status.f_files, status.f_ffree
            return Space(*sizes, status.f_frsize)
        return Space()

    # --- activation --------------------------------------------------------------------------------

    def closed(self, roots: Iterable[str]) -> None:
        """Let go of every descriptor of the roots with these keys."""
        gone = frozenset(roots)
        self._content.drop(gone)
        for key in [key for key, left in self._leftovers.items() if left and left[0].found.node.key.root in gone]:
            del self._leftovers[key]

    def close(self) -> None:
        """Let go of every descriptor. Idempotent."""
        self._content.close()

    async def _soon(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments, cached=True)
        except BlockingIOError:
            return await self._later(function, *arguments)

    async def _later(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _status_of(shelf: Shelf) -> OwnDirectory:
    return OwnDirectory(shelf.created_ns, 2 + len(shelf.roots))
