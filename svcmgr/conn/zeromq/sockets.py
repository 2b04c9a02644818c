"""ZeroMQ's sockets on an asyncio loop: context, readiness, monitor, options.

The descriptor of a socket (ZMQ_FD) is edge-triggered and may lose an edge to a send (zmq_getsockopt(3)): who
reads must read till nothing is left, and look again after sending. :class:`Watch` sees to both.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import threading
from collections.abc import Callable

import attrs
import zmq

from svcmgr.conn.keyring import Keyring, read_key
from svcmgr.conn.zeromq.pieces import MESSAGE_MAX, PIECE, PIECES_UNDER_WAY
from svcmgr.errors import BadInput

#: Sockets of one context: three for each dialled link, and libzmq's default is 1,023.
SOCKETS_MAX = 16384
#: Descriptors that must be free: a context takes 6, a listener with its monitor 5, and there are connections.
DESCRIPTORS = 20
#: Milliseconds that libzmq's thread may take to close a listening socket; it takes a tenth of one.
CLOSE_MS = 50
#: Messages that libzmq may hold of one peer before we read them; more wait in tcp.
RECEIVE_HWM = 8 * 1024 * 1024 // PIECE
#: Messages that libzmq may hold for one peer. It frees them by halves (zmq: src/pipe.cpp, compute_lwm), so this is over
#: twice what an honest peer leaves under way; one that gives credit for what it did not read comes to it, and is cut.
SEND_HWM = 3 * PIECES_UNDER_WAY

#: Flags and options as plain numbers: pyzmq takes a microsecond or two to handle each of its enumerations.
NOBLOCK = int(zmq.NOBLOCK)
SNDMORE = int(zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)

_EVENT = struct.Struct("=Hi")  # zmq_socket_monitor(3): 16 bits of event, 32 bits of value
_names = itertools.count(1)


@attrs.frozen
class Tuning:
    """Care that is taken of connections. Durations in seconds.

    Attributes:
        handshake: from tcp connection to a link, at most.
        heartbeat: silence after which libzmq asks a peer for a sign of life (https://rfc.zeromq.org/spec/37/).
        heartbeat_timeout: how long that may take; then the connection is over.
        waiting: connections of one listener that have no link yet; more are cut (arrivals.py says which).
    """

    handshake: float = 5.0
    heartbeat: float = 10.0
    heartbeat_timeout: float = 30.0
    waiting: int = 512

    def __attrs_post_init__(self) -> None:
        if min(self.handshake, self.heartbeat, self.heartbeat_timeout) < 0.001 or self.waiting < 1:
            raise BadInput(f"cannot use {self}: durations must be at least 1 ms, and waiting at least 1")


def new_pair() -> tuple[bytes, bytes]:
    """A new key pair, public and secret, KEY_SIZE bytes each; libsodium's random numbers."""
    public, secret = (read_key(text.decode()) for text in zmq.curve_keypair())
    return public, secret


def receive(sock: zmq.Socket[bytes]) -> tuple[zmq.Frame, bool]:
    """The next message, of which there must be one, and whether it was the only part; else the rest is read too.

    Raises zmq.Again: there is none.
    """
    frame = sock.recv(NOBLOCK, copy=False)
    more = frame.more
    while more:
        more = sock.recv(NOBLOCK, copy=False).more
    return frame, not frame.more


class Hub:
    """A context for as long as somebody uses it: it has two threads, which a transport at rest should not have."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._users = 0

    def hold(self) -> zmq.Context[zmq.Socket[bytes]]:
        """The context; to be given back by :meth:`release`, with all sockets closed.

        Raises zmq.ZMQError: too few descriptors are left.
        """
        if self._context is None:
            _look_for_descriptors()
            self._context = zmq.Context()
            self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        self._users += 1
        return self._context

    def release(self) -> None:
        """Undo one :meth:`hold`."""
        self._users -= 1
        if not self._users and self._context is not None:
            # This waits for what sockets that were closed still have to send, at most their linger; not on the loop.
            threading.Thread(target=self._context.destroy, name="zmq-end").start()
            self._context = None


def _look_for_descriptors() -> None:
    # libzmq aborts the process when it cannot get one for its threads (zmq: src/signaler.cpp, src/epoll.cpp).
    found: list[int] = []
    try:
        while len(found) < DESCRIPTORS:
            found.append(os.eventfd(0))
    except OSError as error:
        raise zmq.ZMQError(error.errno) from error
    finally:
        for fd in found:
            os.close(fd)


def common_options(sock: zmq.Socket[bytes], keyring: Keyring, tuning: Tuning, host: str) -> None:
    """What both ends of a link need."""
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.IPV6, int(":" in host))
    sock.setsockopt(zmq.CURVE_SECRETKEY, keyring.secret)
    sock.setsockopt(zmq.CURVE_PUBLICKEY, keyring.public)
    sock.setsockopt(zmq.MAXMSGSIZE, MESSAGE_MAX)
    sock.setsockopt(zmq.RCVHWM, RECEIVE_HWM)
    sock.setsockopt(zmq.SNDHWM, SEND_HWM)
    sock.setsockopt(zmq.HANDSHAKE_IVL, _ms(tuning.handshake))
    sock.setsockopt(zmq.HEARTBEAT_IVL, _ms(tuning.heartbeat))
    sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, _ms(tuning.heartbeat_timeout))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class Watch:
    """Calls ``drain()`` whenever there may be something to read from a socket."""

    def __init__(self, sock: zmq.Socket[bytes], drain: Callable[[], None]) -> None:
        self._sock = sock
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._fd = int(sock.getsockopt(zmq.FD))
        self._soon: asyncio.Handle | None = None
        self._loop.add_reader(self._fd, drain)
        self.again()

    def again(self) -> None:
        """Call it once more: something may have been left."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._run)

    def sent(self) -> None:
        """Something was sent: that may have eaten the sign that there is something to read."""
        if int(self._sock.get(_EVENTS)) & _POLLIN:
            self.again()

    def close(self) -> None:
        """No more calls; before the socket is closed."""
        self._loop.remove_reader(self._fd)
        if self._soon is not None:
            self._soon.cancel()

    def _run(self) -> None:
        self._soon = None
        self._drain()


class Monitor:
    """What happens to the connections of a socket, in order."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], sock: zmq.Socket[bytes], drain: Callable[[], None]):
        self._watched = sock
        address = f"inproc://svcmgr-monitor-{next(_names)}"
        try:
            sock.monitor(address, zmq.EVENT_ALL)
            self._sock = context.socket(zmq.PAIR)
        except zmq.ZMQError:
            sock.close()
            raise
        # Were there a limit, the thread that does all input and output would wait for us at it.
        self._sock.setsockopt(zmq.RCVHWM, 0)
        self._sock.setsockopt(zmq.LINGER, 0)
        self._sock.connect(address)
        self._watch = Watch(self._sock, drain)

    def read(self) -> list[tuple[int, int]]:
        """(event, value) of all that happened since the last time."""
        events: list[tuple[int, int]] = []
        while True:
            try:
                event, _ = self._sock.recv_multipart(NOBLOCK)
            except zmq.Again:
                return events
            events.append(_EVENT.unpack(event))

    def wait_for(self, event: int) -> None:
        """Block until that happens, or CLOSE_MS have passed: for what libzmq's thread does at once."""
        while self._sock.poll(CLOSE_MS):
            if any(seen == event for seen, _ in self.read()):
                return

    def close(self) -> None:
        """Before the socket itself is closed."""
        self._watch.close()
        self._watched.disable_monitor()
        self._sock.close()
