"""The only module that knows pyfuse3: requests of the kernel to :class:`FileSystem` and its answers back.

pyfuse3 is imported when a view is opened and not before: it brings trio along (10 MB, a fifth of a second). It keeps
its one session in globals, so a process has one view.

What had to be added to it. A handler that raises anything but FUSEError would leave its reader waiting for ever, so
every handler is wrapped. Its read of /dev/fuse would block all threads, with the interpreter's lock held, when the
request that made the descriptor readable was interrupted meanwhile, which any reader can cause by being killed; so
the descriptor is non-blocking, and a worker that finds nothing to read ends (another one is there by then, or the
loop is begun anew).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import select
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import pyfuse3
import pyfuse3.asyncio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, StatvfsData

from svcmgr.errors import Unsupported
from svcmgr.proc.mounts import SUBTYPE
from svcmgr.services.snapd.view.filesystem import CONTENT_S, FileSystem, Found, Status

#: Requests in work at once; each has a buffer of 1 MiB, of which only what is used is real memory.
_MOST_REQUESTS = 64

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


def _answered(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """``handler`` with every failure made an answer."""

    @functools.wraps(handler)
    async def answer(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await handler(*arguments, **named)
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None
        except (FUSEError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.error("request %s failed", handler.__name__, exc_info=error)
            raise FUSEError(errno.EIO) from None

    return answer


async def _refused(*arguments: Any) -> NoReturn:
    raise FUSEError(errno.EROFS)


class Requests(pyfuse3.Operations):
    """pyfuse3's table of handlers. Handles of files and directories are their inode numbers."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    #: The kernel evaluates system.posix_acl_access of every file (Linux 4.9).
    enable_acl = True

    def __init__(self, files: FileSystem, first: Callable[[], None]) -> None:
        super().__init__()
        self._files = files
        self._first: Callable[[], None] | None = first

    def _begun(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            first()

    @_answered
    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> EntryAttributes:
        self._begun()
        found = await self._files.lookup(parent_inode, name)
        if found is None:
            nothing = EntryAttributes()  # inode 0: the kernel may remember that the name is not there
            nothing.st_ino = 0
            nothing.entry_timeout = CONTENT_S
            return nothing
        self._files.remember(found)
        return _entry(found)

    async def forget(self, inode_list: Any) -> None:
        self._files.forget(inode_list)

    @_answered
    async def getattr(self, inode: int, ctx: Any) -> EntryAttributes:
        self._begun()
        status, timeout = await self._files.attributes(inode)
        return _attributes(inode, status, timeout)

    @_answered
    async def readlink(self, inode: int, ctx: Any) -> bytes:
        return await self._files.target(inode)

    @_answered
    async def open(self, inode: int, flags: int, ctx: Any) -> FileInfo:
        await self._files.open(inode, flags)
        return FileInfo(fh=inode, keep_cache=True)

    @_answered
    async def read(self, fh: int, off: int, size: int) -> bytes:
        return await self._files.read(fh, off, size)  # type: ignore[return-value]  # any buffer will do

    async def release(self, fh: int) -> None:
        pass

    @_answered
    async def opendir(self, inode: int, ctx: Any) -> int:
        self._begun()
        return inode

    async def releasedir(self, fh: int) -> None:
        pass

    @_answered
    async def readdir(self, fh: int, start_id: int, token: Any) -> None:
        position = start_id
        while entries := await self._files.entries(fh, position):
            for index, entry in enumerate(entries):
                if not pyfuse3.readdir_reply(token, entry.name, _entry(entry.found), entry.following):
                    self._files.not_taken(fh, position, entries[index:])
                    return
                self._files.remember(entry.found)
                position = entry.following

    @_answered
    async def statfs(self, ctx: Any) -> StatvfsData:
        self._begun()
        answer = StatvfsData()
        status = await self._files.statfs()
        answer.f_bsize = answer.f_frsize = 4096
        answer.f_namemax = 255
        if status is not None:
            for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
                setattr(answer, name, getattr(status, name))
        return answer

    @_answered
    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        return await self._files.xattr(inode, name)

    @_answered
    async def listxattr(self, inode: int, ctx: Any) -> list[bytes]:
        return await self._files.xattrs(inode, ctx.uid == 0)

    setattr = mknod = mkdir = unlink = rmdir = symlink = rename = link = _refused  # type: ignore[assignment]
    create = write = setxattr = removexattr = _refused  # type: ignore[assignment]


def _attributes(number: int, status: Status, timeout: float) -> EntryAttributes:
    answer = EntryAttributes()
    answer.st_ino = number
    answer.attr_timeout = answer.entry_timeout = timeout
    answer.st_mode = status.st_mode
    answer.st_nlink = status.st_nlink
    answer.st_uid = status.st_uid
    answer.st_gid = status.st_gid
    answer.st_rdev = status.st_rdev
    answer.st_size = status.st_size
    answer.st_blksize = status.st_blksize
    answer.st_blocks = status.st_blocks
    answer.st_atime_ns = status.st_atime_ns
    answer.st_mtime_ns = status.st_mtime_ns
    answer.st_ctime_ns = status.st_ctime_ns
    return answer


def _entry(found: Found) -> EntryAttributes:
    return _attributes(found.node.number, found.status, found.timeout)


class Session:
    """One mount, from ``init`` to ``close``. Everything but :meth:`forget` on the loop that :meth:`serve` runs on."""

    def __init__(self, mount: Path, source: str, files: FileSystem, first: Callable[[], None]) -> None:
        """Mount. Raises Unsupported with the reason."""
        pyfuse3.asyncio.enable()
        logging.getLogger("pyfuse3").addFilter(_worth_saying)
        before = _devices()
        try:
            pyfuse3.init(Requests(files, first), os.fspath(mount), _options(source))
        except RuntimeError as error:
            pyfuse3.close(unmount=False)
            raise Unsupported(f"cannot mount the view at {mount}: {error}; the log says more") from error
        self._fd = max(_devices() - before)
        os.set_blocking(self._fd, False)
        self._ended = False

    async def serve(self) -> None:
        """Answer until the mount is gone or :meth:`end` is called."""
        while not self._ended and not self._is_cut_off():
            await pyfuse3.main(min_tasks=1, max_tasks=_MOST_REQUESTS)

    def _is_cut_off(self) -> bool:
        # fuse_dev_poll() of linux: fs/fuse/dev.c says POLLERR once the connection is gone.
        poller = select.poll()
        poller.register(self._fd, 0)
        return bool(poller.poll(0))

    def end(self) -> None:
        """Make :meth:`serve` return. Idempotent, also after :meth:`close`."""
        if not self._ended:
            self._ended = True
            # A worker that was woken this moment is not to be told, and need not be.
            with contextlib.suppress(asyncio.InvalidStateError):
                pyfuse3.terminate()

    def forget(self, parent: int, name: bytes) -> None:
        """Ask the kernel to look ``name`` up again. May wait for requests in work, so it needs another thread."""
        with contextlib.suppress(OSError):  # it does not know the name, or the mount is gone: nothing to forget
            pyfuse3.invalidate_entry(parent, name)

    def close(self) -> None:
        """Give everything back; what is still mounted is dead from here on."""
        self._ended = True
        pyfuse3.close(unmount=False)


def _options(source: str) -> set[str]:
    # No device and no set-user-id program of a snapshot works through the view; the kernel checks permissions.
    options = {"ro", "nosuid", "nodev", "default_permissions", f"fsname={source}", f"subtype={SUBTYPE}"}
    return options | {"allow_other"} if os.geteuid() == 0 else options


def _devices() -> set[int]:
    """Our descriptors of /dev/fuse; pyfuse3 does not tell which one it uses."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists is closed by now
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                found.add(int(name))
    return found


def _worth_saying(record: logging.LogRecord) -> bool:
    # An answer to a request that was interrupted is refused with ENOENT. Any reader can cause that, as often as he
    # likes.
    return "fuse_reply_" not in str(record.msg)
