"""The seam between RPC and what carries it: addresses, transports, links.

A *transport* opens links by :meth:`Transport.dial` and accepts them by :meth:`Transport.listen`. A *link* is
one open connection that takes encoded frames and gives decoded ones. The seam is cut at frames, not at bytes,
so that a transport that has messages of its own (ZeroMQ) fits as well as a stream.
``tests/kit/conformance.py`` says in code what every transport must do.

All callbacks come on the event loop, synchronously. Only ``choked`` may come from inside ``send``. After ``closed``
comes nothing.
"""

from __future__ import annotations

import re
from typing import Protocol

import attrs

from svcmgr.conn.events import Peer
from svcmgr.conn.frame import MAX_FRAME, Frame
from svcmgr.errors import BadInput, ConnectionFault, SvcmgrError
from svcmgr.paths import SOCKET_PATH_MAX

#: Ports are 16 bits (RFC 9293).
PORT_MAX = 65535

# A name of at most 253 characters (RFC 1035), or an IPv6 address that may have a zone (RFC 4007).
_HOST_AND_PORT = re.compile(
    r"//(?:\[[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?\]|[A-Za-z0-9][A-Za-z0-9._-]{0,252}):(?P<port>[0-9]{1,5})", re.ASCII
)


class LinkHandler(Protocol):
    """Whoever uses a link."""

    def opened(self, link: Link) -> None:
        """First of all callbacks, once."""
        ...

    def received(self, frames: list[Frame], unfinished: int) -> None:
        """Bytes came: these frames are whole; ``unfinished`` bytes of another one are held."""
        ...

    def garbled(self, error: ConnectionFault) -> None:
        """What came is not frames. Nothing more is read; the handler should close the link."""
        ...

    def choked(self) -> None:
        """More than the high-water mark waits for the peer to read."""
        ...

    def drained(self) -> None:
        """After ``choked``: the peer has caught up."""
        ...

    def closed(self, error: SvcmgrError) -> None:
        """Last of all callbacks, once, whoever closed; ``error`` says why."""
        ...


class Link(Protocol):
    """One open connection."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    @property
    def backlog(self) -> int:
        """Bytes sent here that the peer (or the kernel for it) has not taken yet."""
        ...

    def send(self, data: bytes) -> None:
        """Send one encoded frame; never waits, never raises. After close it does nothing."""
        ...

    def hold(self) -> None:
        """Stop reading. Idempotent."""
        ...

    def go_on(self) -> None:
        """Read again. Idempotent."""
        ...

    def close(self, linger: float = 0.0) -> None:
        """Send what waits, then close. Idempotent.

        ``linger`` seconds: keep the reading side open so long for the peer to hang up first. With 0, a peer
        that is still writing may see a reset instead of our last words.
        """
        ...

    def abort(self) -> None:
        """Close now; what waits is thrown away. Idempotent."""
        ...


class Listener(Protocol):
    """An address that accepts links."""

    @property
    def address(self) -> Address:
        """Where it listens, a port that the kernel chose included."""
        ...

    def close(self) -> None:
        """Accept no more and give the address back. Links accepted so far live on. Idempotent."""
        ...


class HandlerFactory(Protocol):
    """Makes the handler of each accepted link."""

    def __call__(self) -> LinkHandler:
        """Called once for each."""
        ...


@attrs.frozen
class LinkOptions:
    """How links are set up. Sizes in bytes; ``socket_mode`` are permission bits of a listening socket file."""

    max_frame: int = MAX_FRAME
    write_high: int = 1024 * 1024
    socket_mode: int = 0o600


class Transport(Protocol):
    """A way to carry frames."""

    async def dial(self, address: Address, handler: LinkHandler, options: LinkOptions) -> None:
        """Open a link; ``handler.opened`` has been called when this returns.

        Raises:
            Disconnected: nobody listens there (``details["errno"]`` where there is one).
            NotPermitted: the file's permissions refuse us.
        """
        ...

    async def listen(self, address: Address, factory: HandlerFactory, options: LinkOptions) -> Listener:
        """Accept links.

        Raises:
            AlreadyExists: somebody listens there already.
            StorageFailed: the address cannot be made (no directory, no permission, a file in the way).
        """
        ...


@attrs.frozen
class Address:
    """Where somebody listens: ``unix:/absolute/path``, ``mem:name``, ``tcp://host:port`` or ``tcp://[v6]:port``."""

    scheme: str
    place: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address written as ``text``.

        Raises:
            BadInput: not an address; a unix path that is relative or does not fit into a socket address
                (107 bytes, unix(7); ``paths.socket_path`` makes short ones); tcp without host or port.
        """
        scheme, colon, place = text.partition(":")
        if not colon or scheme not in ("unix", "mem", "tcp"):
            raise BadInput(f"cannot use address {text!r}: write unix:/path, tcp://host:port or mem:name", address=text)
        if scheme == "unix":
            _check_socket_path(text, place)
        elif scheme == "tcp":
            _check_host_and_port(text, place)
        elif not place:
            raise BadInput(f"cannot use address {text!r}: it names nothing", address=text)
        return cls(scheme, place)

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The two parts of a tcp address, an IPv6 address without its brackets."""
        host, _, port = self.place.removeprefix("//").rpartition(":")
        return host.strip("[]"), int(port)


def _check_host_and_port(text: str, place: str) -> None:
    found = _HOST_AND_PORT.fullmatch(place)
    if found is None or int(found["port"]) > PORT_MAX:
        raise BadInput(f"cannot use address {text!r}: write tcp://host:port or tcp://[v6]:port", address=text)


def _check_socket_path(text: str, path: str) -> None:
    # A NUL would silently cut the path short, or make it an abstract name that has no permissions at all.
    if not path.startswith("/") or "\0" in path:
        raise BadInput(f"cannot use address {text!r}: the path must be absolute", address=text)
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > SOCKET_PATH_MAX:
        raise BadInput(
            f"cannot use address {text!r}: the path is {size} bytes, a socket address holds {SOCKET_PATH_MAX}",
            address=text,
            size=size,
        )
