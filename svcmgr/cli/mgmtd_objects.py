"""What mgmtd says, as JSON objects with every key present, and moments as text.

The wire leaves out what has its default value and counts time in seconds; programs that read ``--json`` get all keys,
under the names of the wire, and moments in RFC 3339 (null: never, or not known).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from svcmgr.clock import rfc3339
from svcmgr.services.mgmtd.wire import NodeInfo

#: Fields of the wire that are UTC seconds; 0 there means that there is none.
_MOMENTS = frozenset({"last_heartbeat", "at", "time", "start", "session_start", "last_extend"})


def whole(value: Any) -> Any:
    """``value`` with its structs as objects that have every key."""
    if isinstance(value, NodeInfo):
        return node_object(value)
    if isinstance(value, msgspec.Struct):
        return {name: _field(name, getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(key): whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, (list, tuple)) else value


def _field(name: str, value: Any) -> Any:
    return moment(value) if name in _MOMENTS and isinstance(value, (int, float)) else whole(value)


def node_object(node: NodeInfo) -> dict[str, Any]:
    """A node as one flat object: its id first, and what its process says of itself among the rest."""
    fields = {name: _field(name, getattr(node, name)) for name in node.__struct_fields__ if name != "app"}
    app = whole(node.app)
    return {"node": app.pop("node"), **fields, **app}


def moment(utc: float) -> str | None:
    """UTC seconds as RFC 3339; None for 0, and for what no calendar has."""
    if not utc:
        return None
    try:
        return rfc3339(utc)
    except (OverflowError, ValueError, OSError):
        return None
