"""The volfile server: daemons ask for their configuration by id, and get it from memory.

What is served is one dict that is never changed, only replaced as a whole. So an answer never waits for anything: not
for the supervisor's queue, not for a volume that is being changed, not for the disk. The model answers under its one
big lock, and its daemons wait for the manager that waits for them (GF xlators/mgmt/glusterd/src/glusterd-handshake.c).
An answer is encoded once, when its text is published.

Ids are exact: no globs, no defaults, nothing derived from a file name. Each id belongs to one owner (the key of a
service), so that no service can slip another one its volfile. Requests for published ids are counted one by one; all
others share one counter, so that nobody can fill our memory by asking.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping

import attrs
import msgspec

from svcmgr.clock import Clock
from svcmgr.conn import Peer
from svcmgr.errors import AlreadyExists, BadInput, BadVolfile
from svcmgr.host.wire_volumes import VolfileAsk, VolfileFacts
from svcmgr.services.wire import VolfileReply, VolfileRequest

#: Longest id, in bytes of UTF-8; the same limit where it is published and where it is asked for.
ID_MAX = 255
#: Largest text, in bytes of UTF-8. With its frame it is far below the frame limit of a connection.
TEXT_MAX = 4 * 1024 * 1024
#: Whoever asks for what is not there must not make svcmgrd busy: an id up to so long is compared with so many others.
_COMPARED_LENGTH, _COMPARED_MAX = 128, 32
_NEAR_MAX = 3


@attrs.frozen
class _Published:
    """One volfile, with its answer ready to be sent."""

    owner: str
    checksum: str
    size: int
    reply: msgspec.Raw


@attrs.define
class _Asked:
    count: int = 0
    at: float | None = None
    pid: int = 0
    uid: int = 0


class Volfiles:
    """What is served now. All methods belong to the loop's thread, and none of them waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._published: Mapping[str, _Published] = {}
        self._asked: dict[str, _Asked] = {}
        self._refused = self._served = self._bytes = 0

    def publish(self, volfile_id: str, text: str, owner: str) -> str:
        """Serve ``text`` as ``volfile_id`` from now on, and give its checksum (SHA-256, hexadecimal).

        Publishing what is served already does nothing. Counters of an id go on when its text changes.

        Raises:
            BadInput: the id is empty, over ID_MAX bytes, or not printable.
            BadVolfile: the text is over TEXT_MAX bytes or cannot be encoded.
            AlreadyExists: another owner has this id.
        """
        _check_id(volfile_id)
        present = self._published.get(volfile_id)
        if present is not None and present.owner != owner:
            raise AlreadyExists(
                f"cannot publish volfile {volfile_id!r} for {owner}: it belongs to {present.owner}; use another id",
                owner=present.owner,
            )
        data = _encoded(volfile_id, text)
        checksum = hashlib.sha256(data).hexdigest()
        if present is None or present.checksum != checksum:
            reply = msgspec.Raw(msgspec.msgpack.encode(VolfileReply(text, checksum)))
            self._published = {**self._published, volfile_id: _Published(owner, checksum, len(data), reply)}
        return checksum

    def withdraw(self, owner: str) -> None:
        """Serve nothing of ``owner`` any more, and forget who asked for it. Idempotent."""
        kept = {key: one for key, one in self._published.items() if one.owner != owner}
        if len(kept) != len(self._published):
            self._published = kept
            self._asked = {key: asked for key, asked in self._asked.items() if key in kept}

    def checksum(self, volfile_id: str) -> str | None:
        """The checksum of what is served as ``volfile_id``; None when nothing is."""
        present = self._published.get(volfile_id)
        return None if present is None else present.checksum

    def serve(self, request: VolfileRequest, peer: Peer) -> msgspec.Raw:
        """The VolfileReply for ``request``, encoded.

        Raises:
            BadInput: no volfile has exactly this id; ``details["near"]`` are at most three that may have been meant.
        """
        found = self._published.get(request.id)
        if found is None:
            self._refused += 1
            raise self._unknown(request.id)
        self._served += 1
        self._bytes += found.size
        asked = self._asked.setdefault(request.id, _Asked())
        asked.count += 1
        asked.at, asked.pid, asked.uid = self._clock.utc(), peer.pid, peer.uid
        return found.reply

    def facts(self) -> VolfileFacts:
        """Who asked for what, by id."""
        asks = [_ask(key, one, self._asked.get(key, _Asked())) for key, one in sorted(self._published.items())]
        return VolfileFacts(asks, self._refused, self._served, self._bytes)

    def _unknown(self, asked: str) -> BadInput:
        _check_id(asked)
        near = _near(asked, self._published)
        hint = f"did you mean {' or '.join(near)}?" if near else "ids are exact, see the definition of the service"
        return BadInput(f"cannot serve volfile {asked!r}: no service has published it; {hint}", id=asked, near=near)


def _near(asked: str, known: Iterable[str]) -> list[str]:
    """The few of ``known`` that ``asked`` may have been meant to be; those that begin like it are looked at first."""
    if len(asked) > _COMPARED_LENGTH:
        return []
    alike = [one for one in known if abs(len(one) - len(asked)) <= _NEAR_MAX]
    beginning = asked[: len(asked) // 2]
    alike.sort(key=lambda one: not one.startswith(beginning))
    return difflib.get_close_matches(asked, alike[:_COMPARED_MAX], _NEAR_MAX)


def _ask(volfile_id: str, published: _Published, asked: _Asked) -> VolfileAsk:
    return VolfileAsk(volfile_id, asked.count, asked.at, asked.pid, asked.uid, published.size)


def _check_id(volfile_id: str) -> None:
    """Raises BadInput."""
    if not volfile_id or not volfile_id.isprintable():
        raise BadInput(f"cannot use {volfile_id[:40]!r} as volfile id: use printable characters, at least one")
    size = len(volfile_id.encode())
    if size > ID_MAX:
        raise BadInput(f"cannot use {volfile_id[:40]!r}... as volfile id: {size} bytes, the limit is {ID_MAX}")


def _encoded(volfile_id: str, text: str) -> bytes:
    """``text`` as it is counted and hashed. Raises BadVolfile."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise BadVolfile(
            f"cannot publish volfile {volfile_id!r}: character {error.start} is half of a surrogate pair; write UTF-8"
        ) from error
    if len(data) > TEXT_MAX:
        raise BadVolfile(
            f"cannot publish volfile {volfile_id!r}: {len(data)} bytes, the limit is {TEXT_MAX}; use fewer blocks",
            size=len(data),
            limit=TEXT_MAX,
        )
    return data
