"""From an address to what carries it: the one place that knows the transports by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from svcmgr.conn.transport import Address, Transport
from svcmgr.conn.unix import UnixTransport
from svcmgr.errors import BadInput, Unsupported

if TYPE_CHECKING:
    from svcmgr.conn.zeromq import ZeroMQTransport


def resolve(address: Address) -> Transport:
    """The transport for an address that needs nothing else. Raises BadInput for ``mem:`` and ``tcp:``."""
    if address.scheme == "unix":
        return UnixTransport()
    needs = (
        "the MemoryNetwork it is in" if address.scheme == "mem" else "one made by over_network(), which has the keys,"
    )
    raise BadInput(f"cannot use address {address}: give {needs} as transport", address=str(address))


def over_network(keyring: Path) -> ZeroMQTransport:
    """The transport for ``tcp:`` addresses, with the keys of that file. One serves any number of addresses.

    Raises:
        Unsupported: pyzmq is not installed.
        BadInput, NotPermitted: see :func:`svcmgr.conn.keyfile.load`.
    """
    try:
        from svcmgr.conn.zeromq import ZeroMQTransport
    except ImportError as error:
        raise Unsupported(
            "cannot use tcp addresses: pyzmq is missing; install svcmgr[cluster]", extra="cluster"
        ) from error
    return ZeroMQTransport(keyring)
