"""What differs between two graphs, as far as a daemon that runs the first must care.

Theory of operation. GlusterFS compares from the tops: children in order, then name, then type, recursively, and no
options (glusterfs: libglusterfs/src/xlator.c, xlator_equal_rec). Names are unique in a graph, and every node is below
the top. So two graphs have the same shape exactly when they have the same top, the same names, and for each name the
same type and the same subvolumes in the same order; a node that is shared by many is looked at once, and nothing
recurses. Graphs are compared, not texts: comments, quotes, and the order of blocks and of options make no difference.

The exception that GlusterFS makes for ``protocol/server``, whose processes serve several graphs, is not made: here a
process has one.
"""

from __future__ import annotations

import enum
from itertools import zip_longest

import attrs

from svcmgr.volume.volgraph import Graph, Node


class Verdict(enum.Enum):
    """How far two graphs differ."""

    IDENTICAL = "identical"
    #: the same shape with other options: a running daemon can take them over
    OPTIONS = "options"
    #: other nodes, types or edges: only a new process can
    SHAPE = "shape"


@attrs.frozen
class OptionChange:
    """One option of one node. None: it is not there."""

    node: str
    option: str
    old: str | None
    new: str | None


@attrs.frozen
class Comparison:
    """``changes``: all of them, for OPTIONS. ``first``: the first difference as a sentence, for SHAPE."""

    verdict: Verdict
    changes: tuple[OptionChange, ...] = ()
    first: str = ""


def compare(old: Graph, new: Graph) -> Comparison:
    """What changed from ``old`` to ``new``."""
    first = _top(old, new) or _nodes(old, new)
    if first:
        return Comparison(Verdict.SHAPE, first=first)
    changes = tuple(
        change
        for node in new.nodes
        if (before := old.node(node.name)) is not None and before.options != node.options
        for change in _options(before, node)
    )
    return Comparison(Verdict.OPTIONS if changes else Verdict.IDENTICAL, changes)


def _top(old: Graph, new: Graph) -> str:
    before, after = old.top, new.top
    if before.name == after.name:
        return ""
    came, went = old.node(after.name) is None, new.node(before.name) is None
    if came and not went:
        return f"{_named(after)} is new at the top"
    if went and not came:
        return f"{_named(before)} is gone from the top"
    return f"the top is {_named(after)}, it was {_named(before)}"


def _nodes(old: Graph, new: Graph) -> str:
    """The first difference below the same top: nodes that came, then nodes that went, then those that changed."""
    changed = ""
    for node in new.nodes:
        before = old.node(node.name)
        if before is None:
            return f"{_named(node)} is new"
        if not changed and (before.type != node.type or before.subvolumes != node.subvolumes):
            changed = _changed(before, node)
    if len(new.nodes) < len(old.nodes):
        return next(f"{_named(node)} is gone" for node in old.nodes if new.node(node.name) is None)
    return changed


def _changed(before: Node, after: Node) -> str:
    if before.type != after.type:
        return f"{after.name} changed its type from {before.type} to {after.type}"
    places = enumerate(zip_longest(before.subvolumes, after.subvolumes), 1)
    place, (was, now) = next((place, pair) for place, pair in places if pair[0] != pair[1])
    if was is None:
        return f"{_named(after)} has one more subvolume, {now}"
    if now is None:
        return f"{_named(after)} no longer has subvolume {was}"
    return f"{_named(after)} has {now} as subvolume {place}, it had {was}"


def _named(node: Node) -> str:
    return f"{node.name} ({node.type})"


def _options(before: Node, after: Node) -> list[OptionChange]:
    old, new = dict(before.options), dict(after.options)
    keys = [*new, *(key for key in old if key not in new)]
    return [OptionChange(after.name, key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
