"""zeromq: links between hosts over tcp, encrypted, for known keys. The only place that imports pyzmq."""

from svcmgr.conn.zeromq.sockets import Tuning as Tuning
from svcmgr.conn.zeromq.sockets import new_pair as new_pair
from svcmgr.conn.zeromq.transport import ZeroMQTransport as ZeroMQTransport

__all__ = ["Tuning", "ZeroMQTransport", "new_pair"]
