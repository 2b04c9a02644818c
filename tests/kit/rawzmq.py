"""A ZeroMQ client by hand, for what ours never does. Its own thread does the work; nothing here blocks."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from svcmgr.conn.keyfile import load
from svcmgr.conn.transport import Address
from svcmgr.conn.zeromq import pieces


class Raw:
    """A DEALER socket with the keys of a keyring file, or with none."""

    def __init__(self, context: zmq.Context[Any], address: Address, keyring: Path | None, **options: Any) -> None:
        self.sock = context.socket(zmq.DEALER)
        self.events = self._watch(context)
        options = {"ROUTING_ID": os.urandom(16), "RECONNECT_IVL": -1, "LINGER": 0, **options}
        if keyring is not None:
            ring = load(keyring)
            options |= {"CURVE_SECRETKEY": ring.secret, "CURVE_PUBLICKEY": ring.public}
            options["CURVE_SERVERKEY"] = ring.keys_at(str(address))[0]
        for name, value in options.items():
            if value is not None:
                self.sock.setsockopt(getattr(zmq, name), value)
        self.sock.connect(str(address))
        self.seen: list[int] = []

    def _watch(self, context: zmq.Context[Any]) -> Any:
        name = f"inproc://raw-{os.urandom(8).hex()}"
        self.sock.monitor(name, zmq.EVENT_ALL)
        pair = context.socket(zmq.PAIR)
        pair.connect(name)
        return pair

    def saw(self, event: int) -> bool:
        """Whether that happened to the connection, up to now."""
        while self.events.poll(0):
            self.seen.append(struct.unpack("=Hi", self.events.recv_multipart()[0])[0])
        return event in self.seen

    @property
    def is_cut(self) -> bool:
        return self.saw(zmq.EVENT_DISCONNECTED)

    def say(self, *parts: bytes) -> None:
        self.sock.send_multipart(parts, zmq.NOBLOCK)

    def say_frames(self, data: bytes) -> None:
        self.say(pieces.piece(data))

    def heard(self) -> bytes | None:
        """The next message, if there is one."""
        return self.sock.recv(zmq.NOBLOCK) if self.sock.poll(0) else None


@contextmanager
def raw_clients() -> Iterator[Callable[..., Raw]]:
    """Makes them, as ``Raw`` without its context; all are closed at the end."""
    context: zmq.Context[Any] = zmq.Context()
    made: list[Raw] = []  # a socket that nobody refers to complains

    def make(*args: Any, **options: Any) -> Raw:
        made.append(Raw(context, *args, **options))
        return made[-1]

    try:
        yield make
    finally:
        context.destroy(linger=0)
