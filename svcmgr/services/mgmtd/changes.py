"""A change of the cluster: of what, from what, to what; and what follows from it.

Theory of operation. Whatever decides (an operation, a worker) decides by giving changes, and nothing else alters the
cluster. From a change alone follows whether it must be stored before it is believed, whether clients see it in the
routing information, and what the event log says. So no operation can forget to store, to tell, or to log.

A node is stored when what outlives the primary differs, and is visible when a client would choose differently: a new
process number is neither. Of a target, the local state and the place are visible; how full it is, is not, because that
changes with every heartbeat.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from svcmgr.services.mgmtd.chain import differs
from svcmgr.services.mgmtd.nodes import Node
from svcmgr.services.mgmtd.targets import TargetInfo


class Kind(enum.Enum):
    """What is changed; the value is its name in the event log."""

    NODE = "node"
    CHAIN = "chain"
    #: One version of a chain table; the id is (table id, version).
    TABLE = "table"
    #: What is known of a target beside what its chain says.
    TARGET = "target"
    #: Where a target is, as far as the store knows: (node id, disk index).
    PLACE = "place"
    #: One version of a configuration; the id is (node type, version).
    CONFIG = "config"
    #: Tags of a client host; the id is its universal id.
    HOST = "host"
    SESSION = "session"
    #: What a node reports that no chain has; the id is the node's, the value a tuple.
    ORPHANS = "orphans"
    #: When a chain became known, in monotonic seconds; None once it may be judged.
    BIRTH = "birth"
    #: That the cluster has another primary; the id is the epoch.
    LEASE = "lease"


class Cause(enum.Enum):
    HEARTBEAT = "heartbeat"
    TIMEOUT = "timeout"
    OPERATION = "operation"
    ELECTION = "election"
    SCHEDULE = "schedule"


#: An id of something; two numbers, or a word and a number, where one is not enough.
Id = int | str | tuple[int | str, int]
#: A change of something visible: its kind and id.
Seen = tuple[Kind, Id]


@attrs.frozen
class Change:
    """``old`` None: it is new. ``new`` None: it is gone. ``what``: for the event log; "" is worth no line."""

    kind: Kind
    id: Id
    old: Any
    new: Any
    what: str = ""


@attrs.frozen
class Origin:
    """Why changes happen, and who wanted them."""

    cause: Cause
    by: str = ""


def stored(change: Change) -> bool:
    """Whether it must be in the store before anybody is told."""
    return _STORED[change.kind](change.old, change.new)


def visible(change: Change) -> bool:
    """Whether clients see it in the routing information."""
    return _VISIBLE[change.kind](change.old, change.new)


def quiet(change: Change) -> bool:
    """Whether it needs no order among other changes: how full a target is, and what a client says of itself."""
    return change.kind is Kind.SESSION or (change.kind is Kind.TARGET and not visible(change))


def seen_node(node: Node) -> tuple[Any, ...]:
    """What clients choose by."""
    return node.persistent, node.status


def seen_target(info: TargetInfo) -> tuple[Any, ...]:
    return info.chain_id, info.public, info.local, info.node_id, info.disk_index


def _always(old: Any, new: Any) -> bool:
    return bool(old != new)


def _never(old: Any, new: Any) -> bool:
    return False


def _by(part: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    def differ(old: Any, new: Any) -> bool:
        return old is None or new is None or bool(part(old) != part(new))

    return differ


def _chain(old: Any, new: Any) -> bool:
    return old is None or new is None or differs(old.targets, new.targets) or old.preferred != new.preferred


_STORED: Mapping[Kind, Callable[[Any, Any], bool]] = {
    Kind.NODE: _by(lambda node: node.persistent),
    Kind.CHAIN: _chain,
    Kind.TABLE: _always,
    Kind.TARGET: _never,
    Kind.PLACE: _always,
    Kind.CONFIG: _always,
    Kind.HOST: _always,
    Kind.SESSION: _never,
    Kind.ORPHANS: _never,
    Kind.BIRTH: _never,
    Kind.LEASE: _never,
}
_VISIBLE: Mapping[Kind, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(Kind, _never),
    Kind.NODE: _by(seen_node),
    Kind.CHAIN: _chain,
    Kind.TABLE: _always,
    Kind.TARGET: _by(seen_target),
}
