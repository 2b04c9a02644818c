"""The terms on which a server serves."""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from svcmgr.conn.access import Access
from svcmgr.conn.events import Peer
from svcmgr.conn.frame import MAX_FRAME, MIN_FRAME
from svcmgr.conn.transport import Transport
from svcmgr.errors import BadInput


def _log_error(verb: str, error: BaseException) -> None:
    logging.getLogger(__name__).error("verb %s failed", verb, exc_info=error)


def as_the_way_in(peer: Peer) -> Access | None:
    """The access rule of a server that has none of its own: what the peer's key allows; all, where the mode of the
    socket file is the guard. A key whose scope is not known here allows nothing.
    """
    return peer.scope if peer.key else Access.ADMIN


@attrs.frozen
class ServerSpec:
    """What a server is made from. Durations in seconds, sizes in bytes.

    Attributes:
        access: what a peer may do; None refuses the connection.
        write_high: a peer that leaves more than this unread is not read from, and closed after ``slow_after``.
        write_cap: a peer that leaves more than this unread is closed at once.
        default_deadline: of calls whose caller names none.
        hello_timeout: how long a peer may be connected without a hello.
        stall_timeout: how long a frame may take from its first byte to its last.
        on_error: told of every exception of a handler that is not a SvcmgrError, with the verb.
        transport: needed for ``mem:`` and ``tcp:`` addresses.
    """

    address: str
    name: str = "server"
    incarnation: int = 0
    access: Callable[[Peer], Access | None] = as_the_way_in
    max_connections: int = 256
    max_in_flight: int = 64
    max_frame: int = MAX_FRAME
    write_high: int = 1024 * 1024
    write_cap: int = 64 * 1024 * 1024
    slow_after: float = 10.0
    default_deadline: float = 600.0
    hello_timeout: float = 5.0
    stall_timeout: float = 10.0
    socket_mode: int = 0o600
    on_error: Callable[[str, BaseException], None] = _log_error
    transport: Transport | None = None

    def __attrs_post_init__(self) -> None:
        if self.write_cap < self.write_high or min(self.max_connections, self.max_in_flight) < 1:
            raise BadInput(
                f"cannot serve {self.address}: write_cap must not be under write_high, and max_connections and "
                "max_in_flight must be at least 1"
            )
        if self.max_frame < MIN_FRAME:
            raise BadInput(f"cannot serve {self.address}: max_frame must be at least {MIN_FRAME}")
