"""The graph that a volfile describes: nodes with options, each above the ones it is made of, and one on top.

Theory of operation. The order of the nodes is the proof that there is no cycle: a node may only use what stands before
it, and the last one is the top. GlusterFS has the same rule, but only logs a breach and goes on without that subvolume
(glusterfs: libglusterfs/src/graph.y, volume_sub); a daemon would then run with less than it was told to. It also takes
a node that nobody uses: it starts it, but walks from the top when it reconfigures and compares, and so never sees that
it changed (libglusterfs/src/xlator.c, is_graph_topology_equal). Both are refused here. With nodes in order the second
is one look at each: when every node but the last is used by a later one, all of them are below the top.

A graph is checked whole when it is made, in a handful of passes that look at all words at once; only when one of them
finds a fault is it looked for node by node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

import attrs

from svcmgr.errors import BadVolfile
from svcmgr.volume.checks import shown, utf8
from svcmgr.volume.volwords import UNWRITABLE, WORD_MAX

#: Most nodes of one graph, and most subvolumes of one node, which may name the same one again.
NODES_MAX = 100_000

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)+\Z")


@attrs.frozen
class Node:
    """One block of a volfile. ``options``: each key once, in order. ``subvolumes``: names of the nodes below it."""

    name: str
    type: str
    options: tuple[tuple[str, str], ...] = ()
    subvolumes: tuple[str, ...] = ()


@attrs.frozen
class Fault:
    """What is wrong with the node at ``index``.

    ``word`` is the word in question, "" for the node itself. ``below``: it stands among the subvolumes.
    """

    index: int
    text: str
    word: str = ""
    below: bool = False


@attrs.frozen
class Graph:
    """Nodes in the order of the volfile, the top last. Raises BadVolfile when they are no graph.

    ``words_hold``: whoever made the nodes knows that names, keys and values can be written and no key is there twice,
    as one does who read them from a text with no line over WORD_MAX; then only types and structure are checked.
    """

    nodes: tuple[Node, ...]
    words_hold: bool = attrs.field(default=False, eq=False, repr=False, kw_only=True)
    _index: dict[str, Node] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        found = fault(self.nodes, words_hold=self.words_hold)
        if found is not None:
            name = self.nodes[found.index].name if self.nodes else ""
            raise BadVolfile(f"cannot make a graph: {found.text}", node=name)
        object.__setattr__(self, "_index", {node.name: node for node in self.nodes})

    @property
    def top(self) -> Node:
        return self.nodes[-1]

    def node(self, name: str) -> Node | None:
        """The node of that name, or None."""
        return self._index.get(name)


def fault(nodes: Sequence[Node], *, words_hold: bool = False) -> Fault | None:
    """The first thing that keeps ``nodes`` from being a graph; None when they are one."""
    if not nodes:
        return Fault(0, "it has no volume; a volfile defines at least one")
    if len(nodes) > NODES_MAX:
        return Fault(NODES_MAX, f"it has {len(nodes)} volumes, the limit is {NODES_MAX}")
    if not (_types_hold(nodes) and (words_hold or _words_hold(nodes))):
        return next(filter(None, map(_bad_word, range(len(nodes)), nodes)))
    return _structure(nodes)


def _types_hold(nodes: Sequence[Node]) -> bool:
    return all(len(kind) <= WORD_MAX and _TYPE.match(kind) for kind in {node.type for node in nodes})


def _words_hold(nodes: Sequence[Node]) -> bool:
    """Whether all words can be written. Looks at all of them at once, which is what makes large graphs quick."""
    options = [node.options for node in nodes]
    keys_and_values = list(chain.from_iterable(chain.from_iterable(options)))
    words = [node.name for node in nodes] + keys_and_values
    joined = "".join(words)
    return (
        all(words[: len(nodes)])
        and all(keys_and_values[::2])
        and max(map(len, words)) <= WORD_MAX
        and not any(char in joined for char in UNWRITABLE)
        and (joined.isascii() or utf8(joined))
        and list(map(len, map(dict, options))) == list(map(len, options))
    )


def _bad_word(index: int, node: Node) -> Fault | None:
    keys = [key for key, _ in node.options]
    for what, word in _words(node):
        if why := _wrong(word, empty=what.startswith("value")):
            return Fault(index, f"the {what} of volume {shown(node.name)} {why}", word)
    if len(node.type) > WORD_MAX or not _TYPE.match(node.type):
        return Fault(
            index, f"the type {shown(node.type)} of volume {shown(node.name)} is not of the form a/b", node.type
        )
    twice = next((key for key in keys if keys.count(key) > 1), None)
    return Fault(index, f"volume {shown(node.name)} has option {shown(twice)} twice", twice) if twice else None


def _words(node: Node) -> Iterator[tuple[str, str]]:
    yield "name", node.name
    for key, value in node.options:
        yield "key of an option", key
        yield f"value of option {shown(key)}", value


def _wrong(word: str, *, empty: bool) -> str:
    if not word:
        return "" if empty else "is empty"
    if len(word) > WORD_MAX:
        return f"has {len(word)} characters, the limit is {WORD_MAX}"
    if any(char in word for char in UNWRITABLE):
        return f"has a NUL or an end of line: {shown(word)}"
    return "" if utf8(word) else f"is not valid Unicode: {shown(word)}"


def _structure(nodes: Sequence[Node]) -> Fault | None:
    seen: set[str] = set()
    for index, node in enumerate(nodes):
        if len(node.subvolumes) > NODES_MAX:
            return Fault(index, f"volume {shown(node.name)} has more than {NODES_MAX} subvolumes, the limit")
        if node.subvolumes and not seen.issuperset(node.subvolumes):
            return _undefined(index, node, seen)
        if node.name in seen:
            return Fault(index, f"volume {shown(node.name)} is defined twice; every volume has a name of its own")
        seen.add(node.name)
    used = {name for node in nodes for name in node.subvolumes}
    if len(used) == len(nodes) - 1:
        return None
    index = next(index for index, node in enumerate(nodes) if node.name not in used)
    name, top = shown(nodes[index].name), shown(nodes[-1].name)
    return Fault(
        index, f"volume {name} is used by no other and is not the last; {top} is, and cannot be reached from there"
    )


def _undefined(index: int, node: Node, seen: set[str]) -> Fault:
    name = next(name for name in node.subvolumes if name not in seen)
    if name == node.name:
        return Fault(index, f"volume {shown(name)} has itself as subvolume", name, below=True)
    text = f"subvolume {shown(name)} of volume {shown(node.name)} is not defined before it"
    return Fault(index, text, name, below=True)
