"""conn: connections that speak RPC with deadlines. The door of the room.

Names are loaded when first asked for, so that a command line which needs only the blocking client does not
pay for asyncio and attrs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svcmgr.conn.access import Access as Access
    from svcmgr.conn.blocking import BlockingClient as BlockingClient
    from svcmgr.conn.client import Connection as Connection
    from svcmgr.conn.client import ConnSpec as ConnSpec
    from svcmgr.conn.events import Connected as Connected
    from svcmgr.conn.events import ConnEvent as ConnEvent
    from svcmgr.conn.events import Disconnected as Disconnected
    from svcmgr.conn.events import Hung as Hung
    from svcmgr.conn.events import Peer as Peer
    from svcmgr.conn.events import Pushed as Pushed
    from svcmgr.conn.events import Recovered as Recovered
    from svcmgr.conn.frame import Limits as Limits
    from svcmgr.conn.memory import FaultPlan as FaultPlan
    from svcmgr.conn.memory import MemoryNetwork as MemoryNetwork
    from svcmgr.conn.resolve import over_network as over_network
    from svcmgr.conn.retry import Retry as Retry
    from svcmgr.conn.server import Server as Server
    from svcmgr.conn.server import ServerSpec as ServerSpec
    from svcmgr.conn.session import State as State
    from svcmgr.conn.unix import remove_left as remove_left
    from svcmgr.conn.verbs import CallContext as CallContext
    from svcmgr.conn.verbs import Verb as Verb

_WHERE = {
    "Access": "access",
    "BlockingClient": "blocking",
    "CallContext": "verbs",
    "ConnEvent": "events",
    "ConnSpec": "client",
    "Connected": "events",
    "Connection": "client",
    "Disconnected": "events",
    "FaultPlan": "memory",
    "Hung": "events",
    "Limits": "frame",
    "MemoryNetwork": "memory",
    "Peer": "events",
    "Pushed": "events",
    "Recovered": "events",
    "Retry": "retry",
    "Server": "server",
    "ServerSpec": "server",
    "State": "session",
    "Verb": "verbs",
    "over_network": "resolve",
    "remove_left": "unix",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{where}"), name)


def __dir__() -> list[str]:
    return list(__all__)
