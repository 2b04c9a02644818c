"""Looking for the processes of a service among all that live.

Two ways, by who inherits orphans. For processes we started it is us (we are a subreaper): one read of our own
list of children, minus those we know, leaves the orphans of all services; normally none. For adopted ones it
is init or another subreaper: one pass over ``/proc`` finds the orphans there. Both are kept for one turn of the
event loop, so that five hundred exits seen together cost one look. That is sound: every exit handled in a turn
happened before the turn began, and the kernel re-parents orphans before it reports the exit of their parent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable

import attrs

from svcmgr.proc import procfs
from svcmgr.proc.identity import Identity, Stat
from svcmgr.proc.spec import Marker
from svcmgr.proc.tree import Tree, marker_in

#: An environment can read as empty for the instant in which execve(2) swaps address spaces.
_ENVIRON_TRIES = 4


@attrs.define
class _Turn:
    """What was seen in this turn of the loop."""

    children: set[int] | None = None
    strangers: list[Stat] | None = None
    table: dict[int, Stat] | None = None
    marks: dict[int, Marker | None] = attrs.Factory(dict)


class Census:
    """Finds processes. ``known`` (a live view) has the children that somebody holds."""

    def __init__(self, known: Collection[int], boot_id: str) -> None:
        self._known = known
        self._boot_id = boot_id
        self._turn: _Turn | None = None
        # CONFIG_PROC_CHILDREN is in every distribution kernel; without it the whole table must do.
        self._lists_children = procfs.thread_children(os.getpid(), os.getpid()) is not None

    def forget(self) -> None:
        """The next question looks anew."""
        self._turn = None

    def drop(self, pid: int) -> None:
        """This child was reaped."""
        if self._turn is not None and self._turn.children is not None:
            self._turn.children.discard(pid)

    def identity(self, pid: int) -> Identity | None:
        """Who has this number now; None when nobody living has."""
        found = procfs.stat(pid)
        return None if found is None or found.dead else self._identify(found)

    def members(self, tree: Tree, *, main_alive: bool, fresh: bool = False) -> list[Identity]:
        """The living processes of ``tree`` except its main process.

        Args:
            main_alive: also look below the main process.
            fresh: do not answer from what was seen earlier in this turn of the loop.
        """
        if fresh:
            self.forget()
        turn = self._this_turn()
        found = {one.pid: one for one in self._orphans(turn, tree) if self._belongs(turn, tree, one)}
        for who in tree.remembered:
            one = procfs.stat(who.pid)
            if one is not None and self._identify(one) == who:
                found[one.pid] = one
        roots = [*found, tree.main.pid] if main_alive else list(found)
        found.update(self._below(turn, roots))
        found.pop(tree.main.pid, None)
        return [self._identify(one) for one in found.values() if not one.dead]

    def descendants(self, main: Identity) -> list[Identity]:
        """Children of ``main``, their children and so on; not those whose parents have died."""
        return [self._identify(one) for one in self._below(self._this_turn(), [main.pid]).values() if not one.dead]

    def strangers(self) -> list[int]:
        """Direct children of ours, dead or alive, that nobody holds: orphans left to us.

        Only children of the main thread count: orphans are left to it, while a child of another thread is
        the affair of the code that runs there and waits for it.
        """
        turn = self._this_turn()
        if turn.children is None:
            turn.children = self._own_children(turn)
        # Asked anew each time: children of the same turn may have been taken over or let go since.
        return list(turn.children.difference(self._known))

    def _own_children(self, turn: _Turn) -> set[int]:
        us = os.getpid()
        if self._lists_children:
            return set(procfs.thread_children(us, us) or ())
        return {one.pid for one in self._whole_table(turn).values() if one.ppid == us}

    def heirs(self, main: Identity) -> frozenset[int]:
        """Who may inherit the orphans of ``main``: its ancestors, up to init."""
        found: set[int] = set()
        one = procfs.stat(main.pid)
        while one is not None and one.ppid != 0 and one.ppid not in found:
            found.add(one.ppid)
            one = procfs.stat(one.ppid)
        return frozenset(found | {1})

    def marked(self, root: str) -> dict[str, list[Identity]]:
        """All living processes with a marker of ``root``, by service, oldest first. One pass over ``/proc``."""
        found: dict[str, list[Identity]] = {}
        for one in _table().values():
            mark = None if one.dead else marker_in(procfs.environ(one.pid))
            if mark is not None and mark.root == root:
                found.setdefault(mark.service, []).append(self._identify(one))
        for group in found.values():
            group.sort(key=lambda who: (who.start_ticks, who.pid))
        return found

    def _identify(self, one: Stat) -> Identity:
        return Identity(one.pid, one.start_ticks, self._boot_id)

    def _this_turn(self) -> _Turn:
        turn = self._turn
        if turn is None:
            turn = _Turn()
            try:
                asyncio.get_running_loop().call_soon(self.forget)
            except RuntimeError:
                return turn  # no loop runs, so there is no turn to keep it for
            self._turn = turn
        return turn

    def _orphans(self, turn: _Turn, tree: Tree) -> Iterable[Stat]:
        if not tree.ours:
            table = self._whole_table(turn).values()
            return [one for one in table if one.ppid in tree.heirs and one.pid not in self._known]
        if turn.strangers is None:
            turn.strangers = [one for pid in self.strangers() if (one := procfs.stat(pid)) and not one.dead]
        return [one for one in turn.strangers if one.pid not in self._known]

    def _belongs(self, turn: _Turn, tree: Tree, one: Stat) -> bool:
        if one.pid not in turn.marks:
            turn.marks[one.pid] = _settled_marker(one.pid)
        return tree.belongs(self._identify(one), one.session, turn.marks[one.pid])

    def _below(self, turn: _Turn, roots: Iterable[int]) -> dict[int, Stat]:
        if self._lists_children:
            return _descend(roots, procfs.children)
        by_parent: dict[int, list[int]] = {}
        for one in self._whole_table(turn).values():
            by_parent.setdefault(one.ppid, []).append(one.pid)
        return _descend(roots, lambda pid: by_parent.get(pid, []))

    def _whole_table(self, turn: _Turn) -> dict[int, Stat]:
        if turn.table is None:
            turn.table = _table()
        return turn.table


def _table() -> dict[int, Stat]:
    return {pid: one for pid in procfs.pids() if (one := procfs.stat(pid)) is not None}


def _descend(roots: Iterable[int], children_of: Callable[[int], list[int]]) -> dict[int, Stat]:
    found: dict[int, Stat] = {}
    todo = list(roots)
    while todo:
        for pid in children_of(todo.pop()):
            if pid not in found and (one := procfs.stat(pid)) is not None:
                found[pid] = one
                todo.append(pid)
    return found


def _settled_marker(pid: int) -> Marker | None:
    for _ in range(_ENVIRON_TRIES):
        if block := procfs.environ(pid):
            return marker_in(block)
    return None
