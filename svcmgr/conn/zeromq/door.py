"""One address that accepts links: a ROUTER socket, and the book of its connections.

ROUTER addresses a peer by a routing id that the peer chooses. A client of ours takes 16 random bytes, so that nobody
else can come under its id and be given what was meant for it; other ids are not served.

ROUTER cannot end one of its connections, so the door shuts the tcp connection down under it: through a duplicate of
the descriptor, after a look that this still is the same connection, since the number may have a new meaning.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Protocol

import attrs
import zmq

from svcmgr.conn.alarm import Alarm
from svcmgr.conn.events import Peer
from svcmgr.conn.keyring import Keyring
from svcmgr.conn.transport import Address, HandlerFactory, LinkOptions
from svcmgr.conn.zeromq import pieces
from svcmgr.conn.zeromq.arrivals import Arrival, Arrivals
from svcmgr.conn.zeromq.link import ZmqLink
from svcmgr.conn.zeromq.sockets import NOBLOCK, SNDMORE, Monitor, Tuning, Watch, common_options, receive
from svcmgr.errors import ProtocolFault

#: Messages that are read before others get their turn of the loop.
BATCH = 256
#: Connections that the kernel holds until libzmq accepts them (listen(2)). When a server comes back, all its clients
#: come at once, and who finds the queue full tries again after 1 s, then 2 s, and so on (tcp(7)).
BACKLOG = 4096
#: Bytes of the routing id that a client chooses at random.
ROUTING_ID_SIZE = 16

_FAILED = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
COUNTS = ("accepted", "admitted", "denied", "failed_handshakes", "cut_silent", "cut_crowd", "cut_strange", "cut_liars")


@attrs.frozen
class Terms:
    """How a listener accepts: for whom, and how links are set up."""

    factory: HandlerFactory
    options: LinkOptions


class House(Protocol):
    """What a door needs of its transport."""

    @property
    def keyring(self) -> Keyring:
        """The one in force."""
        ...

    def count(self, what: str) -> None:
        """One more of ``what``, one of COUNTS."""
        ...


class Door:
    """See the module. ``terms`` None: it accepts nobody; when its last link has ended it shuts, calling ``on_shut``."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        domain: str,
        house: House,
        tuning: Tuning,
        on_shut: Callable[[Door], None],
    ) -> None:
        self.domain = domain
        self.terms: Terms | None = None
        self.address: Address | None = None
        self._house = house
        self._tuning = tuning
        self._on_shut = on_shut
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._sock = context.socket(zmq.ROUTER)
        self._arrivals = Arrivals(tuning.handshake, tuning.waiting)
        self._alarm = Alarm(self._ring)
        self._links: dict[bytes, Arrival] = {}
        self._ended: list[Arrival] = []
        self._monitor: Monitor | None = None
        self._watch: Watch | None = None
        self._is_shut = False
        self._reading = False
        self._place = ""

    @property
    def links(self) -> int:
        """Links that are open."""
        return len(self._links)

    @property
    def waiting(self) -> int:
        """Connections without link."""
        return self._arrivals.waiting

    @property
    def place(self) -> str:
        """``host:port`` in numbers; empty before it is bound."""
        return self._place

    def bind(self, address: Address, place: str, terms: Terms) -> None:
        """Listen on ``place``, which is ``host:port`` in numbers. Raises zmq.ZMQError; then it is shut."""
        common_options(self._sock, self._house.keyring, self._tuning, place.rpartition(":")[0])
        self._sock.setsockopt(zmq.BACKLOG, BACKLOG)
        self._sock.setsockopt(zmq.CURVE_SERVER, 1)
        self._sock.setsockopt(zmq.ZAP_DOMAIN, self.domain.encode())
        self._sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            self._monitor = Monitor(self._context, self._sock, self._see_events)
            self._watch = Watch(self._sock, self._drain)
            self._sock.bind(f"tcp://{place}")
        except zmq.ZMQError:
            self._shut()
            raise
        port = self._sock.get_string(zmq.LAST_ENDPOINT).rstrip("\0").rpartition(":")[2]
        self.address = Address(address.scheme, f"{address.place.rpartition(':')[0]}:{port}")
        self._place = f"{place.rpartition(':')[0]}:{port}"
        self.terms = terms

    def close(self) -> None:
        """Accept nobody any more; shut when the last link has ended."""
        self.terms = None
        for arrival in self._arrivals.all_waiting():
            _shut_down(arrival)
        self._maybe_shut()

    def admit(self, key: bytes) -> str | None:
        """What the messages of a connection with that key shall carry; None: it may not come."""
        self._see_events()  # so that the connection in question is in the book
        holder = self._house.keyring.holder_of(key)
        if self.terms is None or holder is None or holder.scope is None:
            self._house.count("denied")
            return None
        self._house.count("admitted")
        return f"{self._arrivals.newest} {key.hex()}"

    def withdraw(self, keyring: Keyring) -> int:
        """End the links whose key has not the name and scope any more that they opened with; gives how many."""
        bad = []
        for arrival in self._links.values():
            holder, peer = keyring.holder_of(arrival.key), arrival.link.peer
            if holder is None or (holder.name, holder.scope) != (peer.key, peer.scope):
                bad.append(arrival.link)
        for link in bad:
            link.abort()
        return len(bad)

    # --- for the wires

    def put(self, wire: ServedWire, message: bytes) -> None:
        """Send to one peer."""
        if self._watch is None or self._is_shut:
            return
        try:
            self._sock.send(wire.arrival.routing_id, SNDMORE | NOBLOCK)
            self._sock.send(message, NOBLOCK)
        except zmq.Again:
            # An honest peer never comes to this limit: this one says that it takes what it does not.
            self._house.count("cut_liars")
            _shut_down(wire.arrival)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return  # it has gone; the monitor tells
        if not self._reading:  # who reads goes on till nothing is left
            self._watch.sent()

    def cut(self, wire: ServedWire) -> None:
        """End the connection of one peer."""
        self._forget(wire.arrival)
        _shut_down(wire.arrival)
        self._maybe_shut()

    # --- what happens

    def _drain(self) -> None:
        if self._is_shut or self._watch is None:
            return
        ended, self._ended = self._ended, []
        try:
            if not self._read_messages():
                self._ended = ended + self._ended
                self._watch.again()
                return
            for arrival in ended:
                self._forget(arrival)
                arrival.link.lost("end of file")
        except BaseException:
            self._ended = [*ended, *self._ended]  # a link is told of its end once, however often it is here
            self._watch.again()
            raise
        self._maybe_shut()

    def _see_events(self) -> None:
        if self._is_shut or self._monitor is None:
            return
        for event, value in self._monitor.read():
            if event == zmq.EVENT_ACCEPTED:
                self._accepted(value)
            elif event == zmq.EVENT_DISCONNECTED:
                arrival = self._arrivals.gone(value)
                if arrival is not None and arrival.link is not None:
                    self._ended.append(arrival)
            elif event in _FAILED:
                self._house.count("failed_handshakes")
        if self._ended and self._watch is not None:
            self._watch.again()
        self._alarm.at(self._arrivals.next_deadline)

    def _accepted(self, fd: int) -> None:
        self._house.count("accepted")
        crowded_out = self._arrivals.accepted(fd, _place_of(fd), self._loop.time())
        if self.terms is None:
            for arrival in self._arrivals.all_waiting():
                _shut_down(arrival)
        elif crowded_out is not None:
            self._house.count("cut_crowd")
            _shut_down(crowded_out)

    def _ring(self, now: float) -> None:
        for arrival in self._arrivals.overdue(now):
            self._house.count("cut_silent")
            _shut_down(arrival)
        self._alarm.at(self._arrivals.next_deadline)

    def _read_messages(self) -> bool:
        # True: all were read.
        self._reading = True
        try:
            return self._read_batch()
        finally:
            self._reading = False

    def _read_batch(self) -> bool:
        for _ in range(BATCH):
            try:
                routing_id = self._sock.recv(NOBLOCK)
            except zmq.Again:
                return True
            message, whole = receive(self._sock)
            arrival = self._links.get(routing_id)
            if arrival is None:
                self._first(routing_id, message, whole)
            elif whole:
                arrival.link.arrived(message.bytes)
            else:
                arrival.link.refuse(ProtocolFault("cannot accept a message of several parts"))
            if self._is_shut:
                return True
        return False

    def _first(self, routing_id: bytes, frame: zmq.Frame, whole: bool) -> None:
        order, _, key = str(frame.get("User-Id")).partition(" ")
        arrival = self._arrivals.claim(int(frame.get(zmq.SRCFD)), int(order))
        if arrival is None:
            return  # of a link or a connection that has ended
        arrival.key = bytes.fromhex(key)
        holder = self._house.keyring.holder_of(arrival.key)
        try:
            window = pieces.window_of(frame.bytes)
        except ProtocolFault:
            window = 0
        known = holder is not None and holder.scope is not None and arrival.place is not None and self.terms is not None
        if not (known and window and whole and len(routing_id) == ROUTING_ID_SIZE):
            self._house.count("cut_strange")
            _shut_down(arrival)
            return
        assert holder is not None
        assert arrival.place is not None
        arrival.routing_id = routing_id
        self._open(arrival, Peer(0, -1, -1, holder.name, holder.scope, _text(arrival.place)), window)

    def _open(self, arrival: Arrival, peer: Peer, window: int) -> None:
        assert self.terms is not None
        handler = self.terms.factory()
        wire = ServedWire(self, arrival)
        arrival.link = link = ZmqLink(wire, handler, self.terms.options, peer, window)
        self._links[arrival.routing_id] = arrival
        wire.put(pieces.OPEN)
        handler.opened(link)

    def _forget(self, arrival: Arrival) -> None:
        if self._links.get(arrival.routing_id) is arrival:
            del self._links[arrival.routing_id]

    # --- the end

    def _maybe_shut(self) -> None:
        if self.terms is None and not self._links and not self._is_shut:
            self._shut()

    def _shut(self) -> None:
        self._is_shut = True
        self._alarm.cancel()
        if self._watch is not None:
            self._watch.close()
        if self._monitor is not None:
            if self.address is not None:
                self._sock.unbind(self._sock.get_string(zmq.LAST_ENDPOINT).rstrip("\0"))
                self._monitor.wait_for(zmq.EVENT_CLOSED)  # so that the port is free when this returns
            self._monitor.close()
        self._sock.close()
        self._on_shut(self)


@attrs.frozen(eq=False)
class ServedWire:
    """The server's end of a connection."""

    door: Door
    arrival: Arrival

    def put(self, message: bytes) -> None:
        """See :class:`svcmgr.conn.zeromq.link.Wire`."""
        self.door.put(self, message)

    def leave(self) -> bool:
        """Only the client can hang up without losing something."""
        return False

    def cut(self) -> None:
        """See :class:`svcmgr.conn.zeromq.link.Wire`."""
        self.door.cut(self)


def _place_of(fd: int) -> tuple[str, int] | None:
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None  # it has ended already
    try:
        host, port, *_ = sock.getpeername()
    except OSError:
        return None
    finally:
        sock.detach()  # it is libzmq's
    return host, port


def _duplicate(fd: int) -> socket.socket:
    own = os.dup(fd)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise


def _text(place: tuple[str, int]) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shut_down(arrival: Arrival) -> None:
    try:
        with _duplicate(arrival.fd) as sock:
            if arrival.place is not None and sock.getpeername()[:2] == arrival.place:
                sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended; what has its number now is none of ours, or no socket at all
