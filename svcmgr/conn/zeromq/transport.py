"""The transport for ``tcp:`` addresses: a keyring, the doors that are open, and what was counted at them."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from pathlib import Path

import attrs
import zmq

from svcmgr.conn import keyfile
from svcmgr.conn.keyring import Keyring, write_key
from svcmgr.conn.transport import Address, HandlerFactory, LinkHandler, LinkOptions
from svcmgr.conn.zeromq.door import COUNTS, Door, Terms
from svcmgr.conn.zeromq.outgoing import Outgoing, Target
from svcmgr.conn.zeromq.sockets import Hub, Tuning
from svcmgr.conn.zeromq.zap import Zap
from svcmgr.errors import AlreadyExists, BadInput, Disconnected, StorageFailed

#: Addresses of one host name that are tried.
PLACES_MAX = 8


@attrs.frozen
class Reloaded:
    """What :meth:`ZeroMQTransport.reload` changed: names of keys, and how many links it ended.

    ``own``: our own pair is another one. Links that we dial from now on prove the new one; listeners have the old one
    until they listen anew.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    own: bool
    ended: int


class ZeroMQTransport:
    """Dials and listens on tcp with the keys of one keyring file. Belongs to one loop."""

    def __init__(self, keyring: Path, tuning: Tuning | None = None) -> None:
        """Raises BadInput or NotPermitted: see :func:`keyfile.load`; BadInput: the own pair is none."""
        self._path = keyring
        self._keyring = _checked(keyfile.load(keyring), keyring)
        self._tuning = tuning or Tuning()
        self._hub = Hub()
        self._doors: dict[str, Door] = {}
        self._numbers = itertools.count(1)
        self._zap: Zap | None = None
        self._counts = dict.fromkeys((*COUNTS, "withdrawn"), 0)

    @property
    def keyring(self) -> Keyring:
        """The one in force."""
        return self._keyring

    def statistics(self) -> dict[str, int]:
        """Counters since the start, and links and connections without link now; docs/wire-protocol.md names them."""
        doors = self._doors.values()
        return {
            **self._counts,
            "links": sum(door.links for door in doors),
            "waiting": sum(door.waiting for door in doors),
        }

    async def reload(self) -> Reloaded:
        """Read the file again and act by it: links of keys that are gone, or have another name or scope, end.

        A change of scope ends a link because what it may do is decided when it opens; its peer connects again.

        Raises:
            BadInput, NotPermitted: as the constructor does; then the old keys stay in force.
        """
        new = await asyncio.to_thread(lambda: _checked(keyfile.load(self._path), self._path))
        old, self._keyring = self._keyring, new
        ended = sum(door.withdraw(new) for door in tuple(self._doors.values()))
        self._counts["withdrawn"] += ended
        before, after = old.holders, new.holders
        return Reloaded(
            added=tuple(sorted(set(after) - set(before))),
            removed=tuple(sorted(set(before) - set(after))),
            changed=tuple(sorted(name for name in set(before) & set(after) if before[name] != after[name])),
            own=(old.public, old.secret) != (new.public, new.secret),
            ended=ended,
        )

    # --- dialling

    async def dial(self, address: Address, handler: LinkHandler, options: LinkOptions) -> None:
        """See :meth:`svcmgr.conn.transport.Transport.dial`. All keys and places of the address are tried in turn.

        Raises also BadInput: the keyring names no key for the address.
        """
        error: Disconnected | None = None
        for target in await self._targets(address):
            try:
                await Outgoing(self._hub, target, handler, options).open(self._keyring, self._tuning)
            except Disconnected as problem:
                error = problem
            except zmq.ZMQError as problem:
                error = Disconnected(
                    f"cannot connect to {address}: {problem.strerror}", address=str(address), errno=problem.errno
                )
            else:
                return
        assert error is not None
        raise error

    async def _targets(self, address: Address) -> list[Target]:
        text = str(address)
        keys = self._keyring.keys_at(text)
        if not keys or not address.host_and_port[1]:
            raise BadInput(
                f"cannot connect to {text}: no key in {self._path} has this address; add the key of who serves there, "
                f'with addresses = ["{text}"]',
                address=text,
            )
        try:
            places = await _places(address)
        except OSError as error:
            raise Disconnected(f"cannot connect to {text}: {error.strerror}", address=text) from error
        names = {key: holder.name for key in keys if (holder := self._keyring.holder_of(key))}
        return [Target(text, place, key, names[key]) for place in places for key in keys]

    # --- listening

    async def listen(self, address: Address, factory: HandlerFactory, options: LinkOptions) -> ZeroMQListener:
        """See :meth:`svcmgr.conn.transport.Transport.listen`; port 0 is one of the kernel's choice."""
        try:
            place = (await _places(address))[0]
        except OSError as error:
            raise StorageFailed(f"cannot listen on {address}: {error.strerror}", address=str(address)) from error
        terms = Terms(factory, options)
        for door in self._doors.values():
            if door.place == place and door.terms is None:
                door.terms = terms  # it waits for its last links to end
                return ZeroMQListener(door, terms)
        return ZeroMQListener(self._open_door(address, place, terms), terms)

    def _open_door(self, address: Address, place: str, terms: Terms) -> Door:
        try:
            door = self._make_door()
            door.bind(address, place, terms)
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise AlreadyExists(
                    f"cannot listen on {address}: somebody serves it; stop that process first", address=str(address)
                ) from error
            raise StorageFailed(
                f"cannot listen on {address}: {error.strerror}", address=str(address), errno=error.errno
            ) from error
        return door

    def _make_door(self) -> Door:
        context = self._hub.hold()
        try:
            if self._zap is None:
                self._zap = Zap(context, self._admit)
            door = Door(context, f"svcmgr-{next(self._numbers)}", self, self._tuning, self._shut)
        except zmq.ZMQError:  # no descriptors left
            self._close_zap_if_unused()
            self._hub.release()
            raise
        self._doors[door.domain] = door
        return door

    def count(self, what: str) -> None:
        """One more of ``what``, one of the door's COUNTS."""
        self._counts[what] += 1

    def _admit(self, domain: str, key: bytes) -> str | None:
        door = self._doors.get(domain)
        return door.admit(key) if door is not None else None

    def _shut(self, door: Door) -> None:
        del self._doors[door.domain]
        self._close_zap_if_unused()
        self._hub.release()

    def _close_zap_if_unused(self) -> None:
        if not self._doors and self._zap is not None:
            self._zap.close()
            self._zap = None


class ZeroMQListener:
    """An address that is listened on."""

    def __init__(self, door: Door, terms: Terms) -> None:
        assert door.address is not None
        self.address = door.address
        self._door = door
        self._terms = terms

    def close(self) -> None:
        """See :meth:`svcmgr.conn.transport.Listener.close`. The port is free when the last link has ended."""
        if self._door.terms is self._terms:
            self._door.close()


def _checked(keyring: Keyring, path: Path) -> Keyring:
    if zmq.curve_public(write_key(keyring.secret).encode()) != write_key(keyring.public).encode():
        raise BadInput(f"cannot use keyring {path}: own.public is not the public key of own.secret", path=str(path))
    return keyring


async def _places(address: Address) -> list[str]:
    # host:port in numbers; libzmq would look names up in the thread that does all input and output.
    host, port = address.host_and_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    names = [str(sockaddr[0]) for *_, sockaddr in found]
    places = [f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names]
    return list(dict.fromkeys(places))[:PLACES_MAX]
