"""From an address to what carries it: the one place that knows the transports by name."""

from __future__ import annotations

from svcmgr.conn.transport import Address, Transport
from svcmgr.conn.unix import UnixTransport
from svcmgr.errors import BadInput


def resolve(address: Address) -> Transport:
    """The transport for an address that needs nothing else. Raises BadInput for ``mem:``."""
    if address.scheme == "unix":
        return UnixTransport()
    raise BadInput(f"cannot use address {address}: give the MemoryNetwork it is in as transport", address=str(address))
