"""The routing information as clients see it: each thing encoded once, and a digest of all of them.

Theory of operation. The *face* of a thing is its ``Info`` without what changes all the time (how full a target is, when
a node was heard, its process), in MessagePack. It is made again only when the thing changed and somebody asks, so a
full copy is a matter of putting pieces together, and equal clusters have equal faces.

The digest is the exclusive or of a 128-bit BLAKE2b of every face with its kind: independent of order, and cheap to keep
up, as the old face goes out the way it came in. A client computes the same over its own copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import msgspec

from svcmgr.services.mgmtd.changes import Id, Kind, Seen

#: Kinds in the routing information, and what each is called there.
WORDS = {Kind.NODE: "nodes", Kind.CHAIN: "chains", Kind.TABLE: "tables", Kind.TARGET: "targets"}

_encoder = msgspec.msgpack.Encoder()


def thumb(word: str, face: bytes) -> int:
    """What a thing adds to the digest; ``word`` is its kind's, ``face`` its encoded Info."""
    return int.from_bytes(hashlib.blake2b(face, digest_size=16, person=word.encode()).digest(), "big")


class Faces:
    """``look`` makes the Info of a thing; None when it is gone."""

    def __init__(self, look: Callable[[Kind, Id], msgspec.Struct | None]) -> None:
        self._look = look
        self._faces: dict[Kind, dict[Id, bytes]] = {kind: {} for kind in WORDS}
        self._stale: dict[Seen, None] = {}
        self._digest = 0

    @property
    def stale(self) -> int:
        """How many faces must be made anew before anything can be told."""
        return len(self._stale)

    def mark(self, seen: Iterable[Seen]) -> None:
        """These are different now."""
        self._stale.update(dict.fromkeys(seen))

    def refresh(self, most: int | None = None) -> None:
        """Make anew what is stale; at most ``most`` of them, for callers that must not block."""
        count = len(self._stale) if most is None else min(most, len(self._stale))
        for _ in range(count):
            (kind, id), _ = self._stale.popitem()
            self._renew(kind, id)

    def _renew(self, kind: Kind, id: Id) -> None:
        faces = self._faces[kind]
        if (old := faces.pop(id, None)) is not None:
            self._digest ^= thumb(WORDS[kind], old)
        if (info := self._look(kind, id)) is not None:
            faces[id] = face = _encoder.encode(info)
            self._digest ^= thumb(WORDS[kind], face)

    def digest(self) -> str:
        """Of all that is there now; 32 hexadecimal digits."""
        self.refresh()
        return f"{self._digest:032x}"

    def all(self, kind: Kind) -> list[msgspec.Raw]:
        """The faces of a kind, by id."""
        self.refresh()
        faces = self._faces[kind]
        return [msgspec.Raw(faces[id]) for id in sorted(faces)]

    def one(self, kind: Kind, id: Id) -> msgspec.Raw | None:
        """The face of one thing; None when it is gone."""
        self.refresh()
        face = self._faces[kind].get(id)
        return None if face is None else msgspec.Raw(face)
