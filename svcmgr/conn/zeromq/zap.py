"""Whether a key may come: the authentication handler of ZAP (https://rfc.zeromq.org/spec/27/), on the loop.

libzmq asks it over inproc in the middle of each handshake. It keeps nothing of who was refused.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from svcmgr.conn.zeromq.sockets import Watch

#: libzmq asks at this address, one handler for each context (RFC 27).
ADDRESS = "inproc://zeromq.zap.01"
#: Questions that are answered before others get their turn of the loop.
BATCH = 64

_VERSION = b"1.0"


class Zap:
    """The handler. ``admit(domain, public key)`` gives the User-Id of who may come; None refuses."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], admit: Callable[[str, bytes], str | None]) -> None:
        self._admit = admit
        self._sock = context.socket(zmq.ROUTER)
        self._sock.setsockopt(zmq.LINGER, 0)
        self._sock.bind(ADDRESS)
        self._watch = Watch(self._sock, self._drain)

    def close(self) -> None:
        """After the listeners."""
        self._watch.close()
        self._sock.close()

    def _drain(self) -> None:
        for _ in range(BATCH):
            try:
                envelope, empty, *question = self._sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._sock.send_multipart([envelope, empty, *self._answer(question)], zmq.NOBLOCK)
        self._watch.again()

    def _answer(self, question: list[bytes]) -> list[bytes]:
        version, request, domain, _address, _identity, mechanism, *credentials = question
        user = None
        if version == _VERSION and mechanism == b"CURVE" and len(credentials) == 1:
            user = self._admit(domain.decode(), credentials[0])
        if user is None:
            return [_VERSION, request, b"400", b"unknown key", b"", b""]
        return [_VERSION, request, b"200", b"OK", user.encode(), b""]
