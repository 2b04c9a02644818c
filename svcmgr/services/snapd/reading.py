"""The view's content over RPC: list, stat and read a file of an activated snapshot with the permissions of the caller.

The kernel decides what the caller may see, as it does in the view: every request runs in a thread with the caller's
user and groups. Paths come from strangers: they are resolved below the snapshot and through no symbolic link.

A name need not be UTF-8, and the wire is: a byte that is not is shown as ``\\xNN``, and a path is tried as it is
first and with such pieces as bytes after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from svcmgr.conn import Peer
from svcmgr.errors import BadInput, NotPermitted, StorageFailed, SvcmgrError
from svcmgr.proc.beneath import directory_piece, open_beneath, open_unmarked
from svcmgr.proc.credentials import start_as
from svcmgr.services.snapd import wire
from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.kinds import kind_of
from svcmgr.services.snapd.roots import open_root
from svcmgr.volume.snapshot import RESERVED_DIR

#: Most entries of one listing, and the longest path in characters.
LIST_MAX = 10_000
PATH_MAX = 16_384
#: Requests that may be at the disk at once.
_AT_ONCE = 8
_PIECE = 32 * 1024
#: What errno says about the path that was asked for, not about the disk.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG, errno.EISDIR})

T = TypeVar("T")
#: What is done at a place: (descriptor of the root, path below it).
_Action = Callable[[int, bytes], T]


class Reader:
    """Answers the verbs ``list``, ``stat`` and ``read``. Everything raises

    BadInput for a path that is none or not there, NotPermitted where the caller may not, StorageFailed when the disk
    fails.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def list(self, request: wire.PathRequest, exposed: Exposed, peer: Peer) -> wire.ListReply:
        """A directory, by name; at most LIST_MAX entries."""
        root, path = place(exposed, request.path, request.brick)
        if root is None:
            bricks = [_own_directory(exposed, f"brick-{n}") for n in range(1, len(exposed.roots) + 1)]
            return wire.ListReply(bricks)
        return await self._do(peer, exposed, root, path, _list)

    async def stat(self, request: wire.PathRequest, exposed: Exposed, peer: Peer) -> wire.Entry:
        """One file; its name is the last of the path."""
        root, path = place(exposed, request.path, request.brick)
        if root is None:
            return _own_directory(exposed, "")
        return await self._do(peer, exposed, root, path, _stat)

    async def read(self, request: wire.ReadRequest, exposed: Exposed, peer: Peer) -> wire.ReadReply:
        """A piece of a regular file."""
        if request.offset < 0 or request.offset >= 1 << 63 or not 0 < request.length <= wire.READ_MAX:
            raise BadInput(
                f"cannot read {request.length} bytes at {request.offset}: the offset must not be negative, and 1 to "
                f"{wire.READ_MAX} bytes can be read at once"
            )
        root, path = place(exposed, request.path, request.brick)
        if root is None:
            raise BadInput(f"cannot read the top of snapshot {exposed.name}: it is a directory; name a file")
        return await self._do(peer, exposed, root, path, lambda top, at: _read(top, at, request.offset, request.length))

    async def _do(self, peer: Peer, exposed: Exposed, root: Path, path: str, action: _Action[T]) -> T:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        work = start_as(peer.uid, peer.gid, lambda: _top(exposed, root), lambda top: _try(top, path, action))
        # Not when the caller gives up: a thread that waits for a disk is one of the few until it is through.
        work.add_done_callback(lambda future: _tell(loop, self._free.release))
        try:
            return await asyncio.wrap_future(work)
        except OSError as error:
            raise _refusal(exposed, path, error) from error


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for a turn any more
        loop.call_soon_threadsafe(what)


def place(exposed: Exposed, path: str, brick: int) -> tuple[Path | None, str]:
    """The root and the path below it that are meant; no root is the top of a snapshot of several bricks.

    Raises:
        BadInput: no path can be like that, or there is no such brick.
    """
    if len(path) > PATH_MAX or "\0" in path:
        raise BadInput(f"cannot use a path of {len(path)} characters: at most {PATH_MAX}, and no NUL")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise BadInput(f"cannot use path {path!r}: '..' leads out of the snapshot; name the file from its top")
    if brick == 0 and len(exposed.roots) > 1:
        if not names:
            return None, ""
        found = re.fullmatch(r"brick-([1-9][0-9]{0,5})", names.pop(0))
        brick = int(found[1]) if found else -1
    brick = brick or 1
    if not 0 < brick <= len(exposed.roots):
        raise BadInput(
            f"cannot find {path!r} in snapshot {exposed.name}: its bricks are brick-1 to brick-{len(exposed.roots)}"
        )
    if names[:1] == [RESERVED_DIR]:
        raise _refusal(exposed, path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return exposed.roots[brick - 1], "/".join(names)


def _refusal(exposed: Exposed, path: str, error: OSError) -> SvcmgrError:
    what = f"{path!r} in snapshot {exposed.name}: {error.strerror}"
    if isinstance(error, PermissionError):
        return NotPermitted(f"cannot read {what}; ask its owner", path=path, errno=error.errno)
    if error.errno in _NOT_THERE:
        return BadInput(f"cannot find {what}; list its directory", path=path, errno=error.errno)
    return StorageFailed(f"cannot read {what} (errno {error.errno})", path=path, errno=error.errno)


@contextlib.contextmanager
def _top(exposed: Exposed, root: Path) -> Iterator[int]:
    # With our own permissions: the way to the bricks may be closed to users, as the way behind the view is.
    try:
        fd = open_root(root)
    except OSError as error:
        raise StorageFailed(
            f"cannot read snapshot {exposed.name}: {root}: {error.strerror} (errno {error.errno}); look at its brick",
            path=str(root),
            errno=error.errno,
        ) from error
    with _opened(fd):
        yield fd


def _try(top: int, path: str, action: _Action[T]) -> T:
    literal = path.encode("utf-8", "surrogateescape")
    meant = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), literal)
    if meant == literal or b"\0" in meant or meant.count(b"/") != literal.count(b"/"):
        return action(top, literal)
    try:
        return action(top, literal)
    except FileNotFoundError:
        return action(top, meant)


def shown(name: bytes) -> str:
    """``name`` as text that a wire of UTF-8 can carry."""
    return name.decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _entry(name: bytes, status: os.stat_result, target: bytes | None) -> wire.Entry:
    return wire.Entry(
        name=shown(name),
        kind=kind_of(status.st_mode),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        mtime=status.st_mtime,
        target=None if target is None else shown(target),
    )


def _own_directory(exposed: Exposed, name: str) -> wire.Entry:
    return wire.Entry(name, "directory", 0o555, os.geteuid(), os.getegid(), 0, exposed.created)


def _stat(top: int, path: bytes) -> wire.Entry:
    with _opened(open_beneath(top, path, os.O_PATH)) as fd:
        status = os.fstat(fd)
        target = os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else None
    return _entry(path.rpartition(b"/")[2], status, target)


def _list(top: int, path: bytes) -> wire.ListReply:
    entries: list[wire.Entry] = []
    position = 0
    with _opened(open_unmarked(top, path, os.O_DIRECTORY)) as fd:
        while len(entries) <= LIST_MAX and (named := directory_piece(fd, position, _PIECE)):
            position = named[-1][1]
            seen = [_of(fd, name) for name, _ in named if path or name != os.fsencode(RESERVED_DIR)]
            entries += [entry for entry in seen if entry is not None]
    listed = sorted(entries[:LIST_MAX], key=lambda entry: entry.name)
    return wire.ListReply(listed, truncated=len(entries) > LIST_MAX)


def _of(directory: int, name: bytes) -> wire.Entry | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        target = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else None
    except FileNotFoundError:
        return None  # removed since the directory was read
    return _entry(name, status, target)


def _read(top: int, path: bytes, offset: int, length: int) -> wire.ReadReply:
    # Looked at before it is opened: opening a device or a fifo does something.
    with _opened(open_beneath(top, path, os.O_PATH)) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadInput(f"cannot read {shown(path)!r}: it is not a regular file", path=shown(path))
    with _opened(open_unmarked(top, path, os.O_NONBLOCK)) as fd:
        data = b""
        while len(data) < length and (piece := os.pread(fd, length - len(data), offset + len(data))):
            data += piece
        size = os.fstat(fd).st_size
    return wire.ReadReply(data, size, eof=offset + len(data) >= size)
