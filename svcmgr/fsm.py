"""Machines as keyed tables: (state, event) -> (new state, effects).

Theory of operation. A table is data; it performs nothing. Whoever owns the state calls :meth:`Table.step`
with an event and receives the cell: the new state and the effects to carry out, in order. A pair that has
no cell is an error and changes nothing. Keys are enum members, never positions. A choice that depends on
more than (state, event), for example the restart policy, is made *before* the step by picking a more exact
event, so that the table stays the whole truth and the diagram drawn from it is complete.

Precedent for the form: python-hyper/h11 ``h11/_state.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from svcmgr.errors import IllegalTransition

S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)
F = TypeVar("F", bound=enum.Enum)


class Cell(msgspec.Struct, Generic[S, F], frozen=True):
    """What one event does in one state."""

    state: S
    effects: tuple[F, ...] = ()


def to(state: S, *effects: F) -> Cell[S, F]:
    """Shorthand for writing tables: go to ``state`` and carry out ``effects`` in order."""
    return Cell(state, effects)


class Table(Generic[S, E, F]):
    """One machine: its name, initial state and cells."""

    def __init__(self, name: str, initial: S, cells: Mapping[tuple[S, E], Cell[S, F]]) -> None:
        self.name = name
        self.initial = initial
        self.cells = dict(cells)

    def step(self, state: S, event: E) -> Cell[S, F]:
        """The cell for ``event`` in ``state``.

        Raises:
            IllegalTransition: the table has no such cell; the caller's state is unchanged.
        """
        cell = self.cells.get((state, event))
        if cell is None:
            raise IllegalTransition(
                f"cannot handle event {event.name} in state {state.name} of machine {self.name}: "
                "no such cell, nothing was changed"
            )
        return cell

    def accepts(self, state: S, event: E) -> bool:
        """Whether ``event`` has a cell in ``state``."""
        return (state, event) in self.cells

    def to_dot(self) -> str:
        """The table as Graphviz text, stable from run to run (docs/machines/NAME.dot)."""
        states: list[S] = [self.initial]
        for (source, _), cell in self.cells.items():
            for state in (source, cell.state):
                if state not in states:
                    states.append(state)
        lines = [f'digraph "{self.name}" {{', "  rankdir=LR;", "  node [shape=box, style=rounded];"]
        lines += [f'  "{s.name}"{" [penwidth=2]" if s is self.initial else ""};' for s in states]
        lines += [_edge(*item) for item in self.cells.items()]
        return "\n".join([*lines, "}", ""])


def _edge(key: tuple[enum.Enum, enum.Enum], cell: Cell[S, F]) -> str:
    label = key[1].name.lower()
    if cell.effects:
        label += "\\n/ " + ", ".join(_words(cell.effects))
    return f'  "{key[0].name}" -> "{cell.state.name}" [label="{label}"];'


def _words(effects: Iterable[enum.Enum]) -> list[str]:
    return [effect.name.lower().replace("_", " ") for effect in effects]
