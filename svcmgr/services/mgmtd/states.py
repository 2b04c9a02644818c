"""The words of a cluster, with the numbers that stand for them on the wire and in the store.

Theory of operation. A number and a word belong together for ever. The numbers are those of deepseek-ai/3FS
(src/fbs/mgmtd/MgmtdTypes.h); public and local states are distinct bits there, so that sets of them can be masks, and
the numeric order of public states is the order of targets in a chain. Two words are new: CREATED is the state of every
target of a chain that never served anybody, and STOPPED is a node that said goodbye.
"""

from __future__ import annotations

import enum
from typing import TypeVar

from svcmgr.errors import BadInput

E = TypeVar("E", bound=enum.IntEnum)


class PublicState(enum.IntEnum):
    """What a target is to the clients of its chain; decided here, and by nobody else."""

    INVALID = 0
    #: Readable and writable.
    SERVING = 1
    #: Dead, and the only one that surely has every acknowledged write.
    LASTSRV = 2
    #: Writable, and being filled by the target before it.
    SYNCING = 4
    #: Alive; recovery has not begun.
    WAITING = 8
    #: Dead, or alive and not yet trusted.
    OFFLINE = 16
    #: Of a chain that never served: there is no data to lose yet.
    CREATED = 32


class LocalState(enum.IntEnum):
    """What a target's node says of it."""

    INVALID = 0
    #: Alive with complete data.
    UPTODATE = 1
    #: Alive; data may be incomplete.
    ONLINE = 2
    #: Dead, failed, or not yet heard of.
    OFFLINE = 4


class NodeStatus(enum.IntEnum):
    PRIMARY_MGMTD = 0
    HEARTBEAT_CONNECTED = 1
    HEARTBEAT_CONNECTING = 2
    HEARTBEAT_FAILED = 3
    DISABLED = 4
    STOPPED = 5


class NodeType(enum.IntEnum):
    MGMTD = 0
    META = 1
    STORAGE = 2
    CLIENT = 3
    FUSE = 4


class TagMode(enum.IntEnum):
    """How given tags and those that are there make the new ones."""

    REPLACE = 0
    UPSERT = 1
    REMOVE = 2


class ConfigStatus(enum.IntEnum):
    NORMAL = 0
    DIRTY = 1
    FAILED = 2
    UNKNOWN = 3
    STALE = 4


#: Local states of a target that can be talked to.
ALIVE = frozenset({LocalState.UPTODATE, LocalState.ONLINE})


def from_number(kind: type[E], number: int) -> E:
    """The member of ``kind`` with this number. Raises BadInput."""
    if type(number) is int:
        for member in kind:
            if member.value == number:
                return member
    raise BadInput(f"cannot read {str(number)[:40]} as {kind.__name__}: known are {_known(kind)}")


def from_word(kind: type[E], word: str) -> E:
    """The member of ``kind`` with this name, in upper or lower case, with '-' for '_'. Raises BadInput."""
    found = kind.__members__.get(word.upper().replace("-", "_"))
    if found is None:
        raise BadInput(f"cannot read {word[:40]!r} as {kind.__name__}: known are {_known(kind)}")
    return found


def _known(kind: type[enum.IntEnum]) -> str:
    return ", ".join(f"{member.name} ({member.value})" for member in kind)
