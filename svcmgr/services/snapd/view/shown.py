"""Which snapshots are shown, under which names: a value that is replaced whole when activation changes.

Theory of operation. A request looks at one such value from beginning to end, so it sees the snapshots of one moment.
What is not in it any more cannot be reached, whatever the kernel still remembers: a node names its root by a key, and
a key that is not here is stale.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from svcmgr.services.snapd.exposed import Exposed
from svcmgr.services.snapd.view.inodes import digest63


@attrs.frozen
class Root:
    """The content of one brick in one snapshot. ``seed`` mixes its inode numbers."""

    key: str
    path: Path
    seed: int


@attrs.frozen
class Shelf:
    """One snapshot: its roots by name; with several it is a directory of our own making, with ``key`` and ``seed``.

    ``serial`` counts activations, so that a listing that is interrupted by one goes on after the last serial it gave.
    """

    serial: int
    key: str
    seed: int
    name: bytes
    created_ns: int
    roots: Mapping[bytes, Root]

    @property
    def only(self) -> Root | None:
        """The root that is the snapshot, if there is just one."""
        return next(iter(self.roots.values())) if len(self.roots) == 1 else None


@attrs.frozen
class Shown:
    """All that is shown. ``changed_ns``: when the newest of it was made, UTC; ``last``: the last serial given."""

    shelves: Mapping[bytes, Shelf]
    by_key: Mapping[str, Shelf]
    roots: Mapping[str, Root]
    changed_ns: int
    last: int

    @classmethod
    def of(cls, snapshots: Sequence[Exposed], before: Shown | None = None) -> Shown:
        """Made from ``snapshots``; what was shown ``before`` keeps its serial and its place."""
        old = before.by_key if before else {}
        serials = itertools.count(1 + (before.last if before else 0))
        shelves = [_shelf(one, old[one.id].serial if one.id in old else next(serials)) for one in snapshots]
        shelves.sort(key=lambda shelf: shelf.serial)
        roots = {root.key: root for shelf in shelves for root in shelf.roots.values()}
        changed = max((shelf.created_ns for shelf in shelves), default=0)
        by_name = {shelf.name: shelf for shelf in shelves}
        by_key = {shelf.key: shelf for shelf in shelves}
        return cls(by_name, by_key, roots, changed, next(serials) - 1)

    def listed(self, hide_dot: bool, after: int) -> list[Shelf]:
        """What a listing of the top has after serial ``after``."""
        return [
            shelf
            for shelf in self.shelves.values()
            if shelf.serial > after and not (hide_dot and shelf.name.startswith(b"."))
        ]

    def gone(self, later: Shown) -> list[bytes]:
        """Names that mean nothing, or something else, in ``later``."""
        return [name for name, shelf in self.shelves.items() if later.shelves.get(name) != shelf]


def _shelf(snapshot: Exposed, serial: int) -> Shelf:
    roots = {}
    for number, path in enumerate(snapshot.roots, 1):
        key = f"{snapshot.id}/{number}"
        roots[f"brick-{number}".encode()] = Root(key, path, digest63(b"root", key.encode()))
    seed = digest63(b"shelf", snapshot.id.encode())
    name = snapshot.name.encode("utf-8", "surrogateescape")
    return Shelf(serial, snapshot.id, seed, name, int(snapshot.created * 1e9), roots)
