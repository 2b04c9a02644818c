"""What changed since a version: a bounded ring of what is different, not of how.

Theory of operation. A watcher holds a version and nothing is held for it. The ring has, for each version, which things
became different with it; a delta is what these things are *now*. So a thing that changed a hundred times is told once,
and applying a delta twice, or one that reaches further than it says, does no harm.

A change becomes visible at once and gets its version with the next bump; until then it is *pending*, and is part of
every delta. Hence a copy of version v with the delta since v applied equals what is there now, at any time. The ring is
bounded by the number of things in it, which is what it costs; who asks for more than is remembered has to read all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from svcmgr.services.mgmtd.changes import Seen

#: Things remembered. At twice the largest cluster tested this is every target changing once.
THINGS_MAX = 400_000


class History:
    """Begins with what is there at ``version``."""

    def __init__(self, version: int, things_max: int = THINGS_MAX) -> None:
        self._base = version
        self._newest = version
        self._ring: deque[tuple[int, tuple[Seen, ...]]] = deque()
        self._things = 0
        self._things_max = things_max
        self._pending: dict[Seen, None] = {}

    @property
    def pending(self) -> bool:
        """Whether something changed that no version has."""
        return bool(self._pending)

    def note(self, seen: Iterable[Seen]) -> None:
        """These are different now."""
        self._pending.update(dict.fromkeys(seen))

    def advance(self, version: int) -> None:
        """What is pending belongs to ``version``."""
        things = tuple(self._pending)
        self._pending.clear()
        self._ring.append((version, things))
        self._newest = version
        self._things += len(things)
        while self._things > self._things_max:
            oldest, dropped = self._ring.popleft()
            self._things -= len(dropped)
            self._base = oldest

    def since(self, version: int) -> list[Seen] | None:
        """What is different since ``version``, oldest first; None when that is not remembered, or never was."""
        if not self._base <= version <= self._newest:
            return None
        found: dict[Seen, None] = {}
        for at, things in reversed(self._ring):
            if at <= version:
                break
            found.update(dict.fromkeys(things))
        found.update(self._pending)
        return list(found)
