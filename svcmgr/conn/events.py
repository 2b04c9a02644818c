"""What a connection tells its owner: frozen facts, past tense, each with the incarnation it belongs to.

The incarnation is the owner's number for one life of the process at the other end. A fact about an old life
never carries the number of the new one, so whoever compares numbers cannot mark a new process offline
because of an old one's end.
"""

from __future__ import annotations

import attrs
import msgspec

from svcmgr.conn.access import Access
from svcmgr.errors import SvcmgrError


@attrs.frozen
class Peer:
    """Who is at the other end: never the peer's own word.

    On a unix socket it is the kernel's (SO_PEERCRED, unix(7)); on the client's side that is the process that called
    listen(2), and ``pid`` is 0 when the kernel cannot name it (another pid namespace). Over a network there is no such
    word: ``uid`` and ``gid`` are -1, and ``key`` is the name of the key that the peer proved to hold, ``scope`` what
    that key allows here, and ``address`` where it comes from.
    """

    pid: int
    uid: int
    gid: int
    key: str = ""
    scope: Access | None = None
    address: str = ""

    def __str__(self) -> str:
        return f"key {self.key!r} at {self.address}" if self.key else f"uid {self.uid}"


@attrs.frozen
class Connected:
    """Hellos were exchanged; calls may be made."""

    incarnation: int
    peer: Peer


@attrs.frozen
class Disconnected:
    """The connection that was up is gone. Exactly one for each :class:`Connected`.

    ``reason`` is the error that ended it, or the owner's own ``disconnect``.
    """

    incarnation: int
    reason: SvcmgrError


@attrs.frozen
class Hung:
    """Connected, but not a byte for ``silent_s`` seconds although a ping asked for one."""

    incarnation: int
    silent_s: float


@attrs.frozen
class Recovered:
    """A hung peer was heard again."""

    incarnation: int


@attrs.frozen
class Pushed:
    """The peer published ``payload`` (raw MessagePack; decode it with :func:`frame.decode_value`)."""

    incarnation: int
    topic: str
    payload: msgspec.Raw


ConnEvent = Connected | Disconnected | Hung | Recovered | Pushed
