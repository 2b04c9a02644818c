"""What differs between two configurations: by key, and by line.

Theory of operation. By key is what matters to a node: values are compared in their canonical form, so that ``"1m"`` and
``"60s"`` are no difference. By line is what matters to whoever wrote the text, template tags and comments included.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping

import attrs

from svcmgr.services.mgmtd.config.kinds import Value
from svcmgr.services.mgmtd.config.schema import Schema


class Change(enum.Enum):
    """What became of a key."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@attrs.frozen
class Difference:
    """One key that differs; ``old`` is None when it was added, ``new`` when it was removed."""

    key: str
    change: Change
    old: Value | None
    new: Value | None


@attrs.frozen
class Split:
    """Differences that a running node can take, and those that need a new start."""

    hot: tuple[Difference, ...]
    cold: tuple[Difference, ...]


def compare(old: Mapping[str, Value], new: Mapping[str, Value]) -> tuple[Difference, ...]:
    """What differs, in the order of the keys."""
    found = [_difference(key, old.get(key), new.get(key)) for key in sorted({*old, *new})]
    return tuple(each for each in found if each.old != each.new)


def _difference(key: str, old: Value | None, new: Value | None) -> Difference:
    change = Change.ADDED if old is None else Change.REMOVED if new is None else Change.CHANGED
    return Difference(key, change, old, new)


def split(schema: Schema, differences: Iterable[Difference]) -> Split:
    """Which of the differences a running node can take. A key that the schema does not have is cold."""
    hot: list[Difference] = []
    cold: list[Difference] = []
    for each in differences:
        key = schema.key(each.key)
        (hot if key and key.hot else cold).append(each)
    return Split(tuple(hot), tuple(cold))


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """The lines that differ with three around them, in the form of diff -u; "" when there are none."""
    lines = difflib.unified_diff(_lines(old), _lines(new), old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Lines without their ends; a last line that has none is marked as diff(1) marks it."""
    lines = text.split("\n")
    if not lines[-1]:
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]
