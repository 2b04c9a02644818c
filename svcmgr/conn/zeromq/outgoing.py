"""A link that we dial: a DEALER socket of its own, on one tcp connection that is never made again."""

from __future__ import annotations

import asyncio
import os

import attrs
import zmq

from svcmgr.conn.events import Peer
from svcmgr.conn.keyring import Keyring
from svcmgr.conn.transport import LinkHandler, LinkOptions
from svcmgr.conn.zeromq import pieces
from svcmgr.conn.zeromq.door import BATCH, ROUTING_ID_SIZE
from svcmgr.conn.zeromq.link import ZmqLink
from svcmgr.conn.zeromq.sockets import NOBLOCK, Hub, Monitor, Tuning, Watch, common_options, receive
from svcmgr.errors import Disconnected, NotPermitted, ProtocolFault, SvcmgrError

#: Milliseconds that libzmq goes on sending what was put before a link was closed (ZMQ_LINGER).
LINGER_MS = 1000

_OVER = (
    zmq.EVENT_CLOSED,
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
)


@attrs.frozen
class Target:
    """Whom to dial: the address as it was given, ``host:port`` in numbers, and the key that must answer there."""

    address: str
    place: str
    key: bytes
    name: str


class Outgoing:
    """One attempt and what becomes of it; the client's :class:`svcmgr.conn.zeromq.link.Wire`."""

    def __init__(self, hub: Hub, target: Target, handler: LinkHandler, options: LinkOptions) -> None:
        self._hub = hub
        self._target = target
        self._handler = handler
        self._options = options
        self._link: ZmqLink | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        context = hub.hold()
        try:
            self._sock = context.socket(zmq.DEALER)
            self._monitor = Monitor(context, self._sock, self._see_events)
        except zmq.ZMQError:  # no descriptors left
            hub.release()
            raise
        self._watch = Watch(self._sock, self._drain)
        self._is_over = False
        self._is_closed = False
        self._reading = False

    async def open(self, keyring: Keyring, tuning: Tuning) -> None:
        """Connect; ``handler.opened`` was called when this returns.

        Raises:
            zmq.ZMQError: libzmq cannot even try.
            Disconnected: nobody listens there, or who does has another key.
            NotPermitted: our key may not come.
        """
        sock = self._sock
        try:
            common_options(sock, keyring, tuning, self._target.place.rpartition(":")[0])
            sock.setsockopt(zmq.CURVE_SERVERKEY, self._target.key)
            sock.setsockopt(zmq.ROUTING_ID, os.urandom(ROUTING_ID_SIZE))
            sock.setsockopt(zmq.RECONNECT_IVL, -1)
            sock.setsockopt(zmq.CONNECT_TIMEOUT, round(tuning.handshake * 1000))
            sock.connect(f"tcp://{self._target.place}")
            async with asyncio.timeout(tuning.handshake):
                await self._opened
        except TimeoutError as error:
            self._give_up()
            raise Disconnected(
                f"cannot connect to {self._target.address}: no link within {tuning.handshake:g} s; something is there "
                "and does not answer",
                address=self._target.address,
            ) from error
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self._opened.cancel()
        if self._link is not None:
            self._link.abort()  # its handler was told that it is open
        else:
            self.cut()

    # --- for the link

    def put(self, message: bytes) -> None:
        """See :class:`svcmgr.conn.zeromq.link.Wire`."""
        if self._is_closed:
            return
        try:
            self._sock.send(message, NOBLOCK)
        except zmq.Again:
            # The peer says that it takes what it does not, or the connection has ended: the monitor tells.
            self._is_over = True
            self._watch.again()
            return
        if not self._reading:  # who reads goes on till nothing is left
            self._watch.sent()

    def leave(self) -> bool:
        """Closing the socket sends what was put, and then ends the connection."""
        self._close(LINGER_MS)
        return True

    def cut(self) -> None:
        """See :class:`svcmgr.conn.zeromq.link.Wire`."""
        self._close(0)

    # --- what happens

    def _drain(self) -> None:
        if self._is_closed:
            return
        try:
            # What came before the end counts.
            if not self._read_messages():
                self._watch.again()
            elif self._is_over and not self._is_closed:
                self._end()
        except BaseException:
            if not self._is_closed:
                self._watch.again()
            raise

    def _see_events(self) -> None:
        if self._is_closed:
            return
        for event, _ in self._monitor.read():
            self._see(event)
        if self._is_over:
            self._watch.again()

    def _see(self, event: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.put(pieces.OPEN)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._fail(
                NotPermitted(
                    f"cannot connect to {self._target.address}: our key is not in its keyring, or has no scope there",
                    address=self._target.address,
                )
            )
        elif event in _OVER:
            self._is_over = True

    def _read_messages(self) -> bool:
        # True: all were read.
        self._reading = True
        try:
            return self._read_batch()
        finally:
            self._reading = False

    def _read_batch(self) -> bool:
        for _ in range(BATCH):
            if self._is_closed:
                return True
            try:
                message, whole = receive(self._sock)
            except zmq.Again:
                return True
            self._arrived(message.bytes, whole)
        return False

    def _arrived(self, message: bytes, whole: bool) -> None:
        if self._link is None:
            self._open(message)
        elif whole:
            self._link.arrived(message)
        else:
            self._link.refuse(ProtocolFault("cannot accept a message of several parts"))

    def _open(self, message: bytes) -> None:
        if self._opened.done():
            return
        try:
            window = pieces.window_of(message)
        except ProtocolFault as error:
            self._fail(Disconnected(f"cannot connect to {self._target.address}: {error}", address=self._target.address))
            return
        peer = Peer(0, -1, -1, self._target.name, None, self._target.place)
        self._link = ZmqLink(self, self._handler, self._options, peer, window)
        self._handler.opened(self._link)
        if not self._opened.done():
            self._opened.set_result(None)

    def _fail(self, error: SvcmgrError) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)

    def _end(self) -> None:
        link, address = self._link, self._target.address
        self._close(0)
        if link is not None:
            link.lost("end of file")
        else:
            self._fail(
                Disconnected(
                    f"cannot connect to {address}: nobody listens at {self._target.place}, or not with the key of "
                    f"{self._target.name!r}",
                    address=address,
                )
            )

    def _close(self, linger_ms: int) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._watch.close()
        self._monitor.close()
        self._sock.close(linger=linger_ms)
        self._hub.release()
