"""Who waits for whom.

``requires``: the other must be running before this one starts, is started with it, and is stopped after it;
when the other is stopped, this one is stopped first. ``after``: order only; it says nothing about whether the
other is wanted. Unknown names in ``after`` are allowed (the other may be installed later), in ``requires``
they hold the service until the name appears.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from svcmgr.errors import DependencyCycle


@attrs.frozen
class Links:
    """What one service declares."""

    requires: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def before_me(self) -> tuple[str, ...]:
        """Everything that must be running first, when wanted."""
        return tuple(dict.fromkeys(self.requires + self.after))


class Graph:
    """An immutable view of all declarations; build a new one when a definition changes."""

    def __init__(self, links: Mapping[str, Links]) -> None:
        """Raises DependencyCycle with the path of the first cycle found."""
        self.links = dict(links)
        self._dependents: dict[str, list[str]] = {}
        self._followers: dict[str, list[str]] = {}
        for name, link in self.links.items():
            for other in link.requires:
                self._dependents.setdefault(other, []).append(name)
            for other in link.before_me:
                self._followers.setdefault(other, []).append(name)
        self._check()

    def before(self, name: str) -> tuple[str, ...]:
        """Direct predecessors of ``name`` in the start order."""
        return self.links[name].before_me if name in self.links else ()

    def followers(self, name: str) -> list[str]:
        """Those that start after ``name`` (by requires or after), hence stop before it."""
        return self._followers.get(name, [])

    def with_requirements(self, names: Iterable[str]) -> list[str]:
        """``names`` and everything they require, directly or not, in the order in which to start them."""
        found = _closure(names, lambda n: self.links[n].requires if n in self.links else ())
        members = set(found)
        return _closure(found, lambda n: [other for other in self.before(n) if other in members])

    def with_dependents(self, names: Iterable[str]) -> list[str]:
        """``names`` and everything that requires them, directly or not; dependents first."""
        return _closure(names, lambda n: self._dependents.get(n, ()))

    def _check(self) -> None:
        done: set[str] = set()
        for start in self.links:
            if start not in done:
                self._walk(start, done)

    def _walk(self, start: str, done: set[str]) -> None:
        # Depth first with an explicit stack: a chain of a thousand services must not end in RecursionError.
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                done.add(name)
            elif name in on_path:
                cycle = [*path[path.index(name) :], name]
                raise DependencyCycle("cannot order services: " + " -> ".join(cycle) + " is a cycle", path=cycle)
            elif name not in done:
                path.append(name)
                on_path.add(name)
                stack.append((name, True))
                stack.extend((other, False) for other in self.before(name) if other in self.links)


def _closure(names: Iterable[str], more: object) -> list[str]:
    assert callable(more)
    order: dict[str, None] = {}
    stack = [(name, False) for name in reversed(list(names))]
    seen: set[str] = set()
    while stack:
        name, leaving = stack.pop()
        if leaving:
            order[name] = None
        elif name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack.extend((other, False) for other in more(name))
    return list(order)
