"""Configurations that differ from node to node: a small language over the facts of a node.

Theory of operation. Between ``{{`` and ``}}``, on one line, stands one tag:

    {{ node.id }}  {{ node.hostname }}  {{ node.type }}     a fact
    {{ tag "zone" }}  {{ tag "zone" "default" }}            the value of a tag; without a default the tag must be there
    {{ "{{" }}                                              text as it is
    {{ if tag "zone" == "a" }} ... {{ else if ... }} ... {{ else }} ... {{ end }}

A condition compares a fact or a tag with a text by ``==`` or ``!=``, or is ``tag "x"`` alone: whether the node has it;
an absent tag equals no text. There are no loops, no assignments and no calls, so a rendering ends, after at most as
many steps as the text has tags. A text is cut up once (:func:`cut`) and rendered for any number of nodes.

*Lines stay lines.* The newlines of a branch that is not taken are kept, so a fault in what was rendered is at the line
of the template that it comes from. *Facts stay facts.* A node names itself and an operator tags it, so what is put into
the text may only have characters that cannot end a string or begin another key.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from svcmgr.services.mgmtd.config.document import check_size
from svcmgr.services.mgmtd.config.facts import Facts
from svcmgr.services.mgmtd.config.tags import Condition, Source, Tag, Term, Verb, lex

#: How deep ifs nest, how many tags a text has, and how long a fact is that is put in, characters.
DEPTH_MAX = 16
TAGS_MAX = 2_000
FACT_MAX = 1_024
#: Besides letters and digits, what a fact that is put into a text may have.
FACT_CHARACTERS = frozenset(" ._:/@+%-")


@attrs.frozen
class Branch:
    """One branch of an if; a condition of None always holds. ``newlines``: how many its text has, taken or not."""

    condition: Condition | None
    parts: tuple[Part, ...]
    newlines: int


@attrs.frozen
class Choose:
    """An if: the first branch that holds."""

    branches: tuple[Branch, ...]


Part = str | Tag | Choose


@attrs.frozen
class Template:
    """A text that was cut up: what is text, what becomes text, and where to choose."""

    parts: tuple[Part, ...]

    @property
    def plain(self) -> bool:
        """Whether it is the same for every node."""
        return all(isinstance(part, str) for part in self.parts)

    def render(self, facts: Facts) -> str:
        """The text for one node.

        Raises:
            InvalidConfig: a tag without default that the node does not have, a fact that cannot be put into a text, or
                a result that is too large; with the line.
        """
        return check_size("".join(_rendered(self.parts, facts)), f"what was rendered for node {facts.id}")

    def put(self) -> Iterator[Term]:
        """Every term that becomes text."""
        return (item.term for item in _all(self.parts) if isinstance(item, Tag) and item.term)

    def conditions(self) -> Iterator[Condition]:
        """Every condition."""
        return (item.condition for item in _all(self.parts) if isinstance(item, Branch) and item.condition)


def cut(text: str) -> Template:
    """``text`` cut up. Raises InvalidConfig with line and column: too large, or a tag that is none of the above."""
    stream = _Stream(lex(check_size(text)))
    parts, stop = _parts(stream, 0)
    if stop:
        raise stop.fault(f"{stop.verb.value} without an if before it")
    return Template(parts)


@attrs.define
class _Stream:
    """Texts and tags, with a count of the tags."""

    source: Iterator[str | Tag]
    tags: int = 0

    def __iter__(self) -> Iterator[str | Tag]:
        for item in self.source:
            if isinstance(item, Tag):
                self.tags += 1
                if self.tags > TAGS_MAX:
                    raise item.fault(f"there are more than {TAGS_MAX} tags")
            yield item


def _parts(stream: _Stream, depth: int) -> tuple[tuple[Part, ...], Tag | None]:
    """What comes until a tag that ends a branch, and that tag; None at the end of the text."""
    parts: list[Part] = []
    for item in stream:
        if isinstance(item, str) or item.verb is Verb.PUT:
            parts.append(item)
        elif item.verb is Verb.IF:
            parts.append(_choose(stream, item, depth + 1))
        else:
            return tuple(parts), item
    return tuple(parts), None


def _choose(stream: _Stream, begin: Tag, depth: int) -> Choose:
    if depth > DEPTH_MAX:
        raise begin.fault(f"ifs are nested more than {DEPTH_MAX} deep")
    branches: list[Branch] = []
    tag = begin
    while True:
        parts, stop = _parts(stream, depth)
        branches.append(Branch(tag.condition, parts, sum(map(_newlines, parts))))
        if stop is None:
            raise begin.fault("the if has no end; write {{ end }}")
        if stop.verb is Verb.END:
            return Choose(tuple(branches))
        if tag.verb is Verb.ELSE:
            raise stop.fault(f"after else comes end, not {stop.verb.value}")
        tag = stop


def _newlines(part: Part) -> int:
    if isinstance(part, Choose):
        return sum(branch.newlines for branch in part.branches)
    return part.count("\n") if isinstance(part, str) else 0


def _rendered(parts: tuple[Part, ...], facts: Facts) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Tag):
            yield _put(part, facts)
        else:
            yield from _chosen(part, facts)


def _chosen(part: Choose, facts: Facts) -> Iterator[str]:
    taken = next((b for b in part.branches if b.condition is None or b.condition.holds(facts)), None)
    for branch in part.branches:
        if branch is taken:
            yield from _rendered(branch.parts, facts)
        else:
            yield "\n" * branch.newlines


def _put(tag: Tag, facts: Facts) -> str:
    term = tag.term
    text = term.of(facts) if term else None
    if term is None or text is None:
        name = term.name if term else ""
        error = tag.fault(f"node {facts.id} has no tag {name[:40]!r}; tag it, or give a default in the template")
        error.details["missing_tag"] = name
        raise error
    if term.source is Source.TEXT:
        return text
    if len(text) > FACT_MAX:
        raise tag.fault(f"{term.name} of node {facts.id} has {len(text)} characters, the limit is {FACT_MAX}")
    odd = next((char for char in text if not (char.isalnum() or char in FACT_CHARACTERS)), None)
    if odd:
        allowed = "".join(sorted(FACT_CHARACTERS))
        raise tag.fault(f"{term.name} of node {facts.id} has {odd!r}; letters, digits and {allowed!r} can be put in")
    return text


def _all(parts: tuple[Part, ...]) -> Iterator[Tag | Branch]:
    """Every tag and branch, in the order of the text."""
    for part in parts:
        if isinstance(part, Tag):
            yield part
        elif isinstance(part, Choose):
            for branch in part.branches:
                yield branch
                yield from _all(branch.parts)
