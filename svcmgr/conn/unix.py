"""Links over unix stream sockets, on asyncio protocols (unix(7)).

All links of a loop read into one shared buffer: asyncio asks for the buffer, reads into it and hands it over
in one go, and the decoder copies whole bodies out, so nothing of it is in use between two reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import struct
from typing import cast

from svcmgr.conn.events import Peer
from svcmgr.conn.frame import FrameDecoder
from svcmgr.conn.transport import Address, HandlerFactory, LinkHandler, LinkOptions
from svcmgr.errors import AlreadyExists, ConnectionFault, Disconnected, NotPermitted, StorageFailed, SvcmgrError

#: More than a socket holds by default (net.core.rmem_default, 212,992 bytes: socket(7)), so one read takes all.
READ_BUFFER = 256 * 1024
#: Connections the kernel holds for us until they are accepted (listen(2)).
BACKLOG = 512

_UCRED = struct.Struct("3i")


class UnixLink(asyncio.BufferedProtocol):
    """One connected socket."""

    def __init__(self, handler: LinkHandler, options: LinkOptions, buffer: bytearray) -> None:
        self.peer = Peer(0, -1, -1)
        self._handler = handler
        self._options = options
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._decoder = FrameDecoder(options.max_frame)
        self._transport: asyncio.Transport | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._reading = True

    # --- for the user of the link

    @property
    def backlog(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    def send(self, data: bytes) -> None:
        if self._transport is not None and self._lingering is None and not self._transport.is_closing():
            self._transport.write(data)

    def hold(self) -> None:
        if self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def go_on(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def close(self, linger: float = 0.0) -> None:
        if self._transport is None or self._transport.is_closing() or self._lingering is not None:
            return
        if linger > 0:
            self.go_on()  # to see the peer hang up
            self._transport.write_eof()
            self._lingering = asyncio.get_running_loop().call_later(linger, self._transport.abort)
        else:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(high=self._options.write_high)
        self.peer = _credentials(transport.get_extra_info("socket"))
        self._handler.opened(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._lingering is not None or self._decoder.fault is not None:
            return  # our last word is said
        try:
            frames = self._decoder.feed(self._view[:nbytes])
        except ConnectionFault as error:
            self._handler.garbled(error)
            return
        self._handler.received(frames, self._decoder.unfinished)
        if self._decoder.fault is not None:
            self._handler.garbled(self._decoder.fault)

    def eof_received(self) -> bool:
        return False  # close: half-open connections have no use here

    def pause_writing(self) -> None:
        self._handler.choked()

    def resume_writing(self) -> None:
        self._handler.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return  # never opened, or told already
        if self._lingering is not None:
            self._lingering.cancel()
        self._transport = None  # asyncio's fails on any use from here on
        why = f"{exc}" if exc else "end of file"
        self._handler.closed(Disconnected(f"cannot go on: the connection ended ({why})"))


def _credentials(sock: socket.socket) -> Peer:
    # Three ints: pid, uid, gid (unix(7), SO_PEERCRED).
    return Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


class UnixTransport:
    """Dials and listens on socket files."""

    def __init__(self) -> None:
        self._buffer = bytearray(READ_BUFFER)

    async def dial(self, address: Address, handler: LinkHandler, options: LinkOptions) -> None:
        """See :meth:`svcmgr.conn.transport.Transport.dial`."""
        loop = asyncio.get_running_loop()
        link = UnixLink(handler, options, self._buffer)
        try:
            # From here on the socket is asyncio's: it closes it when this is cancelled.
            await loop.create_unix_connection(lambda: link, sock=_connect(address))
        except asyncio.CancelledError:
            # asyncio tells the link of its end; uvloop may not, having told it of its beginning.
            loop.call_soon(link.connection_lost, None)
            raise

    async def listen(self, address: Address, factory: HandlerFactory, options: LinkOptions) -> UnixListener:
        """See :meth:`svcmgr.conn.transport.Transport.listen`."""
        sock, inode = bind(address.place, options.socket_mode)
        try:
            server = await asyncio.get_running_loop().create_unix_server(
                lambda: UnixLink(factory(), options, self._buffer), sock=sock, backlog=BACKLOG
            )
        except BaseException:
            sock.close()
            raise
        return UnixListener(server, address, inode)


class UnixListener:
    """A bound socket file."""

    def __init__(self, server: asyncio.AbstractServer, address: Address, inode: tuple[int, int]) -> None:
        self.address = address
        self._server = server
        self._path = address.place
        self._inode = inode

    def close(self) -> None:
        """See :meth:`svcmgr.conn.transport.Listener.close`. The file goes only if it is still ours."""
        self._server.close()
        with contextlib.suppress(OSError):
            if _inode(self._path) == self._inode:
                os.unlink(self._path)


def _connect(address: Address) -> socket.socket:
    # On a unix socket connect(2) does not wait: it succeeds or fails at once. EAGAIN means that the
    # listener's queue is full; that is a failed attempt too, and not "in progress" as asyncio takes it.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(address.place)
    except OSError as error:
        sock.close()
        raise connect_error(str(address), error) from error
    return sock


def connect_error(address: str, error: OSError) -> SvcmgrError:
    """What a failed connect(2) means."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted(f"cannot connect to {address}: {error.strerror}", address=address, errno=error.errno)
    reason = "its queue of connections is full" if error.errno == errno.EAGAIN else f"{error.strerror}"
    return Disconnected(f"cannot connect to {address}: {reason}", address=address, errno=error.errno)


def bind(path: str, mode: int) -> tuple[socket.socket, tuple[int, int]]:
    """A socket bound to ``path`` with permission bits ``mode``, not listening yet, and its (device, inode).

    A socket file that nobody serves any more is removed first. That is decided by a connection attempt that
    is refused, and the file removed must be the one that refused.

    Raises:
        AlreadyExists: somebody serves it.
        StorageFailed: it cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        sock.bind(path)
        # Between bind and listen nobody can connect, so nobody slips in under the umask's idea of a mode.
        os.chmod(path, mode)
        return sock, _inode(path)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AlreadyExists(f"cannot listen on {path}: another process just did", path=path) from error
        raise StorageFailed(f"cannot listen on {path}: {error.strerror}", path=path, errno=error.errno) from error
    except SvcmgrError:
        sock.close()
        raise


def _inode(path: str) -> tuple[int, int]:
    status = os.stat(path, follow_symlinks=False)
    return status.st_dev, status.st_ino


def remove_left(path: str | os.PathLike[str]) -> bool:
    """Remove the socket file of a server that was killed; whether that was done.

    What somebody serves, or is no socket, stays. Raises nothing: who bind(2)s there next says what is wrong.
    """
    try:
        _remove_stale(os.fspath(path))
    except (SvcmgrError, OSError):
        return False
    return True


def _remove_stale(path: str) -> None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise StorageFailed(f"cannot listen on {path}: something that is not a socket is there", path=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if _inode(path) == (status.st_dev, status.st_ino):
                os.unlink(path)
            return
        except BlockingIOError:
            pass  # a full queue is somebody alive
    raise AlreadyExists(f"cannot listen on {path}: somebody serves it; stop that process first", path=path)
