"""What the two ends of a ZeroMQ link say to each other below the frames, and how much may be under way.

Theory of operation. One link is one ZeroMQ connection. ZeroMQ neither tells how much of what was sent has arrived, nor
lets the server stop reading one of its clients, so the link does its own bookkeeping. Every ZeroMQ message is one of

    OPEN     the first from each side: version of these rules, and the window, what its sender is ready to hold
    PIECE    the next bytes of the stream of frames (frame.py), at most PIECE of them
    CREDIT   how much its sender has taken since the beginning
    END      its sender will send nothing more, and wants the connection to end

Both sides count what each piece *costs*: its bytes, but at least COST, so that many small ones have a price too. A
side never lets more be under way than the other's window: it holds back the rest in :class:`Outflow`, whose size is
the link's backlog. The reader gives credit as it takes, and stops when it is held. A peer that sends more than it
may breaks the rules, and that is noticed by :class:`Inflow` before anything is kept; so a link holds at most
one window for a reader that does not read, whatever the peer does.

Credit is a total, not a difference, so that a wrong one is seen: more than was sent is a breach.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from svcmgr.errors import ProtocolFault

#: Version of these rules, in OPEN.
VERSION: Final = 1
#: Bytes of one piece: small enough that a message which is still on its way holds little memory.
PIECE: Final = 32 * 1024
#: Bytes of the largest message as ZeroMQ measures it: with our first byte, and CURVE's 33 (RFC 26: a name of 8, a nonce
#: of 8, an authenticator of 16, flags).
MESSAGE_MAX: Final = 1 + PIECE + 33
#: Bytes that a piece counts for at least.
COST: Final = 512
#: Our own window in bytes: about what a unix socket holds by default (net.core.rmem_default, 212,992: socket(7)).
WINDOW: Final = 256 * 1024
#: A smaller window does not work, and more than the larger one is never used, so that a peer cannot make us hold it.
WINDOW_MIN: Final = PIECE
WINDOW_MAX: Final = WINDOW
#: Pieces that can be under way at most.
PIECES_UNDER_WAY: Final = WINDOW_MAX // COST


class Kind(enum.IntEnum):
    """The first byte of a message."""

    OPEN = 1
    PIECE = 2
    CREDIT = 3
    END = 4


_OPEN = struct.Struct(">BHI")
_CREDIT = struct.Struct(">BQ")
_PIECE_MARK = bytes([Kind.PIECE])

OPEN: Final = _OPEN.pack(Kind.OPEN, VERSION, WINDOW)
END: Final = bytes([Kind.END])


def credit(total: int) -> bytes:
    """The message for it."""
    return _CREDIT.pack(Kind.CREDIT, total)


def piece(data: bytes | bytearray | memoryview) -> bytes:
    """The message for it."""
    return _PIECE_MARK + data


def kind_of(message: bytes) -> Kind:
    """Raises ProtocolFault: no message of ours."""
    try:
        return Kind(message[0])
    except (IndexError, ValueError) as error:
        raise ProtocolFault(f"cannot read a message of {len(message)} bytes: it has no kind that we know") from error


def window_of(message: bytes) -> int:
    """What the sender of this OPEN is ready to hold, in bytes; what follows the fields is for newer versions.

    Raises:
        ProtocolFault: it is no OPEN, is of another version, or the window is under WINDOW_MIN.
    """
    if len(message) < _OPEN.size or message[0] != Kind.OPEN:
        raise ProtocolFault("cannot open: the first message is no OPEN")
    _, version, window = _OPEN.unpack_from(message)
    if version != VERSION or window < WINDOW_MIN:
        raise ProtocolFault(
            f"cannot open: version {version} with a window of {window} bytes; we speak version {VERSION} and need "
            f"at least {WINDOW_MIN}"
        )
    return min(int(window), WINDOW_MAX)


def total_of(message: bytes) -> int:
    """The total in a CREDIT. Raises ProtocolFault."""
    if len(message) != _CREDIT.size:
        raise ProtocolFault(f"cannot read a credit of {len(message)} bytes")
    return int(_CREDIT.unpack(message)[1])


def cost_of(size: int) -> int:
    """What a piece of ``size`` bytes counts for."""
    return max(size, COST)


class Outflow:
    """What we send: the part that must wait, and how much is under way."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._sent = 0
        self._credited = 0
        self._waiting = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes held back."""
        return len(self._waiting)

    def put(self, data: bytes) -> list[bytes]:
        """Take more of the stream; gives the messages to send now."""
        if not self._waiting and 0 < len(data) <= PIECE and self._room >= cost_of(len(data)):
            self._sent += cost_of(len(data))
            return [piece(data)]
        self._waiting += data
        return self._release()

    def credit(self, total: int) -> list[bytes]:
        """The peer has taken that much; gives the messages to send now. Raises ProtocolFault for a wrong total."""
        if not self._credited <= total <= self._sent:
            raise ProtocolFault(f"cannot accept a credit of {total}: {self._sent} were sent, {self._credited} taken")
        self._credited = total
        return self._release()

    def clear(self) -> None:
        """Throw away what waits."""
        self._waiting.clear()

    @property
    def _room(self) -> int:
        return self._window - (self._sent - self._credited)

    def _release(self) -> list[bytes]:
        messages = []
        while self._waiting and self._room >= COST:
            size = min(len(self._waiting), PIECE, self._room)
            messages.append(piece(self._waiting[:size]))
            del self._waiting[:size]
            self._sent += cost_of(size)
        return messages


class Inflow:
    """What we receive: how much came, and how much was taken."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._came = 0
        self._taken = 0
        self._credited = 0

    def came(self, size: int) -> int:
        """A piece of ``size`` bytes is here; gives its cost. Raises ProtocolFault: it had no credit."""
        if not 0 < size <= PIECE or self._came + cost_of(size) - self._credited > self._window:
            raise ProtocolFault(f"cannot accept a piece of {size} bytes: the window of {self._window} bytes is used up")
        self._came += cost_of(size)
        return cost_of(size)

    def take(self, cost: int) -> bytes | None:
        """Pieces of that cost were taken; gives the credit to send, if it is time: at every quarter of the window."""
        self._taken += cost
        if self._taken - self._credited < self._window // 4:
            return None
        self._credited = self._taken
        return credit(self._taken)
