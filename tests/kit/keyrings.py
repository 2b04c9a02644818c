"""Keyring files, and ports that nobody else gets, for tests over a network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from svcmgr.conn.access import Access
from svcmgr.conn.keyfile import save
from svcmgr.conn.keyring import Holder, Keyring
from svcmgr.conn.transport import Address
from svcmgr.conn.zeromq import new_pair


@contextmanager
def kept_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port for one listener: it is bound by a socket that does not listen, so the kernel gives it to nobody else, and
    who binds with SO_REUSEADDR, as libzmq does, may listen there (socket(7))."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 0))
        yield sock.getsockname()[1]


def tcp(port: int, host: str = "127.0.0.1") -> Address:
    return Address.parse(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")


class Party:
    """Keyring files of some who know each other: the server, and clients with a scope each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        public, secret = new_pair()
        self.server = Keyring("server", public, secret)
        self.server_file = directory / "server.toml"
        save(self.server_file, self.server)

    def knows(self, *holders: Holder) -> None:
        """Write the server's file anew, with these added, or in place of those of their names."""
        for holder in holders:
            if holder.name in self.server.holders:
                self.server = self.server.removing(holder.name)
            self.server = self.server.adding(holder)
        save(self.server_file, self.server)

    def forgets(self, name: str) -> None:
        self.server = self.server.removing(name)
        save(self.server_file, self.server)

    def client(self, name: str, address: Address, scope: Access | None = Access.ADMIN, *, known: bool = True) -> Path:
        """The file of a new client that knows the server by ``address``; ``known``: and the server knows it."""
        public, secret = new_pair()
        holder = Holder("server", (self.server.public,), None, (str(address),))
        path = self.directory / f"{name}.toml"
        save(path, Keyring(name, public, secret, {"server": holder}))
        if known:
            self.knows(Holder(name, (public,), scope))
        return path

    def both(self, address: Address, scope: Access = Access.ADMIN) -> Path:
        """A file for one that dials itself."""
        self.knows(Holder("server", (self.server.public,), scope, (str(address),)))
        return self.server_file
