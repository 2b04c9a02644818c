"""One mount: reads requests of the kernel from /dev/fuse, has :class:`FileSystem` answer them, writes the answers.

Every request is a task, so one that waits for a disk does not hold up the next. What comes faster than it can be
answered waits in the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from svcmgr.proc.mounts import mount_fuse
from svcmgr.services.snapd.view import protocol
from svcmgr.services.snapd.view.backings import Backings
from svcmgr.services.snapd.view.filesystem import CONTENT_S, FileSystem
from svcmgr.services.snapd.view.protocol import Request

#: Requests in work at once.
MOST_REQUESTS = 64
#: Requests read before others on the loop have their turn.
_AT_ONCE = 16
#: What the kernel reads ahead of a sequential reader: the largest request.
READ_AHEAD = protocol.MAX_PAGES * protocol.PAGE

log = logging.getLogger(__name__)


class Session:
    """From the mount to :meth:`close`. Everything but :meth:`forget` on the loop that :meth:`serve` runs on."""

    def __init__(self, mount: Path, source: str, files: FileSystem, first: Callable[[], None]) -> None:
        """Mount; ``first`` is called at the first request after the kernel agreed on terms. Raises SvcmgrError."""
        self._files = files
        self._first: Callable[[], None] | None = first
        self._fd = mount_fuse(mount, source, max_read=READ_AHEAD)
        self._buffer = memoryview(bytearray(protocol.BUFFER))
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self._backings = Backings(self._fd)
        self._handlers: dict[int, Callable[[Request], Coroutine[Any, Any, bytes | memoryview]]] = {
            protocol.LOOKUP: self._lookup,
            protocol.GETATTR: self._getattr,
            protocol.READLINK: self._readlink,
            protocol.OPEN: self._open,
            protocol.READ: self._read,
            protocol.STATFS: self._statfs,
            protocol.RELEASE: self._release,
            protocol.GETXATTR: self._getxattr,
            protocol.LISTXATTR: self._listxattr,
            protocol.OPENDIR: self._opendir,
            protocol.RELEASEDIR: self._releasedir,
            protocol.READDIRPLUS: self._readdir,
            protocol.LSEEK: self._lseek,
        }

    async def serve(self) -> None:
        """Answer until the mount is gone or :meth:`end` is called."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._readable)
        await self._over.wait()
        loop.remove_reader(self._fd)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def end(self) -> None:
        """Make :meth:`serve` return. Idempotent."""
        self._over.set()

    def forget(self, parent: int, name: bytes) -> None:
        """Ask the kernel to look ``name`` up again. May wait for requests in work, so it needs another thread."""
        with contextlib.suppress(OSError):  # it does not know the name, or the mount is gone: nothing to forget
            os.write(self._fd, protocol.forget_entry(parent, name))

    def close(self) -> None:
        """Give the connection back; what is still mounted is dead from here on. Once."""
        os.close(self._fd)

    # --- requests ----------------------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            if self._over.is_set() or self._pause():
                return
            try:
                count = os.readv(self._fd, [self._buffer])
            except BlockingIOError:
                return  # its reader was killed and the request taken back
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # interrupted while we read it (fuse(4))
                if error.errno != errno.ENODEV:
                    log.error("cannot read requests: %s", error)
                self._over.set()
                return
            self._begin(self._buffer[:count])

    def _begin(self, message: memoryview) -> None:
        request = Request.parse(message)
        if request.opcode in (protocol.FORGET, protocol.BATCH_FORGET):
            self._files.forget(request.forgotten)
        elif request.opcode == protocol.INIT:
            self._agree(request)
        elif request.opcode in protocol.WRITING:
            self._answer(request, b"", errno.EROFS)
        elif request.opcode in self._handlers:
            task = asyncio.get_running_loop().create_task(self._work(request))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        elif request.opcode != protocol.INTERRUPT:
            self._answer(request, b"", errno.ENOSYS)

    def _pause(self) -> bool:
        if len(self._tasks) < MOST_REQUESTS:
            return False
        self._paused = True
        asyncio.get_running_loop().remove_reader(self._fd)
        return True

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._paused and not self._over.is_set():
            self._paused = False
            asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _agree(self, request: Request) -> None:
        terms = protocol.agree(request.body, READ_AHEAD, os.geteuid() == 0)
        if terms is None:
            log.error("cannot serve: this kernel speaks another FUSE protocol than version %d", protocol.MAJOR)
            self._answer(request, b"", errno.EPROTO)
            self._over.set()
            return
        self._backings.agreed = terms.passthrough
        self._answer(request, terms.answer)

    async def _work(self, request: Request) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            first()
        try:
            answer = await self._handlers[request.opcode](request)
        except OSError as error:
            self._answer(request, b"", error.errno or errno.EIO)
        except struct.error:
            self._answer(request, b"", errno.EINVAL)
        except Exception as error:
            log.error("request %d failed", request.opcode, exc_info=error)
            self._answer(request, b"", errno.EIO)
        else:
            self._answer(request, answer)

    def _answer(self, request: Request, body: bytes | memoryview, error: int = 0) -> None:
        try:
            os.writev(self._fd, [protocol.answer_header(request.unique, len(body), error), body])
        except OSError as failure:
            # ENOENT: nobody waits for it any more; ENODEV: the mount is gone.
            if failure.errno not in (errno.ENOENT, errno.ENODEV):
                log.error("cannot answer request %d: %s", request.opcode, failure)

    # --- one for each opcode -----------------------------------------------------------------------

    async def _lookup(self, request: Request) -> bytes:
        found = await self._files.lookup(request.inode, request.name)
        if found is None:
            return protocol.no_entry(CONTENT_S)
        self._files.remember(found)
        return protocol.entry(found.node.number, found.status, found.timeout)

    async def _getattr(self, request: Request) -> bytes:
        status, timeout = await self._files.attributes(request.inode)
        return protocol.attributes(request.inode, status, timeout)

    async def _readlink(self, request: Request) -> bytes:
        return await self._files.target(request.inode)

    async def _open(self, request: Request) -> bytes:
        await self._files.open(request.inode, request.open_flags)
        with self._files.at_hand(request.inode) as fd:
            backing = self._backings.take(request.inode, fd)
        how = protocol.PASSTHROUGH if backing else protocol.KEEP_CACHE
        return protocol.opened(request.inode, how | protocol.NO_FLUSH, backing)

    async def _release(self, request: Request) -> bytes:
        self._backings.give_back(request.inode)
        return b""

    async def _read(self, request: Request) -> memoryview:
        return await self._files.read(request.inode, *request.span)

    async def _lseek(self, request: Request) -> bytes:
        return protocol.position(await self._files.seek(request.inode, *request.seek))

    async def _opendir(self, request: Request) -> bytes:
        return protocol.opened(request.inode)

    async def _releasedir(self, request: Request) -> bytes:
        return b""

    async def _readdir(self, request: Request) -> bytes:
        position, room = request.span
        answer: list[bytes] = []
        while entries := await self._files.entries(request.inode, position):
            for index, one in enumerate(entries):
                room -= protocol.listed_size(one.name)
                if room < 0:
                    self._files.not_taken(request.inode, position, entries[index:])
                    return b"".join(answer)
                number, status = one.found.node.number, one.found.status
                body = protocol.entry(number, status, one.found.timeout)
                answer.append(protocol.listed(one.name, one.following, body, number, status.st_mode))
                self._files.remember(one.found)
                position = one.following
        return b"".join(answer)

    async def _statfs(self, request: Request) -> bytes:
        return protocol.statfs(await self._files.statfs())

    async def _getxattr(self, request: Request) -> bytes:
        name, room = request.xattr
        return protocol.fitted(await self._files.xattr(request.inode, name), room)

    async def _listxattr(self, request: Request) -> bytes:
        names = await self._files.xattrs(request.inode, request.uid == 0)
        return protocol.fitted(b"".join(name + b"\0" for name in names), request.xattr[1])
