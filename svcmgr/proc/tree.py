"""Which living processes belong to a service: the rules, without looking.

Theory of operation. The main process is known by its identity. Everything it forked belongs to it, but Linux
keeps no list of descendants once their parents have died, so membership is proved by what a process carries:

- it was seen as a descendant while its ancestors lived (*remembered*), or
- it carries the marker of the service in its environment, or
- it is in a session of the service: the main process is started as a session leader, children stay in that
  session unless they call setsid(2), and the number of a session is not reused while it has a member.

A marker of another service overrules the session: a supervisor that runs as a service of ours starts services
of its own, and those are its, not ours. A session alone is no proof for a process that is older than the
service. What proves nothing is not touched.
"""

from __future__ import annotations

import attrs

from svcmgr.proc.identity import Identity
from svcmgr.proc.spec import MARK_ROOT, MARK_SERVICE, Marker


@attrs.frozen
class Tree:
    """The processes of one incarnation, by the marks that they carry.

    Args:
        ours: orphans of this tree become our children (its main process is one).
        heirs: otherwise, the processes that may inherit them: ancestors of the main process, and init.
        since: start ticks of the first main process.
    """

    main: Identity
    since: int
    sessions: frozenset[int]
    marker: Marker | None = None
    ours: bool = True
    heirs: frozenset[int] = frozenset({1})
    remembered: frozenset[Identity] = frozenset()

    def belongs(self, who: Identity, session: int, mark: Marker | None) -> bool:
        """Whether ``who``, in ``session`` and with ``mark`` in its environment, is part of this tree."""
        if who in self.remembered:
            return True
        if mark is not None and self.marker is not None:
            return mark == self.marker
        return session in self.sessions and who.start_ticks >= self.since


def spawned(main: Identity, marker: Marker | None) -> Tree:
    """The tree of a process we have just started in its own session."""
    return Tree(main, main.start_ticks, frozenset({main.pid}), marker)


def marker_in(environ: bytes) -> Marker | None:
    """The marker in an environment block; as getenv(3) does, the first of several equal names counts."""
    service = root = None
    for entry in environ.split(b"\0"):
        if service is None and entry.startswith(_SERVICE):
            service = entry[len(_SERVICE) :]
        elif root is None and entry.startswith(_ROOT):
            root = entry[len(_ROOT) :]
    if not service or not root:
        return None
    return Marker(service.decode("utf-8", "surrogateescape"), root.decode("utf-8", "surrogateescape"))


_SERVICE = f"{MARK_SERVICE}=".encode()
_ROOT = f"{MARK_ROOT}=".encode()
